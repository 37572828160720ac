package main

import (
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"firn/broker/brokertest"
)

// A leader that is frozen for longer than its lease finds, when it wakes, that others lead. What it had appended and
// nobody had fetched is gone, and nobody was told that it was there.
func TestLeaderFrozenWhileOthersTakeOver(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 3)
	c.create("kill", killPartitions, map[string]string{"min.insync.replicas": "2"})
	r := c.newRig(2 * time.Millisecond)
	r.live(500 * time.Millisecond)
	ps, err := c.partitions("kill")
	if err != nil {
		t.Fatal(err)
	}
	victim := ps[0].Leader
	p := c.brokers[victim-1]
	p.Signal(syscall.SIGSTOP)
	wake := sync.OnceFunc(func() { p.Signal(syscall.SIGCONT) })
	t.Cleanup(wake)
	c.awaitLeaders("kill", victim)
	last := r.acked()
	brokertest.Eventually(t, "records are acknowledged without it", func() (bool, error) { return r.acked() > last+500, nil })
	wake()
	c.awaitInSync("kill", 3)
	c.finish(r)
	c.checkReplicas("kill")
}

// While all of etcd is away the data path goes on: every in-sync replica still follows, so nobody else can lead.
func TestThreeBrokersWithoutEtcd(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 3)
	c.create("kill", killPartitions, map[string]string{"min.insync.replicas": "2"})
	r := c.newRig(2 * time.Millisecond)
	r.live(500 * time.Millisecond)
	c.etcd.Signal(syscall.SIGSTOP)
	wake := sync.OnceFunc(func() { c.etcd.Signal(syscall.SIGCONT) })
	t.Cleanup(wake)
	away := time.Now()
	for time.Since(away) < time.Duration(envInt(t, "FIRN_TEST_ETCD_AWAY_MS", 6000))*time.Millisecond {
		last, since := r.acked(), time.Now()
		brokertest.Eventually(t, "records are acknowledged", func() (bool, error) { return r.acked() > last+200, nil })
		if d := time.Since(since); d > 5*time.Second {
			t.Errorf("200 records took %v, etcd had been away for %v", d, time.Since(away))
		}
	}
	wake()
	c.awaitInSync("kill", 3)
	c.finish(r)
	c.checkReplicas("kill")
}

// All brokers are killed at once: what was acknowledged is on the disks of all that were in sync.
func TestAllBrokersKilledAtOnce(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 3)
	c.create("kill", killPartitions, map[string]string{"min.insync.replicas": "2"})
	r := c.newRig(2 * time.Millisecond)
	for range 2 {
		r.live(time.Second)
		for _, b := range c.brokers {
			b.Kill()
		}
		for _, i := range r.rng.Perm(len(c.brokers)) {
			c.brokers[i].Restart()
		}
		c.awaitInSync("kill", 3)
	}
	c.finish(r)
	c.checkReplicas("kill")
}

// Brokers are stopped and started one after the other, as for an upgrade: no producer gets an error.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 3)
	c.create("kill", killPartitions, map[string]string{"min.insync.replicas": "2"})
	r := c.newRig(2 * time.Millisecond)
	for id, b := range c.brokers {
		r.live(500 * time.Millisecond)
		last, since := r.acked(), time.Now()
		b.Stop()
		c.awaitLeaders("kill", int32(id+1))
		brokertest.Eventually(t, "records are acknowledged without it", func() (bool, error) { return r.acked() > last+200, nil })
		t.Logf("broker %d stopped, 200 more records after %v", id+1, time.Since(since))
		b.Restart()
		c.awaitInSync("kill", 3)
	}
	c.finish(r)
	c.checkReplicas("kill")
}

// Faults come in random order, some of them together: brokers killed, frozen, stopped or with an empty disk, etcd frozen.
func TestThreeBrokersThroughRandomFaults(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 3, "tier.url=file://"+t.TempDir(), "log.retention.check.interval.ms=200", "replica.lag.time.max.ms=1500")
	c.create("kill", killPartitions, map[string]string{
		"min.insync.replicas": "2", "segment.bytes": "262144", "local.retention.ms": "500", "tier.max.lag.ms": "300", "tier.min.bytes": "1",
	})
	r := c.newRig(3 * time.Millisecond)
	for range envInt(t, "FIRN_CRASH_ROUNDS", 4) {
		r.live(time.Second)
		var etcdBack func()
		if r.rng.IntN(4) == 0 {
			t.Log("etcd is frozen")
			c.etcd.Signal(syscall.SIGSTOP)
			etcdBack = sync.OnceFunc(func() { c.etcd.Signal(syscall.SIGCONT) })
			t.Cleanup(etcdBack)
			r.live(3 * time.Second)
		}
		id := r.rng.IntN(len(c.brokers))
		b := c.brokers[id]
		fault := []string{"killed", "frozen", "stopped", "wiped"}[r.rng.IntN(4)]
		t.Logf("broker %d is %s", id+1, fault)
		back := func() { b.Restart() }
		switch fault {
		case "killed", "wiped":
			b.Kill()
		case "frozen":
			b.Signal(syscall.SIGSTOP)
			back = sync.OnceFunc(func() { b.Signal(syscall.SIGCONT) })
			t.Cleanup(back)
		case "stopped":
			b.Stop()
		}
		r.live(4 * time.Second)
		if etcdBack != nil {
			etcdBack()
		}
		if fault == "wiped" {
			c.awaitLeaders("kill", int32(id+1))
			wipe(t, b)
		}
		back()
		c.awaitInSync("kill", 3)
	}
	c.finish(r)
	c.checkReplicas("kill")
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
	c := startTrioWith(t, 3, func(*trio) []string {
		port := freePort(t)
		p := startProxy(t, "127.0.0.1:"+port)
		between = append(between, p)
		return []string{
			"listeners=PLAINTEXT://127.0.0.1:0,INTERNAL://127.0.0.1:" + port, "advertised.listeners=INTERNAL://" + p.addr(),
			"listener.security.protocol.map=INTERNAL:PLAINTEXT", "inter.broker.listener.name=INTERNAL", "replica.lag.time.max.ms=1500",
		}
	})
	c.create("kill", killPartitions, map[string]string{"min.insync.replicas": "1"})
	r := c.newRig(3 * time.Millisecond)
	for range 2 {
		r.live(500 * time.Millisecond)
		ps, err := c.partitions("kill")
		if err != nil {
			t.Fatal(err)
		}
		leader := ps[r.rng.IntN(len(ps))].Leader
		p := between[leader-1]
		p.delay.Store(int64(time.Hour))
		c.await("kill", "the followers are not in sync", func(p kadm.PartitionDetail) bool {
			return p.Leader != leader || slices.Equal(p.ISR, []int32{leader})
		})
		last := r.acked()
		brokertest.Eventually(t, "records are acknowledged by the leader alone", func() (bool, error) { return r.acked() > last+500, nil })
		p.delay.Store(0)
		p.hangUp()
		c.awaitInSync("kill", 3)
	}
	c.finish(r)
	c.checkReplicas("kill")
}

// A leader is cut off from etcd alone. Others are elected and its followers leave it, so that it can commit nothing any more.
func TestLeaderCutOffFromEtcd(t *testing.T) {
	t.Parallel()
	var between []*proxy
	c := startTrioWith(t, 3, func(c *trio) []string {
		p := startProxy(t, c.etcd.Endpoint())
		between = append(between, p)
		return []string{"etcd.endpoints=" + p.addr()}
	})
	c.create("kill", killPartitions, map[string]string{"min.insync.replicas": "2"})
	r := c.newRig(3 * time.Millisecond)
	for range 2 {
		r.live(500 * time.Millisecond)
		ps, err := c.partitions("kill")
		if err != nil {
			t.Fatal(err)
		}
		leader := ps[r.rng.IntN(len(ps))].Leader
		p := between[leader-1]
		p.delay.Store(int64(time.Hour))
		brokertest.Eventually(t, "others lead, and its clients know", func() (bool, error) {
			ps, err := c.partitions("kill") // the one that is cut off may be asked, too
			return err == nil && !slices.ContainsFunc(ps, func(p kadm.PartitionDetail) bool { return p.Leader == leader }), err
		})
		last := r.acked()
		brokertest.Eventually(t, "records are acknowledged by others", func() (bool, error) { return r.acked() > last+500, nil })
		p.delay.Store(0)
		p.hangUp()
		c.awaitInSync("kill", 3)
	}
	c.finish(r)
	c.checkReplicas("kill")
}
