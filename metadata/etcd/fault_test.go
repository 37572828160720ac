package etcd

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"firn/metadata"
	"firn/metadata/kvtest"
	"firn/metadata/topic"
)

// patience bounds each wait for something that must happen.
const patience = 2 * time.Minute

// quick lets etcd grant leases of less than two seconds and elect itself sooner.
var quick = []string{"--heartbeat-interval=20", "--election-timeout=200"}

// broker is a store, a lease and a committer on one etcd, as a broker has them.
type broker struct {
	t     *testing.T
	ctx   context.Context
	kv    metadata.KV
	own   metadata.KV
	store *metadata.Store
	lease *metadata.Lease
}

func newBroker(t *testing.T, endpoint string, ttl time.Duration) *broker {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	b := &broker{t: t, ctx: ctx}
	var err error
	for _, kv := range []*metadata.KV{&b.kv, &b.own} {
		if *kv, err = Dial(Config{Endpoints: strings.Split(endpoint, ","), RequestTimeout: time.Second, quiet: time.Second}); err != nil {
			t.Fatal(err)
		}
	}
	if b.store, err = metadata.Open(ctx, b.kv, metadata.Options{Logger: log}); err != nil {
		t.Fatal(err)
	}
	reg := metadata.Registration{ID: 1, BootID: "boot", Disks: []metadata.DiskFacts{{ID: metadata.UUID{1}, Clean: true}}}
	if b.lease, err = b.store.Register(ctx, reg, metadata.LeaseOptions{KV: b.own, TTL: ttl, Logger: log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = b.lease.Close()
		_ = b.store.Close()
		_ = b.own.Close()
		_ = b.kv.Close()
	})
	return b
}

func (b *broker) eventually(what string, cond func() bool) time.Duration {
	b.t.Helper()
	start := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-b.ctx.Done():
			b.t.Fatalf("never: %s", what)
		}
	}
	return time.Since(start)
}

// note writes a fact through kv and returns its revision.
func (b *broker) note(kv metadata.KV) int64 {
	b.t.Helper()
	res, err := kv.Txn(b.ctx, metadata.Txn{Then: []metadata.Op{b.store.Keys().PutNode(&metadata.Node{ID: 9})}})
	if err != nil {
		b.t.Fatal(err)
	}
	return res.Rev
}

func (b *broker) sees(rev int64) {
	b.t.Helper()
	if _, err := b.store.WaitRev(b.ctx, rev); err != nil {
		b.t.Fatal(err)
	}
}

// TestEtcdRestarts kills etcd and starts it again: meanwhile reads of the image go on and writes say that
// nothing was written; afterwards the broker is still registered, in the same epoch.
func TestEtcdRestarts(t *testing.T) {
	t.Parallel()
	e := kvtest.StartEtcd(t, quick...)
	b := newBroker(t, e.Endpoint(), 2*time.Second)
	epoch := b.lease.Epoch()
	b.sees(b.note(b.kv))
	e.Kill()
	b.eventually("the lease is not believed in any more", func() bool { return !b.lease.Valid() })
	if _, ok := b.store.Image().Broker(1); !ok {
		t.Error("the image forgot the broker")
	}
	start := time.Now()
	_, err := b.kv.Txn(b.ctx, metadata.Txn{Then: []metadata.Op{metadata.Put("/k", nil)}})
	if !errors.Is(err, metadata.ErrUnavailable) || errors.Is(err, metadata.ErrUnknown) {
		t.Errorf("write while etcd is away: %v", err)
	}
	t.Logf("a write was refused after %v", time.Since(start))
	e.Restart()
	start = time.Now()
	healed := b.eventually("the lease is valid again", b.lease.Valid)
	if b.lease.Epoch() != epoch {
		t.Errorf("epoch %d, was %d: etcd extends leases when it starts", b.lease.Epoch(), epoch)
	}
	b.sees(b.note(b.kv))
	t.Logf("lease valid again after %v, watch after %v", healed, time.Since(start))
}

// TestBrokerIsCutOff loses its lease for good and registers again in place; its image catches up over a
// compaction.
func TestBrokerIsCutOff(t *testing.T) {
	t.Parallel()
	e := kvtest.StartEtcd(t, quick...)
	p := newProxy(t, e.Endpoint())
	b := newBroker(t, p.Addr(), 2*time.Second)
	epoch := b.lease.Epoch()
	direct := dial(t, e.Endpoint())
	defer direct.Close()
	p.Cut(true)
	b.eventually("the lease ends in etcd", func() bool {
		got, _, err := direct.Get(b.ctx, b.store.Keys().Broker(1))
		return err == nil && !got[0].Exists()
	})
	if b.lease.Valid() {
		t.Error("valid after etcd ended the lease")
	}
	rev := b.note(direct)
	compact(t, e.Endpoint(), rev)
	p.Cut(false)
	took := b.eventually("registered again", func() bool { return b.lease.Valid() && b.lease.Epoch() != epoch })
	b.sees(b.lease.Epoch())
	if got, ok := b.store.Image().Broker(1); !ok || got.Epoch != b.lease.Epoch() || b.lease.Epoch() < epoch {
		t.Errorf("%+v, lease has epoch %d", got, b.lease.Epoch())
	}
	t.Logf("registered again %v after the line was back", took)
}

// TestRepliesAreLost leaves outcomes unknown, and the write applied.
func TestRepliesAreLost(t *testing.T) {
	t.Parallel()
	e := kvtest.StartEtcd(t, quick...)
	p := newProxy(t, e.Endpoint())
	b := newBroker(t, p.Addr(), 5*time.Second)
	p.Mute(true)
	ctx, cancel := context.WithTimeout(b.ctx, 500*time.Millisecond)
	defer cancel()
	_, err := b.kv.Txn(ctx, metadata.Txn{If: []metadata.Cmp{metadata.Absent("/k")}, Then: []metadata.Op{metadata.Put("/k", []byte("v"))}})
	if !errors.Is(err, metadata.ErrUnknown) {
		t.Errorf("reply lost: %v", err)
	}
	results, err := b.kv.TxnMany(ctx, []metadata.Txn{{Then: []metadata.Op{metadata.Put("/many", nil)}}})
	if !errors.Is(err, metadata.ErrUnavailable) || results[0].Rev != 0 {
		t.Errorf("with an ended context: %+v, %v", results, err)
	}
	// Settle ends as soon as it hears again, and knows its own write.
	var wg sync.WaitGroup
	wg.Go(func() {
		res, err := metadata.Resettle(b.ctx, b.kv, metadata.Txn{
			If: []metadata.Cmp{metadata.Absent("/k")}, Then: []metadata.Op{metadata.Put("/k", []byte("v"))},
		})
		if err != nil || !res.OK {
			t.Errorf("settle: %+v, %v", res, err)
		}
	})
	p.Mute(false)
	wg.Wait()
	got, _, err := b.kv.Get(b.ctx, "/k", "/many")
	if err != nil || got[0].ModRev != got[0].CreateRev || got[1].Exists() {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestEtcdFreezes stops etcd without closing a connection: the watch notices by itself, and all goes on when
// it thaws.
func TestEtcdFreezes(t *testing.T) {
	t.Parallel()
	e := kvtest.StartEtcd(t, quick...)
	b := newBroker(t, e.Endpoint(), 2*time.Second)
	w := b.kv.Watch(b.ctx, "/w", "/x", 0)
	e.Signal(syscall.SIGSTOP)
	start := time.Now()
	b.eventually("the lease is not believed in any more", func() bool { return !b.lease.Valid() })
	ended := false
	for batch := range w {
		if ended = errors.Is(batch.Err, metadata.ErrUnavailable); ended {
			break
		}
	}
	t.Logf("watch ended %v after etcd froze", time.Since(start))
	if !ended {
		t.Error("the watch ended without an error")
	}
	e.Signal(syscall.SIGCONT)
	took := b.eventually("the lease is valid again", b.lease.Valid)
	b.sees(b.note(b.kv))
	t.Logf("healed %v after it thawed", took)
}

// TestOneLineFreezes has two ways to etcd, of which one falls silent without closing: everything moves to the
// other before the lease ends.
func TestOneLineFreezes(t *testing.T) {
	t.Parallel()
	e := kvtest.StartEtcd(t, quick...)
	p, q := newProxy(t, e.Endpoint()), newProxy(t, e.Endpoint())
	b := newBroker(t, p.Addr()+","+q.Addr(), 4*time.Second)
	epoch := b.lease.Epoch()
	direct := dial(t, e.Endpoint())
	defer direct.Close()
	for _, line := range []*proxy{p, q} { // one of them carries the watch
		line.Mute(true)
		start := time.Now()
		rev := b.note(direct)
		b.sees(rev)
		t.Logf("a change was seen after %v", time.Since(start))
		if !b.lease.Valid() || b.lease.Epoch() != epoch {
			t.Errorf("valid %v, epoch %d after %d", b.lease.Valid(), b.lease.Epoch(), epoch)
		}
		line.Mute(false)
	}
}

// TestCommitterOverEtcd loses a reply under a coordinator shard and goes on after opening it again.
func TestCommitterOverEtcd(t *testing.T) {
	t.Parallel()
	e := kvtest.StartEtcd(t, quick...)
	p := newProxy(t, e.Endpoint())
	b := newBroker(t, p.Addr(), 5*time.Second)
	own := metadata.ShardOwner{Broker: 1, BrokerEpoch: b.lease.Epoch(), Epoch: 1}
	res, err := b.kv.Txn(b.ctx, metadata.Txn{Then: []metadata.Op{b.store.Keys().PutShardOwner(metadata.GroupShard, 7, &own)}})
	if err != nil {
		t.Fatal(err)
	}
	own.Rev = res.Rev
	c := b.store.NewCommitter(metadata.CommitterOptions{Timeout: 300 * time.Millisecond})
	defer c.Close()
	commit := func(sh *metadata.Shard, v string) error {
		done := make(chan error, 1)
		sh.Commit([]metadata.Edit{{Key: "k", Value: []byte(v)}}, func(err error) { done <- err })
		return <-done
	}
	sh, _, err := c.Open(b.ctx, metadata.GroupShard, 7, own)
	if err != nil {
		t.Fatal(err)
	}
	if err := commit(sh, "1"); err != nil {
		t.Fatal(err)
	}
	p.Mute(true)
	if err := commit(sh, "2"); !errors.Is(err, metadata.ErrUnknown) {
		t.Errorf("reply lost: %v", err)
	}
	p.Mute(false)
	sh, entries, err := c.Open(b.ctx, metadata.GroupShard, 7, own)
	if err != nil || len(entries) != 1 || string(entries[0].Value) != "2" {
		t.Fatalf("%+v, %v", entries, err)
	}
	if err := commit(sh, "3"); err != nil {
		t.Error(err)
	}
}

// TestManyPartitionsAtOnce writes 10,000 partitions, as an election after a broker's loss does.
func TestManyPartitionsAtOnce(t *testing.T) {
	e := embedded(t)
	kv := dial(t, e.Endpoint())
	defer kv.Close()
	k, err := metadata.NewKeys("many")
	if err != nil {
		t.Fatal(err)
	}
	const n = 10_000
	id := topic.NewID()
	txns := make([]metadata.Txn, n)
	for i := range txns {
		p := metadata.PartitionState{Partition: topic.Partition{ID: id, Index: int32(i)}, ISR: []int32{1, 2, 3}, Replicas: []int32{1, 2, 3}}
		txns[i] = metadata.Txn{If: []metadata.Cmp{metadata.Absent(k.Controller()), metadata.Absent(k.Partition(p.Partition))}, Then: []metadata.Op{k.PutPartition(&p)}}
	}
	start := time.Now()
	results, err := kv.TxnMany(t.Context(), txns)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d partitions in %v", n, time.Since(start))
	for i, r := range results {
		if !r.OK {
			t.Fatalf("partition %d: %+v", i, r)
		}
	}
}

// A watch whose stream ends while nobody takes what it has says that etcd cannot be reached, as any other does.
func TestWatchThatBreaksUnread(t *testing.T) {
	t.Parallel()
	e := kvtest.StartEtcd(t, quick...)
	dialled, err := Dial(Config{Endpoints: []string{e.Endpoint()}, quiet: patience})
	if err != nil {
		t.Fatal(err)
	}
	defer dialled.Close()
	write := func() int64 {
		res, err := dialled.Txn(t.Context(), metadata.Txn{Then: []metadata.Op{metadata.Put("/k", nil)}})
		if err != nil {
			t.Fatal(err)
		}
		return res.Rev
	}
	ended, out := make(chan error, 1), make(chan metadata.WatchBatch)
	rev := write()
	go func() { ended <- dialled.(*kv).watch(t.Context(), "/k", "/l", rev, out) }()
	if b := <-out; len(b.Events) == 0 {
		t.Fatalf("%+v", b)
	}
	beside := dialled.Watch(t.Context(), "/k", "/l", write())
	<-beside // by now the other one has it, too
	e.Kill()
	if err := <-ended; !errors.Is(err, metadata.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}
