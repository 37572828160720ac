package segment

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"

	"firn/segment/batch"
	"firn/segment/vfs"
)

const testDir = "/data"

var testID = [16]byte{0xaa, 15: 1}

// writer logs what the code under test logs into the test's log.
type testLogWriter struct{ t testing.TB }

func (w testLogWriter) Write(p []byte) (int, error) {
	w.t.Log(string(bytes.TrimSpace(p)))
	return len(p), nil
}

func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testLogWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func openDisk(t testing.TB, fsys vfs.FS) *Disk {
	t.Helper()
	d, err := OpenDisk(DiskOptions{FS: fsys, Dir: testDir, BrokerID: 1})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func openLog(t testing.TB, d *Disk, o Options) *Log {
	t.Helper()
	l, err := d.Open(testID, 0, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// makeBatch builds a batch of n records of size bytes each, whose content tells the offset.
func makeBatch(t testing.TB, base int64, n, size int, epoch int32) batch.Batch {
	t.Helper()
	w := batch.Builder{BaseOffset: base, LeaderEpoch: epoch}
	for i := range n {
		w.Add(timeOf(base+int64(i)), nil, valueOf(base+int64(i), size))
	}
	b, err := w.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return batch.Batch(b)
}

func timeOf(offset int64) int64 { return 1_000_000 + offset*10 }

func valueOf(offset int64, size int) []byte {
	v := make([]byte, max(size, 8))
	binary.BigEndian.PutUint64(v, uint64(offset))
	for i := 8; i < len(v); i++ {
		v[i] = byte(offset) + byte(i)
	}
	return v
}

func mustAppend(t testing.TB, l *Log, bs ...batch.Batch) int64 {
	t.Helper()
	end, err := l.Append(bs)
	if err != nil {
		t.Fatal(err)
	}
	return end
}

// fill appends batches of n records each until the log ends at end.
func fill(t testing.TB, l *Log, end int64, n, size int) {
	t.Helper()
	for l.Next() < end {
		mustAppend(t, l, makeBatch(t, l.Next(), min(n, int(end-l.Next())), size, max(0, epochList(l.Epochs()).last())))
	}
}

// readAll reads [from, limit) in extents of at most maxBytes and returns the bytes.
func readAll(t testing.TB, l *Log, from, limit int64, maxBytes int) []byte {
	t.Helper()
	var out []byte
	for from < limit {
		e, err := l.Read(from, limit, maxBytes, true)
		if err != nil {
			t.Fatalf("read %d: %v", from, err)
		}
		if e.Len() == 0 {
			e.Release()
			break
		}
		if out, err = e.AppendTo(out); err != nil {
			t.Fatal(err)
		}
		if e.NextOffset() <= from {
			t.Fatalf("read %d: next offset %d", from, e.NextOffset())
		}
		from = e.NextOffset()
		e.Release()
	}
	return out
}

// checkBatches parses b as abutting batches from offset from on, -1 for any, checks CRCs and contents, and returns
// the end.
func checkBatches(b []byte, from int64) (int64, error) {
	for len(b) > 0 {
		first, rest, err := batch.Parse(b)
		if err != nil {
			return from, err
		}
		if err := first.VerifyCRC(); err != nil {
			return from, err
		}
		if from >= 0 && first.BaseOffset() != from {
			return from, fmt.Errorf("base offset %d, want %d", first.BaseOffset(), from)
		}
		err = first.Each(nil, 1<<30, func(r batch.Record) error {
			o := first.BaseOffset() + int64(r.OffsetDelta)
			if !bytes.Equal(r.Value, valueOf(o, len(r.Value))) {
				return fmt.Errorf("offset %d has another's value", o)
			}
			return nil
		})
		if err != nil {
			return from, err
		}
		from, b = first.NextOffset(), rest
	}
	return from, nil
}

func mustCheck(t testing.TB, b []byte, from, end int64) {
	t.Helper()
	got, err := checkBatches(b, from)
	if err != nil {
		t.Fatal(err)
	}
	if got != end {
		t.Fatalf("batches end at %d, want %d", got, end)
	}
}

// counter is a ProducerState that counts records by producer and notes the last offset applied.
type counter struct {
	mu     sync.Mutex
	counts map[int64]int64
	next   int64
}

func newCounter() *counter { return &counter{counts: map[int64]int64{}} }

func (c *counter) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts, c.next = map[int64]int64{}, 0
}

func (c *counter) Apply(b batch.Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next > b.BaseOffset() {
		panic(fmt.Sprintf("offset %d is applied again: %d", b.BaseOffset(), c.next))
	}
	c.counts[b.ProducerID()] += int64(b.LastOffsetDelta()) + 1
	c.next = b.NextOffset()
}

func (c *counter) Snapshot() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := appendI64(nil, c.next)
	for _, id := range slices.Sorted(maps.Keys(c.counts)) {
		b = appendI64(appendI64(b, id), c.counts[id])
	}
	return b
}

func (c *counter) Load(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := decoder{b: b}
	next := d.i64()
	counts := map[int64]int64{}
	for len(d.b) > 0 {
		id := d.i64()
		counts[id] = d.i64()
	}
	if err := d.err(); err != nil {
		return err
	}
	c.next, c.counts = next, counts
	return nil
}

func batches(bs ...batch.Batch) []batch.Batch { return bs }
