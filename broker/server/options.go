package server

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"firn/broker/wire"
)

// Handler serves requests. Serve is called by a connection's reader in the order of arrival, and sees to
// it that the request is finished. It may block for what has to come before the connection's next
// request, but not once the connection's Stopping is closed.
type Handler interface {
	Serve(req *wire.Request)
}

// Options configures a Server. The zero value of a field means its default.
type Options struct {
	Handler Handler
	Logger  *slog.Logger
	// Registerer may be nil.
	Registerer prometheus.Registerer

	// MaxRequestBytes is the longest frame (socket.request.max.bytes); default 100 MiB.
	MaxRequestBytes int
	// MemoryBytes bounds the frames of all connections (queued.max.request.bytes); default 256 MiB.
	// While it is used up, connections are not read. While responses that clients have not taken hold as
	// much, a connection is not read before its last response is written.
	MemoryBytes int64
	// Wanted, if set, reports whether somebody waits for memory that responses hold. Clients that do not
	// take theirs are then given up after StallTimeout.
	Wanted func() bool
	// MaxConnections bounds open connections (max.connections); more are closed at once. Default
	// 20,000.
	MaxConnections int
	// Reserved names a listener whose connections are bounded by MaxConnections apart from all others, which cannot keep them
	// out then; empty for none.
	Reserved string
	// MaxConnectionsPerIP bounds those of one address (max.connections.per.ip); default no bound.
	MaxConnectionsPerIP int
	// IdleTimeout closes a connection without requests (connections.max.idle.ms), one that does not take
	// its responses, and one that may send no more requests while none of those it sent is answered;
	// default 10 min.
	IdleTimeout time.Duration
	// StallTimeout closes a connection whose frame stands still, or whose responses do while others want
	// their memory; default 30 s.
	StallTimeout time.Duration
	// MaxInFlight is how many requests of a connection may be unanswered; default 32.
	MaxInFlight int
	// MaxPendingBytes is how many bytes of responses a connection may have unwritten before it is
	// not read; default 8 MiB.
	MaxPendingBytes int64
}

// EnsureDefaults fills in what is zero.
func (o *Options) EnsureDefaults() {
	def(&o.MaxRequestBytes, 100<<20)
	def(&o.MemoryBytes, 256<<20)
	def(&o.MaxConnections, 20_000)
	def(&o.IdleTimeout, 10*time.Minute)
	def(&o.StallTimeout, 30*time.Second)
	def(&o.MaxInFlight, 32)
	def(&o.MaxPendingBytes, 8<<20)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Validate reports what cannot work.
func (o *Options) Validate() error {
	switch {
	case o.Handler == nil:
		return errors.New("server: no handler")
	case o.MaxRequestBytes < 0, o.MaxRequestBytes > 1<<31-1:
		return fmt.Errorf("server: max request bytes %d out of range", o.MaxRequestBytes)
	case o.MemoryBytes < 0, o.MaxConnections < 0, o.MaxConnectionsPerIP < 0, o.IdleTimeout < 0,
		o.StallTimeout < 0, o.MaxInFlight < 0, o.MaxPendingBytes < 0:
		return errors.New("server: negative limit")
	}
	return nil
}
