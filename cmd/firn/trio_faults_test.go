package main

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"firn/broker/brokertest"
	"firn/broker/brokertest/clustertest"
)

// A leader that is frozen for longer than its lease finds, when it wakes, that others lead. What it had appended and
// nobody had fetched is gone, and nobody was told that it was there.
func TestLeaderFrozenWhileOthersTakeOver(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 3)
	c.Create("kill", killPartitions, map[string]string{"min.insync.replicas": "2"})
	r := c.newRig(2 * time.Millisecond)
	r.live(500 * time.Millisecond)
	victim := c.Leader("kill", 0)
	wake := c.Freeze(c.Brokers[victim-1])
	c.AwaitLeaders("kill", victim)
	last := r.acked()
	brokertest.Eventually(t, "records are acknowledged without it", func() (bool, error) { return r.acked() > last+500, nil })
	wake()
	c.AwaitInSync("kill", 3)
	c.finish(r)
	c.CheckReplicas("kill")
}

// While all of etcd is away the data path goes on: every in-sync replica still follows, so nobody else can lead.
func TestThreeBrokersWithoutEtcd(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 3)
	c.Create("kill", killPartitions, map[string]string{"min.insync.replicas": "2"})
	r := c.newRig(2 * time.Millisecond)
	r.live(500 * time.Millisecond)
	wake := c.Freeze(c.Etcd)
	away := time.Now()
	for time.Since(away) < time.Duration(envInt(t, "FIRN_TEST_ETCD_AWAY_MS", 6000))*time.Millisecond {
		last, since := r.acked(), time.Now()
		brokertest.Eventually(t, "records are acknowledged", func() (bool, error) { return r.acked() > last+200, nil })
		if d := time.Since(since); d > 5*time.Second {
			t.Errorf("200 records took %v, etcd had been away for %v", d, time.Since(away))
		}
	}
	wake()
	c.AwaitInSync("kill", 3)
	c.finish(r)
	c.CheckReplicas("kill")
}

// All brokers are killed at once: what was acknowledged is on the disks of all that were in sync.
func TestAllBrokersKilledAtOnce(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 3)
	c.Create("kill", killPartitions, map[string]string{"min.insync.replicas": "2"})
	r := c.newRig(2 * time.Millisecond)
	for range 2 {
		r.live(time.Second)
		for _, b := range c.Brokers {
			b.Kill()
		}
		for _, i := range r.rng.Perm(len(c.Brokers)) {
			c.Brokers[i].Restart()
		}
		c.AwaitInSync("kill", 3)
	}
	c.finish(r)
	c.CheckReplicas("kill")
}

// Brokers are stopped and started one after the other, as for an upgrade: no producer gets an error.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 3)
	c.Create("kill", killPartitions, map[string]string{"min.insync.replicas": "2"})
	r := c.newRig(2 * time.Millisecond)
	for id, b := range c.Brokers {
		r.live(500 * time.Millisecond)
		last, since := r.acked(), time.Now()
		b.Stop()
		c.AwaitLeaders("kill", int32(id+1))
		brokertest.Eventually(t, "records are acknowledged without it", func() (bool, error) { return r.acked() > last+200, nil })
		t.Logf("broker %d stopped, 200 more records after %v", id+1, time.Since(since))
		b.Restart()
		c.AwaitInSync("kill", 3)
	}
	c.finish(r)
	c.CheckReplicas("kill")
}

// Faults come in random order, some of them together: brokers killed, frozen, stopped or with an empty disk, etcd frozen.
func TestThreeBrokersThroughRandomFaults(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 3, "tier.url=file://"+t.TempDir(), "log.retention.check.interval.ms=200", "replica.lag.time.max.ms=1500")
	c.Create("kill", killPartitions, map[string]string{
		"min.insync.replicas": "2", "segment.bytes": "262144", "local.retention.ms": "500", "tier.max.lag.ms": "300", "tier.min.bytes": "1",
	})
	r := c.newRig(3 * time.Millisecond)
	for range envInt(t, "FIRN_CRASH_ROUNDS", 4) {
		r.live(time.Second)
		c.Trouble(r.rng, "kill")
	}
	c.finish(r)
	c.CheckReplicas("kill")
}

// freePort is a port of the loopback that nobody listens on at the moment.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// Nobody can fetch from one of the leaders, whose registration stands: it goes on alone once its followers have lagged for
// too long, and takes them back when they have caught up.
func TestFollowersCutOffFromTheirLeader(t *testing.T) {
	t.Parallel()
	var between []*proxy
	c := startTrioWith(t, func(*clustertest.Cluster) []string {
		port := freePort(t)
		p := startProxy(t, "127.0.0.1:"+port)
		between = append(between, p)
		return []string{
			"listeners=PLAINTEXT://127.0.0.1:0,INTERNAL://127.0.0.1:" + port, "advertised.listeners=INTERNAL://" + p.addr(),
			"listener.security.protocol.map=INTERNAL:PLAINTEXT", "inter.broker.listener.name=INTERNAL", "replica.lag.time.max.ms=1500",
		}
	})
	c.Create("kill", killPartitions, map[string]string{"min.insync.replicas": "1"})
	r := c.newRig(3 * time.Millisecond)
	for range 2 {
		r.live(500 * time.Millisecond)
		leader := c.Leader("kill", r.rng.IntN(killPartitions))
		p := between[leader-1]
		p.delay.Store(int64(time.Hour))
		c.Await("kill", "the followers are not in sync", func(p kadm.PartitionDetail) bool {
			return p.Leader != leader || slices.Equal(p.ISR, []int32{leader})
		})
		last := r.acked()
		brokertest.Eventually(t, "records are acknowledged by the leader alone", func() (bool, error) { return r.acked() > last+500, nil })
		p.delay.Store(0)
		p.hangUp()
		c.AwaitInSync("kill", 3)
	}
	c.finish(r)
	c.CheckReplicas("kill")
}

// A leader is cut off from etcd alone. Others are elected and its followers leave it, so that it can commit nothing any more.
func TestLeaderCutOffFromEtcd(t *testing.T) {
	t.Parallel()
	var between []*proxy
	c := startTrioWith(t, func(c *clustertest.Cluster) []string {
		p := startProxy(t, c.Etcd.Endpoint())
		between = append(between, p)
		return []string{"etcd.endpoints=" + p.addr()}
	})
	c.Create("kill", killPartitions, map[string]string{"min.insync.replicas": "2"})
	r := c.newRig(3 * time.Millisecond)
	for range 2 {
		r.live(500 * time.Millisecond)
		leader := c.Leader("kill", r.rng.IntN(killPartitions))
		p := between[leader-1]
		p.delay.Store(int64(time.Hour))
		brokertest.Eventually(t, "others lead, and its clients know", func() (bool, error) {
			ps, err := c.Partitions("kill") // the one that is cut off may be asked, too
			return err == nil && !slices.ContainsFunc(ps, func(p kadm.PartitionDetail) bool { return p.Leader == leader }), err
		})
		last := r.acked()
		brokertest.Eventually(t, "records are acknowledged by others", func() (bool, error) { return r.acked() > last+500, nil })
		p.delay.Store(0)
		p.hangUp()
		c.AwaitInSync("kill", 3)
	}
	c.finish(r)
	c.CheckReplicas("kill")
}
