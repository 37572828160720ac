//go:build root && linux

package main

import (
	"bufio"
	"net/http"
	"strings"
	"syscall"
	"time"

	"firn/broker/brokertest"
	"firn/metadata/kvtest"
)

// machine is a host of the world with what runs on it: one of these.
type machine struct {
	*host
	broker *brokertest.Process
	disk   *disk // of the broker
	etcd   *kvtest.Etcd

	hit      bool // by a fault that has not ended
	launched bool // and not yet known to be ready
}

// fault is something that goes wrong for a while.
type fault struct {
	name string
	when moment
	// stops says that some records cannot be acknowledged meanwhile, as their leader stays: it is alive as far as the others know.
	// With any other fault alone they are, once there are new leaders.
	stops bool
	// begin lets it happen and says to whom, and how it ends. Nothing happens, and end is nil, if there is nobody left for it to happen to.
	begin func(c *chaos) (whom string, end func())
}

// moment is when a fault may begin.
type moment int

const (
	always moment = iota
	// calm is when nothing else is wrong and every replica is in sync: one disk is all that a cluster may lose at a time.
	calm
	// calmIfRelaxed is for what a disk has not synced. Relaxed topics stand its loss as that of a disk, durable ones always.
	calmIfRelaxed
	// durable is when there is no relaxed topic.
	durable
)

// faults is all that chaos does. Each is chosen as often as any other.
var faults = []fault{
	{name: "a broker is killed", begin: toBroker(func(c *chaos, m *machine) func() {
		m.kill()
		return m.launch
	})},
	{name: "a broker is frozen", begin: toBroker(func(c *chaos, m *machine) func() {
		m.broker.Signal(syscall.SIGSTOP)
		return func() { m.broker.Signal(syscall.SIGCONT) }
	})},
	{name: "all brokers are killed at once", stops: true, begin: toBrokers(func(c *chaos, m *machine) func() {
		m.kill()
		return m.launch
	})},
	{name: "brokers are restarted one by one", when: calm, begin: func(c *chaos) (string, func()) {
		all := c.takeAll(c.brokers)
		for _, m := range all {
			m.broker.Stop()
			m.launch()
			m.await()
			c.awaitInSync()
		}
		return names(all), func() { c.give(all...) }
	}},
	{name: "a broker does not hear another", begin: toBroker(func(c *chaos, m *machine) func() {
		return c.cut([]*host{c.other(m).host}, m.host, hears)
	})},
	{name: "two brokers are cut off from each other", begin: toBroker(func(c *chaos, m *machine) func() {
		return c.cut([]*host{c.other(m).host}, m.host, bothWays)
	})},
	{name: "two brokers refuse each other", begin: toBroker(func(c *chaos, m *machine) func() {
		return c.refuse(c.other(m).host, m.host)
	})},
	{name: "a broker is cut off from the others", stops: true, begin: toBroker(func(c *chaos, m *machine) func() {
		return c.cut(c.hosts(c.brokers, m), m.host, c.someWay())
	})},
	{name: "a broker is cut off from etcd", begin: toBroker(func(c *chaos, m *machine) func() {
		return c.cut(c.hosts(c.etcds, nil), m.host, c.someWay())
	})},
	{name: "a broker is cut off from the bucket", begin: toBroker(func(c *chaos, m *machine) func() {
		return c.cut([]*host{c.bucketHost}, m.host, c.someWay())
	})},
	{name: "a broker is cut off from clients", stops: true, begin: toBroker(func(c *chaos, m *machine) func() {
		return c.cut([]*host{c.w.here}, m.host, c.someWay())
	})},
	{name: "a broker is cut off from everybody", begin: toBroker(func(c *chaos, m *machine) func() {
		everybody := append(c.hosts(c.brokers, m), c.hosts(c.etcds, nil)...)
		return c.cut(append(everybody, c.bucketHost, c.w.here), m.host, c.someWay())
	})},
	{name: "an etcd member is killed", begin: toEtcd(1, false, killed)},
	{name: "an etcd member is frozen", begin: toEtcd(1, false, frozen)},
	{name: "the etcd leader is killed", begin: toEtcd(1, true, killed)},
	{name: "the etcd leader is frozen", begin: toEtcd(1, true, frozen)},
	{name: "the etcd leader is cut off from the others", begin: toEtcd(1, true, func(c *chaos, m *machine) func() {
		return c.cut(c.hosts(c.etcds, m), m.host, bothWays)
	})},
	{name: "etcd loses its quorum by a kill", begin: toEtcd(2, false, killed)},
	{name: "etcd loses its quorum by a freeze", begin: toEtcd(2, false, frozen)},
	{name: "the bucket is killed", begin: toBucket(func(c *chaos) func() {
		c.bucket.Kill()
		return c.bucket.Restart
	})},
	{name: "the bucket is frozen", begin: toBucket(func(c *chaos) func() {
		c.bucket.Signal(syscall.SIGSTOP)
		return func() { c.bucket.Signal(syscall.SIGCONT) }
	})},
	{name: "a disk is as full as it may be", stops: true, begin: toBroker(func(c *chaos, m *machine) func() {
		return m.disk.fill(diskFull - 8<<20)
	})},
	{name: "a disk has no room left", stops: true, begin: toBroker(func(c *chaos, m *machine) func() {
		free := m.disk.fill(0)
		return func() {
			free()
			m.mayHaveEnded()
		}
	})},
	{name: "a broker's power is cut", when: calmIfRelaxed, begin: toBroker(powerCut)},
	{name: "the power of all brokers is cut", when: durable, stops: true, begin: toBrokers(powerCut)},
	{name: "a broker's disk is replaced", when: calm, begin: toBroker(func(c *chaos, m *machine) func() {
		m.kill()
		return func() {
			m.disk.replace()
			m.reboot()
			m.launch()
		}
	})},
}

// toBroker is for faults of one broker.
func toBroker(begin func(*chaos, *machine) (end func())) func(*chaos) (string, func()) {
	return func(c *chaos) (string, func()) {
		m := c.take(c.brokers)
		if m == nil {
			return "", nil
		}
		end := begin(c, m)
		return m.name, func() {
			end()
			c.give(m)
		}
	}
}

// toBrokers is for faults of all brokers at once.
func toBrokers(begin func(*chaos, *machine) (end func())) func(*chaos) (string, func()) {
	return func(c *chaos) (string, func()) {
		all := c.takeAll(c.brokers)
		if len(all) < len(c.brokers) {
			c.give(all...)
			return "", nil
		}
		ends := make([]func(), len(all))
		for i, m := range all {
			ends[i] = begin(c, m)
		}
		return names(all), func() {
			for _, i := range c.rng.Perm(len(ends)) {
				ends[i]()
			}
			c.give(all...)
		}
	}
}

func powerCut(_ *chaos, m *machine) func() {
	// What runs on after the cut of a file system, as nothing does after that of power, may be told that a
	// sync succeeded that did not.
	m.broker.Signal(syscall.SIGSTOP)
	m.disk.cut()
	m.kill()
	return func() {
		m.disk.revive()
		m.reboot()
		m.launch()
	}
}

// toEtcd is for faults of n members of etcd, of which the leader is the first if it is asked for.
func toEtcd(n int, leader bool, begin func(*chaos, *machine) (end func())) func(*chaos) (string, func()) {
	return func(c *chaos) (string, func()) {
		all := c.takeAll(c.etcds)
		if len(all) < len(c.etcds) { // there is no leader for sure
			c.give(all...)
			return "", nil
		}
		c.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for i, m := range all {
			if leader && leads(m.etcd) {
				all[0], all[i] = all[i], all[0]
			}
		}
		var ends []func()
		for _, m := range all[:n] {
			ends = append(ends, begin(c, m))
		}
		return names(all[:n]), func() {
			for _, end := range ends {
				end()
			}
			c.give(all...)
		}
	}
}

func killed(_ *chaos, m *machine) func() {
	m.etcd.Kill()
	return m.etcd.Restart
}

func frozen(_ *chaos, m *machine) func() {
	m.etcd.Signal(syscall.SIGSTOP)
	return func() { m.etcd.Signal(syscall.SIGCONT) }
}

// leads reports whether a member of etcd says that it leads the others.
func leads(e *kvtest.Etcd) bool {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + e.Endpoint() + "/metrics")
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if lines.Text() == "etcd_server_is_leader 1" {
			return true
		}
	}
	return false
}

func toBucket(begin func(*chaos) (end func())) func(*chaos) (string, func()) {
	return func(c *chaos) (string, func()) {
		if c.bucketHit {
			return "", nil
		}
		c.bucketHit = true
		end := begin(c)
		return "the bucket", func() {
			end()
			c.bucketHit = false
		}
	}
}

// way is which packets between a host and others are lost.
type way string

const (
	bothWays way = "both ways"
	hears    way = "what others send it"
	speaks   way = "what it sends others"
)

func (c *chaos) someWay() way { return []way{bothWays, bothWays, hears, speaks}[c.rng.IntN(4)] }

// cut loses packets between a host and others.
func (c *chaos) cut(others []*host, n *host, lost way) (heal func()) {
	var heals []func()
	for _, o := range others {
		if lost != speaks {
			heals = append(heals, c.w.cut(o, n, "lost"))
		}
		if lost != hears {
			heals = append(heals, c.w.cut(n, o, "lost"))
		}
	}
	c.logf("    %s: lost is %s", n.name, lost)
	return func() {
		for _, h := range heals {
			h()
		}
	}
}

// refuse has connections between two hosts end at once.
func (c *chaos) refuse(a, b *host) (heal func()) {
	there, back := c.w.cut(a, b, "refused"), c.w.cut(b, a, "refused")
	return func() { there(); back() }
}

func (m *machine) kill() {
	m.broker.Kill()
	m.launched = false
}

func (m *machine) launch() {
	m.broker.Launch()
	m.launched = true
}

// await waits until the broker is ready.
func (m *machine) await() {
	if m.launched {
		m.broker.Await()
		m.launched = false
	}
}

// mayHaveEnded starts a broker again that has ended for want of a disk.
func (m *machine) mayHaveEnded() {
	if m.broker.Ended() {
		m.w.t.Logf("    %s had ended", m.name)
		m.launch()
	}
}

// take chooses one that no fault has hit, for a fault; nil if there is none.
func (c *chaos) take(from []*machine) *machine {
	for _, i := range c.rng.Perm(len(from)) {
		if !from[i].hit {
			from[i].hit = true
			return from[i]
		}
	}
	return nil
}

func (c *chaos) takeAll(from []*machine) (taken []*machine) {
	for m := c.take(from); m != nil; m = c.take(from) {
		taken = append(taken, m)
	}
	return taken
}

func (c *chaos) give(back ...*machine) {
	for _, m := range back {
		m.hit = false
	}
}

// other is another broker than m.
func (c *chaos) other(m *machine) *machine {
	for {
		if o := c.brokers[c.rng.IntN(len(c.brokers))]; o != m {
			return o
		}
	}
}

// hosts are those of machines, but for one.
func (c *chaos) hosts(of []*machine, but *machine) (list []*host) {
	for _, m := range of {
		if m != but {
			list = append(list, m.host)
		}
	}
	return list
}

func names(of []*machine) string {
	var list []string
	for _, m := range of {
		list = append(list, m.name)
	}
	return strings.Join(list, " and ")
}
