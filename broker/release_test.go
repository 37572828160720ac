package broker

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"firn/broker/group"
	"firn/broker/partition"
	"firn/broker/replication"
	"firn/metadata"
	"firn/metadata/memkv"
	"firn/metadata/topic"
	"firn/segment"
	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

// host is a broker as far as it hosts partitions: it follows the metadata and serves nobody.
type host struct {
	t      *testing.T
	server *memkv.Server
	kv     *memkv.Client
	mem    *vfs.Mem
	faults faultfs.Injector // of its disk
	disk   *segment.Disk
	b      *Broker
}

func startHost(t *testing.T, server *memkv.Server, id int32, mem *vfs.Mem) *host {
	t.Helper()
	h := &host{t: t, server: server, kv: server.Dial(), mem: mem}
	var err error
	if h.disk, err = segment.OpenDisk(segment.DiskOptions{FS: faultfs.Wrap(mem, &h.faults), Dir: "/data", BrokerID: id}); err != nil {
		t.Fatal(err)
	}
	store, err := metadata.Open(t.Context(), h.kv, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	epoch, clean := h.disk.LastBrokerEpoch()
	reg := metadata.Registration{ID: id, BootID: "boot", Disks: []metadata.DiskFacts{{ID: h.disk.ID(), Epoch: max(epoch, 0), Clean: clean}}}
	lease, err := store.Register(t.Context(), reg, metadata.LeaseOptions{TTL: time.Hour, KV: h.kv})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.disk.SetBrokerEpoch(lease.Epoch()); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.NodeID = id
	b := &Broker{cfg: cfg, log: slog.New(slog.DiscardHandler), store: store, lease: lease, reg: prometheus.NewRegistry(), disks: []*segment.Disk{h.disk}}
	h.b = b
	b.inSync, b.standing, b.giver = newInSyncKeeper(b), &standing{b: b}, newGiver(b)
	b.set, err = partition.NewSet(partition.Options{
		BrokerID: id, Disks: b.disks, InSync: b.inSync, OnDamage: func(r *partition.Replica) { b.applier.rec.mark(r.Partition()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if b.fetchers, err = replication.New(b.replicationOptions()); err != nil {
		t.Fatal(err)
	}
	b.committer = store.NewCommitter(metadata.CommitterOptions{})
	b.groups = group.NewCoordinator(group.Config{
		Options: b.groupOptions(), Broker: id, Shards: store.Image().Shards(metadata.GroupShard), Store: b.committer, Lease: lease,
	})
	b.keeper = newTopicKeeper(b)
	b.applier = newApplier(b)
	b.applier.start()
	return h
}

func (h *host) stop() {
	h.b.applier.stop()
	h.b.keeper.stop()
	h.b.groups.Close()
	_ = h.b.committer.Close()
	h.b.fetchers.Close()
	_ = h.b.set.Close()
	_ = h.disk.Close(true)
	_ = h.b.lease.Close()
	_ = h.b.store.Close()
	_ = h.kv.Close()
}

// kill ends the host as a kill does, and returns what is left of its disk.
func (h *host) kill() *vfs.Mem {
	left := h.mem.KillClone()
	h.kv.Cut(true)
	h.stop()
	return left
}

// write changes the metadata, as another broker does.
func (h *host) write(ops ...metadata.Op) {
	h.t.Helper()
	kv := h.server.Dial()
	defer func() { _ = kv.Close() }()
	if _, err := kv.Txn(h.t.Context(), metadata.Txn{Then: ops}); err != nil {
		h.t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// An etcd that was restored from a backup lacks what was made since. The broker stops to serve that, and keeps it: should the
// record come back it has all that it had.
func TestWhatTheMetadataLacksIsKept(t *testing.T) {
	for _, lost := range []string{"the topic", "a partition", "a replica", "a replica, as others tell first"} {
		t.Run(lost, func(t *testing.T) {
			h := startHost(t, memkv.NewServer(), 1, vfs.NewMem())
			defer h.stop()
			keys, tp := h.b.store.Keys(), topic.Partition{ID: topic.NewID(), Index: 1}
			elsewhere := func(epoch int32) metadata.Op {
				return keys.PutPartition(&metadata.PartitionState{
					Partition: tp, Leader: 2, LeaderBrokerEpoch: 7, LeaderEpoch: epoch, ISR: []int32{2}, LastKnownLeader: -1, Replicas: []int32{2},
				})
			}
			record := []metadata.Op{keys.PutPartition(&metadata.PartitionState{
				Partition: tp, Leader: 1, LeaderBrokerEpoch: h.b.lease.Epoch(), LeaderEpoch: 3, ISR: []int32{1}, LastKnownLeader: -1, Replicas: []int32{1},
			})}
			gone := []metadata.Op{metadata.Delete(keys.Partition(tp))}
			topicRecord := []metadata.Op{keys.PutTopicName("t", tp.ID), keys.PutTopic(&metadata.Topic{ID: tp.ID, Name: "t", Partitions: 2, ReplicationFactor: 1})}
			h.write(topicRecord...)
			switch lost {
			case "the topic":
				record = append(record, topicRecord...)
				gone = append(gone, metadata.Delete(keys.TopicName("t")), metadata.Delete(keys.Topic(tp.ID)))
			case "a replica":
				gone = []metadata.Op{elsewhere(3)}
			case "a replica, as others tell first": // one of them, which has not heard of the newest epoch, has raised it
				gone = []metadata.Op{elsewhere(2 + epochGap)}
			}
			h.write(record...)
			leads := func() bool {
				r := h.b.set.Get(tp)
				if r == nil {
					return false
				}
				_, _, leads := r.LeaderEpoch()
				return leads
			}
			eventually(t, "it leads", leads)
			g := &inSyncRig{t: t, r: h.b.set.Get(tp)}
			if !g.append() {
				t.Fatal("not acknowledged")
			}
			h.write(gone...)
			eventually(t, "it is not served any more", func() bool { return h.b.set.Get(tp) == nil })
			h.b.applier.rec.settle()
			stored := func() bool {
				refs, err := h.disk.Partitions()
				return err != nil || slices.Contains(refs, segment.Ref{ID: tp.ID, Index: tp.Index})
			}
			if !stored() {
				t.Fatal("deleted")
			}
			h.write(record...)
			eventually(t, "it leads again", leads)
			if o := h.b.set.Get(tp).Offsets(); o.LogEnd != 2 {
				t.Errorf("%+v", o)
			}
			waits := make(chan struct{})
			f := &partition.Fetch{
				MinBytes: 1, MaxBytes: 1 << 20, MaxWait: time.Hour, Done: func(*partition.Fetch) { close(waits) },
				Parts: []partition.FetchPart{{Replica: h.b.set.Get(tp), Offset: 2, MaxBytes: 1 << 20, LeaderEpoch: -1, LastEpoch: -1}},
			}
			h.b.set.Fetch(t.Context(), f)
			h.write(elsewhere(4))
			eventually(t, "it is deleted where it was moved away", func() bool { return !stored() })
			if <-waits; !errors.Is(f.Parts[0].Err, partition.ErrNotLeader) {
				t.Errorf("a consumer that waits is told %v, not to look for the leader", f.Parts[0].Err)
			}
		})
	}
}

// An etcd that was restored from a backup may lack elections. Their leader epochs are not given again, and the partition is served
// with all that the replica has.
func TestLeaderEpochsThatTheMetadataLacksAreNotGivenAgain(t *testing.T) {
	for _, how := range []string{"to one that runs", "to one that starts", "another's, at the same epoch"} {
		t.Run(how, func(t *testing.T) {
			h := startHost(t, memkv.NewServer(), 1, vfs.NewMem())
			keys, tp := h.b.store.Keys(), topic.Partition{ID: topic.NewID()}
			record := func(leader, epoch int32) metadata.Op {
				at := h.b.lease.Epoch()
				if leader == 2 {
					at = 7
				}
				return keys.PutPartition(&metadata.PartitionState{
					Partition: tp, Leader: leader, LeaderBrokerEpoch: at, LeaderEpoch: epoch, ISR: []int32{leader}, LastKnownLeader: -1, Replicas: []int32{1, 2},
				})
			}
			h.write(keys.PutTopicName("t", tp.ID), keys.PutTopic(&metadata.Topic{ID: tp.ID, Name: "t", Partitions: 1, ReplicationFactor: 2}), record(1, 9))
			at := func() (epoch, leader int32, leads bool) {
				if r := h.b.set.Get(tp); r != nil {
					return r.LeaderEpoch()
				}
				return -1, -1, false
			}
			eventually(t, "it leads", func() bool { _, _, leads := at(); return leads })
			if g := (&inSyncRig{t: t, r: h.b.set.Get(tp)}); !g.append() {
				t.Fatal("not acknowledged")
			}
			leader := int32(1)
			switch how {
			case "to one that runs":
				h.write(record(1, 4))
			case "to one that starts":
				h = startHost(t, h.server, 1, h.kill())
				h.write(record(1, 4))
			default:
				leader = 2
				h.write(record(2, 9))
			}
			defer func() { h.stop() }()
			eventually(t, "it is in an epoch that was never given", func() bool {
				epoch, of, leads := at()
				return epoch > 9+1000 && of == leader && leads == (leader == 1)
			})
			if ps, _ := h.b.store.Image().Partition(tp); ps.Leader != leader || len(ps.ISR) != 1 || ps.ISR[0] != leader {
				t.Errorf("%+v", ps)
			}
			if r := h.b.set.Get(tp); r.Offsets().LogEnd != 2 || leader == 1 && !(&inSyncRig{t: t, r: r}).append() {
				t.Errorf("%+v", r.Offsets())
			}
		})
	}
}

// A deletion is confirmed also if it is looked at while the last copy of the topic is still being seen to.
func TestDeletionThatIsLookedAtTooEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHost(t, memkv.NewServer(), 1, vfs.NewMem())
		defer h.stop()
		keys, tp := h.b.store.Keys(), topic.Partition{ID: topic.NewID()}
		h.b.applier.rec.stop()
		gate, marked := make(chan struct{}), make(chan struct{})
		h.b.applier.rec = newReconciler(1, func(ctx context.Context, tp topic.Partition) {
			h.b.applier.reconcile(ctx, tp)
			if im := h.b.store.Image(); im.Rev() > 0 {
				if t, ok := im.TopicByID(tp.ID); ok && !t.Live() {
					close(marked)
					<-gate
				}
			}
		})
		deleting := &metadata.Topic{ID: tp.ID, Name: "t", Partitions: 1, ReplicationFactor: 1, State: metadata.TopicDeleting}
		h.write(keys.PutTopic(deleting))
		<-marked
		synctest.Wait()
		close(gate)
		time.Sleep(time.Minute)
		if t2, ok := h.b.store.Image().TopicByID(tp.ID); ok && !slices.Contains(t2.Released, 1) {
			t.Errorf("never confirmed: %+v", t2)
		}
	})
}

// A broker that holds copies of a topic is killed about the time that the topic is deleted: at last it holds nothing and
// has confirmed that, once, and the record goes when all others have, or have left for good.
func TestDeletionIsConfirmedThroughCrashes(t *testing.T) {
	const before, unconfirmed, unknown = "before it knows", "before it confirms", "while it confirms"
	for _, when := range []string{before, unconfirmed, unknown} {
		t.Run(when, func(t *testing.T) {
			h := startHost(t, memkv.NewServer(), 1, vfs.NewMem())
			other := startHost(t, h.server, 2, vfs.NewMem())
			keys, id := h.b.store.Keys(), topic.NewID()
			record := &metadata.Topic{ID: id, Name: "t", Partitions: 2, ReplicationFactor: 1}
			ops := []metadata.Op{keys.PutTopic(record)}
			for i := range record.Partitions {
				ops = append(ops, keys.PutPartition(&metadata.PartitionState{
					Partition: topic.Partition{ID: id, Index: i}, Leader: 1, LeaderBrokerEpoch: h.b.lease.Epoch(), LeaderEpoch: 1,
					ISR: []int32{1}, LastKnownLeader: -1, Replicas: []int32{1},
				}))
			}
			h.write(ops...)
			stored := func(n int) func() bool {
				return func() bool {
					refs, err := h.disk.Partitions()
					return err == nil && len(refs) == n
				}
			}
			eventually(t, "it hosts the topic", stored(2))
			h.b.applier.rec.settle()

			other.kv.SetFaults(func(c memkv.Call) memkv.Fault { return memkv.Fault{Refuse: releases(c)} })
			gone := *record
			gone.State = metadata.TopicDeleting
			if when != before {
				h.kv.SetFaults(func(c memkv.Call) memkv.Fault {
					return memkv.Fault{Refuse: when == unconfirmed && releases(c), LoseReply: when == unknown && releases(c)}
				})
				h.write(keys.PutTopic(&gone))
				eventually(t, "its copies are deleted", stored(0))
			}
			if when == unknown {
				eventually(t, "it has confirmed, and does not know", func() bool { return slices.Contains(released(h, id), 1) })
			}
			left := h.kill()
			if when == before {
				other.write(keys.PutTopic(&gone))
			}
			h = startHost(t, h.server, 1, left)
			defer h.stop()
			eventually(t, "it has confirmed", func() bool { return slices.Equal(released(h, id), []int32{1}) })
			if !stored(0)() {
				t.Error("it has confirmed what it holds")
			}

			if _, err := h.b.lease.Campaign(t.Context()); err != nil {
				t.Fatal(err)
			}
			h.b.keeper.rec.settle()
			if _, ok := h.b.store.Image().TopicByID(id); !ok {
				t.Fatal("the record went while broker 2 may hold copies")
			}
			if when == before {
				other.kv.SetFaults(nil) // it has nothing to delete, and confirms that, too
			} else {
				n, _ := h.b.store.Image().Node(2)
				left := *n
				left.State = metadata.NodeGone
				h.write(keys.PutNode(&left))
			}
			eventually(t, "the record goes", func() bool {
				_, ok := h.b.store.Image().TopicByID(id)
				return !ok
			})
			other.stop()
		})
	}
}

// What cannot be deleted for now is not confirmed, and is once it could be.
func TestNothingIsConfirmedThatIsStillHeld(t *testing.T) {
	h := startHost(t, memkv.NewServer(), 1, vfs.NewMem())
	defer h.stop()
	keys, tp := h.b.store.Keys(), topic.Partition{ID: topic.NewID()}
	record := metadata.Topic{ID: tp.ID, Name: "t", Partitions: 1, ReplicationFactor: 1}
	h.write(keys.PutTopic(&record), keys.PutPartition(&metadata.PartitionState{
		Partition: tp, Leader: 1, LeaderBrokerEpoch: h.b.lease.Epoch(), LeaderEpoch: 1, ISR: []int32{1}, LastKnownLeader: -1, Replicas: []int32{1},
	}))
	eventually(t, "it hosts the topic", func() bool { return h.b.set.Get(tp) != nil })
	h.b.applier.rec.settle()
	tried := make(chan struct{}, 100)
	full := h.faults.Add(faultfs.Rule{Op: faultfs.Rename, Glob: "*-0", Times: -1, Err: syscall.ENOSPC, Do: func(faultfs.Op, string) { tried <- struct{}{} }})
	record.State = metadata.TopicDeleting
	h.write(keys.PutTopic(&record))
	for range 2 {
		<-tried
		h.b.applier.rec.settle()
		h.b.applier.releases.settle()
		if refs, err := h.disk.Partitions(); err != nil || len(refs) != 1 || len(released(h, tp.ID)) > 0 {
			t.Fatalf("%v are held, %v; released by %v", refs, err, released(h, tp.ID))
		}
		h.b.applier.releases.mark(tp.ID) // as after a while
	}
	full.Remove()
	h.b.applier.releases.mark(tp.ID)
	eventually(t, "it has confirmed", func() bool { return slices.Equal(released(h, tp.ID), []int32{1}) })
}

// releases reports whether a call writes a topic's record.
func releases(c memkv.Call) bool {
	return c.Write && slices.ContainsFunc(c.Keys, func(k string) bool { return strings.Contains(k, "/t/i/") })
}

// released is who has confirmed the deletion of a topic, as the host sees it.
func released(h *host, id topic.ID) []int32 {
	t, ok := h.b.store.Image().TopicByID(id)
	if !ok {
		return nil
	}
	return t.Released
}
