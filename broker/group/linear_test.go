package group

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
	"go.uber.org/goleak"

	"firn/broker/coordinator"
	"firn/metadata"
	"firn/metadata/memkv"
	"firn/metadata/topic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker coordinates groups over a client of its own.
type broker struct {
	id        int32
	down      atomic.Bool // its lease is over
	kv        *memkv.Client
	store     *metadata.Store
	committer *metadata.Committer
	groups    *Coordinator
}

func newBroker(t testing.TB, server *memkv.Server, id int32, shards int32) *broker {
	b := &broker{id: id, kv: server.Dial()}
	var err error
	if b.store, err = metadata.Open(context.Background(), b.kv, metadata.Options{}); err != nil {
		t.Fatal(err)
	}
	b.committer = b.store.NewCommitter(metadata.CommitterOptions{Timeout: time.Second})
	b.groups = NewCoordinator(Config{
		Options: Options{
			MinSessionTimeout: time.Second, MaxSessionTimeout: time.Hour, InitialRebalanceDelay: 100 * time.Millisecond, OffsetsRetention: time.Hour,
			OffsetsCheckInterval: time.Hour, MaxMetadata: 4096, NewID: func() string { return topic.NewID().String() }, Topics: anyTopic{},
		},
		Broker: id, Shards: shards, Store: b.committer, Lease: b, Logger: slog.New(slog.DiscardHandler),
	})
	return b
}

type anyTopic struct{}

func (anyTopic) TopicName([16]byte) (string, bool) { return "t", true }

// Holds implements coordinator.Lease.
func (b *broker) Holds(epoch int64) bool { return !b.down.Load() && epoch == 1 }

func (b *broker) close() {
	b.kv.SetFaults(nil)
	b.groups.Close()
	_ = b.committer.Close()
	_ = b.store.Close()
	_ = b.kv.Close()
}

// record names the broker as the owner of a shard, as the controller does.
func (b *broker) record(t testing.TB, shard int32) metadata.ShardOwner {
	kv := b.kv.Server().Dial()
	defer func() { _ = kv.Close() }()
	o := metadata.ShardOwner{Broker: b.id, BrokerEpoch: 1}
	res, err := kv.Txn(context.Background(), metadata.Txn{Then: []metadata.Op{b.store.Keys().PutShardOwner(metadata.GroupShard, shard, &o)}})
	if err != nil {
		t.Fatal(err)
	}
	o.Rev = res.Rev
	return o
}

// flaky are faults of every kind.
func flaky(seed uint64) func(memkv.Call) memkv.Fault {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 0))
	return func(c memkv.Call) memkv.Fault {
		mu.Lock()
		defer mu.Unlock()
		f := memkv.Fault{Delay: time.Duration(rng.Int64N(int64(4 * time.Millisecond)))}
		switch k := rng.IntN(14); {
		case k == 0:
			f.Refuse = true
		case k == 1:
			f.LoseRequest = true
		case k == 2 && c.Write:
			f.LoseReply = true
		case k == 3 && c.Write:
			f.Late = time.Duration(rng.Int64N(int64(400 * time.Millisecond)))
		}
		return f
	}
}

// position is one call about the offset of one partition.
type position struct {
	write  bool
	offset int64 // written
}

// register is a committed offset: -1 until one is written. A write without an answer may have happened, at
// any later time.
var register = porcupine.Model{
	Init: func() any { return int64(-1) },
	Step: func(state, input, output any) (bool, any) {
		if in := input.(position); in.write {
			return true, in.offset
		}
		return output.(int64) == state.(int64), state
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprint(in, out) },
}

// history is what clients saw of one partition.
type history struct {
	clock atomic.Int64
	mu    sync.Mutex
	ops   []porcupine.Operation
	open  int // writes without an answer
}

func (h *history) add(client int, call int64, in position, out int64, answered bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	op := porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: h.clock.Add(1)}
	if !answered {
		h.open++
		op.ClientId, op.Return = 1000+h.open, 1<<62 // whose effect may come at any time
	}
	h.ops = append(h.ops, op)
}

// drop leaves out writes without an answer that nobody has read: they need not have happened. It keeps the
// number of histories to look at small.
func (h *history) drop() {
	read := map[int64]bool{}
	for _, op := range h.ops {
		if !op.Input.(position).write {
			read[op.Output.(int64)] = true
		}
	}
	h.ops = slices.DeleteFunc(h.ops, func(op porcupine.Operation) bool {
		return op.ClientId >= 1000 && !read[op.Input.(position).offset]
	})
}

// Commits and fetches of a partition, over two brokers that both believe for a while to own its shard, on
// connections that lose, delay and repeat, are those of one register.
func TestCommitsAreLinearizable(t *testing.T) {
	for range 5 {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		h := &history{}
		answered := 0
		synctest.Test(t, func(t *testing.T) {
			server := memkv.NewServer()
			brokers := []*broker{newBroker(t, server, 1, 1), newBroker(t, server, 2, 1)}
			for i, b := range brokers {
				b.kv.SetFaults(flaky(seed + uint64(i) + 1))
			}
			stop := make(chan struct{})
			var clients sync.WaitGroup
			for i := range 5 {
				clients.Go(func() { h.client(i, rand.New(rand.NewPCG(seed, uint64(i))), brokers, stop) })
			}
			rng := rand.New(rand.NewPCG(seed, 100))
			for range 60 {
				next := rng.IntN(2)
				now, old := brokers[next], brokers[1-next]
				old.down.Store(rng.IntN(2) == 0)
				if !old.down.Load() { // it is told before, for it goes on answering
					old.groups.Own(0, metadata.ShardOwner{Broker: -1}, 1)
				}
				o := now.record(t, 0)
				now.down.Store(false)
				now.groups.Own(0, o, 1)
				time.Sleep(time.Duration(rng.Int64N(int64(400 * time.Millisecond))))
				old.groups.Own(0, o, 1)
			}
			close(stop)
			clients.Wait()
			for _, b := range brokers {
				b.close()
			}
		})
		h.drop()
		for _, op := range h.ops {
			if op.ClientId < 1000 {
				answered++
			}
		}
		if answered < 50 {
			t.Errorf("seed %d: only %d calls were answered", seed, answered)
		}
		if got := porcupine.CheckOperationsTimeout(register, h.ops, 20*time.Second); got != porcupine.Ok {
			t.Fatalf("seed %d: the history of %d calls is %v", seed, len(h.ops), got)
		}
	}
}

// client commits and fetches, each time another offset, wherever it is let.
func (h *history) client(n int, rng *rand.Rand, brokers []*broker, stop chan struct{}) {
	tp := topic.Partition{ID: topic.ID{1}}
	for i := int64(1); ; i++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rng.Int64N(int64(60 * time.Millisecond)))):
		}
		b := brokers[rng.IntN(len(brokers))]
		call := h.clock.Add(1)
		done := make(chan error, 1)
		if rng.IntN(2) == 0 {
			in := position{write: true, offset: int64(n)*1_000_000 + i}
			b.groups.Commit(Committer{Group: "g", Generation: -1}, []Commit{{Partition: tp, Offset: in.offset, LeaderEpoch: -1}},
				func(_ *Committed, err error) { done <- err })
			switch err := <-done; {
			case err == nil:
				h.add(n, call, in, 0, true)
			case errors.Is(err, coordinator.ErrLoading), errors.Is(err, coordinator.ErrBusy): // never tried
			default:
				h.add(n, call, in, 0, false)
			}
			continue
		}
		var out int64
		b.groups.Offsets("g", []topic.Partition{tp}, false, func(got *[]Fetched, err error) {
			if err == nil {
				out = (*got)[0].Offset
			}
			done <- err
		})
		if err := <-done; err == nil {
			h.add(n, call, position{}, out, true)
		}
	}
}
