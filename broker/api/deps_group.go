package api

// GroupDeps is what the handlers of groups ask.
type GroupDeps struct{}
