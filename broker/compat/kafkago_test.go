package compat

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	kafka "github.com/segmentio/kafka-go"
)

func init() {
	makers["kafka-go"] = func(_ *testing.T, bootstrap string) Client {
		return &kafkaGo{seeds: strings.Split(bootstrap, ",")}
	}
}

// kafkaGoAttempts is more than what is over before another broker leads: ten of a writer, three of a reader.
const kafkaGoAttempts = 100

type kafkaGo struct{ seeds []string }

func (c *kafkaGo) Close() {}

// manual sends each message to the partition that stands in its writer data.
type manual struct{}

func (manual) Balance(m kafka.Message, _ ...int) int { return int(m.WriterData.(int32)) }

func (c *kafkaGo) Produce(ctx context.Context, topic string, records []Record, gap time.Duration) error {
	w := &kafka.Writer{
		Addr: kafka.TCP(c.seeds...), Topic: topic, Balancer: manual{}, RequiredAcks: kafka.RequireAll,
		BatchTimeout: 5 * time.Millisecond, BatchSize: 200, MaxAttempts: kafkaGoAttempts,
		Transport: &kafka.Transport{MetadataTTL: 500 * time.Millisecond},
	}
	began := time.Now()
	for sent := 0; sent < len(records); {
		pace(began, gap, sent)
		due := len(records)
		if gap > 0 {
			due = min(due, int(time.Since(began)/gap)+1)
		}
		var ms []kafka.Message
		for _, r := range records[sent:due] {
			ms = append(ms, kafka.Message{Key: []byte(r.Key), Value: []byte(r.Value), Time: r.Time, WriterData: r.Partition})
		}
		if err := write(ctx, w, ms); err != nil {
			return err
		}
		sent = due
	}
	return w.Close()
}

// write sends messages until they are acknowledged. Where a partition has no leader for a moment kafka-go does not try again
// by itself.
func write(ctx context.Context, w *kafka.Writer, ms []kafka.Message) error {
	for {
		err := w.WriteMessages(ctx, ms...)
		var each kafka.WriteErrors
		if !errors.As(err, &each) || ctx.Err() != nil {
			return err
		}
		var again []kafka.Message
		for i, err := range each {
			if err != nil {
				again = append(again, ms[i])
			}
		}
		ms = again
		pace(time.Now(), 100*time.Millisecond, 1)
	}
}

func fromKafkaGo(m kafka.Message) Record {
	return Record{Partition: int32(m.Partition), Offset: m.Offset, Time: m.Time, Key: string(m.Key), Value: string(m.Value)}
}

func (c *kafkaGo) Read(ctx context.Context, topic string, partition int32, offset int64, n int) ([]Record, error) {
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: c.seeds, Topic: topic, Partition: int(partition), MaxBytes: 10 << 20, MaxWait: 100 * time.Millisecond})
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
	cl := &kafka.Client{Addr: kafka.TCP(c.seeds...)}
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
		Brokers: c.seeds, GroupID: group, Topic: topic, StartOffset: kafka.FirstOffset, MaxWait: 100 * time.Millisecond,
		// A coordinator that dies is left for another under a new name, and the group waits for the old one as long as its session.
		SessionTimeout: 6 * time.Second, MaxAttempts: kafkaGoAttempts, HeartbeatInterval: 100 * time.Millisecond, GroupBalancers: []kafka.GroupBalancer{kafka.RangeGroupBalancer{}},
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
