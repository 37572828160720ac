package sim

import (
	"context"
	"fmt"
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

func (name) Network() string { return "tcp" }

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

var _ net.Listener = (*listener)(nil)

var _ net.Conn = (*conn)(nil)
