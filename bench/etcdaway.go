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
	const topic = "etcd-away"
	away := s.Cluster.EtcdAway
	sec := &Section{Name: fmt.Sprintf("all of etcd away for %v by kill -9, %d partitions", away, s.Cluster.Rolling)}
	var again []float64
	err := s.underLoad(ctx, sec, topic, func(t *trio, load *steady) error {
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
		again = append(again, time.Since(back).Seconds())
		return nil
	})
	if err != nil {
		return nil, err
	}
	sec.check("a group commits again after etcd's return", "s", again, limitRecommit, true)
	return sec, nil
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
