package api

// AdminDeps is what the handlers of cluster, topics and settings ask.
type AdminDeps struct{}
