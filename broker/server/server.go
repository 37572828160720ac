package server

import (
	"context"
	"errors"
	"net"
	"sync"
)

// ErrStopped is returned by Serve once the server has been told to stop.
var ErrStopped = errors.New("server: stopped")

// Server serves Kafka connections. Safe for concurrent use.
type Server struct {
	opts Options

	mu struct {
		sync.Mutex
		stopped   bool
		listeners map[net.Listener]struct{}
	}
}

// New returns a server with no listener yet.
func New(opts Options) (*Server, error) {
	opts.EnsureDefaults()
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	s := &Server{opts: opts}
	s.mu.listeners = map[net.Listener]struct{}{}
	return s, nil
}

// Serve accepts connections from l, whose listener name is name, until Shutdown or an error of l. It
// closes l.
func (s *Server) Serve(l net.Listener, name string) error {
	return ErrStopped
}

// Shutdown stops accepting and reading, tells parked requests to answer with what they have, waits
// until the responses are written, and closes the connections. When ctx ends first the rest is
// closed as it is. It returns when no goroutine of the server is left.
func (s *Server) Shutdown(ctx context.Context) error {
	return nil
}
