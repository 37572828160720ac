package compat

import (
	"context"
	"fmt"
	"testing"
	"time"

	kafka "github.com/segmentio/kafka-go"

	"firn/broker/brokertest"
)

func init() {
	makers["kafka-go"] = func(_ *testing.T, f *brokertest.Process) Client { return &kafkaGo{f: f} }
}

type kafkaGo struct{ f *brokertest.Process }

func (c *kafkaGo) Close() {}

// manual sends each message to the partition that stands in its writer data.
type manual struct{}

func (manual) Balance(m kafka.Message, _ ...int) int { return int(m.WriterData.(int32)) }

func (c *kafkaGo) Produce(ctx context.Context, topic string, records []Record) error {
	w := &kafka.Writer{
		Addr: kafka.TCP(c.f.Bootstrap), Topic: topic, Balancer: manual{}, RequiredAcks: kafka.RequireAll,
		BatchTimeout: 5 * time.Millisecond, BatchSize: 200,
	}
	ms := make([]kafka.Message, len(records))
	for i, r := range records {
		ms[i] = kafka.Message{Key: []byte(r.Key), Value: []byte(r.Value), Time: r.Time, WriterData: r.Partition}
	}
	if err := w.WriteMessages(ctx, ms...); err != nil {
		return err
	}
	return w.Close()
}

func fromKafkaGo(m kafka.Message) Record {
	return Record{Partition: int32(m.Partition), Offset: m.Offset, Time: m.Time, Key: string(m.Key), Value: string(m.Value)}
}

func (c *kafkaGo) Read(ctx context.Context, topic string, partition int32, offset int64, n int) ([]Record, error) {
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{c.f.Bootstrap}, Topic: topic, Partition: int(partition), MaxBytes: 10 << 20, MaxWait: 100 * time.Millisecond})
	defer func() { _ = r.Close() }()
	if err := r.SetOffset(offset); err != nil {
		return nil, err
	}
	var out []Record
	for len(out) < n {
		m, err := r.ReadMessage(ctx)
		if err != nil {
			return out, err
		}
		out = append(out, fromKafkaGo(m))
	}
	return out, nil
}

func (c *kafkaGo) OffsetAt(ctx context.Context, topic string, partition int32, at time.Time) (int64, error) {
	cl := &kafka.Client{Addr: kafka.TCP(c.f.Bootstrap)}
	resp, err := cl.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{
		topic: {kafka.TimeOffsetOf(int(partition), at)},
	}})
	if err != nil {
		return 0, err
	}
	for _, p := range resp.Topics[topic] {
		if p.Error != nil {
			return 0, p.Error
		}
		for o := range p.Offsets {
			return o, nil
		}
	}
	return 0, fmt.Errorf("no offset in %+v", resp)
}

func (c *kafkaGo) Join(_ context.Context, group, topic string) (Member, error) {
	return &kafkaGoMember{r: kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{c.f.Bootstrap}, GroupID: group, Topic: topic, StartOffset: kafka.FirstOffset, MaxWait: 100 * time.Millisecond,
		HeartbeatInterval: 100 * time.Millisecond, GroupBalancers: []kafka.GroupBalancer{kafka.RangeGroupBalancer{}},
	})}, nil
}

type kafkaGoMember struct {
	r    *kafka.Reader
	read []kafka.Message
}

func (m *kafkaGoMember) Next(ctx context.Context) (Record, error) {
	msg, err := m.r.FetchMessage(ctx)
	if err != nil {
		return Record{}, err
	}
	m.read = append(m.read, msg)
	return fromKafkaGo(msg), nil
}

func (m *kafkaGoMember) Commit(ctx context.Context) error { return m.r.CommitMessages(ctx, m.read...) }

func (m *kafkaGoMember) Leave() { _ = m.r.Close() }
