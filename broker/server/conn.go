package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"firn/broker/wire"
)

// errPanic closes a connection whose request hit a bug of ours.
var errPanic = errors.New("internal error")

// conn is one connection: a reader that hands requests to the handler, slots that keep the order of
// the responses, and a writer.
type conn struct {
	srv    *Server
	nc     net.Conn
	in     *source
	ip     netip.Addr
	info   *wire.Conn
	cancel context.CancelFunc
	slots  slots

	stopOnce sync.Once
	stopping chan struct{} // closed when parked requests are to answer

	closeOnce sync.Once
	closed    chan struct{}
	why       error // set before closed is closed

	half atomic.Bool // one of the two goroutines is done
}

func newConn(s *Server, nc net.Conn, id uint64, listener string, ip netip.Addr) *conn {
	ctx, cancel := context.WithCancel(context.Background())
	c := &conn{
		srv: s, nc: nc, in: &source{nc: nc}, ip: ip, cancel: cancel,
		stopping: make(chan struct{}),
		closed:   make(chan struct{}),
	}
	c.slots.init(&s.opts, &s.unwritten)
	c.info = &wire.Conn{
		ID: id, Listener: listener, Local: nc.LocalAddr(), Remote: nc.RemoteAddr(),
		Principal: wire.Anonymous, Context: ctx, Stopping: c.stopping,
	}
	return c
}

// source is the reading side of a connection, which can be stopped without closing the other.
type source struct {
	nc      net.Conn
	stopped atomic.Bool
}

// Read implements wire.Source.
func (s *source) Read(p []byte) (int, error) { return s.nc.Read(p) }

// SetReadDeadline implements wire.Source.
func (s *source) SetReadDeadline(t time.Time) error {
	err := s.nc.SetReadDeadline(t)
	if s.stopped.Load() {
		return s.nc.SetReadDeadline(time.Unix(1, 0))
	}
	return err
}

func (s *source) stop() {
	s.stopped.Store(true)
	_ = s.nc.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection
}

// read is the reader goroutine.
func (c *conn) read() {
	defer c.goroutineDone()
	err := c.readRequests()
	c.slots.endReading()
	if err != nil {
		c.close(err)
	}
}

// readRequests serves requests until the connection ends, which is an error, or is drained.
func (c *conn) readRequests() (err error) {
	var req *wire.Request
	defer func() {
		if p := recover(); p != nil {
			err = c.panicked(p, req)
		}
	}()
	o := &c.srv.opts
	frames := wire.NewFrameReader(c.in, wire.FrameOptions{
		Max: o.MaxRequestBytes, Budget: c.srv.budget, Stop: c.stopping, Idle: o.IdleTimeout, Stall: o.StallTimeout,
	})
	for {
		switch err := c.slots.waitRoom(c.stopping, o.IdleTimeout); {
		case errors.Is(err, wire.ErrStopped):
			return nil
		case err != nil:
			return err
		}
		buf, lease, err := frames.Next()
		switch {
		case err == nil:
		case c.in.stopped.Load():
			return nil
		case errors.Is(err, wire.ErrIdle) && c.slots.busySince(time.Now().Add(-o.IdleTimeout)):
			continue
		default:
			return err
		}
		if req, err = wire.ParseRequest(c.info, buf, lease, c); err != nil {
			buf.Release()
			lease.Release()
			return err
		}
		req.Seq = c.slots.open()
		o.Handler.Serve(req)
	}
}

// panicked makes a bug of ours the end of one connection instead of everybody's.
func (c *conn) panicked(p any, req *wire.Request) error {
	c.srv.met.panics.Inc()
	c.srv.opts.Logger.Error("panic in request, closing its connection",
		"panic", fmt.Sprint(p), "stack", string(debug.Stack()), "remote", c.info.Remote.String())
	if req != nil {
		req.Close(errPanic)
	}
	return errPanic
}

// Deliver implements wire.Sink.
func (c *conn) Deliver(r *wire.Request, body *wire.Body) { c.slots.deliver(r.Seq, body) }

// Fail implements wire.Sink: nothing more is read, and what was asked before is answered, unless that takes long.
func (c *conn) Fail(r *wire.Request, err error) {
	if r.ClientID != "" {
		err = fmt.Errorf("client %.64q: %w", r.ClientID, err)
	}
	c.slots.fail(r.Seq, err)
	c.drain()
	go func() {
		select {
		case <-time.After(c.srv.opts.StallTimeout):
			c.close(err)
		case <-c.closed:
		}
	}()
}

// write is the writer goroutine.
func (c *conn) write() {
	defer c.goroutineDone()
	tick := max(c.srv.opts.StallTimeout/3, time.Millisecond)
	w := wire.NewWriter(c.nc, tick, c.notTaken)
	var batch []*wire.Body
	for {
		var err error
		if batch, err = c.slots.take(batch[:0], c.closed); err != nil {
			c.close(err)
			return
		}
		sent, fromFile := w.Counts()
		err = w.Write(batch)
		nowSent, nowFromFile := w.Counts()
		c.srv.met.sent.Add(float64(nowSent - sent))
		c.srv.met.fromFile.Add(float64(nowFromFile - fromFile))
		c.slots.written(batch)
		if err != nil {
			c.close(err)
			return
		}
	}
}

// notTaken decides about a client that has not taken a byte of its responses for a while: it may
// take as long as an idle connection, but not while it is in the way of others.
func (c *conn) notTaken(since time.Duration) bool {
	o := &c.srv.opts
	if c.srv.unwritten.Load() > o.MemoryBytes || o.Wanted != nil && o.Wanted() {
		return since >= o.StallTimeout
	}
	return since >= o.IdleTimeout
}

// drain ends reading; the connection closes when what was read has been answered.
func (c *conn) drain() {
	c.in.stop() // first, or a reader that waits for memory would take it for the end of the connection
	c.stop()
}

func (c *conn) stop() { c.stopOnce.Do(func() { close(c.stopping) }) }

// close ends the connection at once, the first reason being the one that is reported.
func (c *conn) close(err error) {
	c.closeOnce.Do(func() {
		c.why = err
		close(c.closed)
		c.stop()
		c.cancel()
		_ = c.nc.Close() // nobody is left to care
		c.report(err)
	})
}

// goroutineDone runs at the end of each goroutine; the second one cleans up.
func (c *conn) goroutineDone() {
	if c.half.Swap(true) {
		c.slots.drop()
		c.srv.ended(c)
	}
	c.srv.all.Done()
}

// report logs and counts why a connection has ended.
func (c *conn) report(err error) {
	reason := reasonFor(err)
	c.srv.met.closed.WithLabelValues(reason).Inc()
	args := []any{"reason", reason, "error", err, "listener", c.info.Listener, "remote", c.info.Remote.String()}
	if sw := c.info.Software(); sw.Name != "" {
		args = append(args, "software", sw.Name+" "+sw.Version)
	}
	switch reason {
	case "stopped", "client", "idle":
		c.srv.opts.Logger.Debug("connection closed", args...)
	default:
		if c.srv.loud(&args) {
			c.srv.opts.Logger.Warn("connection closed", args...)
		}
	}
}

// reasonFor sorts the ends of connections into few kinds.
func reasonFor(err error) string {
	switch {
	case errors.Is(err, ErrStopped), errors.Is(err, wire.ErrStopped):
		return "stopped"
	case errors.Is(err, errPanic):
		return "panic"
	case errors.Is(err, wire.ErrIdle):
		return "idle"
	case errors.Is(err, wire.ErrStalled):
		return "stalled_frame"
	case errors.Is(err, wire.ErrNotTaken):
		return "stalled_response"
	case errors.Is(err, wire.ErrMalformed):
		return "malformed"
	case errors.Is(err, wire.ErrShortSend):
		return "short_send"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, io.ErrClosedPipe), isReset(err):
		return "client"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	}
	return "request"
}
