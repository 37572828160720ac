package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest"
	"firn/broker/brokertest/clustertest"
	"firn/broker/brokertest/history/drive"
)

// trio is a cluster of brokers, three as a rule, with clients at work on it.
type trio struct {
	*clustertest.Cluster
	t *testing.T
}

func startTrio(t *testing.T, n int, settings ...string) *trio {
	t.Helper()
	return &trio{t: t, Cluster: clustertest.Start(t, clustertest.Options{Brokers: n, Settings: settings})}
}

// startTrioWith is startTrio of three with settings of its own for each broker.
func startTrioWith(t *testing.T, each func(*clustertest.Cluster) []string) *trio {
	t.Helper()
	return &trio{t: t, Cluster: clustertest.Start(t, clustertest.Options{Each: each})}
}

// newRig has producers, readers and members of a group work on topic "kill" of the cluster, a record per gap and producer.
func (c *trio) newRig(gap time.Duration) *crashRig {
	c.t.Helper()
	seed := uint64(envInt(c.t, "FIRN_SEED", int(time.Now().UnixNano()&0x7fffffff)))
	c.t.Logf("seed %d (FIRN_SEED)", seed)
	o := drive.Options{
		Bootstrap: c.Bootstrap(), Topic: "kill", Partitions: killPartitions, Group: "killed", Seed: seed,
		Producers: 3, RecordBytes: 3000, Gap: gap, Readers: 1, Members: 2, Lifetime: 5 * time.Second,
		Racks: c.Racks(),
	}
	r := &crashRig{t: c.t, p: c.Brokers[0], rng: rand.New(rand.NewPCG(seed, 0)), d: drive.Start(o)}
	c.t.Cleanup(func() { _, _ = r.d.Close() })
	return r
}

// finish lets every record arrive, reads everything, and fails the test if the history of what clients saw has anything
// wrong.
func (c *trio) finish(r *crashRig) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*testTimeout)
	defer cancel()
	report, err := r.d.Judge(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
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
	c.Create("kill", killPartitions, map[string]string{"min.insync.replicas": "2", "segment.bytes": "1048576"})
	r := c.newRig(2 * time.Millisecond)
	for range envInt(t, "FIRN_CRASH_ROUNDS", 4) {
		r.live(500 * time.Millisecond)
		victim := c.Leader("kill", r.rng.IntN(killPartitions))
		killed := time.Now()
		c.Brokers[victim-1].Kill()
		c.AwaitLeaders("kill", victim)
		took, last := time.Since(killed), r.acked()
		c.Brokers[victim-1].Eventually("records are acknowledged without it", func() (bool, error) { return r.acked() > last+200, nil })
		t.Logf("broker %d killed: led by others after %v, 200 records more after %v", victim, took, time.Since(killed))
		c.Brokers[victim-1].Restart()
		c.AwaitInSync("kill", 3)
	}
	c.finish(r)
	c.CheckReplicas("kill")
}

// With fewer replicas in sync than min.insync.replicas acks=all is refused and nothing is committed; what was written
// meanwhile is committed once there are enough again.
func TestMinInSyncReplicas(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 3)
	c.Create("min", 1, map[string]string{"min.insync.replicas": "2"})
	produce := func(acks kgo.Acks) error {
		cl, err := kgo.NewClient(c.Seeds(), kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite(), kgo.RecordRetries(0), kgo.DefaultProduceTopic("min"),
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
	leader := c.Leader("min", 0)
	var dead []*brokertest.Process
	for i, b := range c.Brokers {
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
		tiers, err := c.Brokers[leader-1].Tiers("min")
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
	c.AwaitInSync("min", 3)
}

// A broker whose disk was replaced starts at the end of the tier: it copies what is not archived and nothing else, and is
// in sync again with all that a leader needs, producers' sequences among it. It is never trusted before.
func TestReplacedDiskStartsAtTheEndOfTheTier(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 3, "tier.url=file://"+t.TempDir(), "log.retention.check.interval.ms=200")
	c.Create("kill", killPartitions, map[string]string{
		"min.insync.replicas": "2", "segment.bytes": "262144", "local.retention.ms": "500", "tier.max.lag.ms": "300", "tier.min.bytes": "1",
	})
	r := c.newRig(3 * time.Millisecond)
	for id, b := range c.Brokers {
		r.live(2 * time.Second)
		b.Eventually("enough is archived and gone from the disks", func() (bool, error) {
			var sum int64
			for _, b := range c.Brokers {
				tiers, err := b.Tiers("kill")
				if err != nil {
					return false, err
				}
				for _, tr := range tiers {
					sum += tr.LocalStart
				}
			}
			return sum > int64(len(c.Brokers)*(id+1))*1000, fmt.Errorf("%d records are gone", sum)
		})
		b.Kill()
		c.AwaitLeaders("kill", int32(id+1))
		c.Wipe(int32(id + 1))
		b.Restart()
		c.AwaitInSync("kill", 3)
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
	c.CheckReplicas("kill")
}

// A broker was away for so long that the leaders have what it lacks in the tier alone: it starts anew at the tier's end.
func TestFollowerAwayForLong(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 3, "tier.url=file://"+t.TempDir(), "log.retention.check.interval.ms=200")
	c.Create("kill", killPartitions, map[string]string{
		"min.insync.replicas": "2", "segment.bytes": "262144", "local.retention.ms": "500", "tier.max.lag.ms": "300", "tier.min.bytes": "1",
	})
	r := c.newRig(3 * time.Millisecond)
	r.live(time.Second)
	away := c.Brokers[2]
	was, err := away.Tiers("kill")
	if err != nil {
		t.Fatal(err)
	}
	away.Kill()
	c.AwaitLeaders("kill", 3)
	brokertest.Eventually(t, "leaders have dropped what it lacks", func() (bool, error) {
		now := map[int32]int64{}
		for _, b := range c.Brokers[:2] {
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
	c.AwaitInSync("kill", 3)
	// One may begin anew twice: leaders that keep half a second may drop more while it reads where the tier ends.
	anew, err := away.Metric("firn_replication_logs_begun_anew_total")
	if err != nil || anew < killPartitions {
		t.Errorf("%v logs begun anew, %v", anew, err)
	}
	// It leads now, with what it has: the producers' sequences must be among it.
	for _, b := range c.Brokers[:2] {
		b.Stop()
	}
	c.AwaitLeaders("kill", 1)
	for _, b := range c.Brokers[:2] {
		b.Restart()
	}
	c.AwaitInSync("kill", 3)
	c.finish(r)
	c.CheckReplicas("kill")
}
