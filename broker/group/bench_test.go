package group

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/brokertest/growthtest"
	"firn/broker/coordinator"
	"firn/metadata"
	"firn/metadata/memkv"
	"firn/metadata/topic"
)

// BenchmarkJoinAtOnce is members of one group joining, syncing and heartbeating once, from nothing.
func BenchmarkJoinAtOnce(b *testing.B) {
	for _, size := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := &rig{now: time.Unix(1_700_000_000, 0), kept: map[string][]byte{}, gone: map[topic.ID]bool{}}
				r.m = NewMachine(r.options())
				_ = r.m.Load(nil, r.now)
				var answered int
				var leader *kmsg.JoinGroupResponse
				var ids []string
				for range size {
					req := request(func(r *kmsg.JoinGroupRequest) { r.Version = 3 })
					r.apply(r.m.Join(r.now, Client{ID: "c", Host: "/h"}, req, func(resp *kmsg.JoinGroupResponse, _ error) {
						ids = append(ids, resp.MemberID)
						if len(resp.Members) > 0 {
							leader = resp
						}
						answered++
					}))
				}
				r.pass(10 * time.Second)
				for _, id := range ids {
					req := kmsg.NewPtrSyncGroupRequest()
					req.Group, req.MemberID, req.Generation = "g", id, leader.Generation
					if id == leader.MemberID {
						for _, m := range leader.Members {
							req.GroupAssignment = append(req.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: m.MemberID, MemberAssignment: make([]byte, 50)})
						}
					}
					r.apply(r.m.Sync(r.now, Client{}, req, func(*kmsg.SyncGroupResponse, error) { answered++ }))
				}
				if answered != 2*size {
					b.Fatalf("%d answers of %d", answered, 2*size)
				}
			}
		})
	}
}

// BenchmarkLoad is a shard's share of 10,000 groups of a member and 100 offsets each, and all of them.
func BenchmarkLoad(b *testing.B) {
	for _, groups := range []int{40, 10_000} {
		b.Run(fmt.Sprint(groups), func(b *testing.B) {
			now := time.Now()
			m := NewMachine((&rig{}).options())
			var entries []metadata.ShardEntry
			for i := range groups {
				g := newGroup(fmt.Sprint("group-", i), now)
				g.protocolType, g.protocol, g.leader, g.generation = "consumer", "range", "m", 1
				g.members["m"] = &member{id: "m", protocols: []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: consumerOf("t1")}}, sessionTimeout: time.Minute}
				dirty := map[bucketKey]bool{}
				g.offsets[topic.ID{1}] = map[int32]offset{}
				for p := range int32(100) {
					g.offsets[topic.ID{1}][p] = offset{offset: int64(p), leaderEpoch: 1, committed: now}
					dirty[bucketOf(tp(1, p))] = true
				}
				m.writeGroup(g)
				m.writeBuckets(g, dirty)
			}
			for _, e := range m.take().Edits {
				entries = append(entries, metadata.ShardEntry{Key: e.Key, Value: e.Value})
			}
			b.ReportAllocs()
			for b.Loop() {
				m := NewMachine((&rig{}).options())
				if err := m.Load(entries, now); err != nil || len(m.groups) != groups {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCommit is commits of 100 partitions each by 50 groups, each group waiting for its answer, through
// loops and a key space in memory that takes a millisecond.
func BenchmarkCommit(b *testing.B) {
	server := memkv.NewServer()
	br := newBroker(b, server, 1, 256)
	defer br.close()
	br.ownAll(b)
	br.kv.SetFaults(func(c memkv.Call) memkv.Fault {
		if c.Write {
			return memkv.Fault{Delay: time.Millisecond}
		}
		return memkv.Fault{}
	})
	const groups = 50
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		var wg sync.WaitGroup
		n++
		for i := range groups {
			cs := make([]Commit, 100)
			for p := range cs {
				cs[p] = Commit{Partition: tp(1, int32(p)), Offset: int64(n), LeaderEpoch: -1}
			}
			wg.Add(1)
			br.groups.Commit(Committer{Group: fmt.Sprint("group-", i), Generation: -1}, cs, func(c *Committed, err error) {
				if err != nil || c.Err != nil {
					b.Error(err, c)
				}
				wg.Done()
			})
		}
		wg.Wait()
	}
	b.ReportMetric(float64(groups*n)/b.Elapsed().Seconds(), "commits/s")
	b.ReportMetric(float64(groups*n*100)/b.Elapsed().Seconds(), "offsets/s")
}

// ownAll makes the broker the owner of all shards and waits until they are loaded.
func (b *broker) ownAll(t testing.TB) {
	kv := b.kv.Server().Dial()
	defer func() { _ = kv.Close() }()
	var ops []metadata.Op
	for n := range b.groups.shards {
		ops = append(ops, b.store.Keys().PutShardOwner(metadata.GroupShard, n, &metadata.ShardOwner{Broker: b.id, BrokerEpoch: 1}))
	}
	res, err := kv.Txn(t.Context(), metadata.Txn{Then: ops})
	if err != nil {
		t.Fatal(err)
	}
	for n := range b.groups.shards {
		b.groups.Own(n, metadata.ShardOwner{Broker: b.id, BrokerEpoch: 1, Rev: res.Rev}, 1)
	}
	loaded := make(chan error, 1)
	for err = coordinator.ErrLoading; err != nil; err = <-loaded {
		b.groups.List(nil, nil, func(_ *[]kmsg.ListGroupsResponseGroup, err error) { loaded <- err })
	}
}

// All shards of a broker that nobody uses are nearly free.
func TestIdleShardsAreSmall(t *testing.T) {
	br := newBroker(t, memkv.NewServer(), 1, 256)
	defer br.close()
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := heap()
	br.ownAll(t)
	if grown := int64(heap() - before); grown > 5<<20 {
		t.Errorf("256 idle shards take %d KiB", grown>>10)
	} else {
		t.Logf("256 idle shards take %d KiB", grown>>10)
	}
}

// TestLongFilterOfAListHoldsNobodyUp lists the groups of shards, which wait for it, in as many states as a request can name.
func TestLongFilterOfAListHoldsNobodyUp(t *testing.T) {
	growthtest.Subquadratic(t, 500, func(groups int) func() {
		br := newBroker(t, memkv.NewServer(), 1, 4)
		t.Cleanup(br.close)
		br.ownAll(t)
		commitTo(t, br, groups)
		states := append(slices.Repeat([]string{"Nonsense"}, 100*groups), "Empty")
		return func() {
			listed := make(chan int, 1)
			br.groups.List(states, states, func(list *[]kmsg.ListGroupsResponseGroup, _ error) { listed <- len(*list) })
			br.groups.List(states, nil, func(list *[]kmsg.ListGroupsResponseGroup, _ error) { listed <- len(*list) })
			if none, all := <-listed, <-listed; none+all != groups {
				t.Errorf("%d and %d groups, want none of those types and all %d", none, all, groups)
			}
		}
	})
}

// commitTo makes as many groups.
func commitTo(t *testing.T, br *broker, groups int) {
	var wg sync.WaitGroup
	for i := range groups {
		wg.Add(1)
		by := Committer{Group: fmt.Sprint("group-", i), Generation: -1}
		br.groups.Commit(by, []Commit{{Partition: tp(1, 0), Offset: 1, LeaderEpoch: -1}}, func(c *Committed, err error) {
			if err != nil || c.Err != nil {
				t.Error(err, c)
			}
			wg.Done()
		})
	}
	wg.Wait()
}
