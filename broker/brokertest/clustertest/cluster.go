// Package clustertest runs several real brokers on one real etcd for tests, and lets things go wrong with them.
//
// What belongs here: the brokers of a cluster together, what an administrator's client sees of them, and faults. What does
// not: clients at work, which are package drive's, and the stories, which are the tests'. It imports nothing of a broker, so
// that the clients' module can use it, too.
package clustertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/brokertest"
	"firn/metadata/kvtest"
)

// SessionTimeout is after how long without a sign of life a broker of these clusters is taken for dead.
const SessionTimeout = 2 * time.Second

// adminTimeout bounds one question to a cluster of which some brokers may not answer.
const adminTimeout = 5 * time.Second

// Cluster is brokers 1 to n on one etcd, with an administrator's client. Its methods belong to one goroutine.
type Cluster struct {
	Etcd    *kvtest.Etcd
	Brokers []*brokertest.Process // broker 1 first
	Admin   *kadm.Client

	tb     testing.TB
	client *kgo.Client // Admin's
}

// Options say how a cluster is started.
type Options struct {
	Brokers  int      // 3 if 0
	Settings []string // KEY=VALUE, for every broker
	Env      []string // NAME=value, added to the test's own
	// Each gives each broker settings of its own, besides. It is called before the broker starts, with the cluster so far.
	Each func(c *Cluster) []string
}

// Start runs a cluster until the test ends, and waits until all its brokers are ready.
func Start(tb testing.TB, o Options) *Cluster {
	tb.Helper()
	if o.Brokers == 0 {
		o.Brokers = 3
	}
	c := &Cluster{tb: tb, Etcd: kvtest.StartEtcd(tb)}
	for id := range o.Brokers {
		settings := append([]string{
			"node.id=" + strconv.Itoa(id+1), "broker.rack=" + Rack(id+1), "replica.selector.class=" + selector, "broker.session.timeout.ms=" + strconv.FormatInt(SessionTimeout.Milliseconds(), 10),
		}, o.Settings...)
		if o.Each != nil {
			settings = append(settings, o.Each(c)...)
		}
		var args []string
		for _, s := range settings {
			args = append(args, "--set", s)
		}
		c.Brokers = append(c.Brokers, brokertest.StartBroker(tb, c.Etcd.Endpoint(), brokertest.Options{Args: args, Env: o.Env}))
	}
	c.connect()
	return c
}

// Of is a cluster of brokers that the test has started itself, on whatever etcd: Etcd is nil.
func Of(tb testing.TB, brokers []*brokertest.Process, admin ...kgo.Opt) *Cluster {
	tb.Helper()
	c := &Cluster{tb: tb, Brokers: brokers}
	c.connect(admin...)
	return c
}

// connect makes the administrator's client.
func (c *Cluster) connect(opts ...kgo.Opt) {
	c.tb.Helper()
	cl, err := kgo.NewClient(append(opts, c.Seeds(), kgo.MetadataMinAge(20*time.Millisecond))...)
	if err != nil {
		c.tb.Fatal(err)
	}
	c.tb.Cleanup(cl.Close)
	c.client, c.Admin = cl, kadm.NewClient(cl)
}

// selector has consumers that say where they stand read from there.
const selector = "org.apache.kafka.common.replica.RackAwareReplicaSelector"

// Rack is where a broker stands: each on a rack of its own.
func Rack(id int) string { return "rack-" + strconv.Itoa(id) }

// Racks is the racks of all brokers, and "" for nowhere.
func (c *Cluster) Racks() []string {
	all := []string{""}
	for id := range c.Brokers {
		all = append(all, Rack(id+1))
	}
	return all
}

// Bootstrap is the addresses of all brokers, dead ones included.
func (c *Cluster) Bootstrap() []string {
	var all []string
	for _, b := range c.Brokers {
		all = append(all, b.Bootstrap)
	}
	return all
}

// Seeds is Bootstrap as franz-go takes it.
func (c *Cluster) Seeds() kgo.Opt { return kgo.SeedBrokers(c.Bootstrap()...) }

// Create makes a topic with a replica on every broker, and waits until all of them are in sync.
func (c *Cluster) Create(name string, partitions int32, settings map[string]string) {
	c.tb.Helper()
	values := map[string]*string{}
	for k, v := range settings {
		values[k] = &v
	}
	brokertest.Eventually(c.tb, "topic "+name+" is created", func() (bool, error) {
		resp, err := c.Admin.CreateTopic(context.Background(), partitions, int16(len(c.Brokers)), values, name)
		return err == nil && resp.Err == nil || errors.Is(err, kerr.TopicAlreadyExists), errors.Join(err, resp.Err)
	})
	c.AwaitInSync(name, len(c.Brokers))
	for id := range c.Brokers {
		brokertest.Eventually(c.tb, fmt.Sprintf("broker %d has heard of %s", id+1, name), func() (bool, error) { return c.knows(id+1, name) })
	}
}

// knows asks one broker for a topic: some clients take it for an error if the one that they ask has not heard of it yet.
func (c *Cluster) knows(broker int, name string) (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	req, t := kmsg.NewPtrMetadataRequest(), kmsg.NewMetadataRequestTopic()
	t.Topic = &name
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, c.client.Broker(broker))
	return err == nil && len(resp.Topics) == 1 && resp.Topics[0].ErrorCode == 0, err
}

// Partitions is what the cluster says of a topic.
func (c *Cluster) Partitions(name string) ([]kadm.PartitionDetail, error) {
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	topics, err := c.Admin.ListTopics(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := topics[name].Err; err != nil {
		return nil, err
	}
	return topics[name].Partitions.Sorted(), nil
}

// Leader is who leads a partition.
func (c *Cluster) Leader(name string, partition int) int32 {
	c.tb.Helper()
	ps, err := c.Partitions(name)
	if err != nil {
		c.tb.Fatal(err)
	}
	return ps[partition].Leader
}

// AwaitInSync waits until n replicas of every partition are in sync and there is a leader.
func (c *Cluster) AwaitInSync(name string, n int) {
	c.tb.Helper()
	c.Await(name, fmt.Sprintf("%d replicas of %s are in sync", n, name), func(p kadm.PartitionDetail) bool {
		return p.Err == nil && p.Leader >= 0 && len(p.ISR) == n
	})
}

// AwaitLeaders waits until every partition is led by one of the living, and not by broker dead.
func (c *Cluster) AwaitLeaders(name string, dead int32) {
	c.tb.Helper()
	c.Await(name, fmt.Sprintf("%s is led by others than %d", name, dead), func(p kadm.PartitionDetail) bool {
		return p.Err == nil && p.Leader >= 0 && p.Leader != dead
	})
}

// Await waits until every partition is as ok says.
func (c *Cluster) Await(name, what string, ok func(kadm.PartitionDetail) bool) {
	c.tb.Helper()
	brokertest.Eventually(c.tb, what, func() (bool, error) {
		ps, err := c.Partitions(name)
		for _, p := range ps {
			if !ok(p) {
				return false, fmt.Errorf("partition %d: leader %d, in sync %v, %w", p.Partition, p.Leader, p.ISR, p.Err)
			}
		}
		return err == nil && len(ps) > 0, err
	})
}

// CheckReplicas checks that every replica of a topic ends where the others do. Nobody may write to it meanwhile.
func (c *Cluster) CheckReplicas(name string) {
	c.tb.Helper()
	ps, err := c.Partitions(name)
	if err != nil {
		c.tb.Fatal(err)
	}
	for _, p := range ps {
		var ends []int64
		for _, b := range c.Brokers {
			tiers, err := b.Tiers(name)
			if err != nil {
				c.tb.Fatal(err)
			}
			i := slices.IndexFunc(tiers, func(x brokertest.Tier) bool { return x.Partition == p.Partition })
			ends = append(ends, tiers[i].End)
		}
		if slices.Min(ends) != slices.Max(ends) {
			c.tb.Errorf("replicas of partition %d end at %v", p.Partition, ends)
		}
	}
}

// Wipe takes the disk of a broker that does not run away.
func (c *Cluster) Wipe(id int32) {
	c.tb.Helper()
	dir := c.Brokers[id-1].Dir
	entries, err := os.ReadDir(dir)
	if err != nil {
		c.tb.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			c.tb.Fatal(err)
		}
	}
}
