package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Latency sends records on a schedule that nothing stretches: what a slow answer delays counts from when
// it should have been sent, so that a stall shows at its full length.
type Latency struct {
	Cluster  Cluster
	Topic    string
	Sending  Sending
	Values   *Values
	Rate     float64       // bytes of values a second
	Duration time.Duration // that counts
	WarmUp   time.Duration // before that; 1 s if 0
	// EndToEnd reads the records back, too, and measures until they arrive.
	EndToEnd   bool
	Partitions int32 // of the topic, for EndToEnd
}

// LatencyResult is what a Latency measured.
type LatencyResult struct {
	Ack      *Latencies
	EndToEnd *Latencies // nil if not asked for
	Moved    Moved
}

// latencyTick is how often the records that are due are sent: at usual rates a handful at a time.
const latencyTick = time.Millisecond

// arrivalPatience is how long records may be under way after the last ack.
const arrivalPatience = 30 * time.Second

// clock counts from the start of a load.
type clock struct {
	began  time.Time
	warmUp time.Duration
}

// since returns how long after its schedule an event happens now, and whether that counts.
func (c clock) since(scheduled time.Duration) (time.Duration, bool) {
	return time.Since(c.began) - scheduled, scheduled >= c.warmUp
}

// Run sends for WarmUp and Duration and waits for what is under way.
func (l *Latency) Run(ctx context.Context) (LatencyResult, error) {
	opts, err := l.Sending.opts()
	if err != nil {
		return LatencyResult{}, err
	}
	opts = append(opts, kgo.DefaultProduceTopic(l.Topic), kgo.MaxBufferedRecords(1<<20),
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	cl, err := l.Cluster.client(opts...)
	if err != nil {
		return LatencyResult{}, err
	}
	defer cl.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The first record waits for connections and metadata, which belongs to no latency.
	if err := cl.ProduceSync(ctx, &kgo.Record{Value: stamped(l.Values.At(0), -1)}).FirstErr(); err != nil {
		return LatencyResult{}, fmt.Errorf("produce to %s: %w", l.Topic, err)
	}
	warmUp := l.WarmUp
	if warmUp == 0 {
		warmUp = time.Second
	}
	var arrivals *arrivals
	if l.EndToEnd {
		if arrivals, err = l.openArrivals(ctx); err != nil {
			return LatencyResult{}, err
		}
		defer arrivals.close()
	}
	ck := clock{time.Now(), warmUp}
	var mu sync.Mutex
	res := LatencyResult{Ack: newLatencies()}
	if arrivals != nil {
		arrivals.run(ctx, ck, cancel)
	}
	sent := l.send(ctx, cl, ck, func(scheduled time.Duration, err error) {
		if err != nil {
			cancel(err)
			return
		}
		if d, counts := ck.since(scheduled); counts {
			mu.Lock()
			res.Ack.add(d)
			mu.Unlock()
		}
	})
	flushErr := cl.Flush(ctx)
	res.Moved = Moved{Bytes: sent * int64(l.Values.Size), Records: sent, Elapsed: time.Since(ck.began)}
	if err := errors.Join(context.Cause(ctx), flushErr); err != nil {
		return LatencyResult{}, fmt.Errorf("produce to %s: %w", l.Topic, err)
	}
	if arrivals != nil {
		if res.EndToEnd, err = arrivals.await(ctx, sent); err != nil {
			return LatencyResult{}, err
		}
	}
	return res, nil
}

// send sends each record when it is due, or as soon after as may be, and returns how many.
func (l *Latency) send(ctx context.Context, cl *kgo.Client, ck clock, acked func(scheduled time.Duration, err error)) int64 {
	interval := time.Duration(float64(time.Second) * float64(l.Values.Size) / l.Rate)
	end := ck.warmUp + l.Duration
	tick := time.NewTicker(latencyTick)
	defer tick.Stop()
	n, scheduled := int64(0), time.Duration(0)
	for scheduled < end && ctx.Err() == nil {
		for now := time.Since(ck.began); scheduled <= now && scheduled < end; n++ {
			due := scheduled
			cl.Produce(ctx, &kgo.Record{Value: stamped(l.Values.At(n), due)}, func(_ *kgo.Record, err error) { acked(due, err) })
			scheduled += interval
		}
		<-tick.C
	}
	return n
}

// stamped copies a value with its scheduled time at its front.
func stamped(v []byte, scheduled time.Duration) []byte {
	b := make([]byte, len(v))
	copy(b, v)
	binary.BigEndian.PutUint64(b, uint64(scheduled))
	return b
}

// arrivals reads the records back.
type arrivals struct {
	cl   *kgo.Client
	done chan struct{}

	mu struct {
		sync.Mutex
		got    int64
		news   chan struct{}
		result *Latencies
	}
}

// openArrivals begins behind what the topic holds now.
func (l *Latency) openArrivals(ctx context.Context) (*arrivals, error) {
	ends, err := l.Cluster.offsets(ctx, l.Topic, latestOffset)
	if err != nil {
		return nil, err
	}
	from := map[int32]kgo.Offset{}
	for p, end := range ends {
		from[p] = kgo.NewOffset().At(end)
	}
	cl, err := l.Cluster.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.Topic: from}), kgo.FetchMinBytes(1))
	if err != nil {
		return nil, err
	}
	a := &arrivals{cl: cl, done: make(chan struct{})}
	a.mu.news, a.mu.result = make(chan struct{}, 1), newLatencies()
	return a, nil
}

func (a *arrivals) run(ctx context.Context, ck clock, fail context.CancelCauseFunc) {
	go func() {
		defer close(a.done)
		for {
			fs := a.cl.PollFetches(ctx)
			if fs.IsClientClosed() || ctx.Err() != nil {
				return
			}
			if err := fs.Err(); err != nil {
				fail(err)
				return
			}
			a.mu.Lock()
			fs.EachRecord(func(r *kgo.Record) {
				a.mu.got++
				if d, counts := ck.since(time.Duration(binary.BigEndian.Uint64(r.Value))); counts {
					a.mu.result.add(d)
				}
			})
			a.mu.Unlock()
			select {
			case a.mu.news <- struct{}{}:
			default:
			}
		}
	}()
}

// await returns once n records have arrived.
func (a *arrivals) await(ctx context.Context, n int64) (*Latencies, error) {
	late := time.NewTimer(arrivalPatience)
	defer late.Stop()
	for {
		a.mu.Lock()
		got, result := a.mu.got, a.mu.result
		a.mu.Unlock()
		if got >= n {
			return result, nil
		}
		select {
		case <-a.mu.news:
		case <-late.C:
			return nil, fmt.Errorf("%d of %d records arrived within %v of the last ack", got, n, arrivalPatience)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (a *arrivals) close() {
	a.cl.Close()
	<-a.done
}
