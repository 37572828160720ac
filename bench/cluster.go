package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Cluster is the brokers under load.
type Cluster struct {
	Bootstrap string // HOST:PORT, more with commas between
}

// Durability levels of a topic, as its setting flush.messages.
const (
	Durable = "durable" // an ack means the disk has it
	Relaxed = "relaxed" // an ack means the page cache has it
	AsIs    = "as is"   // the topic is left as the cluster makes it
)

// levelConfig is what makes a topic durable or relaxed.
func levelConfig(level string) (map[string]string, error) {
	switch level {
	case Durable:
		return map[string]string{"flush.messages": "1"}, nil
	case Relaxed:
		return map[string]string{"flush.messages": "9223372036854775807"}, nil
	case AsIs, "":
		return map[string]string{}, nil
	}
	return nil, fmt.Errorf("durability %q: want %s, %s or %q", level, Durable, Relaxed, AsIs)
}

func (c Cluster) seeds() kgo.Opt {
	return kgo.SeedBrokers(strings.Split(strings.ReplaceAll(c.Bootstrap, " ", ""), ",")...)
}

func (c Cluster) client(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{c.seeds(), kgo.ClientID("firn-bench")}, opts...)...)
}

func (c Cluster) admin() (*kadm.Client, error) {
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	return kadm.NewClient(cl), nil
}

// CreateTopic makes a topic with a durability level, and any other settings, and waits until all its
// partitions are led.
func (c Cluster) CreateTopic(ctx context.Context, name string, partitions int, level string, more map[string]string) error {
	adm, err := c.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	configs, err := levelConfig(level)
	if err != nil {
		return err
	}
	maps.Copy(configs, more)
	pointers := map[string]*string{}
	for k, v := range configs {
		pointers[k] = &v
	}
	resp, err := adm.CreateTopic(ctx, int32(partitions), -1, pointers, name)
	if err != nil {
		return fmt.Errorf("create topic %s: %w %s", name, err, resp.ErrMessage)
	}
	return c.awaitLeaders(ctx, adm, name, partitions)
}

// createTopics makes a topic for each round, and returns what deletes them all. Both cost a broker more
// than it does to serve, and no round is to pay for them.
func (c Cluster) createTopics(ctx context.Context, what string, rounds, partitions int, level string) (drop func(), err error) {
	var names []string
	drop = func() { _ = c.DeleteTopics(context.WithoutCancel(ctx), names...) } // what is left over does no harm
	for round := range rounds {
		name := topicName(what, round)
		if err := c.CreateTopic(ctx, name, partitions, level, untiered); err != nil {
			drop()
			return nil, err
		}
		names = append(names, name)
	}
	return drop, nil
}

// awaitLeaders polls the cluster until it can say where each partition ends.
func (c Cluster) awaitLeaders(ctx context.Context, adm *kadm.Client, name string, partitions int) error {
	return poll(ctx, 10*time.Millisecond, "partitions of "+name, func() (bool, error) {
		list, err := adm.ListEndOffsets(ctx, name)
		if err != nil {
			return false, err
		}
		if err := list.Error(); err != nil {
			return false, err
		}
		return len(list[name]) == partitions, nil
	})
}

// DeleteTopics deletes topics; those that are gone already are no error.
func (c Cluster) DeleteTopics(ctx context.Context, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	adm, err := c.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	resp, err := adm.DeleteTopics(ctx, names...)
	if err != nil {
		return fmt.Errorf("delete topics: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(resp)) {
		if err := resp[name].Err; err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
			return fmt.Errorf("delete topic %s: %w", name, err)
		}
	}
	return nil
}

// offsets asks for an offset of each partition by one of Kafka's special timestamps, or by a time in
// milliseconds.
func (c Cluster) offsets(ctx context.Context, name string, timestamp int64) (map[int32]int64, error) {
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	return listOffsets(ctx, cl, name, timestamp)
}

// leader is the address of a partition's leader.
func (c Cluster) leader(ctx context.Context, name string, partition int32) (string, error) {
	adm, err := c.admin()
	if err != nil {
		return "", err
	}
	defer adm.Close()
	md, err := adm.Metadata(ctx, name)
	if err != nil {
		return "", fmt.Errorf("metadata of %s: %w", name, err)
	}
	t := md.Topics[name]
	p, ok := t.Partitions[partition]
	if err := errors.Join(t.Err, p.Err); err != nil || !ok {
		return "", fmt.Errorf("partition %s-%d: %w", name, partition, errors.Join(err, kerr.UnknownTopicOrPartition))
	}
	for _, b := range md.Brokers {
		if b.NodeID == p.Leader {
			return net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))), nil
		}
	}
	return "", fmt.Errorf("partition %s-%d: broker %d leads and is not there", name, partition, p.Leader)
}

// topicID is a topic's id.
func (c Cluster) topicID(ctx context.Context, name string) (kadm.TopicID, error) {
	adm, err := c.admin()
	if err != nil {
		return kadm.TopicID{}, err
	}
	defer adm.Close()
	md, err := adm.Metadata(ctx, name)
	if err != nil {
		return kadm.TopicID{}, fmt.Errorf("metadata of %s: %w", name, err)
	}
	t := md.Topics[name]
	return t.ID, t.Err
}

// poll waits until ok, which looks at another process that tells nobody when it changes.
func poll(ctx context.Context, every time.Duration, what string, ok func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		done, err := ok()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = ctx.Err()
			}
			return fmt.Errorf("waiting for %s: %w", what, err)
		case <-tick.C:
		}
	}
}
