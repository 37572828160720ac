package compat

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

func init() {
	makers["sarama"] = func(t *testing.T, bootstrap string) Client {
		cfg := sarama.NewConfig()
		cfg.Version = sarama.MaxVersion
		cfg.Producer.Return.Successes = true
		cfg.Producer.RequiredAcks = sarama.WaitForAll
		cfg.Producer.Idempotent = true
		cfg.Producer.Retry.Max = 300 // half a minute: three of them are over before another broker leads
		cfg.Net.MaxOpenRequests = 1
		cfg.Producer.Partitioner = sarama.NewManualPartitioner
		cfg.Consumer.Offsets.Initial = sarama.OffsetOldest
		cfg.Consumer.Offsets.AutoCommit.Enable = false
		cfg.Consumer.Group.Heartbeat.Interval = 100 * time.Millisecond
		cfg.Consumer.MaxWaitTime = 100 * time.Millisecond
		cl, err := sarama.NewClient(strings.Split(bootstrap, ","), cfg)
		if err != nil {
			t.Fatal(err)
		}
		return &saramaClient{cl: cl}
	}
}

type saramaClient struct{ cl sarama.Client }

func (c *saramaClient) Close() { _ = c.cl.Close() }

func (c *saramaClient) Produce(_ context.Context, topic string, records []Record, gap time.Duration) error {
	p, err := sarama.NewAsyncProducerFromClient(c.cl)
	if err != nil {
		return err
	}
	go func() {
		began := time.Now()
		for i, r := range records {
			pace(began, gap, i)
			p.Input() <- &sarama.ProducerMessage{
				Topic: topic, Partition: r.Partition, Key: sarama.StringEncoder(r.Key), Value: sarama.StringEncoder(r.Value), Timestamp: r.Time,
			}
		}
	}()
	for range records {
		select {
		case <-p.Successes():
		case e := <-p.Errors():
			err = errors.Join(err, e)
		}
	}
	return errors.Join(err, p.Close())
}

func fromSarama(m *sarama.ConsumerMessage) Record {
	return Record{Partition: m.Partition, Offset: m.Offset, Time: m.Timestamp, Key: string(m.Key), Value: string(m.Value)}
}

func (c *saramaClient) Read(ctx context.Context, topic string, partition int32, offset int64, n int) ([]Record, error) {
	consumer, err := sarama.NewConsumerFromClient(c.cl)
	if err != nil {
		return nil, err
	}
	pc, err := consumer.ConsumePartition(topic, partition, offset)
	if err != nil {
		return nil, err
	}
	defer func() { _ = pc.Close() }()
	var out []Record
	for len(out) < n {
		select {
		case m := <-pc.Messages():
			out = append(out, fromSarama(m))
		case <-ctx.Done():
			return out, ctx.Err()
		}
	}
	return out, nil
}

func (c *saramaClient) OffsetAt(_ context.Context, topic string, partition int32, at time.Time) (int64, error) {
	return c.cl.GetOffset(topic, partition, at.UnixMilli())
}

func (c *saramaClient) Join(_ context.Context, group, topic string) (Member, error) {
	cfg := *c.cl.Config()
	var addrs []string
	for _, b := range c.cl.Brokers() {
		addrs = append(addrs, b.Addr())
	}
	g, err := sarama.NewConsumerGroup(addrs, group, &cfg)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &saramaMember{g: g, stop: stop, records: make(chan saramaRecord), ended: make(chan struct{})}
	go func() {
		defer close(m.ended)
		for ctx.Err() == nil {
			_ = g.Consume(ctx, []string{topic}, m)
		}
	}()
	return m, nil
}

type saramaRecord struct {
	m *sarama.ConsumerMessage
	s sarama.ConsumerGroupSession
}

type saramaMember struct {
	g       sarama.ConsumerGroup
	stop    context.CancelFunc
	records chan saramaRecord
	ended   chan struct{}
	last    sarama.ConsumerGroupSession
}

func (*saramaMember) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*saramaMember) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *saramaMember) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for msg := range claim.Messages() {
		select {
		case m.records <- saramaRecord{msg, s}:
		case <-s.Context().Done():
			return nil
		}
	}
	return nil
}

func (m *saramaMember) Next(ctx context.Context) (Record, error) {
	select {
	case r := <-m.records:
		r.s.MarkMessage(r.m, "")
		m.last = r.s
		return fromSarama(r.m), nil
	case <-ctx.Done():
		return Record{}, ctx.Err()
	}
}

func (m *saramaMember) Commit(context.Context) error {
	m.last.Commit()
	return nil
}

func (m *saramaMember) Leave() {
	m.stop()
	<-m.ended
	_ = m.g.Close()
}
