package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest"
	"firn/broker/brokertest/history"
	"firn/broker/brokertest/history/drive"
	"firn/metadata/kvtest"
)

// trio is brokers 1 to n (three, as a rule) on one real etcd, with an administrator's client.
type trio struct {
	t       *testing.T
	etcd    *kvtest.Etcd
	brokers []*brokertest.Process
	adm     *kadm.Client
}

func startTrio(t *testing.T, n int, settings ...string) *trio {
	t.Helper()
	return startTrioWith(t, n, func(*trio) []string { return settings })
}

// startTrioWith is startTrio with settings of its own for each broker.
func startTrioWith(t *testing.T, n int, settings func(*trio) []string) *trio {
	t.Helper()
	c := &trio{t: t, etcd: kvtest.StartEtcd(t)}
	for id := range n {
		args := []string{"--set", "node.id=" + strconv.Itoa(id+1), "--set", "broker.session.timeout.ms=2000"}
		for _, s := range settings(c) {
			args = append(args, "--set", s)
		}
		c.brokers = append(c.brokers, brokertest.StartBroker(t, c.etcd.Endpoint(), brokertest.Options{Args: args}))
	}
	cl, err := kgo.NewClient(c.seeds(), kgo.MetadataMinAge(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	c.adm = kadm.NewClient(cl)
	return c
}

func (c *trio) bootstrap() []string {
	var all []string
	for _, b := range c.brokers {
		all = append(all, b.Bootstrap)
	}
	return all
}

func (c *trio) seeds() kgo.Opt { return kgo.SeedBrokers(c.bootstrap()...) }

// create makes a topic with a replica on every broker, and waits until all of them are in sync.
func (c *trio) create(name string, partitions int32, settings map[string]string) {
	c.t.Helper()
	values := map[string]*string{}
	for k, v := range settings {
		values[k] = &v
	}
	brokertest.Eventually(c.t, "topic "+name+" is created", func() (bool, error) {
		resp, err := c.adm.CreateTopic(context.Background(), partitions, int16(len(c.brokers)), values, name)
		return err == nil && resp.Err == nil || errors.Is(err, kerr.TopicAlreadyExists), errors.Join(err, resp.Err)
	})
	c.awaitInSync(name, len(c.brokers))
}

// partitions is what the cluster says of a topic.
func (c *trio) partitions(name string) ([]kadm.PartitionDetail, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	topics, err := c.adm.ListTopics(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := topics[name].Err; err != nil {
		return nil, err
	}
	return topics[name].Partitions.Sorted(), nil
}

// awaitInSync waits until n replicas of every partition are in sync and there is a leader.
func (c *trio) awaitInSync(name string, n int) {
	c.t.Helper()
	c.await(name, fmt.Sprintf("%d replicas of %s are in sync", n, name), func(p kadm.PartitionDetail) bool {
		return p.Err == nil && p.Leader >= 0 && len(p.ISR) == n
	})
}

// await waits until every partition is as ok says.
func (c *trio) await(name, what string, ok func(kadm.PartitionDetail) bool) {
	c.t.Helper()
	brokertest.Eventually(c.t, what, func() (bool, error) {
		ps, err := c.partitions(name)
		for _, p := range ps {
			if !ok(p) {
				return false, fmt.Errorf("partition %d: leader %d, in sync %v, %w", p.Partition, p.Leader, p.ISR, p.Err)
			}
		}
		return err == nil && len(ps) > 0, err
	})
}

// awaitLeaders waits until every partition is led by one of the living, and not by broker dead.
func (c *trio) awaitLeaders(name string, dead int32) {
	c.t.Helper()
	c.await(name, fmt.Sprintf("%s is led by others than %d", name, dead), func(p kadm.PartitionDetail) bool {
		return p.Err == nil && p.Leader >= 0 && p.Leader != dead
	})
}

// newRig has producers, readers and members of a group work on topic "kill" of the cluster, a record per gap and producer.
func (c *trio) newRig(gap time.Duration) *crashRig {
	c.t.Helper()
	seed := uint64(envInt(c.t, "FIRN_SEED", int(time.Now().UnixNano()&0x7fffffff)))
	c.t.Logf("seed %d (FIRN_SEED)", seed)
	o := drive.Options{
		Bootstrap: c.bootstrap(), Topic: "kill", Partitions: killPartitions, Group: "killed", Seed: seed,
		Producers: 3, RecordBytes: 3000, Gap: gap, Readers: 1, Members: 2, Lifetime: 5 * time.Second,
	}
	r := &crashRig{t: c.t, p: c.brokers[0], rng: rand.New(rand.NewPCG(seed, 0)), d: drive.Start(o)}
	c.t.Cleanup(func() { _, _ = r.d.Close() })
	return r
}

// finish lets every record arrive, reads everything, and fails the test if the history of what clients saw has anything
// wrong.
func (c *trio) finish(r *crashRig) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*testTimeout)
	defer cancel()
	if err := r.d.Stop(ctx); err != nil {
		c.t.Fatal(err)
	}
	if _, err := r.d.ReadAll(ctx, "in the end"); err != nil {
		c.t.Errorf("read everything: %v", err)
	}
	h, err := r.d.Close()
	if err != nil {
		c.t.Fatal(err)
	}
	report := history.Check(h)
	c.t.Log(report.Summary())
	if !report.Valid {
		c.t.Error(report)
	}
}

// Leaders are killed over and over while idempotent producers write with acks=all: every acknowledged record is there,
// once, in order, at the offset the producer was told, and each broker that comes back catches up and is in sync again.
func TestLeadersKilledOverAndOver(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 3)
	c.create("kill", killPartitions, map[string]string{"min.insync.replicas": "2", "segment.bytes": "1048576"})
	r := c.newRig(2 * time.Millisecond)
	for range envInt(t, "FIRN_CRASH_ROUNDS", 4) {
		r.live(500 * time.Millisecond)
		ps, err := c.partitions("kill")
		if err != nil {
			t.Fatal(err)
		}
		victim := ps[r.rng.IntN(len(ps))].Leader
		killed := time.Now()
		c.brokers[victim-1].Kill()
		c.awaitLeaders("kill", victim)
		took, last := time.Since(killed), r.acked()
		c.brokers[victim-1].Eventually("records are acknowledged without it", func() (bool, error) { return r.acked() > last+200, nil })
		t.Logf("broker %d killed: led by others after %v, 200 records more after %v", victim, took, time.Since(killed))
		c.brokers[victim-1].Restart()
		c.awaitInSync("kill", 3)
	}
	c.finish(r)
	c.checkReplicas("kill")
}

// checkReplicas checks that every replica of a topic ends where the others do.
func (c *trio) checkReplicas(name string) {
	c.t.Helper()
	ps, err := c.partitions(name)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, p := range ps {
		var ends []int64
		for _, b := range c.brokers {
			tiers, err := b.Tiers(name)
			if err != nil {
				c.t.Fatal(err)
			}
			i := slices.IndexFunc(tiers, func(x brokertest.Tier) bool { return x.Partition == p.Partition })
			ends = append(ends, tiers[i].End)
		}
		if slices.Min(ends) != slices.Max(ends) {
			c.t.Errorf("replicas of partition %d end at %v", p.Partition, ends)
		}
	}
}

// With fewer replicas in sync than min.insync.replicas acks=all is refused and nothing is committed; what was written
// meanwhile is committed once there are enough again.
func TestMinInSyncReplicas(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 3)
	c.create("min", 1, map[string]string{"min.insync.replicas": "2"})
	produce := func(acks kgo.Acks) error {
		cl, err := kgo.NewClient(c.seeds(), kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite(), kgo.RecordRetries(0), kgo.DefaultProduceTopic("min"),
			kgo.ProduceRequestTimeout(10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		return cl.ProduceSync(context.Background(), kgo.StringRecord("v")).FirstErr()
	}
	brokertest.Eventually(t, "the leader leads", func() (bool, error) {
		err := produce(kgo.AllISRAcks())
		return err == nil, err
	})
	ps, err := c.partitions("min")
	if err != nil {
		t.Fatal(err)
	}
	leader := ps[0].Leader
	var dead []*brokertest.Process
	for i, b := range c.brokers {
		if int32(i+1) != leader {
			b.Kill()
			dead = append(dead, b)
		}
	}
	brokertest.Eventually(t, "acks=all is refused", func() (bool, error) {
		err := produce(kgo.AllISRAcks())
		return errors.Is(err, kerr.NotEnoughReplicas), err
	})
	brokertest.Eventually(t, "acks=1 is not", func() (bool, error) {
		err := produce(kgo.LeaderAck())
		return err == nil, err
	})
	tier := func() brokertest.Tier {
		tiers, err := c.brokers[leader-1].Tiers("min")
		if err != nil {
			t.Fatal(err)
		}
		return tiers[0]
	}
	if at := tier(); at.HighWatermark >= at.End {
		t.Errorf("high watermark %d of %d although too few are in sync", at.HighWatermark, at.End)
	}
	dead[0].Restart()
	brokertest.Eventually(t, "acks=all is taken again", func() (bool, error) {
		err := produce(kgo.AllISRAcks())
		return err == nil, err
	})
	if at := tier(); at.HighWatermark != at.End {
		t.Errorf("high watermark %d of %d although enough are in sync", at.HighWatermark, at.End)
	}
	dead[1].Restart()
	c.awaitInSync("min", 3)
}

// wipe takes a killed broker's disk away.
func wipe(t *testing.T, p *brokertest.Process) {
	t.Helper()
	entries, err := os.ReadDir(p.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(p.Dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

// A broker whose disk was replaced starts at the end of the tier: it copies what is not archived and nothing else, and is
// in sync again with all that a leader needs, producers' sequences among it. It is never trusted before.
func TestReplacedDiskStartsAtTheEndOfTheTier(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 3, "tier.url=file://"+t.TempDir(), "log.retention.check.interval.ms=200")
	c.create("kill", killPartitions, map[string]string{
		"min.insync.replicas": "2", "segment.bytes": "262144", "local.retention.ms": "500", "tier.max.lag.ms": "300", "tier.min.bytes": "1",
	})
	r := c.newRig(3 * time.Millisecond)
	for id, b := range c.brokers {
		r.live(2 * time.Second)
		b.Eventually("enough is archived and gone from the disks", func() (bool, error) {
			var sum int64
			for _, b := range c.brokers {
				tiers, err := b.Tiers("kill")
				if err != nil {
					return false, err
				}
				for _, tr := range tiers {
					sum += tr.LocalStart
				}
			}
			return sum > int64(len(c.brokers)*(id+1))*1000, fmt.Errorf("%d records are gone", sum)
		})
		b.Kill()
		c.awaitLeaders("kill", int32(id+1))
		wipe(t, b)
		b.Restart()
		c.awaitInSync("kill", 3)
		tiers, err := b.Tiers("kill")
		if err != nil {
			t.Fatal(err)
		}
		for _, tr := range tiers {
			if tr.LocalStart == 0 {
				t.Errorf("broker %d has partition %d from its beginning, the tier ends at %d", id+1, tr.Partition, tr.TieredEnd)
			}
		}
		copied, err := b.Metric("firn_replication_fetch_bytes_total")
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("broker %d started anew: %+v, %v bytes copied", id+1, tiers, copied)
	}
	c.finish(r)
	c.checkReplicas("kill")
}

// A broker was away for so long that the leaders have what it lacks in the tier alone: it starts anew at the tier's end.
func TestFollowerAwayForLong(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 3, "tier.url=file://"+t.TempDir(), "log.retention.check.interval.ms=200")
	c.create("kill", killPartitions, map[string]string{
		"min.insync.replicas": "2", "segment.bytes": "262144", "local.retention.ms": "500", "tier.max.lag.ms": "300", "tier.min.bytes": "1",
	})
	r := c.newRig(3 * time.Millisecond)
	r.live(time.Second)
	away := c.brokers[2]
	was, err := away.Tiers("kill")
	if err != nil {
		t.Fatal(err)
	}
	away.Kill()
	c.awaitLeaders("kill", 3)
	brokertest.Eventually(t, "leaders have dropped what it lacks", func() (bool, error) {
		now := map[int32]int64{}
		for _, b := range c.brokers[:2] {
			tiers, err := b.Tiers("kill")
			if err != nil {
				return false, err
			}
			for _, tr := range tiers {
				if tr.Leader >= 0 {
					now[tr.Partition] = tr.LocalStart
				}
			}
		}
		for _, tr := range was {
			if now[tr.Partition] <= tr.End+1000 {
				return false, fmt.Errorf("partition %d starts at %d, it had %d", tr.Partition, now[tr.Partition], tr.End)
			}
		}
		return true, nil
	})
	away.Restart()
	c.awaitInSync("kill", 3)
	// One may begin anew twice: leaders that keep half a second may drop more while it reads where the tier ends.
	anew, err := away.Metric("firn_replication_logs_begun_anew_total")
	if err != nil || anew < killPartitions {
		t.Errorf("%v logs begun anew, %v", anew, err)
	}
	// It leads now, with what it has: the producers' sequences must be among it.
	for _, b := range c.brokers[:2] {
		b.Stop()
	}
	c.awaitLeaders("kill", 1)
	for _, b := range c.brokers[:2] {
		b.Restart()
	}
	c.awaitInSync("kill", 3)
	c.finish(r)
	c.checkReplicas("kill")
}
