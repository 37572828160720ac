package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Consume reads partitions from given offsets until it has read enough or has come to given ends.
type Consume struct {
	Cluster    Cluster
	Topic      string
	From       map[int32]int64 // where each partition begins
	To         map[int32]int64 // and where it ends
	Bytes      int64           // of values, to stop at before that; 0 reads all
	Rate       float64         // bytes of values a second, 0 as fast as may be
	FetchBytes int             // per partition and fetch; 1 MiB if 0, as clients have it
}

// DefaultFetch is how much clients ask for by default of each partition.
const DefaultFetch = 1 << 20

// Run reads.
func (c *Consume) Run(ctx context.Context) (Moved, error) {
	fetch := c.FetchBytes
	if fetch == 0 {
		fetch = DefaultFetch
	}
	from, open := map[int32]kgo.Offset{}, map[int32]int64{}
	for p, at := range c.From {
		if to := c.To[p]; to > at {
			from[p], open[p] = kgo.NewOffset().At(at), to
		}
	}
	if len(open) == 0 {
		return Moved{}, fmt.Errorf("consume %s: nothing between the offsets given", c.Topic)
	}
	cl, err := c.Cluster.client(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{c.Topic: from}),
		kgo.FetchMaxPartitionBytes(int32(fetch)), kgo.FetchMaxBytes(50<<20),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
	)
	if err != nil {
		return Moved{}, err
	}
	defer cl.Close()
	var m Moved
	began := time.Now()
	for len(open) > 0 && (c.Bytes == 0 || m.Bytes < c.Bytes) {
		fs := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return Moved{}, err
		}
		if err := fs.Err(); err != nil {
			return Moved{}, fmt.Errorf("consume %s: %w", c.Topic, err)
		}
		fs.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, r := range p.Records {
				m.Bytes += int64(len(r.Key) + len(r.Value))
			}
			m.Records += int64(len(p.Records))
			if n := len(p.Records); n > 0 && p.Records[n-1].Offset+1 >= open[p.Partition] {
				delete(open, p.Partition)
			}
		})
		if err := keepPace(ctx, began, m.Bytes, c.Rate); err != nil {
			return Moved{}, err
		}
	}
	m.Elapsed = time.Since(began)
	return m, nil
}

// runTimes reads everything n times over.
func (c *Consume) runTimes(ctx context.Context, n int) (Moved, error) {
	var all Moved
	for range n {
		m, err := c.Run(ctx)
		if err != nil {
			return Moved{}, err
		}
		all.Bytes, all.Records, all.Elapsed = all.Bytes+m.Bytes, all.Records+m.Records, all.Elapsed+m.Elapsed
	}
	return all, nil
}

// keepPace waits until n bytes are due.
func keepPace(ctx context.Context, began time.Time, n int64, rate float64) error {
	if rate <= 0 {
		return nil
	}
	wait := time.Duration(float64(n)/rate*float64(time.Second)) - time.Since(began)
	if wait <= 0 {
		return nil
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
