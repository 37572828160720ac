package broker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"firn/broker/controller"
	"firn/broker/partition"
	"firn/metadata"
	"firn/metadata/memkv"
	"firn/metadata/topic"
	"firn/segment"
	"firn/segment/batch"
	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

// inSyncRig is broker 1, which leads a partition that broker 2 has a replica of, on a key space in memory.
type inSyncRig struct {
	t      *testing.T
	server *memkv.Server
	kv     *memkv.Client // of broker 1
	b      *Broker
	other  *metadata.Lease // of broker 2
	tp     topic.Partition
	r      *partition.Replica
	faults faultfs.Injector // of broker 1's disk
}

func newInSyncRig(t *testing.T, change ...func(*partition.Options)) *inSyncRig {
	t.Helper()
	g := &inSyncRig{t: t, server: memkv.NewServer(), tp: topic.Partition{ID: topic.NewID()}}
	g.kv = g.server.Dial()
	store, lease := g.join(1, g.kv)
	_, g.other = g.join(2, g.server.Dial())
	keys := store.Keys()
	_, err := g.kv.Txn(t.Context(), metadata.Txn{Then: []metadata.Op{
		keys.PutTopicName("t", g.tp.ID), keys.PutTopic(&metadata.Topic{ID: g.tp.ID, Name: "t", Partitions: 1, ReplicationFactor: 2}),
		keys.PutPartition(&metadata.PartitionState{
			Partition: g.tp, Leader: 1, LeaderBrokerEpoch: lease.Epoch(), LeaderEpoch: 4, ISR: []int32{1}, LastKnownLeader: -1, Replicas: []int32{2, 1},
		}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.WaitRev(t.Context(), g.server.Rev()); err != nil {
		t.Fatal(err)
	}
	disk, err := segment.OpenDisk(segment.DiskOptions{FS: faultfs.Wrap(vfs.NewMem(), &g.faults), Dir: "/data", BrokerID: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.SetBrokerEpoch(lease.Epoch()); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.NodeID = 1
	g.b = &Broker{cfg: cfg, log: slog.New(slog.DiscardHandler), store: store, lease: lease}
	g.b.inSync = newInSyncKeeper(g.b)
	o := partition.Options{BrokerID: 1, Disks: []*segment.Disk{disk}, InSync: g.b.inSync}
	for _, c := range change {
		c(&o)
	}
	g.b.set, err = partition.NewSet(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = g.b.set.Close()
		_ = disk.Close(true)
	})
	c, err := topic.ParseConfig(nil, topic.Defaults{})
	if err != nil {
		t.Fatal(err)
	}
	if g.r, err = g.b.set.Open(g.tp, "t", c); err != nil {
		t.Fatal(err)
	}
	g.adopt()
	return g
}

func (g *inSyncRig) join(id int32, kv *memkv.Client) (*metadata.Store, *metadata.Lease) {
	g.t.Helper()
	store, err := metadata.Open(g.t.Context(), kv, metadata.Options{})
	if err != nil {
		g.t.Fatal(err)
	}
	reg := metadata.Registration{ID: id, Disks: []metadata.DiskFacts{{ID: metadata.UUID{byte(id)}}}}
	lease, err := store.Register(g.t.Context(), reg, metadata.LeaseOptions{TTL: time.Hour, KV: kv})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		_ = lease.Close()
		_ = store.Close()
		_ = kv.Close()
	})
	return store, lease
}

// adopt makes the replica what the newest image says, and returns that.
func (g *inSyncRig) adopt() *metadata.PartitionState {
	g.t.Helper()
	im, err := g.b.store.WaitRev(g.t.Context(), g.server.Rev())
	if err != nil {
		g.t.Fatal(err)
	}
	ps, _ := im.Partition(g.tp)
	st := partition.State{Leader: ps.Leader, LeaderEpoch: ps.LeaderEpoch, Rev: ps.Rev, Replicas: ps.Replicas, ISR: ps.ISR, ELR: ps.ELR}
	if err := g.r.BecomeLeader(st); err != nil {
		g.t.Fatal(err)
	}
	return ps
}

// fetch is broker 2 saying that it has everything.
func (g *inSyncRig) fetch() { g.fetchAs(2, g.other.Epoch()) }

func (g *inSyncRig) fetchAs(id int32, epoch int64) {
	g.t.Helper()
	done := make(chan struct{})
	f := &partition.Fetch{MaxBytes: 1 << 20, Follower: &partition.Follower{ID: id, BrokerEpoch: epoch}}
	f.Parts = []partition.FetchPart{{Replica: g.r, Offset: g.r.Offsets().LogEnd, MaxBytes: 1 << 20, LeaderEpoch: 4, LastEpoch: -1}}
	f.Done = func(*partition.Fetch) { close(done) }
	g.b.set.Fetch(g.t.Context(), f)
	<-done
	if err := f.Parts[0].Err; err != nil {
		g.t.Fatal(err)
	}
}

// work commits what is due.
func (g *inSyncRig) work() {
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Minute)
	defer cancel()
	g.b.inSync.commit(ctx, g.b.inSync.take())
}

// append has a record with acks=all, and reports whether it is acknowledged by the time that one behind it with acks=1 is: the
// disk's part of it is done then.
func (g *inSyncRig) append() bool {
	g.t.Helper()
	all, leader := g.appendTo(partition.AcksAll), g.appendTo(partition.AcksLeader)
	eventually(g.t, "what the leader alone acknowledges", leader.done.Load)
	return all.done.Load()
}

func (g *inSyncRig) appendTo(acks int16) *acked {
	g.t.Helper()
	var w batch.Builder
	w.Add(time.Now().UnixMilli(), nil, []byte("v"))
	b, err := w.Build(nil)
	if err != nil {
		g.t.Fatal(err)
	}
	a := &acked{}
	a.Records, a.Acks, a.Done = b, acks, a
	g.r.Append(&a.Append)
	return a
}

type acked struct {
	partition.Append
	done atomic.Bool
}

func (a *acked) AppendDone(*partition.Append) { a.done.Store(true) }

// partitionWrites makes fn decide about the writes of the partition's record.
func (g *inSyncRig) partitionWrites(fn func(n int) memkv.Fault) *atomic.Int32 {
	var n atomic.Int32
	g.kv.SetFaults(func(c memkv.Call) memkv.Fault {
		if !c.Write || !slices.ContainsFunc(c.Keys, func(k string) bool { return strings.Contains(k, "/p/") }) {
			return memkv.Fault{}
		}
		return fn(int(n.Add(1)))
	})
	return &n
}

func TestFollowerJoinsTheInSyncSet(t *testing.T) {
	g := newInSyncRig(t)
	g.fetch()
	g.work()
	if ps := g.adopt(); !slices.Equal(ps.ISR, []int32{2, 1}) {
		t.Fatalf("in sync: %v", ps.ISR)
	}
	if g.append() {
		t.Error("acknowledged though broker 2 has not said that it has it")
	}
}

// More followers than one transaction takes are back at the same time, after the leader was alone: they join in turn.
func TestVeryManyFollowersJoinTheInSyncSet(t *testing.T) {
	g := newInSyncRig(t)
	keys, ps := g.b.store.Keys(), *g.adopt()
	ops := []metadata.Op{}
	for id := int32(2); id <= 40; id++ {
		if id > 2 {
			ops = append(ops, metadata.Put(keys.Broker(id), append([]byte{8, 1, 18, 16}, make([]byte, 16)...)), keys.PutNode(&metadata.Node{ID: id}))
			ps.Replicas = append(ps.Replicas, id)
		}
	}
	if _, err := g.kv.Txn(g.t.Context(), metadata.Txn{Then: append(ops, keys.PutPartition(&ps))}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		g.adopt()
		for _, id := range ps.Replicas {
			if b, ok := g.b.store.Image().Broker(id); ok && id != 1 {
				g.fetchAs(id, b.Epoch)
			}
		}
		g.work()
	}
	if ps := g.adopt(); len(ps.ISR) != 40 {
		t.Errorf("in sync: %v", ps.ISR)
	}
}

func TestFollowerThatLagsLeavesTheInSyncSet(t *testing.T) {
	g := newInSyncRig(t, func(o *partition.Options) { o.ReplicaLag = time.Nanosecond })
	g.fetch()
	g.work()
	if ps := g.adopt(); !slices.Equal(ps.ISR, []int32{2, 1}) {
		t.Fatalf("in sync: %v", ps.ISR)
	}
	g.b.inSync.mark(g.tp)
	g.work()
	if ps := g.adopt(); !slices.Equal(ps.ISR, []int32{2, 1}) {
		t.Fatalf("a follower that lacks nothing does not lag: %v", ps.ISR)
	}
	if g.append() {
		t.Error("acknowledged by one of two in sync")
	}
	g.b.inSync.mark(g.tp)
	g.work()
	if ps := g.adopt(); !slices.Equal(ps.ISR, []int32{1}) {
		t.Fatalf("in sync: %v", ps.ISR)
	}
	if o := g.r.Offsets(); o.HighWatermark != o.LogEnd {
		t.Errorf("%+v", o)
	}
}

func TestJoiningWhenTheAnswerIsLost(t *testing.T) {
	g := newInSyncRig(t)
	n := g.partitionWrites(func(n int) memkv.Fault { return memkv.Fault{LoseReply: n == 1} })
	g.fetch()
	g.work()
	if ps := g.adopt(); !slices.Equal(ps.ISR, []int32{2, 1}) || n.Load() != 2 {
		t.Fatalf("in sync: %v after %d writes", ps.ISR, n.Load())
	}
}

// etcd is full for a while: whether an attempt before was made is not known from that, nor from what etcd says of the write that
// fills it, so the attempt goes on, and does not stand in the way of all others.
func TestJoiningWhileEtcdIsFull(t *testing.T) {
	for name, first := range map[string]memkv.Fault{"from the start": {Err: metadata.ErrNoSpace}, "after a lost request": {LoseRequest: true}} {
		t.Run(name, func(t *testing.T) {
			g := newInSyncRig(t)
			g.partitionWrites(func(n int) memkv.Fault {
				switch {
				case n == 1:
					return first
				case n < 4:
					return memkv.Fault{Err: metadata.ErrNoSpace}
				}
				return memkv.Fault{}
			})
			g.fetch()
			g.work()
			if ps := g.adopt(); !slices.Equal(ps.ISR, []int32{2, 1}) {
				t.Fatalf("in sync: %v", ps.ISR)
			}
		})
	}
}

// While etcd is full high watermarks may stand still, for no other reason that anybody would see: the log says so, once.
func TestInSyncSetsThatEtcdHasNoSpaceForAreToldOf(t *testing.T) {
	g := newInSyncRig(t)
	var told bytes.Buffer
	g.b.inSync.log = slog.New(slog.NewTextHandler(&told, nil))
	g.partitionWrites(func(n int) memkv.Fault {
		if n < 4 {
			return memkv.Fault{Err: metadata.ErrNoSpace}
		}
		return memkv.Fault{}
	})
	g.fetch()
	g.work()
	if n := strings.Count(told.String(), metadata.ErrNoSpace.Error()); n != 1 {
		t.Errorf("it is told %d times:\n%s", n, &told)
	}
}

// The outcome of a join is unknown and the joiner is gone: until the record has moved on it may have joined.
func TestJoinerIsGoneAndTheOutcomeUnknown(t *testing.T) {
	g := newInSyncRig(t)
	before := g.adopt()
	g.partitionWrites(func(n int) memkv.Fault {
		if n > 1 {
			return memkv.Fault{}
		}
		if err := g.other.Deregister(context.Background()); err != nil {
			t.Error(err)
		}
		return memkv.Fault{LoseRequest: true}
	})
	g.fetch()
	g.work()
	ps := g.adopt()
	if !slices.Equal(ps.ISR, []int32{1}) || ps.Rev == before.Rev {
		t.Fatalf("in sync: %v, at revision %d after %d", ps.ISR, ps.Rev, before.Rev)
	}
	if !g.append() {
		t.Error("a joiner that never joined is waited for")
	}
}

func TestNobodyJoinsInAnotherLife(t *testing.T) {
	g := newInSyncRig(t)
	n := g.partitionWrites(func(int) memkv.Fault { return memkv.Fault{} })
	g.fetch()
	if err := g.other.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := g.b.store.WaitRev(t.Context(), g.server.Rev()); err != nil {
		t.Fatal(err)
	}
	g.work()
	if ps := g.adopt(); !slices.Equal(ps.ISR, []int32{1}) || n.Load() != 0 {
		t.Fatalf("in sync: %v after %d writes", ps.ISR, n.Load())
	}
	if !g.append() {
		t.Error("a follower that is gone is waited for")
	}
}

// Another has written the record since our image: nothing is overwritten, and the next try follows what is there now.
func TestInSyncSetFollowsTheNewestRecord(t *testing.T) {
	g := newInSyncRig(t)
	known := g.adopt()
	g.partitionWrites(func(n int) memkv.Fault {
		if n == 1 {
			next := *known
			next.ELR = []int32{9}
			if _, err := g.server.Dial().Txn(context.Background(), metadata.Txn{Then: []metadata.Op{g.b.store.Keys().PutPartition(&next)}}); err != nil {
				t.Error(err)
			}
		}
		return memkv.Fault{}
	})
	g.fetch()
	g.work()
	if ps := g.adopt(); !slices.Equal(ps.ISR, []int32{1}) || !slices.Equal(ps.ELR, []int32{9}) {
		t.Fatalf("%+v", ps)
	}
	g.fetch()
	g.work()
	if ps := g.adopt(); !slices.Equal(ps.ISR, []int32{2, 1}) || len(ps.ELR) != 0 {
		t.Fatalf("%+v", ps)
	}
}

// Where unclean elections are allowed another leads though the disk of the last one that has all there is has failed, until that
// one begins another life.
func TestLastReplicaOnAFailedDiskYieldsToAnUncleanElection(t *testing.T) {
	g := newInSyncRig(t)
	keys := g.b.store.Keys()
	_, err := g.kv.Txn(t.Context(), metadata.Txn{Then: []metadata.Op{
		keys.PutSettings(keys.TopicSettings(g.tp.ID), metadata.Settings{Values: map[string]string{"unclean.leader.election.enable": "true"}}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	g.adopt()
	g.faults.Add(faultfs.Rule{Op: faultfs.Sync, Glob: "*.log", Times: -1, Err: errors.New("i/o error")})
	g.appendTo(partition.AcksAll)
	deadline := time.Now().Add(time.Minute)
	for g.r.Err() == nil && time.Now().Before(deadline) {
		<-time.After(time.Millisecond)
	}
	for range 2 {
		g.b.inSync.mark(g.tp)
		g.work()
	}
	im, err := g.b.store.WaitRev(t.Context(), g.server.Rev())
	if err != nil {
		t.Fatal(err)
	}
	ps, _ := im.Partition(g.tp)
	if ps.Leader != -1 || ps.LeaderEpoch != 5 {
		t.Fatalf("%+v", ps)
	}
	if next, _ := controller.Next(im, g.b.topicDefaults(im), ps); next.Leader != 2 || !slices.Equal(next.ISR, []int32{2}) {
		t.Errorf("%+v", next)
	}
	// If that one cannot serve it either the lead comes back, but does not go round without a pause.
	next := *ps
	next.Leader, next.LeaderEpoch = 1, 7
	if _, err := g.kv.Txn(t.Context(), metadata.Txn{Then: []metadata.Op{keys.PutPartition(&next)}}); err != nil {
		t.Fatal(err)
	}
	if _, err = g.b.store.WaitRev(t.Context(), g.server.Rev()); err != nil {
		t.Fatal(err)
	}
	g.b.inSync.mark(g.tp)
	g.work()
	if im, err = g.b.store.WaitRev(t.Context(), g.server.Rev()); err != nil {
		t.Fatal(err)
	}
	if ps, _ = im.Partition(g.tp); ps.LeaderEpoch != 7 {
		t.Errorf("%+v", ps)
	}
}

// What is yielded is the lead of this life: a broker that begins one with a failed disk, and has not been elected in it yet, would
// else be elected all the same and have to wait before it yields once more.
func TestLeadOfAnEarlierLifeIsNotYielded(t *testing.T) {
	g := newInSyncRig(t)
	keys := g.b.store.Keys()
	record := func(change func(*metadata.PartitionState)) *metadata.PartitionState {
		t.Helper()
		im, err := g.b.store.WaitRev(t.Context(), g.server.Rev())
		if err != nil {
			t.Fatal(err)
		}
		ps, _ := im.Partition(g.tp)
		if change == nil {
			return ps
		}
		next := *ps
		change(&next)
		if _, err := g.kv.Txn(t.Context(), metadata.Txn{Then: []metadata.Op{
			keys.PutPartition(&next), keys.PutSettings(keys.TopicSettings(g.tp.ID), metadata.Settings{Values: map[string]string{"unclean.leader.election.enable": "true"}}),
		}}); err != nil {
			t.Fatal(err)
		}
		return nil
	}
	g.faults.Add(faultfs.Rule{Op: faultfs.Sync, Glob: "*.log", Times: -1, Err: errors.New("i/o error")})
	g.appendTo(partition.AcksAll)
	deadline := time.Now().Add(time.Minute)
	for g.r.Err() == nil && time.Now().Before(deadline) {
		<-time.After(time.Millisecond)
	}
	for _, c := range []struct {
		epoch int64
		want  int32
	}{{g.b.lease.Epoch() - 1, 1}, {g.b.lease.Epoch(), -1}} {
		record(func(p *metadata.PartitionState) { p.LeaderBrokerEpoch = c.epoch })
		record(nil)
		g.b.inSync.mark(g.tp)
		g.work()
		if p := record(nil); p.Leader != c.want || p.LeaderBrokerEpoch != c.epoch {
			t.Errorf("%+v; want leader %d", p, c.want)
		}
	}
}

// A leader whose disk has failed leaves the lead to others, unless it is the last that has all there is.
func TestReplicaOnAFailedDiskIsGivenUp(t *testing.T) {
	for _, alone := range []bool{false, true} {
		g := newInSyncRig(t)
		before := g.adopt()
		if !alone {
			g.fetch()
			g.work()
			before = g.adopt()
		}
		g.faults.Add(faultfs.Rule{Op: faultfs.Sync, Glob: "*.log", Times: -1, Err: errors.New("i/o error")})
		g.appendTo(partition.AcksAll)
		deadline := time.Now().Add(time.Minute)
		for g.r.Err() == nil && time.Now().Before(deadline) {
			<-time.After(time.Millisecond)
		}
		g.b.inSync.mark(g.tp)
		g.work()
		im, err := g.b.store.WaitRev(t.Context(), g.server.Rev())
		if err != nil {
			t.Fatal(err)
		}
		ps, _ := im.Partition(g.tp)
		switch {
		case alone && ps.Rev != before.Rev:
			t.Errorf("the last one gave up: %+v", ps)
		case !alone && (ps.Leader != -1 || !slices.Equal(ps.ISR, []int32{2}) || ps.LeaderEpoch != before.LeaderEpoch+1):
			t.Errorf("%+v after %+v", ps, before)
		}
	}
}

// Who is to take a damaged log's part has to be there with all that its disks had: not all that it has told of them may have been
// acted on yet.
func TestHeirOfADamagedLog(t *testing.T) {
	g := newInSyncRig(t)
	ps := &metadata.PartitionState{ISR: []int32{}, ELR: []int32{2}}
	check := func(what string, want bool, ops ...metadata.Op) {
		t.Helper()
		if _, err := g.kv.Txn(t.Context(), metadata.Txn{Then: ops}); err != nil {
			t.Fatal(err)
		}
		im, err := g.b.store.WaitRev(t.Context(), g.server.Rev())
		if err != nil {
			t.Fatal(err)
		}
		if got := hasHeir(im, ps, g.r.Heard); got != want {
			t.Errorf("%s: %v", what, got)
		}
	}
	node := func(change func(*metadata.Node)) metadata.Op {
		n, _ := g.b.store.Image().Node(2)
		next := *n
		change(&next)
		return g.b.store.Keys().PutNode(&next)
	}
	epoch := g.other.Epoch()
	g.adopt()
	check("it is there and has not asked", false, node(func(n *metadata.Node) { n.LastEpoch, n.Loss = epoch, metadata.LossNone }))
	g.fetch()
	check("it follows", true, node(func(n *metadata.Node) { n.LastEpoch, n.Loss = epoch, metadata.LossNone }))
	check("with another disk", false, node(func(n *metadata.Node) { n.Loss = metadata.LossAll }))
	check("after a power cut", false, node(func(n *metadata.Node) { n.Loss = metadata.LossRelaxed }))
	check("its disks do not answer yet", false, node(func(n *metadata.Node) { n.LastEpoch, n.Loss = epoch-1, metadata.LossNone }))
	check("it is away", false, node(func(n *metadata.Node) { n.LastEpoch = epoch }), metadata.Delete(g.b.store.Keys().Broker(2)))
}

// What was moved to other brokers while this one was away stays on its disks, and is reported.
func TestReplicasMovedWhileTheBrokerWasAwayAreReported(t *testing.T) {
	g := newInSyncRig(t)
	var out strings.Builder
	a := &applier{b: g.b, log: slog.New(slog.NewTextHandler(&out, nil))}
	g.b.disks = []*segment.Disk{g.r.Disk()}
	if a.reportStrays(); out.Len() > 0 {
		t.Errorf("of what is this broker's: %s", &out)
	}
	stray, err := g.r.Disk().Open(g.tp.ID, 5, segment.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stray.Close() }()
	if a.reportStrays(); !strings.Contains(out.String(), "that its topic does not have") || !strings.Contains(out.String(), "partition=5 ") {
		t.Errorf("%q", out.String())
	}
	next := *g.adopt()
	next.Leader, next.ISR, next.Replicas = 2, []int32{2}, []int32{2}
	if _, err := g.kv.Txn(t.Context(), metadata.Txn{Then: []metadata.Op{g.b.store.Keys().PutPartition(&next)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.b.store.WaitRev(t.Context(), g.server.Rev()); err != nil {
		t.Fatal(err)
	}
	if a.reportStrays(); !strings.Contains(out.String(), "moved to other brokers") || !strings.Contains(out.String(), "topic=t ") {
		t.Errorf("%q", out.String())
	}
}
