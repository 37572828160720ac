package broker

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"firn/metadata"
	"firn/metadata/memkv"
	"firn/metadata/topic"
	"firn/segment/vfs"
)

// A broker's host may stop together with the member of etcd that its broker is connected to: another one takes the request.
func TestDeregistrationIsTriedAgain(t *testing.T) {
	for name, fault := range map[string]memkv.Fault{"refused": {Refuse: true}, "request lost": {LoseRequest: true}, "reply lost": {LoseReply: true}} {
		t.Run(name, func(t *testing.T) {
			server := memkv.NewServer()
			h, other := startHost(t, server, 1, vfs.NewMem()), startHost(t, server, 2, vfs.NewMem())
			defer other.stop()
			defer h.stop()
			var once atomic.Bool
			h.kv.SetFaults(func(c memkv.Call) memkv.Fault {
				if c.Name == "revoke" && !once.Swap(true) {
					return fault
				}
				return memkv.Fault{}
			})
			h.b.deregister(t.Context())
			im, err := other.b.store.WaitRev(t.Context(), server.Rev())
			if err != nil {
				t.Fatal(err)
			}
			if _, registered := im.Broker(1); registered {
				t.Error("still registered")
			}
		})
	}
}

// A broker that is told to stop while it opens its logs, which may take long after a crash, does not open all of them first.
func TestStopWaitsForNoLogs(t *testing.T) {
	server := memkv.NewServer()
	h, other := startHost(t, server, 1, vfs.NewMem()), startHost(t, server, 2, vfs.NewMem())
	defer other.stop()
	defer h.stop()
	eventually(t, "there are others", h.b.hasOthers)
	release := make(chan struct{})
	defer close(release)
	h.b.applier.rec.stop()
	h.b.applier.rec = newReconciler(1, func(context.Context, topic.Partition) { <-release })
	h.b.applier.rec.mark(topic.Partition{})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	done := make(chan struct{})
	go func() {
		h.b.handOver(ctx)
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Error("it still waits")
	}
}

// A broker that gives coordinator shards to one that has come has ended its part in them before the record names the other,
// also when it does not hear how its write ends, and takes back what the other is no longer there for.
func TestShardHasOneCoordinatorAtATime(t *testing.T) {
	h := startHost(t, memkv.NewServer(), 1, vfs.NewMem())
	defer h.stop()
	keys, n := h.b.store.Keys(), h.b.store.Image().Shards(metadata.GroupShard)
	var ops []metadata.Op
	for i := range n {
		ops = append(ops, keys.PutShardOwner(metadata.GroupShard, i, &metadata.ShardOwner{Broker: 1, BrokerEpoch: h.b.lease.Epoch(), Epoch: 1}))
	}
	h.write(ops...)
	serves := func(h *host) (list []int32) {
		for i := range n {
			if h.b.groups.Serves(i, metadata.ShardOwner{Broker: h.b.cfg.NodeID}) {
				list = append(list, i)
			}
		}
		return list
	}
	eventually(t, "broker 1 coordinates all", func() bool { return len(serves(h)) == int(n) })

	var giving sync.WaitGroup
	defer giving.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	giving.Go(func() { _ = h.b.giver.run(ctx) })
	// watched calls fn for what broker 1 writes of a shard's owner, and sees to it that it does not serve the shard then.
	watched := func(fn func() memkv.Fault) {
		h.kv.SetFaults(func(c memkv.Call) memkv.Fault {
			if !c.Write {
				return memkv.Fault{}
			}
			given := false
			for _, i := range serves(h) {
				if slices.Contains(c.Keys, keys.ShardOwner(metadata.GroupShard, i)) {
					t.Errorf("shard %d is given away while it is served", i)
				}
			}
			for _, k := range c.Keys {
				given = given || strings.HasPrefix(k, strings.TrimSuffix(keys.ShardOwner(metadata.GroupShard, 0), "0"))
			}
			if !given {
				return memkv.Fault{}
			}
			return fn()
		})
	}

	var lost atomic.Bool
	watched(func() memkv.Fault { return memkv.Fault{LoseReply: !lost.Swap(true)} })
	second := startHost(t, h.server, 2, vfs.NewMem())
	defer second.stop()
	eventually(t, "each coordinates a half", func() bool { return len(serves(h)) == int(n)/2 && len(serves(second)) == int(n)/2 })
	if !lost.Load() {
		t.Error("broker 1 has not given anything")
	}

	var gone atomic.Bool
	third := make(chan *host, 1)
	watched(func() memkv.Fault {
		if !gone.Swap(true) {
			h := <-third
			if err := h.b.lease.Deregister(ctx); err != nil {
				t.Error(err)
			}
			h.stop()
		}
		return memkv.Fault{}
	})
	third <- startHost(t, h.server, 3, vfs.NewMem())
	eventually(t, "broker 1 goes on where broker 3 is not there any more", func() bool { return gone.Load() && len(serves(h)) == int(n)/2 })
}
