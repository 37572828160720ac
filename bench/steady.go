package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Steady sends a record to each partition of a topic every now and then, idempotent and with acks=all, and says how long
// each has been without acks. A partition whose record is not acked yet gets no other, so that a pause shows at its full
// length and ends for each partition by itself.
type Steady struct {
	Cluster    Cluster
	Topic      string
	Partitions int
	Gap        time.Duration // from one record of a partition to the next
	Values     *Values
	Options    []kgo.Opt // of the client, which else has its defaults
}

// steady is a Steady under way.
type steady struct {
	*Steady
	cl     *kgo.Client
	ctx    context.Context //nolint:containedctx // the life of the load
	cancel context.CancelFunc
	flying sync.WaitGroup

	mu     sync.Mutex
	acked  int64
	parts  []steadyPart
	failed error // the first record that was not delivered
}

// steadyPart is one partition's, since mark was called.
type steadyPart struct {
	due     time.Time     // of the record that is not acked yet, zero without one
	first   time.Time     // the first ack
	longest time.Duration // from when a record was due to its ack
}

// start begins to send and returns once every partition has acked a record.
func (s *Steady) start(ctx context.Context) (*steady, error) {
	opts := append([]kgo.Opt{
		kgo.DefaultProduceTopic(s.Topic), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
		kgo.RecordDeliveryTimeout(startPatience), kgo.UnknownTopicRetries(-1),
	}, s.Options...)
	cl, err := s.Cluster.client(opts...)
	if err != nil {
		return nil, err
	}
	r := &steady{Steady: s, cl: cl}
	r.ctx, r.cancel = context.WithCancel(ctx)
	r.mark()
	for p := range s.Partitions {
		// Not all at once: they are to be spread over the gap.
		r.after(int32(p), s.Gap*time.Duration(p)/time.Duration(s.Partitions))
	}
	err = poll(ctx, 10*time.Millisecond, "an ack of every partition", func() (bool, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.failed != nil {
			return true, r.failed
		}
		return !slices.ContainsFunc(r.parts, func(p steadyPart) bool { return p.first.IsZero() }), nil
	})
	if err == nil {
		err = r.err()
	}
	if err != nil {
		_, _ = r.stop()
		return nil, err
	}
	return r, nil
}

// after sends the partition's next record when d has passed.
func (r *steady) after(p int32, d time.Duration) {
	r.flying.Add(1)
	time.AfterFunc(d, func() {
		if r.ctx.Err() != nil {
			r.flying.Done()
			return
		}
		due := time.Now()
		r.mu.Lock()
		r.parts[p].due = due
		r.mu.Unlock()
		rec := &kgo.Record{Partition: p, Value: r.Values.At(int64(p))}
		r.cl.Produce(r.ctx, rec, func(_ *kgo.Record, err error) {
			defer r.flying.Done()
			r.done(p, due, err)
		})
	})
}

func (r *steady) done(p int32, due time.Time, err error) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ctx.Err() != nil:
		return
	case err != nil:
		if r.failed == nil {
			r.failed = fmt.Errorf("record of partition %d: %w", p, err)
		}
	default:
		r.acked++
		at := &r.parts[p]
		at.due = time.Time{}
		if at.first.IsZero() {
			at.first = now
		}
		at.longest = max(at.longest, now.Sub(due))
	}
	r.after(p, max(0, r.Gap-now.Sub(due)))
}

// mark forgets what was measured so far. A record that is under way counts whole.
func (r *steady) mark() {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.parts
	r.parts = make([]steadyPart, r.Partitions)
	for p := range old {
		r.parts[p].due = old[p].due
	}
}

// err is the first record that was not delivered.
func (r *steady) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// firsts waits until each of the partitions has had an ack since mark, and returns when.
func (r *steady) firsts(ctx context.Context, partitions []int32) ([]time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	var at []time.Time
	err := poll(ctx, 10*time.Millisecond, "acks of "+r.Topic, func() (bool, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		at = at[:0]
		for _, p := range partitions {
			if f := r.parts[p].first; !f.IsZero() {
				at = append(at, f)
			}
		}
		return len(at) == len(partitions), r.failed
	})
	slices.SortFunc(at, time.Time.Compare)
	return at, err
}

// pauses are the longest of each partition since mark, those that last being counted up to now.
func (r *steady) pauses() *Latencies {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := newLatencies()
	for _, p := range r.parts {
		if !p.due.IsZero() {
			p.longest = max(p.longest, time.Since(p.due))
		}
		l.add(p.longest)
	}
	return l
}

// stop ends the load and returns how many records were acked, and the first error.
func (r *steady) stop() (acked int64, err error) {
	r.cancel()
	r.flying.Wait()
	r.cl.Close()
	return r.acked, r.failed
}

// tail reads a topic's new records all the time, by a client with its defaults.
type tail struct {
	cl     *kgo.Client
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	records int64
	failed  error
}

// startTail begins to read.
func (c Cluster) startTail(ctx context.Context, topic string, partitions int) (*tail, error) {
	from := map[int32]kgo.Offset{}
	for p := range int32(partitions) {
		from[p] = kgo.NewOffset().AtEnd()
	}
	cl, err := c.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	if err != nil {
		return nil, err
	}
	t := &tail{cl: cl, done: make(chan struct{})}
	ctx, t.cancel = context.WithCancel(ctx)
	go func() {
		defer close(t.done)
		for {
			fs := cl.PollFetches(ctx)
			if ctx.Err() != nil {
				return
			}
			t.mu.Lock()
			t.records += int64(fs.NumRecords())
			if err := fs.Err(); err != nil && t.failed == nil {
				t.failed = err
			}
			t.mu.Unlock()
		}
	}()
	return t, nil
}

// stop ends the reading and returns how many records were read, and the first error.
func (t *tail) stop() (records int64, err error) {
	t.cancel()
	<-t.done
	t.cl.Close()
	return t.records, t.failed
}
