package clustertest

import (
	"math/rand/v2"
	"sync"
	"syscall"
	"time"
)

const (
	etcdFrozen = 3 * time.Second // at most, before a broker gets into trouble, too
	troubled   = 4 * time.Second // at most: shorter and longer than a session
)

// Trouble lets one of the things go wrong that a cluster with three replicas gets over: a broker is killed, frozen, stopped or
// killed with its disk taken away, every fourth time while etcd is frozen. It returns once all replicas of topic are in sync
// again.
func (c *Cluster) Trouble(rng *rand.Rand, topic string) {
	c.tb.Helper()
	thaw := func() {}
	if rng.IntN(4) == 0 {
		c.tb.Log("etcd is frozen")
		thaw = c.Freeze(c.Etcd)
		Live(rng, etcdFrozen)
	}
	id := 1 + rng.Int32N(int32(len(c.Brokers)))
	b := c.Brokers[id-1]
	fault := []string{"killed", "frozen", "stopped", "wiped"}[rng.IntN(4)]
	c.tb.Logf("broker %d is %s", id, fault)
	back := b.Restart
	switch fault {
	case "killed", "wiped":
		b.Kill()
	case "frozen":
		back = c.Freeze(b)
	case "stopped":
		b.Stop()
	}
	Live(rng, troubled)
	thaw()
	if fault == "wiped" {
		c.AwaitLeaders(topic, id)
		c.Wipe(id)
	}
	back()
	c.AwaitInSync(topic, len(c.Brokers))
}

// Live lets clients work for a random while.
func Live(rng *rand.Rand, atMost time.Duration) {
	<-time.After(50*time.Millisecond + time.Duration(rng.Int64N(int64(atMost))))
}

// Freeze stops a process, of a broker or etcd, until thaw is called or the test ends.
func (c *Cluster) Freeze(p interface{ Signal(sig syscall.Signal) }) (thaw func()) {
	c.tb.Helper()
	p.Signal(syscall.SIGSTOP)
	thaw = sync.OnceFunc(func() { p.Signal(syscall.SIGCONT) })
	c.tb.Cleanup(thaw)
	return thaw
}
