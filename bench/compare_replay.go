package bench

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"time"
)

// CompareReplay reads history that is in the tier only from a broker, and the same objects through a relay
// probe and bare.
type CompareReplay struct {
	Server     Server
	Probes     Probes
	Dir        string
	Topic      string // that is there already; "" makes one and fills it
	Partition  int32
	Config     map[string]string // of the topic, more than the usual
	Bucket     *Bucket           // nil leaves the probes out
	Env        []string          // credentials of the bucket, for the probes
	Rounds     int
	Bytes      int64
	Values     *Values
	FetchBytes int
	Parallel   int // GETs of the probes under way; 8 if 0
}

// probeGets is how many ranged GETs the probes have under way, as many as fill what a broker reads ahead.
const probeGets = 8

// tierPatience is how long uploads may take.
const tierPatience = 10 * time.Minute

// Run measures.
func (c *CompareReplay) Run(ctx context.Context) (*Section, error) {
	topic, to, err := c.prepare(ctx)
	if err != nil {
		return nil, err
	}
	s := &Section{
		Name: "cold replay, " + c.Values.Kind,
		Setting: fmt.Sprintf("%d B %s records in batches of %d KiB, not compressed by the producer, one partition, %d records that are only in the bucket, fetches of up to %d KiB",
			c.Values.Size, c.Values.Kind, DefaultBatch>>10, to, or(c.FetchBytes, DefaultFetch)>>10),
	}
	cl := c.Server.Cluster
	sides := []side{
		{"broker", c.Server.Pid, func(ctx context.Context, _ int) (Moved, error) {
			return (&Replay{Cluster: cl, Topic: topic, Partition: c.Partition, To: to, FetchBytes: c.FetchBytes}).Run(ctx)
		}},
		{"broker, whole client", c.Server.Pid, func(ctx context.Context, _ int) (Moved, error) {
			return (&Consume{Cluster: cl, Topic: topic, From: map[int32]int64{c.Partition: 0}, To: map[int32]int64{c.Partition: to}, FetchBytes: c.FetchBytes}).Run(ctx)
		}},
	}
	probes := c.Probes
	if c.Bucket == nil {
		probes = Probes{}
	}
	cfg, err := c.relayConfig(ctx, probes, topic)
	if err != nil {
		return nil, err
	}
	err = probes.with(ctx, probeRelay, cfg, func(relay *probeProcess) error {
		pass := side{"relay probe", relay.pid(), relay.serves(func(ctx context.Context, _ int) (Moved, error) { return readStream(ctx, relay.Addr, 0) })}
		get := side{"bare GETs", 0, relay.serves(func(ctx context.Context, _ int) (Moved, error) {
			r, err := probes.once(ctx, probeGet, cfg, c.Env...)
			return Moved{Bytes: r.Bytes, Elapsed: seconds(r.Seconds)}, err
		})}
		return takeTurns(ctx, s, c.Rounds, c.Dir, 0, append(sides, pass, get)...)
	}, c.Env...)
	if err != nil {
		return nil, err
	}
	s.compare("throughput, broker / relay probe", "broker throughput", "relay probe throughput", limitReplay, false)
	s.compare("CPU, broker / relay probe", "broker CPU", "relay probe CPU", 0, true)
	if n := len(s.Checks) - 1; n >= 0 && s.Checks[n].Limit == 0 {
		s.note("CPU, broker / relay probe: %s (no limit is set)", number(s.Checks[n].Value))
		s.Checks = s.Checks[:n]
	}
	return s, nil
}

// relayConfig is the configuration of both probes; it is nil without probes.
func (c *CompareReplay) relayConfig(ctx context.Context, probes Probes, topic string) (*relay, error) {
	if probes.None() {
		return nil, nil
	}
	id, err := c.Server.Cluster.topicID(ctx, topic)
	if err != nil {
		return nil, err
	}
	keys, err := c.Bucket.segments(ctx, c.Env, hex.EncodeToString(id[:]), c.Partition)
	if err != nil {
		return nil, err
	}
	return &relay{Objects: objects{Bucket: *c.Bucket, Keys: keys}, Parallel: or(c.Parallel, probeGets)}, nil
}

// prepare fills the topic if need be and returns where what is still on local disk begins.
func (c *CompareReplay) prepare(ctx context.Context) (topic string, to int64, err error) {
	if c.Topic != "" {
		local, err := c.Server.Cluster.offsets(ctx, c.Topic, earliestLocalOffset)
		if err == nil && local[c.Partition] <= 0 {
			err = fmt.Errorf("%s-%d has nothing that is only in the tier", c.Topic, c.Partition)
		}
		return c.Topic, local[c.Partition], err
	}
	topic = topicName("replay-"+c.Values.Kind, 0)
	to, err = FillTier(ctx, c.Server.Cluster, topic, c.Config, c.Values, c.Bytes)
	return topic, to, err
}

// tierSegment is the size of segments of topics that are made for a replay: Kafka's and Firn's objects are
// one segment each, and what has not been sealed stays on local disk.
const tierSegment = 128 << 20

// FillTier makes a tiered topic of one partition, produces until at least n bytes lie in whole segments and
// waits until they are in the tier only. It returns the first offset that is on local disk.
func FillTier(ctx context.Context, cl Cluster, topic string, config map[string]string, values *Values, n int64) (int64, error) {
	cfg := map[string]string{
		"remote.storage.enable": "true", "local.retention.bytes": "1", "local.retention.ms": "1000",
		"segment.bytes": fmt.Sprint(tierSegment),
	}
	maps.Copy(cfg, config)
	if err := cl.CreateTopic(ctx, topic, 1, Relaxed, cfg); err != nil {
		return 0, err
	}
	m, err := (&Produce{Cluster: cl, Topic: topic, Values: values, Bytes: n + tierSegment + tierSegment/4}).Run(ctx)
	if err != nil {
		return 0, err
	}
	want := m.Records - 2*tierSegment/int64(values.Size)
	ctx, cancel := context.WithTimeout(ctx, tierPatience)
	defer cancel()
	var local int64
	err = poll(ctx, 200*time.Millisecond, "local copies to go", func() (bool, error) {
		starts, err := cl.offsets(ctx, topic, earliestLocalOffset)
		local = starts[0]
		return err == nil && local >= max(want, 1), err
	})
	return local, err
}
