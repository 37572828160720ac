package controller

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"firn/metadata"
	"firn/metadata/memkv"
	"firn/metadata/topic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds each wait for something that must happen.
const patience = 2 * time.Minute

// cluster is a memory key space with brokers on it.
type cluster struct {
	t      testing.TB
	ctx    context.Context
	server *memkv.Server
	faults func(memkv.Call) memkv.Fault // of the controller's connection from its start on
}

func newCluster(t testing.TB) *cluster {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return &cluster{t: t, ctx: ctx, server: memkv.NewServer()}
}

// member is one broker: its store, lease and controller.
type member struct {
	c     *cluster
	kv    *memkv.Client // of store and controller
	store *metadata.Store
	lease *metadata.Lease
	ctl   *Controller
	stop  func()
}

func disk(n byte) metadata.UUID { return metadata.UUID{n} }

// start brings a broker up, and waits until the cluster has a controller unless there are faults.
func (c *cluster) start(id int32, change ...func(*metadata.Registration, *Options)) *member {
	c.t.Helper()
	m := &member{c: c, kv: c.server.Dial()}
	leaseKV := c.server.Dial()
	reg := metadata.Registration{
		ID: id, BootID: "boot", Disks: []metadata.DiskFacts{{ID: disk(byte(id)), Clean: true}},
		Listeners: []metadata.Listener{{Name: "PLAINTEXT", Host: "127.0.0.1", Port: 9000 + id}},
	}
	var err error
	if m.store, err = metadata.Open(c.ctx, m.kv, metadata.Options{}); err != nil {
		c.t.Fatal(err)
	}
	reg.Disks[0].Epoch = lastEpoch(m.store, id)
	opts := Options{}
	for _, fn := range change {
		fn(&reg, &opts)
	}
	if m.lease, err = m.store.Register(c.ctx, reg, metadata.LeaseOptions{KV: leaseKV, TTL: time.Hour}); err != nil {
		c.t.Fatal(err)
	}
	opts.Store, opts.Lease = m.store, m.lease
	if m.ctl, err = New(opts); err != nil {
		c.t.Fatal(err)
	}
	m.kv.SetFaults(c.faults)
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { _ = m.ctl.Run(ctx) })
	m.stop = sync.OnceFunc(func() {
		cancel()
		run.Wait()
		_ = m.lease.Close()
		_ = m.store.Close()
		_ = m.kv.Close()
		_ = leaseKV.Close()
	})
	c.t.Cleanup(m.stop)
	if c.faults == nil {
		m.await("a controller", func(img *metadata.Image) bool { return img.Controller().ID >= 0 })
	}
	return m
}

// lastEpoch is what a broker's disk has kept of its earlier life.
func lastEpoch(s *metadata.Store, id int32) int64 {
	if n, ok := s.Image().Node(id); ok {
		return n.LastEpoch
	}
	return 0
}

// crash ends a broker and its lease.
func (m *member) crash() {
	m.stop()
	m.c.expire(m)
}

// expire ends a broker's lease as if it had run out.
func (c *cluster) expire(m *member) {
	c.t.Helper()
	kv := c.server.Dial()
	defer kv.Close()
	e, _, err := kv.Get(c.ctx, m.store.Keys().Broker(m.lease.ID()))
	if err != nil {
		c.t.Fatal(err)
	}
	c.server.ExpireLease(e[0].Lease)
}

// await waits until the image satisfies cond.
func (m *member) await(what string, cond func(*metadata.Image) bool) *metadata.Image {
	m.c.t.Helper()
	img := m.store.Image()
	for !cond(img) {
		next, err := m.store.WaitRev(m.c.ctx, img.Rev()+1)
		if err != nil {
			m.c.t.Fatalf("waiting for %s: %v\n%s", what, err, dump(img))
		}
		img = next
	}
	return img
}

func dump(img *metadata.Image) string {
	s := fmt.Sprintf("rev %d controller %+v\n", img.Rev(), img.Controller())
	for p := range img.Partitions() {
		s += fmt.Sprintf("%+v\n", *p)
	}
	return s
}

// create makes topics of one partition each with the default factor.
func (m *member) create(names ...string) {
	m.c.t.Helper()
	var list []NewTopic
	for _, n := range names {
		list = append(list, NewTopic{Name: n, Partitions: 1, ReplicationFactor: -1})
	}
	for _, got := range m.ctl.CreateTopics(m.c.ctx, list, false) {
		if got.Err != nil {
			m.c.t.Fatal(got.Err)
		}
	}
}

// allLed reports whether every partition is led by a live broker under its present epoch.
func allLed(img *metadata.Image) bool {
	for p := range img.Partitions() {
		if b, ok := img.Broker(p.Leader); !ok || b.Epoch != p.LeaderBrokerEpoch {
			return false
		}
	}
	return true
}

func allShardsOwned(img *metadata.Image) bool {
	for _, kind := range []metadata.ShardKind{metadata.GroupShard, metadata.TxnShard} {
		for i := range img.Shards(kind) {
			o := img.ShardOwner(kind, i)
			if b, ok := img.Broker(o.Broker); !ok || b.Epoch != o.BrokerEpoch {
				return false
			}
		}
	}
	return true
}

func TestFirstStart(t *testing.T) {
	c := newCluster(t)
	start := time.Now()
	m := c.start(1)
	m.create("first")
	t.Logf("first topic after %v", time.Since(start))
	img := m.await("leaders and shards", func(img *metadata.Image) bool { return allLed(img) && allShardsOwned(img) })
	topic1, ok := img.Topic("first")
	if !ok || topic1.Partitions != 1 || topic1.ReplicationFactor != 1 || !m.ctl.Active() {
		t.Fatalf("%+v\n%s", topic1, dump(img))
	}
	p, ok := img.Partition(topic.Partition{ID: topic1.ID})
	if !ok || p.Leader != 1 || p.LeaderEpoch != 0 || p.LeaderBrokerEpoch != m.lease.Epoch() || fmt.Sprint(p.ISR) != "[1]" {
		t.Errorf("%+v", p)
	}
}

func TestRestartElectsTheOnlyReplicaAgain(t *testing.T) {
	c := newCluster(t)
	m := c.start(1)
	const n = 1000
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint("t", i)
	}
	m.create(names...)
	for _, how := range []string{"crash", "stop without a word", "clean stop"} {
		switch how {
		case "crash":
			m.crash()
		case "clean stop":
			if err := m.lease.Deregister(c.ctx); err != nil {
				t.Fatal(err)
			}
			m.stop()
		default:
			m.stop() // the lease stands: the next life revokes it
		}
		before := m.store.Image()
		start := time.Now()
		m = c.start(1)
		img := m.await("leaders", allLed)
		t.Logf("%s: %d partitions led again after %v", how, n, time.Since(start))
		for p := range img.Partitions() {
			old, _ := before.Partition(p.Partition)
			if p.LeaderEpoch != old.LeaderEpoch+1 || fmt.Sprint(p.ISR) != "[1]" {
				t.Fatalf("%s: %+v after %+v", how, p, old)
			}
		}
		m.await("shards", allShardsOwned)
	}
}

// What a verb wants of etcd, which is away, keeps no broker from stopping.
func TestVerbsEndWithTheController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.ctx = t.Context()
		m := c.start(1)
		m.create("t")
		m.kv.Cut(true)
		done := make(chan error)
		go func() { done <- m.ctl.CreateTopics(c.ctx, []NewTopic{one("u")}, false)[0].Err }()
		synctest.Wait()
		start := time.Now()
		m.stop()
		if took := time.Since(start); took > time.Second {
			t.Errorf("it stopped after %v", took)
		}
		if err := <-done; !errors.Is(err, metadata.ErrUnavailable) {
			t.Error(err)
		}
	})
}

func TestVerbsWaitForTheElection(t *testing.T) {
	c := newCluster(t)
	a := c.start(1)
	a.create("t")
	b := c.start(2)
	if got := b.ctl.CreateTopics(c.ctx, []NewTopic{{Name: "u", Partitions: 1, ReplicationFactor: 1}}, false); !errors.Is(got[0].Err, ErrNotController) {
		t.Errorf("on a broker that is not the controller: %v", got[0].Err)
	}
	a.crash()
	for { // until b has heard of it, it refers to a
		got := b.ctl.CreateTopics(c.ctx, []NewTopic{{Name: "u", Partitions: 1, ReplicationFactor: 1}}, false)
		if got[0].Err == nil {
			break
		}
		if !errors.Is(got[0].Err, ErrNotController) {
			t.Fatal(got[0].Err)
		}
	}
	img := b.await("t without a leader", func(img *metadata.Image) bool {
		t1, _ := img.Topic("t")
		p, _ := img.Partition(topic.Partition{ID: t1.ID})
		return p.Leader == -1
	})
	u, _ := img.Topic("u")
	if p, _ := img.Partition(topic.Partition{ID: u.ID}); p.Leader != 2 {
		t.Errorf("%+v", p)
	}
	b.await("shards", allShardsOwned)
}
