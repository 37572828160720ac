package compat

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func init() {
	makers["franz-go"] = func(t *testing.T, bootstrap string) Client {
		seeds := strings.Split(bootstrap, ",")
		cl, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			t.Fatal(err)
		}
		return &franz{seeds: seeds, cl: cl}
	}
}

type franz struct {
	seeds []string
	cl    *kgo.Client
}

func (c *franz) Close() { c.cl.Close() }

func (c *franz) Produce(ctx context.Context, topic string, records []Record, gap time.Duration) error {
	var first kgo.FirstErrPromise
	began := time.Now()
	for i, r := range records {
		pace(began, gap, i)
		rec := &kgo.Record{Topic: topic, Partition: r.Partition, Key: []byte(r.Key), Value: []byte(r.Value), Timestamp: r.Time}
		c.cl.Produce(ctx, rec, first.Promise())
	}
	return first.Err()
}

func fromFranz(r *kgo.Record) Record {
	return Record{Partition: r.Partition, Offset: r.Offset, Time: r.Timestamp, Key: string(r.Key), Value: string(r.Value)}
}

func (c *franz) Read(ctx context.Context, topic string, partition int32, offset int64, n int) ([]Record, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.seeds...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		topic: {partition: kgo.NewOffset().At(offset)},
	}))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	var out []Record
	for len(out) < n {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			return out, err
		}
		fs.EachRecord(func(r *kgo.Record) { out = append(out, fromFranz(r)) })
	}
	return out[:n], nil
}

func (c *franz) OffsetAt(ctx context.Context, topic string, partition int32, at time.Time) (int64, error) {
	offsets, err := kadm.NewClient(c.cl).ListOffsetsAfterMilli(ctx, at.UnixMilli(), topic)
	if err != nil {
		return 0, err
	}
	o, _ := offsets.Lookup(topic, partition)
	return o.Offset, o.Err
}

func (c *franz) Join(_ context.Context, group, topic string) (Member, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.seeds...), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.HeartbeatInterval(100*time.Millisecond),
		kgo.Balancers(kgo.RangeBalancer()))
	return &franzMember{cl: cl}, err
}

type franzMember struct {
	cl   *kgo.Client
	have []*kgo.Record
	read []*kgo.Record
}

func (m *franzMember) Next(ctx context.Context) (Record, error) {
	for len(m.have) == 0 {
		fs := m.cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return Record{}, err
		}
		if err := fs.Err(); err != nil {
			return Record{}, err
		}
		m.have = fs.Records()
	}
	r := m.have[0]
	m.have = m.have[1:]
	m.read = append(m.read, r)
	return fromFranz(r), nil
}

func (m *franzMember) Commit(ctx context.Context) error { return m.cl.CommitRecords(ctx, m.read...) }

func (m *franzMember) Leave() { m.cl.Close() }
