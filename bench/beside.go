package bench

import (
	"context"
	"fmt"
	"time"
)

// Beside measures what a cold replay does to a producer of the same broker. The producer runs alone, beside
// a replay at a reader's pace, beside one at full speed, and beside a relay probe at that same speed.
type Beside struct {
	Latency CompareLatency
	Replay  CompareReplay
	Pace    float64 // bytes a second of the paced replay
}

// Run measures.
func (c *Beside) Run(ctx context.Context) (*Section, error) {
	s := &Section{
		Name: "producer beside a cold replay",
		Setting: fmt.Sprintf("flush: %s; producer of %s MiB/s in %d B %s records, %d partitions, %v a round; replay of %s records, paced at %s MiB/s or as fast as may be",
			c.Latency.Level, number(c.Latency.Rate/mib), c.Latency.Values.Size, c.Latency.Values.Kind, c.Latency.Partitions, c.Latency.Duration, c.Replay.Values.Kind, number(c.Pace/mib)),
	}
	topic, to, err := c.Replay.prepare(ctx)
	if err != nil {
		return nil, err
	}
	cfg, err := c.Replay.relayConfig(ctx, c.Replay.Probes, topic)
	if err != nil {
		return nil, err
	}
	cl := c.Latency.Server.Cluster
	produce := topicName("beside", 0)
	if err := cl.CreateTopic(ctx, produce, c.Latency.Partitions, c.Latency.Level, untiered); err != nil {
		return nil, err
	}
	reads := func(rate float64) func(context.Context) (Moved, error) {
		return (&Replay{Cluster: cl, Topic: topic, Partition: c.Replay.Partition, To: to, Rate: rate}).Run
	}
	err = c.Replay.Probes.with(ctx, probeRelay, cfg, func(relay *probeProcess) error {
		for range c.Latency.Rounds {
			if err := c.with(ctx, s, produce, "alone", nil); err != nil {
				return err
			}
			if err := c.with(ctx, s, produce, "beside a paced replay", reads(c.Pace)); err != nil {
				return err
			}
			if err := c.with(ctx, s, produce, "beside a full replay", reads(0)); err != nil {
				return err
			}
			full := s.figure("replay beside a full replay", "")
			speed := full.Rounds[len(full.Rounds)-1] * mib
			if relay.cmd == nil {
				continue
			}
			if err := c.with(ctx, s, produce, "beside the relay probe", func(ctx context.Context) (Moved, error) {
				return readStream(ctx, relay.Addr, speed)
			}); err != nil {
				return err
			}
		}
		return nil
	}, c.Replay.Env...)
	if err != nil {
		return nil, err
	}
	s.compare("p99, beside a paced replay / alone", "beside a paced replay ack p99", "alone ack p99", limitP99Paced, true)
	s.compare("p99, beside a full replay / beside the relay probe", "beside a full replay ack p99", "beside the relay probe ack p99", limitP99Full, true)
	return s, cl.DeleteTopics(ctx, produce)
}

// with measures the producer while read runs again and again.
func (c *Beside) with(ctx context.Context, s *Section, topic, name string, read func(context.Context) (Moved, error)) error {
	if err := settle(c.Latency.Dir); err != nil {
		return err
	}
	stop := func() (Moved, error) { return Moved{}, nil }
	if read != nil {
		stop = repeat(ctx, read)
	}
	r, err := c.Latency.load(c.Latency.Server.Cluster, topic, false).Run(ctx)
	m, readErr := stop()
	if err != nil {
		return fmt.Errorf("producer %s: %w", name, err)
	}
	if readErr != nil {
		return fmt.Errorf("reader %s: %w", name, readErr)
	}
	for _, p := range percentiles[2:3] {
		s.figure(name+" ack "+p.name, "ms").add(r.Ack.At(p.at))
	}
	s.figure(name+" ack p50", "ms").add(r.Ack.At(50))
	if read != nil {
		s.figure("replay "+name, "MiB/s").add(m.Rate())
	}
	return nil
}

// repeat runs read over and over until stop is called, which returns what was moved in all.
func repeat(ctx context.Context, read func(context.Context) (Moved, error)) (stop func() (Moved, error)) {
	ctx, cancel := context.WithCancel(ctx)
	type outcome struct {
		m   Moved
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		var all Moved
		began := time.Now()
		for {
			m, err := read(ctx)
			all.Bytes += m.Bytes
			all.Elapsed = time.Since(began)
			if ctx.Err() != nil {
				done <- outcome{all, nil}
				return
			}
			if err != nil {
				done <- outcome{all, err}
				return
			}
		}
	}()
	return func() (Moved, error) {
		cancel()
		o := <-done
		return o.m, o.err
	}
}
