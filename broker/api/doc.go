// Package api answers Kafka requests: one file per API key, NN_name.go, headed by the versions it
// serves and what they promise.
//
// What belongs here: the version table, the one authorise call that every request passes, decoding,
// calling the owner of the thing asked for, and turning its errors into Kafka's codes (errors.go).
// What does not: connections (server), bytes (wire), and any decision that is more than asking its
// owner.
//
// A handler is a method of API, registered by its file's init:
//
//	func init() { register(kmsg.ApiVersions, 0, 5, (*API).apiVersions) }
//
//	func (a *API) apiVersions(req *wire.Request, body *kmsg.ApiVersionsRequest) { ... }
//
// It finishes req exactly once (Reply, ReplyFetch, NoReply, Close), from whichever goroutine. One
// registered by register runs on the connection's reader: it must not wait for a disk, a network or
// another request, but may keep req and finish it later. One registered by registerBlocking runs on
// a goroutine of its own and may wait; so does one registered by registerByController, on the broker that
// is the controller, wherever the request came in, and its connection is not read until it is done. A handler may
// keep what it likes of body, but for Produce, whose body aliases the frame (see package wire).
package api
