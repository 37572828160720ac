package api

// DataDeps is what the handlers of records ask.
type DataDeps struct{}
