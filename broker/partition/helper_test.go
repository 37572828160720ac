package partition

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"firn/metadata/topic"
	"firn/segment"
	"firn/segment/batch"
	"firn/segment/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen, on a busy machine.
const patience = 2 * time.Minute

var otherTP = topic.Partition{ID: topic.ID{0xfd, 15: 9}, Index: 0}

var testTP = topic.Partition{ID: topic.ID{0xfe, 15: 7}, Index: 3}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(string(bytes.TrimSpace(p)))
	return len(p), nil
}

func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelError}))
}

// durableConfig is a topic's settings as they are by default.
func durableConfig() topic.Config {
	return topic.Config{
		Cleanup:         topic.Cleanup{Delete: true},
		Compression:     topic.Compression{Type: topic.CompressionProducer},
		MaxMessageBytes: 1 << 20,
		MinInsync:       1,
		Timestamp:       topic.Timestamp{BeforeMaxMs: math.MaxInt64, AfterMaxMs: 3600_000},
		Segment:         topic.Segment{Bytes: 128 << 20, Ms: 7 * 24 * 3600_000, IndexIntervalBytes: 4096, IndexBytes: 10 << 20},
		Flush:           topic.Flush{Messages: 1, Ms: 1000},
		Retention:       topic.Retention{Bytes: -1, Ms: -1},
		Tier:            topic.Tier{LocalBytes: -1, LocalMs: -1},
	}
}

func relaxedConfig() topic.Config {
	c := durableConfig()
	c.Flush.Messages = math.MaxInt64
	return c
}

// rig is a Set on one disk.
type rig struct {
	t    testing.TB
	fs   vfs.FS
	disk *segment.Disk
	set  *Set
	once sync.Once
}

func newRig(t testing.TB, fs vfs.FS, change ...func(*Options)) *rig {
	t.Helper()
	return newRigIn(t, fs, "/data", change...)
}

func newRigIn(t testing.TB, fs vfs.FS, dir string, change ...func(*Options)) *rig {
	t.Helper()
	disk, err := segment.OpenDisk(segment.DiskOptions{FS: fs, Dir: dir, BrokerID: 1, Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.SetBrokerEpoch(1); err != nil {
		t.Fatal(err)
	}
	o := Options{BrokerID: 1, Disks: []*segment.Disk{disk}, Logger: testLogger(t)}
	for _, c := range change {
		c(&o)
	}
	set, err := NewSet(o)
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{t: t, fs: fs, disk: disk, set: set}
	t.Cleanup(func() { g.close(false) })
	return g
}

func (g *rig) close(clean bool) {
	g.once.Do(func() {
		_ = g.set.Close()
		_ = g.disk.Close(clean)
	})
}

// open hosts tp without making it lead.
func (g *rig) open(tp topic.Partition, c topic.Config) *Replica {
	g.t.Helper()
	r, err := g.set.Open(tp, "test", c)
	if err != nil {
		g.t.Fatal(err)
	}
	return r
}

// lead hosts testTP as its only replica.
func (g *rig) lead(c topic.Config) *Replica {
	g.t.Helper()
	r := g.open(testTP, c)
	if err := r.BecomeLeader(alone(1)); err != nil {
		g.t.Fatal(err)
	}
	return r
}

// alone is the state of a partition with one replica, broker 1, leading at the epoch.
func alone(epoch int32) State {
	return State{Leader: 1, LeaderEpoch: epoch, Replicas: []int32{1}, ISR: []int32{1}}
}

// nowMs is the time that records of tests have.
func nowMs() int64 { return time.Now().UnixMilli() }

// records builds a batch of n records with the value given, the time being now.
func records(t testing.TB, n int, value string) []byte {
	t.Helper()
	return build(t, &batch.Builder{}, n, value)
}

// idempotent builds a batch of n records of a producer.
func idempotent(t testing.TB, id int64, epoch int16, sequence int32, n int, value string) []byte {
	t.Helper()
	var w batch.Builder
	w.SetProducer(id, epoch, sequence)
	return build(t, &w, n, value)
}

func build(t testing.TB, w *batch.Builder, n int, value string) []byte {
	t.Helper()
	for range n {
		w.Add(nowMs(), []byte("k"), []byte(value))
	}
	b, err := w.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ack is a pending append of a test.
type ack struct {
	Append
	done chan struct{}
}

func (a *ack) AppendDone(*Append) { close(a.done) }

// start appends without waiting for the acknowledgement.
func start(r *Replica, acks int16, recs []byte) *ack {
	a := &ack{done: make(chan struct{})}
	a.Records, a.Acks, a.Done = recs, acks, a
	r.Append(&a.Append)
	return a
}

// wait returns once the append has its outcome.
func (a *ack) wait(t testing.TB) *ack {
	t.Helper()
	select {
	case <-a.done:
	case <-time.After(patience):
		t.Fatal("append has no outcome")
	}
	return a
}

// pending reports whether the append has no outcome yet.
func (a *ack) pending() bool {
	select {
	case <-a.done:
		return false
	default:
		return true
	}
}

// appendOK appends, waits and returns the base offset.
func appendOK(t testing.TB, r *Replica, recs []byte) int64 {
	t.Helper()
	a := start(r, AcksAll, recs).wait(t)
	if a.Err != nil {
		t.Fatalf("append: %v", a.Err)
	}
	return a.BaseOffset
}

// fetch reads one partition without waiting and returns the part, whose extents are released.
func fetch(t testing.TB, g *rig, r *Replica, offset int64, maxBytes int) (FetchPart, []batch.Batch) {
	t.Helper()
	f := fetchWait(g, 0, 0, FetchPart{Replica: r, Offset: offset, MaxBytes: maxBytes, LeaderEpoch: -1, LastEpoch: -1})
	f.wait(t)
	return f.Parts[0], f.batches(t, 0)
}

// waitingFetch is a fetch of a test.
type waitingFetch struct {
	Fetch
	done chan struct{}
}

// fetchWait begins a fetch.
func fetchWait(g *rig, minBytes int, maxWait time.Duration, parts ...FetchPart) *waitingFetch {
	f := &waitingFetch{done: make(chan struct{})}
	f.MinBytes, f.MaxBytes, f.MaxWait, f.Parts = minBytes, 50<<20, maxWait, parts
	f.Done = func(*Fetch) { close(f.done) }
	g.set.Fetch(context.Background(), &f.Fetch)
	return f
}

func (f *waitingFetch) wait(t testing.TB) {
	t.Helper()
	select {
	case <-f.done:
	case <-time.After(patience):
		t.Fatal("fetch has no answer")
	}
}

func (f *waitingFetch) pending() bool {
	select {
	case <-f.done:
		return false
	default:
		return true
	}
}

// batches parses what a part read and releases it.
func (f *waitingFetch) batches(t testing.TB, part int) []batch.Batch {
	t.Helper()
	var out []batch.Batch
	for _, e := range f.Parts[part].Extents {
		b := make([]byte, e.Len())
		if _, err := e.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
		e.Release()
		for len(b) > 0 {
			first, rest, err := batch.Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			if err := first.VerifyCRC(); err != nil {
				t.Fatal(err)
			}
			out, b = append(out, first), rest
		}
	}
	f.Parts[part].Extents = nil
	return out
}

// values returns the value of every record below the high watermark by offset, reading from offset on.
func values(t testing.TB, g *rig, r *Replica, from int64) map[int64]string {
	t.Helper()
	out := map[int64]string{}
	for {
		p, batches := fetch(t, g, r, from, 1<<20)
		if p.Err != nil {
			t.Fatalf("fetch at %d: %v", from, p.Err)
		}
		if len(batches) == 0 {
			return out
		}
		for _, b := range batches {
			if b.LastOffset() < from {
				t.Fatalf("asked for %d, got a batch that ends at %d", from, b.LastOffset())
			}
			err := b.Each(nil, 1<<24, func(rec batch.Record) error {
				out[b.BaseOffset()+int64(rec.OffsetDelta)] = string(rec.Value)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			from = b.NextOffset()
		}
	}
}

// until waits for a condition that another goroutine brings about.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
		<-tick.C
	}
}

// stacks are those of all goroutines.
func stacks() []string {
	b := make([]byte, 1<<20)
	return strings.Split(string(b[:runtime.Stack(b, true)]), "\n\n")
}

func name(i int) string { return fmt.Sprintf("v%d", i) }
