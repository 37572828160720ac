package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"firn/broker/wire"
)

// ErrStopped is returned by Serve once the server has been told to stop.
var ErrStopped = errors.New("server: stopped")

// Server serves Kafka connections. Safe for concurrent use.
type Server struct {
	opts   Options
	budget *wire.Budget
	met    *metrics
	// noise limits log lines about what strangers send: ten thousand of them are one event.
	noise *rate.Limiter
	// stopping is closed by the first Shutdown.
	stopping chan struct{}
	// all counts goroutines of connections and accept loops.
	all sync.WaitGroup

	mu struct {
		sync.Mutex
		stopped   bool
		listeners map[net.Listener]struct{}
		conns     map[*conn]struct{}
		reserved  int // of conns, those of the reserved listener
		perIP     map[netip.Addr]int
		lastID    uint64
	}

	// unwritten is the memory of responses that clients have not taken yet.
	unwritten atomic.Int64
	// hushed counts log lines that were left out since the last one that was not.
	hushed atomic.Int64
}

// New returns a server with no listener yet.
func New(opts Options) (*Server, error) {
	opts.EnsureDefaults()
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	s := &Server{
		opts:     opts,
		budget:   wire.NewBudget(opts.MemoryBytes),
		noise:    rate.NewLimiter(noisePerSecond, noiseBurst),
		stopping: make(chan struct{}),
	}
	s.mu.listeners = map[net.Listener]struct{}{}
	s.mu.conns = map[*conn]struct{}{}
	s.mu.perIP = map[netip.Addr]int{}
	s.met = newMetrics(opts.Registerer, s)
	return s, nil
}

// Log lines about clients' mistakes.
const (
	noisePerSecond = 5
	noiseBurst     = 50
)

// Serve accepts connections from l, whose listener name is name, until Shutdown, which makes it
// return ErrStopped, or an error of l. It closes l.
func (s *Server) Serve(l net.Listener, name string) error {
	defer l.Close()
	s.mu.Lock()
	if s.mu.stopped {
		s.mu.Unlock()
		return ErrStopped
	}
	s.mu.listeners[l] = struct{}{}
	s.all.Add(1)
	s.mu.Unlock()
	defer s.all.Done()
	defer func() {
		s.mu.Lock()
		delete(s.mu.listeners, l)
		s.mu.Unlock()
	}()
	return s.accept(l, name)
}

// Accepting goes on after errors such as too many open files, at most this late.
const maxAcceptPause = time.Second

func (s *Server) accept(l net.Listener, name string) error {
	pause := time.Duration(0)
	for {
		nc, err := l.Accept()
		if err == nil {
			pause = 0
			s.start(nc, name)
			continue
		}
		select {
		case <-s.stopping:
			return ErrStopped
		default:
		}
		var temporary interface{ Temporary() bool }
		if !errors.As(err, &temporary) || !temporary.Temporary() {
			return fmt.Errorf("accept on %s: %w", l.Addr(), err)
		}
		pause = min(max(2*pause, 5*time.Millisecond), maxAcceptPause)
		s.opts.Logger.Warn("cannot accept connection", "listener", name, "error", err, "pause", pause)
		select {
		case <-time.After(pause):
		case <-s.stopping:
			return ErrStopped
		}
	}
}

// start gives a connection its goroutines, or closes it where there are too many.
func (s *Server) start(nc net.Conn, listener string) {
	ip, reserved := addrOf(nc), s.reserved(listener)
	s.mu.Lock()
	open := s.mu.reserved
	if !reserved {
		open = len(s.mu.conns) - open
	}
	reason := ""
	switch {
	case s.mu.stopped:
		reason = "stopped"
	case open >= s.opts.MaxConnections:
		reason = "max_connections"
	case s.opts.MaxConnectionsPerIP > 0 && s.mu.perIP[ip] >= s.opts.MaxConnectionsPerIP:
		reason = "max_connections_per_ip"
	}
	if reason != "" {
		s.mu.Unlock()
		s.met.refused.WithLabelValues(reason).Inc()
		args := []any{"reason", reason, "listener", listener, "remote", nc.RemoteAddr().String()}
		if s.loud(&args) {
			s.opts.Logger.Warn("connection refused", args...)
		}
		_ = nc.Close() // nothing was sent on it
		return
	}
	s.mu.lastID++
	c := newConn(s, nc, s.mu.lastID, listener, ip)
	s.mu.conns[c] = struct{}{}
	if reserved {
		s.mu.reserved++
	}
	s.mu.perIP[ip]++
	s.all.Add(2)
	s.mu.Unlock()
	s.met.accepted.Inc()
	go c.read()
	go c.write()
}

// reserved reports whether connections of a listener are counted apart from others.
func (s *Server) reserved(listener string) bool {
	return listener == s.opts.Reserved && listener != ""
}

// ended forgets a connection both of whose goroutines are done.
func (s *Server) ended(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.conns, c)
	if s.reserved(c.info.Listener) {
		s.mu.reserved--
	}
	if s.mu.perIP[c.ip]--; s.mu.perIP[c.ip] == 0 {
		delete(s.mu.perIP, c.ip)
	}
}

// loud tells whether to log what a client did, which is not so if there has been much of that lately. It
// adds to args how often it was not.
func (s *Server) loud(args *[]any) bool {
	if !s.noise.Allow() {
		s.hushed.Add(1)
		return false
	}
	if n := s.hushed.Swap(0); n > 0 {
		*args = append(*args, "like_it_not_logged", n)
	}
	return true
}

// Connections is the number of open connections.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.conns)
}

// MemoryUsed is the bytes of requests held now.
func (s *Server) MemoryUsed() int64 { return s.budget.Used() }

// Shutdown stops accepting and reading, tells parked requests to answer with what they have, waits
// until the responses are written, and closes the connections. When ctx ends first the rest is
// closed as it is, and the error is ctx's. It returns when no goroutine of the server is left.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.mu.stopped {
		s.mu.stopped = true
		close(s.stopping)
	}
	for l := range s.mu.listeners {
		_ = l.Close() // the accept loop reports what matters
	}
	for c := range s.mu.conns {
		c.drain()
	}
	s.mu.Unlock()

	done := make(chan struct{})
	go func() {
		s.all.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.mu.conns {
		c.close(ErrStopped)
	}
	s.mu.Unlock()
	<-done
	return ctx.Err()
}

func addrOf(nc net.Conn) netip.Addr {
	if tcp, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
