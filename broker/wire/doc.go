// Package wire is Kafka's bytes on the wire: frames, request headers, pooled buffers, the memory
// budget they are charged against, and response bodies that mix encoded bytes with file ranges.
//
// What belongs here: how bytes become a Request and how a response becomes bytes again. What does
// not: listeners and goroutines of a connection (server), what a request means (api), and the
// messages themselves, which are kmsg's.
//
// # Who owns the memory
//
// A request arrives in one pooled Buffer, its frame. The Body of a Produce request aliases it: its
// strings and byte slices are the frame. Request.Reply, NoReply and Close give the frame back, and so
// does ReleaseFrame, for a handler that is done with the bytes long before it can answer. From that
// moment nothing that came out of Body may be touched; what is needed later is copied before. All
// other requests are decoded from a copy of their own, which is theirs to keep. Who keeps a string of it
// keeps all of it, so what outlives ReleaseFrame, and with it the charge, is cloned.
//
// # Locks
//
// Budget.mu is a leaf: nothing else is taken under it.
package wire
