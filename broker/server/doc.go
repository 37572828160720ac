// Package server accepts connections, turns their bytes into requests and their responses into bytes
// again, in the order of the requests.
//
// What belongs here: listeners, one reader and one writer goroutine per connection, the bounds on
// memory, connections, slow and idle clients. What does not: what a request means (api).
//
// A connection's reader hands each request to the Handler as soon as its frame is complete and, when the
// Handler returns, reads on, whether it is answered or not, up to the connection's slots: at most
// MaxInFlight requests or MaxPendingBytes of responses that are not written yet. Responses may be given in
// any order; the writer sends them in the order of the requests.
//
// # Locks
//
// Server.mu before conn.mu; nothing else is called under either.
package server
