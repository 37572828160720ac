//go:build clients

package compat

import (
	"context"
	"errors"
	"testing"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

func init() {
	makers["confluent-kafka-go"] = func(_ *testing.T, bootstrap string) Client { return &confluent{bootstrap: bootstrap} }
}

type confluent struct{ bootstrap string }

func (c *confluent) Close() {}

func (c *confluent) Produce(_ context.Context, topic string, records []Record, gap time.Duration) error {
	p, err := ck.NewProducer(&ck.ConfigMap{"bootstrap.servers": c.bootstrap, "enable.idempotence": true, "linger.ms": 5, "go.delivery.reports": true})
	if err != nil {
		return err
	}
	defer p.Close()
	reports := make(chan ck.Event, len(records))
	began := time.Now()
	for i, r := range records {
		pace(began, gap, i)
		m := &ck.Message{
			TopicPartition: ck.TopicPartition{Topic: &topic, Partition: r.Partition}, Key: []byte(r.Key), Value: []byte(r.Value), Timestamp: r.Time,
		}
		if err := p.Produce(m, reports); err != nil {
			return err
		}
	}
	for range records {
		if m := (<-reports).(*ck.Message); m.TopicPartition.Error != nil {
			return m.TopicPartition.Error
		}
	}
	return nil
}

func (c *confluent) consumer(group string) (*ck.Consumer, error) {
	return ck.NewConsumer(&ck.ConfigMap{
		"bootstrap.servers": c.bootstrap, "group.id": group, "enable.auto.commit": false, "auto.offset.reset": "earliest",
		"heartbeat.interval.ms": 100, "fetch.wait.max.ms": 100,
	})
}

func fromConfluent(m *ck.Message) Record {
	return Record{
		Partition: m.TopicPartition.Partition, Offset: int64(m.TopicPartition.Offset), Time: m.Timestamp, Key: string(m.Key), Value: string(m.Value),
	}
}

func (c *confluent) Read(ctx context.Context, topic string, partition int32, offset int64, n int) ([]Record, error) {
	k, err := c.consumer("unused")
	if err != nil {
		return nil, err
	}
	defer func() { _ = k.Close() }()
	if err := k.Assign([]ck.TopicPartition{{Topic: &topic, Partition: partition, Offset: ck.Offset(offset)}}); err != nil {
		return nil, err
	}
	m := &confluentMember{k: k}
	var out []Record
	for len(out) < n {
		r, err := m.Next(ctx)
		if err != nil {
			return out, err
		}
		out = append(out, r)
	}
	return out, nil
}

func (c *confluent) OffsetAt(_ context.Context, topic string, partition int32, at time.Time) (int64, error) {
	k, err := c.consumer("unused")
	if err != nil {
		return 0, err
	}
	defer func() { _ = k.Close() }()
	found, err := k.OffsetsForTimes([]ck.TopicPartition{{Topic: &topic, Partition: partition, Offset: ck.Offset(at.UnixMilli())}}, 30_000)
	if err != nil {
		return 0, err
	}
	return int64(found[0].Offset), found[0].Error
}

func (c *confluent) Join(_ context.Context, group, topic string) (Member, error) {
	k, err := c.consumer(group)
	if err != nil {
		return nil, err
	}
	return &confluentMember{k: k, topic: topic, read: map[int32]int64{}}, k.Subscribe(topic, nil)
}

type confluentMember struct {
	k     *ck.Consumer
	topic string
	read  map[int32]int64
}

func (m *confluentMember) Next(ctx context.Context) (Record, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Record{}, err
		}
		msg, err := m.k.ReadMessage(100 * time.Millisecond)
		var ke ck.Error
		// That a broker cannot be reached is for information: librdkafka gets over it by itself.
		if errors.As(err, &ke) && (ke.IsTimeout() || ke.Code() == ck.ErrTransport) {
			continue
		}
		if err != nil {
			return Record{}, err
		}
		if m.read != nil {
			m.read[msg.TopicPartition.Partition] = int64(msg.TopicPartition.Offset) + 1
		}
		return fromConfluent(msg), nil
	}
}

func (m *confluentMember) Commit(context.Context) error {
	var tps []ck.TopicPartition
	for p, o := range m.read {
		tps = append(tps, ck.TopicPartition{Topic: &m.topic, Partition: p, Offset: ck.Offset(o)})
	}
	done, err := m.k.CommitOffsets(tps)
	for _, tp := range done {
		err = errors.Join(err, tp.Error)
	}
	return err
}

func (m *confluentMember) Leave() { _ = m.k.Close() }
