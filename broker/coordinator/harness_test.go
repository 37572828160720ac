package coordinator

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"firn/metadata"
	"firn/metadata/memkv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// registers is a machine that keeps strings under names.
type registers struct {
	values map[string]string
	parked []func(error)
	due    time.Time
	ticks  func()
}

func (m *registers) Load(entries []metadata.ShardEntry, _ time.Time) error {
	m.values = map[string]string{}
	for _, e := range entries {
		if e.Key == "rotten" {
			return errors.New("rotten")
		}
		m.values[e.Key] = string(e.Value)
	}
	return nil
}

func (m *registers) Tick(time.Time) Result {
	m.due = time.Time{}
	m.ticks()
	return Result{}
}

func (m *registers) Deadline() time.Time { return m.due }

func (m *registers) Abandon(err error) {
	for _, f := range m.parked {
		f(err)
	}
	m.parked = nil
}

// node is one broker's runtime over a client of its own.
type node struct {
	t         *testing.T
	id        int32
	kv        *memkv.Client
	store     *metadata.Store
	committer *metadata.Committer
	r         *Runtime[*registers]
	epoch     atomic.Int64
	down      atomic.Bool // its lease is over
	ticks     chan time.Time
}

// brokerEpoch is that of every node in tests.
const brokerEpoch = 7

func newNode(t *testing.T, server *memkv.Server, id int32) *node {
	n := &node{t: t, id: id, kv: server.Dial(), ticks: make(chan time.Time, 100)}
	n.epoch.Store(brokerEpoch)
	var err error
	if n.store, err = metadata.Open(t.Context(), n.kv, metadata.Options{}); err != nil {
		t.Fatal(err)
	}
	n.committer = n.store.NewCommitter(metadata.CommitterOptions{Timeout: time.Second})
	n.r = NewRuntime(Options[*registers]{
		Broker: id, Store: n.committer, Lease: n, Logger: slog.New(slog.DiscardHandler),
		New: func() *registers { return &registers{ticks: func() { n.ticks <- time.Now() }} },
	})
	return n
}

// Holds implements Lease.
func (n *node) Holds(epoch int64) bool { return !n.down.Load() && n.epoch.Load() == epoch }

func (n *node) close() {
	n.r.Close()
	_ = n.committer.Close()
	_ = n.store.Close()
	_ = n.kv.Close()
}

// record writes who owns a shard, as the controller does.
func (n *node) record(shard, broker int32) metadata.ShardOwner {
	n.t.Helper()
	kv := n.kv.Server().Dial()
	defer func() { _ = kv.Close() }()
	o := metadata.ShardOwner{Broker: broker, BrokerEpoch: brokerEpoch}
	res, err := kv.Txn(context.Background(), metadata.Txn{Then: []metadata.Op{n.store.Keys().PutShardOwner(metadata.GroupShard, shard, &o)}})
	if err != nil {
		n.t.Fatal(err)
	}
	o.Rev = res.Rev
	return o
}

// own makes the node the owner of a shard and waits until it has loaded it.
func (n *node) own(shard int32) metadata.ShardOwner {
	n.t.Helper()
	o := n.record(shard, n.id)
	n.r.Own(shard, o, brokerEpoch)
	synctest.Wait()
	return o
}

// outcome is how a command ended.
type outcome struct {
	value string
	err   error
	at    time.Time
}

// start runs a command; its outcome comes on the channel, once.
func (n *node) start(shard int32, inMemory bool, fn func(m *registers, done func(string, error)) Result) chan outcome {
	got := make(chan outcome, 2)
	var once sync.Mutex
	done := func(v string, err error) {
		if !once.TryLock() {
			n.t.Error("a command was answered twice")
		}
		got <- outcome{v, err, time.Now()}
	}
	run := func(m *registers, _ time.Time) Result { return fn(m, done) }
	refuse := func(err error) { done("", err) }
	if inMemory {
		n.r.DoInMemory(shard, run, refuse)
	} else {
		n.r.Do(shard, run, refuse)
	}
	return got
}

func (n *node) set(shard int32, name, value string) chan outcome {
	return n.start(shard, false, func(m *registers, done func(string, error)) Result {
		m.values[name] = value
		return Result{
			Edits:   []metadata.Edit{{Key: name, Value: []byte(value)}},
			Replies: []Reply{func(err error) { done(value, err) }},
		}
	})
}

func (n *node) get(shard int32, name string) chan outcome {
	return n.start(shard, false, func(m *registers, done func(string, error)) Result {
		v := m.values[name]
		return Result{Replies: []Reply{func(err error) { done(v, err) }}}
	})
}

func (n *node) beat(shard int32) chan outcome {
	return n.start(shard, true, func(m *registers, done func(string, error)) Result {
		return Result{AtOnce: []func(){func() { done("beat", nil) }}}
	})
}

func (n *node) park(shard int32) chan outcome {
	return n.start(shard, false, func(m *registers, done func(string, error)) Result {
		m.parked = append(m.parked, func(err error) { done("", err) })
		return Result{}
	})
}

// want checks how a command ended; value is looked at only where there is no error.
func (n *node) want(what string, got chan outcome, value string, err error) {
	n.t.Helper()
	o := <-got
	if !errors.Is(o.err, err) || err == nil && (o.err != nil || o.value != value) {
		n.t.Errorf("%s: %q, %v; want %q, %v", what, o.value, o.err, value, err)
	}
}

// stored reads a value of a shard from the key space.
func (n *node) stored(shard int32, name string) string {
	n.t.Helper()
	kv := n.kv.Server().Dial()
	defer func() { _ = kv.Close() }()
	page, err := kv.Range(context.Background(), "", "\xff", 0, 10_000)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, e := range page.Entries {
		if strings.HasSuffix(e.Key, "/g/"+string('0'+rune(shard))+"/"+name) {
			return string(e.Value)
		}
	}
	return ""
}

// writes applies a fault to transactions alone.
func writes(f memkv.Fault) func(memkv.Call) memkv.Fault {
	return func(c memkv.Call) memkv.Fault {
		if c.Name == "txn" {
			return f
		}
		return memkv.Fault{}
	}
}

// nodes runs fn in a bubble with n brokers on one key space.
func nodes(t *testing.T, n int, fn func(t *testing.T, n []*node)) {
	synctest.Test(t, func(t *testing.T) {
		server := memkv.NewServer()
		var all []*node
		for i := range n {
			all = append(all, newNode(t, server, int32(i+1)))
		}
		fn(t, all)
		for _, n := range all {
			n.kv.SetFaults(nil)
			n.close()
		}
	})
}
