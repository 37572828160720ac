package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// commitPatience is how long one attempt to commit may take.
const commitPatience = 2 * time.Second

// etcdAway takes all of etcd away under load.
func (s *Suite) etcdAway(ctx context.Context) (*Section, error) {
	const gap = 100 * time.Millisecond
	n, away := s.Cluster.Rolling, s.Cluster.EtcdAway
	sec := &Section{
		Name: fmt.Sprintf("all of etcd away for %v, %d partitions", away, n),
		Setting: fmt.Sprintf("flush: %s; RF 3, all in sync, acks=all, idempotent, a record of %d B per partition every %v, and a reader; kill -9 of etcd",
			Durable, recordBytes, gap),
	}
	values, err := s.values(JSON)
	if err != nil {
		return nil, err
	}
	return sec, s.onTrio(ctx, "etcd-away", func(t *trio) error {
		const topic = "away"
		if err := t.createPlaced(ctx, topic, ledByAll(n), Durable, nil); err != nil {
			return err
		}
		load, err := (&Steady{Cluster: t.cluster, Topic: topic, Partitions: n, Gap: gap, Values: values}).start(ctx)
		if err != nil {
			return err
		}
		defer func() { _, _ = load.stop() }()
		reader, err := t.cluster.startTail(ctx, topic, n)
		if err != nil {
			return err
		}
		defer func() { _, _ = reader.stop() }()
		m, err := t.cluster.join(topic)
		if err != nil {
			return err
		}
		defer m.Close()
		if err := awaitCommit(ctx, m); err != nil {
			return err
		}
		load.mark()
		t.etcd.kill()
		if err := sleep(ctx, away); err != nil {
			return err
		}
		load.pauses().addTo(sec, "longest wait of a partition for an ack")
		if commit(ctx, m) == nil {
			return errors.New("a group committed without etcd")
		}
		if err := t.etcd.begin(); err != nil {
			return err
		}
		if err := t.etcd.await(ctx, "http://"+t.endpoint+"/health", 10*time.Millisecond); err != nil {
			return err
		}
		back := time.Now()
		if err := awaitCommit(ctx, m); err != nil {
			return err
		}
		again := time.Since(back).Seconds()
		acked, err := load.stop()
		read, readErr := reader.stop()
		failures := 0.0
		for _, err := range []error{err, readErr} {
			if err != nil {
				failures++
				sec.note("a client failed: %v", err)
			}
		}
		sec.note("%d records acked, %d read", acked, read)
		sec.check("clients that failed", "", []float64{failures}, 0, true)
		sec.check("a group commits again after etcd's return", "s", []float64{again}, limitRecommit, true)
		return nil
	})
}

// join is a member of a group that reads a topic.
func (c Cluster) join(topic string) (*kgo.Client, error) {
	return c.client(kgo.ConsumerGroup("bench-"+topic), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.SessionTimeout(startPatience))
}

// commit reads something and commits it.
func commit(ctx context.Context, m *kgo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, commitPatience)
	defer cancel()
	fs := m.PollFetches(ctx)
	if fs.NumRecords() == 0 {
		return errors.Join(errors.New("nothing to commit"), fs.Err())
	}
	return m.CommitRecords(ctx, fs.Records()...)
}

func awaitCommit(ctx context.Context, m *kgo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	return poll(ctx, 10*time.Millisecond, "a commit", func() (bool, error) {
		err := commit(ctx, m)
		return err == nil, err
	})
}
