package sim

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// listener is a net.Listener of a network.
type listener struct {
	n       *network
	address string
	addr    net.Addr
	arrived *sync.Cond
	queue   []*conn
	closed  bool
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	for len(l.queue) == 0 && !l.closed {
		l.arrived.Wait()
	}
	if l.closed {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
	c := l.queue[0]
	l.queue = l.queue[1:]
	return c, nil
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	l.closeLocked()
	return nil
}

func (l *listener) closeLocked() {
	if l.closed {
		return
	}
	l.closed = true
	if l.n.listeners[l.address] == l {
		delete(l.n.listeners, l.address)
	}
	for _, c := range l.queue {
		c.breakLocked()
	}
	l.queue = nil
	l.arrived.Broadcast()
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.addr }

// stream is one direction of a connection.
type stream struct {
	link
	wake   *sync.Cond // for reader and writer
	chunks []chunk
	size   int
	last   time.Time // when the newest chunk arrives
	broken bool      // the connection was reset
	alarm  *time.Timer
}

// chunk is bytes on their way; without any it is the end.
type chunk struct {
	data []byte
	at   time.Time
}

// conn is one end of a connection.
type conn struct {
	n             *network
	local, remote net.Addr
	host          *host
	peer          *conn
	in, out       *stream
	closed        bool
	read, write   deadline
}

type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// pipeLocked connects two hosts.
func (n *network) pipeLocked(a, b *host, near, far net.Addr) (*conn, *conn) {
	there := &stream{link: link{a.name, b.name}, wake: sync.NewCond(&n.mu)}
	back := &stream{link: link{b.name, a.name}, wake: sync.NewCond(&n.mu)}
	x := &conn{n: n, local: near, remote: far, host: a, in: back, out: there}
	y := &conn{n: n, local: far, remote: near, host: b, in: there, out: back}
	x.peer, y.peer = y, x
	a.conns[x], b.conns[y] = true, true
	return x, y
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, c.fail("read", net.ErrClosed)
		case c.read.passed():
			return 0, c.fail("read", os.ErrDeadlineExceeded)
		case c.in.broken:
			return 0, c.fail("read", os.NewSyscallError("read", syscall.ECONNRESET))
		}
		if len(c.in.chunks) > 0 && c.n.deliversLocked(c.in.link) {
			wait := time.Until(c.in.chunks[0].at)
			if wait <= 0 {
				return c.in.take(p)
			}
			c.in.wakeIn(wait, &c.n.mu)
		}
		c.in.wake.Wait()
	}
}

// take moves what has arrived into p. The end stays where it is.
func (s *stream) take(p []byte) (n int, err error) {
	now := time.Now()
	for n < len(p) && len(s.chunks) > 0 && !s.chunks[0].at.After(now) {
		head := &s.chunks[0]
		if head.data == nil {
			if n == 0 {
				return 0, io.EOF
			}
			break
		}
		m := copy(p[n:], head.data)
		n += m
		s.size -= m
		if head.data = head.data[m:]; len(head.data) == 0 {
			s.chunks = s.chunks[1:]
		}
	}
	s.wake.Broadcast()
	return n, nil
}

// wakeIn wakes whoever waits at the stream after a while.
func (s *stream) wakeIn(d time.Duration, mu *sync.Mutex) {
	if s.alarm != nil {
		s.alarm.Reset(d)
		return
	}
	s.alarm = time.AfterFunc(d, func() {
		mu.Lock()
		defer mu.Unlock()
		s.wake.Broadcast()
	})
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (n int, err error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	for n < len(p) {
		switch {
		case c.closed:
			return n, c.fail("write", net.ErrClosed)
		case c.write.passed():
			return n, c.fail("write", os.ErrDeadlineExceeded)
		case c.out.broken:
			return n, c.fail("write", os.NewSyscallError("write", syscall.EPIPE))
		}
		room := streamBytes - c.out.size
		if room <= 0 {
			c.out.wake.Wait()
			continue
		}
		part := p[n:min(len(p), n+room)]
		c.sendLocked(append(make([]byte, 0, len(part)), part...))
		n += len(part)
	}
	return n, nil
}

// sendLocked puts bytes, or nil for the end, on their way.
func (c *conn) sendLocked(data []byte) {
	at := time.Now().Add(c.n.latencyLocked())
	if at.Before(c.out.last) {
		at = c.out.last
	}
	c.out.last = at
	c.out.size += len(data)
	c.out.chunks = append(c.out.chunks, chunk{data: data, at: at})
	c.out.wake.Broadcast()
}

// Close implements net.Conn. What was written still arrives.
func (c *conn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	c.closeLocked()
	return nil
}

func (c *conn) closeLocked() {
	if c.closed {
		return
	}
	c.closed = true
	if !c.out.broken {
		c.sendLocked(nil)
	}
	c.in.broken = true // for the other end's writes
	c.in.chunks = nil
	c.forgetLocked()
	c.in.wake.Broadcast()
	c.out.wake.Broadcast()
}

// breakLocked resets the connection at both ends.
func (c *conn) breakLocked() {
	for _, s := range []*stream{c.in, c.out} {
		s.broken, s.chunks, s.size = true, nil, 0
		s.wake.Broadcast()
	}
	c.forgetLocked()
	c.peer.forgetLocked()
}

func (c *conn) forgetLocked() {
	delete(c.host.conns, c)
	for _, d := range []*deadline{&c.read, &c.write} {
		if d.timer != nil && c.closed {
			d.timer.Stop()
		}
	}
}

func (c *conn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error { return c.set(&c.read, c.in, t) }

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.set(&c.write, c.out, t) }

func (c *conn) set(d *deadline, s *stream, t time.Time) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return c.fail("set", net.ErrClosed)
	}
	d.at = t
	switch {
	case t.IsZero():
		if d.timer != nil {
			d.timer.Stop()
		}
	case d.timer != nil:
		d.timer.Reset(time.Until(t))
	default:
		d.timer = time.AfterFunc(time.Until(t), func() {
			c.n.mu.Lock()
			defer c.n.mu.Unlock()
			s.wake.Broadcast()
		})
	}
	s.wake.Broadcast()
	return nil
}
