package etcd

import (
	"io"
	"net"
	"sync"
	"testing"
)

// proxy stands between a client and a server and can be told to misbehave.
type proxy struct {
	to       string
	listener net.Listener
	wg       sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]bool
	refuse  bool // accept nothing
	mute    bool // swallow what the server says
	unmuted *sync.Cond
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{to: to, listener: l, conns: map[net.Conn]bool{}}
	p.unmuted = sync.NewCond(&p.mu)
	p.wg.Go(p.serve)
	t.Cleanup(func() {
		_ = l.Close()
		p.Cut(true)
		p.Mute(false)
		p.wg.Wait()
	})
	return p
}

func (p *proxy) Addr() string { return p.listener.Addr().String() }

// Cut closes all connections and refuses new ones, or takes them again.
func (p *proxy) Cut(off bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = off
	if off {
		for c := range p.conns {
			_ = c.Close()
		}
	}
}

// Mute holds back everything the server says from now on; it is said when Mute ends, or lost with its
// connection.
func (p *proxy) Mute(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = on
	p.unmuted.Broadcast()
}

func (p *proxy) add(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse {
		_ = c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

func (p *proxy) remove(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *proxy) serve() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		if !p.add(c) {
			continue
		}
		p.wg.Go(func() {
			defer p.remove(c)
			s, err := net.Dial("tcp", p.to)
			if err != nil || !p.add(s) {
				return
			}
			defer p.remove(s)
			var both sync.WaitGroup
			both.Go(func() {
				_, _ = io.Copy(s, c)
				_ = s.Close()
			})
			p.speak(c, s)
			_ = c.Close()
			both.Wait()
		})
	}
}

// speak carries what the server says to the client.
func (p *proxy) speak(c, s net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := s.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		for p.mute && p.conns[c] {
			p.unmuted.Wait()
		}
		p.mu.Unlock()
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}
