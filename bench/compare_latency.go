package bench

import (
	"context"
	"fmt"
	"time"
)

// CompareLatency sends records at a rate to a durable topic and to a probe that appends the same bytes and
// syncs them without Kafka behind it.
type CompareLatency struct {
	Server     Server
	Probes     Probes
	Dir        string // for the probe's files; on the broker's disk
	Level      string
	Partitions int
	Rounds     int
	Rate       float64 // bytes a second
	Duration   time.Duration
	Sending    Sending
	Values     *Values
}

// Run measures.
func (c *CompareLatency) Run(ctx context.Context) (*Section, error) {
	s := &Section{
		Name: "produce latency, " + c.Level,
		Setting: fmt.Sprintf("flush: %s; %s MiB/s of %d B %s records, %d partitions, acks=%s, %v a round, counted from when each was due",
			c.Level, number(c.Rate/mib), c.Values.Size, c.Values.Kind, c.Partitions, or(c.Sending.Acks, "all"), c.Duration),
	}
	drop, err := c.Server.Cluster.createTopics(ctx, "latency-"+c.Level, c.Rounds, c.Partitions, c.Level)
	if err != nil {
		return nil, err
	}
	defer drop()
	err = c.Probes.with(ctx, probeSink, &sink{Dir: c.Dir, Partitions: int32(c.Partitions), Sync: c.Level != Relaxed}, func(probe *probeProcess) error {
		return takeTurns(ctx, s, c.Rounds, c.Dir, 0,
			side{"broker", c.Server.Pid, func(ctx context.Context, round int) (Moved, error) { return c.broker(ctx, s, round) }},
			side{"probe", probe.pid(), probe.serves(func(ctx context.Context, round int) (Moved, error) {
				r, err := c.load(Cluster{probe.Addr}, topicName("sink", round), false).Run(ctx)
				if err == nil {
					r.Ack.addTo(s, "probe ack")
				}
				return r.Moved, err
			})})
	})
	s.compare("p99 of acks, broker / probe", "broker ack p99", "probe ack p99", limitAckP99, true)
	return s, err
}

func (c *CompareLatency) load(cl Cluster, topic string, endToEnd bool) *Latency {
	return &Latency{
		Cluster: cl, Topic: topic, Sending: c.Sending, Values: c.Values, Rate: c.Rate, Duration: c.Duration, EndToEnd: endToEnd,
	}
}

// broker measures acks, and then, in a run of its own so that the reader disturbs nothing, arrivals.
func (c *CompareLatency) broker(ctx context.Context, s *Section, round int) (Moved, error) {
	name := topicName("latency-"+c.Level, round)
	r, err := c.load(c.Server.Cluster, name, false).Run(ctx)
	if err != nil {
		return Moved{}, err
	}
	r.Ack.addTo(s, "broker ack")
	e2e, err := c.load(c.Server.Cluster, name, true).Run(ctx)
	if err != nil {
		return Moved{}, err
	}
	e2e.EndToEnd.addTo(s, "broker end to end")
	m := r.Moved
	m.Bytes += e2e.Moved.Bytes
	m.Elapsed += e2e.Moved.Elapsed
	return m, nil
}
