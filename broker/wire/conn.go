package wire

import (
	"context"
	"net"
	"sync/atomic"
)

// Principal is who a connection speaks for, in Kafka's two parts.
type Principal struct {
	Type, Name string
}

// Anonymous is the principal of a connection that has not authenticated.
var Anonymous = Principal{Type: "User", Name: "ANONYMOUS"}

// String returns Kafka's form, "User:alice".
func (p Principal) String() string { return p.Type + ":" + p.Name }

// Software is what a client said of itself in ApiVersions.
type Software struct {
	Name, Version string
}

// Conn is what handlers may know of a connection. Its fields do not change once requests arrive.
// Safe for concurrent use.
type Conn struct {
	// ID is unique in this process.
	ID uint64
	// Listener is the name of the listener that accepted it; Metadata answers with the addresses
	// that brokers advertise under this name.
	Listener      string
	Local, Remote net.Addr
	Principal     Principal

	// Context ends when the connection has ended. A handler whose work serves nobody but this
	// client may stop then.
	Context context.Context //nolint:containedctx // the life of the connection, not of a call
	// Stopping is closed when the server begins to stop, at the latest when the connection ends: a
	// request that is only waiting for more data is to answer with what it has.
	Stopping <-chan struct{}

	software atomic.Pointer[Software]
}

// Software returns what the client said of itself, empty if it has not.
func (c *Conn) Software() Software {
	if s := c.software.Load(); s != nil {
		return *s
	}
	return Software{}
}

// SetSoftware remembers what the client said of itself. The strings are kept.
func (c *Conn) SetSoftware(s Software) { c.software.Store(&s) }
