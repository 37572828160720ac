package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/brokertest"
)

// frame puts a length in front of a body.
func frame(body ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// bother is what one bad client sends, and whether the broker has to close its connection for it at once.
type bother struct {
	name   string
	closed bool
	send   func(rng *rand.Rand) []byte
}

var bothers = []bother{
	{"random bytes that begin with a negative length", true, func(rng *rand.Rand) []byte {
		b := make([]byte, 4096)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		b[0] |= 0x80
		return b
	}},
	{"the longest length", true, func(*rand.Rand) []byte { return []byte{0x7f, 0xff, 0xff, 0xff, 0, 0} }},
	{"a length just above the limit", true, func(*rand.Rand) []byte { return binary.BigEndian.AppendUint32(nil, 104857600+1) }},
	{"no length at all", true, func(*rand.Rand) []byte { return []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n") }},
	{"a frame shorter than a header", true, func(*rand.Rand) []byte { return frame(0) }},
	{"an unknown key", true, func(*rand.Rand) []byte { return frame(0x7f, 0x7f, 0, 0, 0, 0, 0, 1, 0xff, 0xff) }},
	{"an unknown version", true, func(*rand.Rand) []byte { return frame(0, 0, 0x7f, 0, 0, 0, 0, 1, 0xff, 0xff) }},
	{"a body that ends early", true, func(*rand.Rand) []byte { return frame(0, 3, 0, 4, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 9) }},
	{"an array longer than its frame", true, func(*rand.Rand) []byte {
		return frame(0, 3, 0, 4, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xf0)
	}},
	{"part of a length", false, func(*rand.Rand) []byte { return []byte{0, 0} }},
	{"the beginning of a frame of 100 MB", false, func(*rand.Rand) []byte { return append(binary.BigEndian.AppendUint32(nil, 104857600), 0, 0, 0, 9) }},
	{"nothing", false, func(*rand.Rand) []byte { return nil }},
}

// Ten thousand connections that send garbage, announce what never comes, or say nothing: each gets its connection
// closed or waits, memory stays bounded, and a client that behaves is served as before.
func TestGarbageConnections(t *testing.T) {
	t.Parallel()
	count := envInt(t, "FIRN_TEST_CONNECTIONS", 10_000)
	seed := uint64(envInt(t, "FIRN_SEED", int(time.Now().UnixNano()&0x7fffffff)))
	t.Logf("seed %d (FIRN_SEED), %d connections", seed, count)
	p := brokertest.Start(t)
	r := newPacedRig(t, p, 2*time.Millisecond)
	r.stillServing()
	before, err := p.Memory()
	if err != nil {
		t.Skipf("resident memory of a process is not to be had here: %v", err)
	}
	lat := watchLatency(t, p)
	var conns sync.WaitGroup
	open := make(chan net.Conn, count)
	var refused, waiting atomic.Int64
	next := make(chan int)
	go func() {
		defer close(next)
		for i := range count {
			next <- i
		}
	}()
	for range 16 {
		conns.Go(func() {
			for i := range next {
				b := bothers[i%len(bothers)]
				c, err := net.Dial("tcp", p.Bootstrap)
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					continue
				}
				if _, err := c.Write(b.send(rand.New(rand.NewPCG(seed, uint64(i))))); err != nil && !b.closed {
					t.Errorf("%s: %v", b.name, err)
				}
				if !b.closed {
					waiting.Add(1)
					open <- c
					continue
				}
				_ = c.SetReadDeadline(time.Now().Add(testTimeout))
				if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s: the connection stays open", b.name)
				}
				_ = c.Close()
				refused.Add(1)
			}
		})
	}
	conns.Wait()
	during, err := p.Memory()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d connections closed, %d waiting; resident memory %d MiB before, %d MiB now", refused.Load(), waiting.Load(), before>>20, during>>20)
	if limit := int64(count)*40<<10 + 96<<20; during-before > limit {
		t.Errorf("resident memory grew by %d MiB", (during-before)>>20)
	}
	r.stillServing()
	lat.stop()
	close(open)
	for c := range open {
		_ = c.Close()
	}
	r.finish()
}

// Clients that together announce and half send far more than the broker has memory for requests do not keep others out.
func TestHoardedRequestMemory(t *testing.T) {
	t.Parallel()
	p := brokertest.Start(t, "--set", "queued.max.request.bytes=64MiB")
	r := newPacedRig(t, p, 2*time.Millisecond)
	r.stillServing()
	before, err := p.Memory()
	if err != nil {
		t.Skipf("resident memory of a process is not to be had here: %v", err)
	}
	lat := watchLatency(t, p)
	part := make([]byte, 1<<20)
	var conns sync.WaitGroup
	for range 200 {
		c, err := net.Dial("tcp", p.Bootstrap)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		conns.Go(func() {
			_ = c.SetWriteDeadline(time.Now().Add(3 * time.Second)) // the broker may not read it all
			_, _ = c.Write(binary.BigEndian.AppendUint32(nil, 100<<20))
			_, _ = c.Write(part)
		})
	}
	conns.Wait()
	during, err := p.Memory()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("resident memory %d MiB before, %d MiB now", before>>20, during>>20)
	if during-before > 64<<20+96<<20 {
		t.Errorf("resident memory grew by %d MiB", (during-before)>>20)
	}
	r.stillServing()
	lat.stop()
	r.finish()
}

// latency is the longest that a well-behaved client has waited for a record to be acknowledged.
type latency struct {
	t       *testing.T
	longest atomic.Int64
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// tolerable is what a busy machine may make of a few milliseconds.
const tolerable = 5 * time.Second

func watchLatency(t *testing.T, p *brokertest.Process) *latency {
	t.Helper()
	createTopic(t, p, "calm", 1)
	cl := kafkaClient(t, p, kgo.ProducerLinger(0))
	ctx, cancel := context.WithCancel(context.Background())
	l := &latency{t: t, cancel: cancel}
	l.running.Go(func() {
		for ctx.Err() == nil {
			began := time.Now()
			if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "calm", Value: []byte("x")}).FirstErr(); err != nil && ctx.Err() == nil {
				t.Errorf("a client that behaves: %v", err)
				return
			}
			l.longest.Store(max(l.longest.Load(), int64(time.Since(began))))
		}
	})
	t.Cleanup(func() { cancel(); l.running.Wait() })
	return l
}

func (l *latency) stop() {
	l.t.Helper()
	l.cancel()
	l.running.Wait()
	d := time.Duration(l.longest.Load())
	l.t.Logf("a client that behaves waited %v at most", d)
	if d > tolerable {
		l.t.Errorf("more than %v", tolerable)
	}
}

// batchOf is batchWith with so many zeros.
func batchOf(size int, change func(b *kmsg.RecordBatch)) []byte {
	return batchWith(make([]byte, size), change)
}

// batchWith builds a batch of one record, lets change have its fields and sums it up.
func batchWith(value []byte, change func(b *kmsg.RecordBatch)) []byte {
	rec := kmsg.Record{Value: value}
	raw := rec.AppendTo(nil)
	rec.Length = int32(len(raw) - 1)
	for { // the length is a varint in front of itself
		raw = rec.AppendTo(nil)
		if n := int32(len(raw) - varintLen(rec.Length)); n != rec.Length {
			rec.Length = n
			continue
		}
		break
	}
	now := time.Now().UnixMilli()
	b := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, FirstTimestamp: now, MaxTimestamp: now, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
		NumRecords: 1, Records: raw,
	}
	if change != nil {
		change(&b)
	}
	return sum(b.AppendTo(nil))
}

func varintLen(n int32) int { return len(binary.AppendVarint(nil, int64(n))) }

// sum sets length and checksum of a batch.
func sum(b []byte) []byte {
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// What producers do wrong is answered with Kafka's error for it, and nothing of it is stored.
func TestBadBatches(t *testing.T) {
	t.Parallel()
	p := brokertest.Start(t)
	createTopic(t, p, "bad", 1, "max.message.bytes", "100000")
	awaitLed(t, p, "bad", 1)
	cl := byName(t, p)
	ctx, cancel := context.WithTimeout(context.Background(), 2*testTimeout)
	defer cancel()
	sequence := func(id int64, epoch int16, first int32) func(b *kmsg.RecordBatch) {
		return func(b *kmsg.RecordBatch) { b.ProducerID, b.ProducerEpoch, b.FirstSequence = id, epoch, first }
	}
	broken := batchOf(10, nil)
	broken[len(broken)-1] ^= 1
	magic := func(m int8) []byte { return batchOf(10, func(b *kmsg.RecordBatch) { b.Magic = m }) }
	codec := func(n int16) []byte { return batchOf(10, func(b *kmsg.RecordBatch) { b.Attributes = n }) }
	ok := batchOf(10, nil)
	long := append([]byte{}, ok...)
	binary.BigEndian.PutUint32(long[8:], 1<<30)
	short := append([]byte{}, ok...)
	binary.BigEndian.PutUint32(short[8:], 20)
	stored := 0
	for _, c := range []struct {
		name string
		b    []byte
		want *kerr.Error
	}{
		{"a good batch", ok, nil},
		{"unknown codec 5", codec(5), kerr.UnsupportedCompressionType},
		{"unknown codec 7", codec(7), kerr.UnsupportedCompressionType},
		{"wrong checksum", broken, kerr.CorruptMessage},
		{"no batch", []byte{}, kerr.InvalidRecord},
		{"no records at all", nil, kerr.InvalidRecord},
		{"two batches", append(append([]byte{}, ok...), ok...), kerr.InvalidRecord},
		{"a batch that ends early", ok[:len(ok)-5], kerr.InvalidRecord},
		{"half a header", ok[:30], kerr.InvalidRecord},
		{"a length far beyond the request", long, kerr.InvalidRecord},
		{"a length that holds no header", short, kerr.CorruptMessage},
		{"too large", batchOf(100_001, nil), kerr.MessageTooLarge},
		{"magic 1", magic(1), kerr.InvalidRecord},
		{"magic 0", magic(0), kerr.InvalidRecord},
		{"magic 3", magic(3), kerr.CorruptMessage},
		{"magic -1", magic(-1), kerr.CorruptMessage},
		{"records of none", batchOf(10, func(b *kmsg.RecordBatch) { b.NumRecords = 0 }), kerr.InvalidRecord},
		{"more records than there are", batchOf(10, func(b *kmsg.RecordBatch) { b.NumRecords, b.LastOffsetDelta = 9, 8 }), kerr.InvalidRecord},
		{"a transaction", batchOf(10, func(b *kmsg.RecordBatch) { b.Attributes = 0x10; sequence(1, 0, 0)(b) }), kerr.TransactionalIDAuthorizationFailed},
		{"a control batch", batchOf(10, func(b *kmsg.RecordBatch) { b.Attributes = 0x20 }), kerr.InvalidRecord},
		{"first of a producer", batchOf(10, sequence(1000, 1, 0)), nil},
		{"a gap in its sequence", batchOf(10, sequence(1000, 1, 5)), kerr.OutOfOrderSequenceNumber},
		{"the next of its sequence", batchOf(10, sequence(1000, 1, 1)), nil},
		{"one that was sent before", batchOf(10, sequence(1000, 1, 1)), nil}, // and is not stored again
		{"an old epoch of it", batchOf(10, sequence(1000, 0, 2)), kerr.InvalidProducerEpoch},
		{"a sequence without a beginning in a new epoch", batchOf(10, sequence(1000, 2, 7)), kerr.OutOfOrderSequenceNumber},
	} {
		got := produceRaw(ctx, cl, "bad", c.b)
		if c.want == nil && got != nil || c.want != nil && !errors.Is(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if got == nil {
			stored++
		}
	}
	tiers, err := p.Tiers("bad")
	if err != nil || len(tiers) != 1 || tiers[0].End != int64(stored-1) {
		t.Errorf("%d batches taken, one of them twice; the log: %+v, %v", stored, tiers, err)
	}
}

// produceRaw sends bytes as the records of a partition's produce request.
func produceRaw(ctx context.Context, cl *kgo.Client, topic string, records []byte) error {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	rt, rp := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	rt.Topic, rp.Records = topic, records
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := cl.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	return kerr.ErrorForCode(resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode)
}
