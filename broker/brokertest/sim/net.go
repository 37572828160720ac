package sim

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	// streamBytes is what one direction of a connection holds before its writer waits.
	streamBytes = 256 << 10
	// minLatency and maxLatency bound how long bytes are on their way. Each write has its own latency, so that
	// connections overtake each other; within one, bytes keep their order.
	minLatency = 50 * time.Microsecond
	maxLatency = 2 * time.Millisecond
)

// network is hosts that connect to each other. Waiting in it is durable in the sense of testing/synctest. One lock
// guards all of it, and is a leaf.
type network struct {
	mu        sync.Mutex
	rng       *rand.Rand
	hosts     map[string]*host
	listeners map[string]*listener // by host:port
	down      map[link]bool
	changed   *sync.Cond // links, hosts or listeners have changed
}

// link is one direction between two hosts. What is sent on one that is down arrives once it is up again.
type link struct{ from, to string }

// host is a machine on the network.
type host struct {
	name   string
	ip     net.IP
	port   int // the last that was given to a connection
	off    bool
	frozen bool
	conns  map[*conn]bool // whose local end is here
}

func newNetwork(seed uint64) *network {
	n := &network{
		rng: rand.New(rand.NewPCG(seed, 1)), hosts: map[string]*host{}, listeners: map[string]*listener{}, down: map[link]bool{},
	}
	n.changed = sync.NewCond(&n.mu)
	return n
}

// addHost adds a machine.
func (n *network) addHost(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[name] = &host{name: name, ip: net.IPv4(10, 0, 0, byte(len(n.hosts)+1)), port: 40000, conns: map[*conn]bool{}}
}

// deliversLocked says whether what is sent from one host to another arrives now.
func (n *network) deliversLocked(l link) bool {
	from, to := n.hosts[l.from], n.hosts[l.to]
	return !n.down[l] && !from.frozen && !to.frozen && !from.off && !to.off
}

// change lets fn change the network and wakes whoever waits for it.
func (n *network) change(fn func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fn()
	n.changed.Broadcast()
	for _, h := range n.hosts {
		for c := range h.conns {
			c.in.wake.Broadcast()
			c.out.wake.Broadcast()
		}
	}
}

// setLink takes one direction down or up.
func (n *network) setLink(from, to string, down bool) {
	n.change(func() {
		if down {
			n.down[link{from, to}] = true
		} else {
			delete(n.down, link{from, to})
		}
	})
}

// setFrozen stops a host from sending and receiving, or lets it go on.
func (n *network) setFrozen(name string, frozen bool) {
	n.change(func() { n.hosts[name].frozen = frozen })
}

// reset breaks a part of the connections between two hosts, as lost packets and routers do.
func (n *network) reset(a, b string, percent int) {
	n.change(func() {
		for c := range n.hosts[a].conns {
			if c.out.to == b && n.rng.IntN(100) < percent {
				c.breakLocked()
			}
		}
	})
}

// exit is the end of a host's process: its listeners are gone, and its connections end once what was sent has arrived.
func (n *network) exit(name string) {
	n.change(func() {
		n.unlistenLocked(name)
		for c := range n.hosts[name].conns {
			c.closeLocked()
		}
	})
}

// cutPower is the end of a host: nobody hears of it until on.
func (n *network) cutPower(name string) {
	n.change(func() {
		n.unlistenLocked(name)
		n.hosts[name].off = true
		for c := range n.hosts[name].conns {
			c.closed = true
			c.out.chunks = nil
		}
	})
}

// on brings a host back, which knows nothing of the connections that it had.
func (n *network) on(name string) {
	n.change(func() {
		n.hosts[name].off = false
		for c := range n.hosts[name].conns {
			c.breakLocked()
		}
	})
}

func (n *network) unlistenLocked(name string) {
	for addr, l := range n.listeners {
		if h, _, _ := net.SplitHostPort(addr); h == name {
			l.closeLocked()
		}
	}
}

// listen is broker.World's Listen on one host.
func (n *network) listen(name, address string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[address] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	p, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	l := &listener{n: n, address: address, addr: &net.TCPAddr{IP: n.hosts[name].ip, Port: p}}
	l.arrived = sync.NewCond(&n.mu)
	n.listeners[address] = l
	return l, nil
}

// dial connects from a host to an address. Whoever does not answer is waited for until ctx ends.
func (n *network) dial(ctx context.Context, from, address string) (net.Conn, error) {
	fail := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Addr: name(address), Err: err}
	}
	to, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fail(err)
	}
	n.mu.Lock()
	if n.hosts[to] == nil {
		n.mu.Unlock()
		return nil, fail(fmt.Errorf("no such host %q", to))
	}
	trip := n.latencyLocked() + n.latencyLocked()
	n.mu.Unlock()
	if err := sleep(ctx, trip); err != nil {
		return nil, fail(err)
	}
	stop := context.AfterFunc(ctx, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.changed.Broadcast()
	})
	defer stop()
	n.mu.Lock()
	defer n.mu.Unlock()
	for !n.deliversLocked(link{from, to}) || !n.deliversLocked(link{to, from}) {
		if ctx.Err() != nil {
			return nil, fail(ctx.Err())
		}
		n.changed.Wait()
	}
	l := n.listeners[address]
	if l == nil {
		return nil, fail(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	}
	h := n.hosts[from]
	h.port++
	near, far := n.pipeLocked(h, n.hosts[to], &net.TCPAddr{IP: h.ip, Port: h.port}, l.addr)
	l.queue = append(l.queue, far)
	l.arrived.Signal()
	return near, nil
}

// name is an address as it was asked for.
type name string

func (name) Network() string  { return "tcp" }
func (a name) String() string { return string(a) }
func (n *network) latencyLocked() time.Duration {
	return minLatency + time.Duration(n.rng.Int64N(int64(maxLatency-minLatency)))
}

// sleep waits for d, or for ctx to end, whose error it then returns.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pause waits for d.
func pause(d time.Duration) { _ = sleep(context.Background(), d) }

// listener is a net.Listener of a network.
type listener struct {
	n       *network
	address string
	addr    net.Addr
	arrived *sync.Cond
	queue   []*conn
	closed  bool
}

var _ net.Listener = (*listener)(nil)

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

var _ net.Conn = (*conn)(nil)

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
