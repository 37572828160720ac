package main

import (
	"context"
	"errors"
	"fmt"
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

// acked is how many records have been acknowledged so far.
func (r *crashRig) acked() int {
	n := 0
	for _, s := range r.streams {
		s.mu.Lock()
		n += len(s.offsets)
		s.mu.Unlock()
	}
	return n
}

// awaitArchive waits until some of every partition lies in the tier alone.
func (r *crashRig) awaitArchive() {
	r.t.Helper()
	r.p.Eventually("every partition is partly in the tier alone", func() (bool, error) {
		tiers, err := r.p.Tiers("kill")
		for _, tr := range tiers {
			if tr.LocalStart == 0 || tr.TieredEnd < tr.LocalStart {
				return false, err
			}
		}
		return len(tiers) == killPartitions, err
	})
}

// replay reads everything there is at the moment from offset 0 on, and fails the test on any byte or offset that is
// not as sent, and on any offset that the broker calls out of range. It returns the number of records.
func (r *crashRig) replay(ctx context.Context) (int, error) {
	tiers, err := r.p.Tiers("kill")
	if err != nil {
		return 0, err
	}
	from, left := map[int32]kgo.Offset{}, map[int32]int64{}
	for _, tr := range tiers {
		from[tr.Partition], left[tr.Partition] = kgo.NewOffset().At(0), tr.HighWatermark
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.p.Bootstrap), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"kill": from}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	next, n := map[int32]int64{}, 0
	for len(left) > 0 {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			return n, fmt.Errorf("after %d records: %w", n, err)
		}
		fs.EachRecord(func(rec *kgo.Record) {
			_, _, readErr := readPayload(rec.Value)
			if readErr != nil || rec.Offset != next[rec.Partition] {
				err = errors.Join(err, fmt.Errorf("partition %d: offset %d where %d is due: %w", rec.Partition, rec.Offset, next[rec.Partition], readErr))
			}
			next[rec.Partition]++
			n++
			if next[rec.Partition] >= left[rec.Partition] {
				delete(left, rec.Partition)
			}
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// keepReplaying replays over and over until stop is called, which fails the test if one replay went wrong and
// returns how many were completed. Done counts them meanwhile.
func (r *crashRig) keepReplaying() (done *atomic.Int64, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done = &atomic.Int64{}
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			if _, err := r.replay(ctx); err != nil && ctx.Err() == nil {
				r.t.Errorf("replay: %v", err)
				return
			}
			done.Add(1)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	r.t.Cleanup(stop)
	return done, stop
}

// proxy passes bytes between clients and one server, late if told so.
type proxy struct {
	ln    net.Listener
	to    string
	delay atomic.Int64 // of each direction, in ns
	conns sync.WaitGroup
	mu    sync.Mutex
	open  map[net.Conn]struct{} // nil once closed
}

func startProxy(t *testing.T, to string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{ln: ln, to: to, open: map[net.Conn]struct{}{}}
	p.conns.Go(p.accept)
	t.Cleanup(func() {
		_ = ln.Close()
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
			<-time.After(time.Until(pc.due))
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

// stillServing waits until more records have been acknowledged and read.
func (r *crashRig) stillServing() {
	r.t.Helper()
	last := r.acked()
	r.p.Eventually("producing goes on", func() (bool, error) { return r.acked() > last+200, nil })
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	if n, err := r.replay(ctx); err != nil || n < last {
		r.t.Errorf("read %d records, %d were acknowledged: %v", n, last, err)
	}
}
