package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest"
)

// kafkaClient returns a Kafka client of the process that ends with the test.
func kafkaClient(t *testing.T, p *brokertest.Process, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(p.Bootstrap)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// createTopic makes a topic with settings, which alternate between names and values.
func createTopic(t *testing.T, p *brokertest.Process, name string, partitions int32, settings ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	if err := tryCreateTopic(ctx, kafkaClient(t, p), name, partitions, settings...); err != nil {
		t.Fatalf("create topic %s: %v", name, err)
	}
}

// awaitLed waits until the process, the only broker, leads all partitions of a topic.
func awaitLed(t *testing.T, p *brokertest.Process, name string, partitions int) {
	t.Helper()
	p.Eventually("all partitions are led", func() (bool, error) {
		tiers, err := p.Tiers(name)
		for _, tr := range tiers {
			if tr.Leader < 0 {
				return false, err
			}
		}
		return len(tiers) == partitions, err
	})
}

func tryCreateTopic(ctx context.Context, cl *kgo.Client, name string, partitions int32, settings ...string) error {
	configs := map[string]*string{}
	for i := 0; i < len(settings); i += 2 {
		configs[settings[i]] = &settings[i+1]
	}
	resp, err := kadm.NewClient(cl).CreateTopic(ctx, partitions, 1, configs, name)
	return errors.Join(err, resp.Err)
}

// payload says whose and which record it is, in bytes that can be checked.
func payload(id int, n uint64, size int) []byte {
	b := make([]byte, 16+size)
	binary.BigEndian.PutUint32(b, uint32(id))
	binary.BigEndian.PutUint64(b[4:], n)
	for i := range size {
		b[16+i] = byte(n) + byte(i%64)
	}
	binary.BigEndian.PutUint32(b[12:], crc32.ChecksumIEEE(b[16:]))
	return b
}

func readPayload(b []byte) (id int, n uint64, err error) {
	if len(b) < 16 || crc32.ChecksumIEEE(b[16:]) != binary.BigEndian.Uint32(b[12:]) {
		return 0, 0, fmt.Errorf("record of %d bytes is damaged", len(b))
	}
	return int(binary.BigEndian.Uint32(b)), binary.BigEndian.Uint64(b[4:]), nil
}

// proxy passes bytes between clients and one server, late if told so.
type proxy struct {
	ln    net.Listener
	to    string
	delay atomic.Int64 // of each direction, in ns
	conns sync.WaitGroup
	ended chan struct{} // closed when nothing more need be passed
	mu    sync.Mutex
	open  map[net.Conn]struct{} // nil once closed
}

func startProxy(t *testing.T, to string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{ln: ln, to: to, ended: make(chan struct{}), open: map[net.Conn]struct{}{}}
	p.conns.Go(p.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		close(p.ended)
		p.mu.Lock()
		for c := range p.open {
			_ = c.Close()
		}
		p.open = nil
		p.mu.Unlock()
		p.conns.Wait()
	})
	return p
}

// hangUp ends all connections.
func (p *proxy) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		_ = c.Close()
	}
	clear(p.open)
}

func (p *proxy) addr() string { return p.ln.Addr().String() }

func (p *proxy) accept() {
	for {
		near, err := p.ln.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		p.mu.Lock()
		if p.open == nil {
			_ = near.Close()
			_ = far.Close()
		} else {
			p.open[near], p.open[far] = struct{}{}, struct{}{}
			p.conns.Go(func() { p.pass(far, near) })
			p.conns.Go(func() { p.pass(near, far) })
		}
		p.mu.Unlock()
	}
}

// pass copies what arrives from one side to the other, each piece delay after it came.
func (p *proxy) pass(dst, src net.Conn) {
	type piece struct {
		due time.Time
		b   []byte
	}
	pieces := make(chan piece, 1024)
	p.conns.Go(func() {
		for pc := range pieces {
			select {
			case <-time.After(time.Until(pc.due)):
			case <-p.ended:
			}
			if _, err := dst.Write(pc.b); err != nil {
				_ = src.Close()
			}
		}
		_ = dst.Close()
	})
	defer close(pieces)
	for {
		b := make([]byte, 32<<10)
		n, err := src.Read(b)
		if n > 0 {
			pieces <- piece{time.Now().Add(time.Duration(p.delay.Load())), b[:n]}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				_ = src.Close()
			}
			return
		}
	}
}
