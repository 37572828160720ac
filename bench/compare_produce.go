package bench

import (
	"context"
	"fmt"
)

// CompareProduce sends the same records to a broker and to a probe. On relaxed topics, what counts is the
// processor time beside that of receiving, checking and writing the bytes; on durable ones the throughput
// beside that of appending and syncing without a client.
type CompareProduce struct {
	Server     Server
	Probes     Probes
	Dir        string // for the probe's files; on the broker's disk
	Level      string
	Partitions int
	Rounds     int
	Bytes      int64
	Sending    Sending
	Values     *Values
}

// The limits aimed at.
const (
	limitProduceCPU  = 1.5
	limitDurableRate = 0.7
	limitAckP99      = 3
	limitFetchCPU    = 1.5
	limitReplay      = 0.8
	limitSeekGets    = 2
	limitP99Paced    = 1.5
	limitP99Full     = 1.5
	limitRSS         = 400 // MiB
	limitIdleDev     = 120
	limitIdleBroker  = 50
	limitFirstAck    = 0.5 // s
	limitCleanStart  = 3
	limitKillStart   = 10
)

// rawPiece is what rawSync appends at a time.
const rawPiece = 1 << 20

// Run measures.
func (c *CompareProduce) Run(ctx context.Context) (*Section, error) {
	s := &Section{
		Name: "produce, " + c.Level,
		Setting: fmt.Sprintf("flush: %s; %d B %s records in batches of %d KiB, %d partitions, acks=%s, compression %s, %d MiB a round",
			c.Level, c.Values.Size, c.Values.Kind, or(c.Sending.BatchBytes, DefaultBatch)>>10, c.Partitions, or(c.Sending.Acks, "all"), or(c.Sending.Compression, "none"), c.Bytes/mib),
	}
	what := "produce-" + c.Level
	drop, err := c.Server.Cluster.createTopics(ctx, what, c.Rounds, c.Partitions, c.Level)
	if err != nil {
		return nil, err
	}
	defer drop()
	broker := side{"broker", c.Server.Pid, func(ctx context.Context, round int) (Moved, error) {
		return c.load(c.Server.Cluster, topicName(what, round)).Run(ctx)
	}}
	if c.Level != Relaxed {
		return s, c.beside(ctx, s, broker)
	}
	err = c.Probes.with(ctx, probeSink, &sink{Dir: c.Dir, Partitions: int32(c.Partitions)}, func(probe *probeProcess) error {
		return takeTurns(ctx, s, c.Rounds, c.Dir, c.Bytes, broker, side{"probe", probe.pid(), probe.serves(func(ctx context.Context, round int) (Moved, error) {
			return c.load(Cluster{probe.Addr}, topicName("sink", round)).Run(ctx)
		})})
	})
	s.compare("CPU, broker / probe", "broker CPU", "probe CPU", limitProduceCPU, true)
	return s, err
}

func (c *CompareProduce) load(cl Cluster, topic string) *Produce {
	return &Produce{Cluster: cl, Topic: topic, Sending: c.Sending, Values: c.Values, Bytes: c.Bytes}
}

// beside takes turns with a disk that has no clients.
func (c *CompareProduce) beside(ctx context.Context, s *Section, broker side) error {
	raw := side{"raw append and sync", 0, func(ctx context.Context, _ int) (Moved, error) {
		r, err := c.Probes.once(ctx, probeSync, &rawSync{Dir: c.Dir, Bytes: c.Bytes / 2, Piece: rawPiece})
		return Moved{Bytes: r.Bytes, Elapsed: seconds(r.Seconds)}, err
	}}
	if c.Probes.None() {
		raw.run = nil
	}
	if err := takeTurns(ctx, s, c.Rounds, c.Dir, c.Bytes, broker, raw); err != nil {
		return err
	}
	s.compare("throughput, broker / raw", "broker throughput", "raw append and sync throughput", limitDurableRate, false)
	return nil
}
