package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/time/rate"
)

// Sending is how records are sent.
type Sending struct {
	BatchBytes  int           // about how much goes into a batch; 256 KiB if 0
	Linger      time.Duration // how long a batch waits for more
	Acks        string        // all (""), 1 or 0
	Compression string        // none (""), gzip, snappy, lz4 or zstd
}

// DefaultBatch is about what a batch holds.
const DefaultBatch = 256 << 10

func (s Sending) opts() ([]kgo.Opt, error) {
	batch := s.BatchBytes
	if batch == 0 {
		batch = DefaultBatch
	}
	// What surrounds records must not make two batches of what is meant to be one.
	opts := []kgo.Opt{
		kgo.ProducerBatchMaxBytes(int32(batch + batch/8 + 1024)),
		kgo.ProducerLinger(s.Linger),
		kgo.RecordPartitioner(kgo.UniformBytesPartitioner(batch, false, false, nil)),
		kgo.MetadataMinAge(10 * time.Millisecond),
		kgo.RecordDeliveryTimeout(2 * time.Minute),
	}
	switch s.Acks {
	case "", "all", "-1":
	case "1":
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	case "0":
		opts = append(opts, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	default:
		return nil, fmt.Errorf("acks %q: want all, 1 or 0", s.Acks)
	}
	codec, ok := map[string]kgo.CompressionCodec{
		"": kgo.NoCompression(), "none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}[s.Compression]
	if !ok {
		return nil, fmt.Errorf("compression %q: want none, gzip, snappy, lz4 or zstd", s.Compression)
	}
	return append(opts, kgo.ProducerBatchCompression(codec)), nil
}

// Produce sends records as fast as they are taken, or at a rate, and waits for all acks.
type Produce struct {
	Cluster Cluster
	Topic   string
	Sending Sending
	Values  *Values
	Bytes   int64   // of values in all
	Rate    float64 // bytes of values a second, 0 as fast as may be
}

// Moved is how much a load moved in what time.
type Moved struct {
	Bytes   int64 // of values
	Records int64
	Elapsed time.Duration
}

// mib is what throughput is given in.
const mib = 1 << 20

// Rate is in MiB a second.
func (m Moved) Rate() float64 { return float64(m.Bytes) / mib / m.Elapsed.Seconds() }

// bufferedBytes is how much a producer keeps under way: enough for each of many partitions to have batches
// both being filled and being acked, little enough to stay in cache and memory.
const bufferedBytes = 24 << 20

// Run sends the records. The first one that is not delivered ends it with its error.
func (p *Produce) Run(ctx context.Context) (Moved, error) {
	opts, err := p.Sending.opts()
	if err != nil {
		return Moved{}, err
	}
	total := max(p.Bytes/int64(p.Values.Size), 1)
	buffered := int(min(max(bufferedBytes/int64(p.Values.Size), 16), total))
	cl, err := p.Cluster.client(append(opts, kgo.DefaultProduceTopic(p.Topic), kgo.MaxBufferedRecords(buffered))...)
	if err != nil {
		return Moved{}, err
	}
	defer cl.Close()
	if err := cl.Ping(ctx); err != nil {
		return Moved{}, fmt.Errorf("no broker answers at %s: %w", p.Cluster.Bootstrap, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	records := sync.Pool{New: func() any { return new(kgo.Record) }}
	var acked atomic.Int64
	done := func(r *kgo.Record, err error) {
		if err != nil {
			cancel(err)
			return
		}
		acked.Add(1)
		*r = kgo.Record{}
		records.Put(r)
	}
	pace := newPace(p.Rate, p.Values.Size)
	began := time.Now()
	for i := int64(0); i < total && ctx.Err() == nil; i++ {
		if err := pace(ctx); err != nil {
			break
		}
		r := records.Get().(*kgo.Record)
		r.Value = p.Values.At(i)
		cl.Produce(ctx, r, done)
	}
	flushErr := cl.Flush(ctx)
	elapsed := time.Since(began)
	if err := context.Cause(ctx); err != nil {
		return Moved{}, fmt.Errorf("produce to %s: %w", p.Topic, err)
	}
	if flushErr != nil {
		return Moved{}, fmt.Errorf("produce to %s: %w", p.Topic, flushErr)
	}
	n := acked.Load()
	return Moved{Bytes: n * int64(p.Values.Size), Records: n, Elapsed: elapsed}, nil
}

// paceBurst is how far behind its rate a load may catch up at once.
const paceBurst = 64

// newPace returns what waits until the next n bytes are due, or does not if there is no rate.
func newPace(bytesPerSecond float64, n int) func(context.Context) error {
	if bytesPerSecond <= 0 {
		return func(context.Context) error { return nil }
	}
	l := rate.NewLimiter(rate.Limit(bytesPerSecond/float64(n)), paceBurst)
	return l.Wait
}
