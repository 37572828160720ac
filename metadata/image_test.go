package metadata_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"

	"firn/metadata"
	"firn/metadata/memkv"
	"firn/metadata/topic"
)

// scribbler writes random facts of all kinds.
type scribbler struct {
	rng *rand.Rand
	k   metadata.Keys
	ids []topic.ID
}

func newScribbler(tb testing.TB, rng *rand.Rand, k metadata.Keys) *scribbler {
	s := &scribbler{rng: rng, k: k}
	for range 12 {
		s.ids = append(s.ids, topic.NewID())
	}
	return s
}

func (s *scribbler) txn() metadata.Txn {
	ops := make(map[string]metadata.Op)
	for range 1 + s.rng.IntN(6) {
		op := s.op()
		ops[op.Key] = op
	}
	return metadata.Txn{Then: slices.Collect(maps.Values(ops))}
}

func (s *scribbler) op() metadata.Op {
	id := s.ids[s.rng.IntN(len(s.ids))]
	tp := topic.Partition{ID: id, Index: s.rng.Int32N(3)}
	n := s.rng.Int32N(4)
	values := map[string]string{"k": strconv.Itoa(s.rng.Int())}
	var op metadata.Op
	switch s.rng.IntN(9) {
	case 0:
		op = s.k.PutTopic(&metadata.Topic{ID: id, Name: id.String(), Partitions: 3, State: metadata.TopicState(s.rng.IntN(2))})
	case 1:
		op = s.k.PutTopicName(id.String(), id)
	case 2:
		op = s.k.PutPartition(&metadata.PartitionState{Partition: tp, Leader: n, LeaderEpoch: s.rng.Int32(), ISR: []int32{n}})
	case 3:
		op = metadata.Put(s.k.TierHead(tp), []byte(strconv.Itoa(s.rng.Int())))
	case 4:
		op = s.k.PutSettings(s.k.TopicSettings(id), metadata.Settings{Values: values})
	case 5:
		op = s.k.PutSettings(s.k.BrokerSettings(n), metadata.Settings{Values: values})
	case 6:
		op = s.k.PutSettings(s.k.ClusterSettings(), metadata.Settings{Values: values})
	case 7:
		op = s.k.PutShardOwner(metadata.ShardKind(s.rng.IntN(3)), n, &metadata.ShardOwner{Broker: n, Epoch: s.rng.Int32()})
	default:
		op = s.k.PutNode(&metadata.Node{ID: n, LastEpoch: s.rng.Int64()})
	}
	if s.rng.IntN(3) == 0 {
		op = metadata.Delete(op.Key)
	}
	return op
}

// TestImageFollows writes random facts while watches break and history is compacted away under them. In the
// end the image is what a fresh list gives; every subscriber has seen an unbroken chain of images; and the
// differences along the chain add up to the last image.
func TestImageFollows(t *testing.T) {
	rng := testRand(t)
	server := memkv.NewServer()
	kv, writer := dial(t, server), dial(t, server)
	store := openStore(t, kv)
	chains := make([]*chain, 3)
	var stops []func()
	for i := range chains {
		chains[i] = &chain{t: t, partitions: map[topic.Partition]*metadata.PartitionState{}, shards: map[string]metadata.ShardOwner{}}
		stops = append(stops, store.Subscribe(chains[i].next))
	}
	s := newScribbler(t, rng, store.Keys())
	var rev int64
	for i := range 600 {
		rev = mustTxn(t, writer, s.txn())
		switch rng.IntN(25) {
		case 0:
			kv.BreakWatches()
		case 1:
			kv.Cut(true)
			for range rng.IntN(20) {
				rev = mustTxn(t, writer, s.txn())
			}
			if rng.IntN(2) == 0 {
				server.Compact(rev)
			}
			kv.Cut(false)
		case 2:
			waitRev(t, store, rev)
		}
		if i%200 == 199 {
			waitRev(t, store, rev)
			compareWithFresh(t, server, store)
		}
	}
	rev = mustTxn(t, writer, metadata.Txn{Then: []metadata.Op{metadata.Put(store.Keys().ClusterSettings(), []byte{8, 1})}})
	last := waitRev(t, store, rev)
	for i, c := range chains {
		c.await(rev)
		stops[i]()
		c.compare(last)
	}
	if last.Diff(last); len(last.Diff(last).Partitions) != 0 {
		t.Error("an image differs from itself")
	}
}

func compareWithFresh(t *testing.T, server *memkv.Server, store *metadata.Store) {
	t.Helper()
	kv := server.Dial()
	defer kv.Close()
	fresh, err := metadata.Open(testContext(t), kv, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	if got, want := metadata.Dump(store.Image()), metadata.Dump(fresh.Image()); got != want {
		t.Fatalf("image at %d:\n%s\n\na fresh one at %d:\n%s", store.Image().Rev(), got, fresh.Image().Rev(), want)
	}
}

// chain is a subscriber that rebuilds part of the image from differences alone.
type chain struct {
	t          *testing.T
	mu         sync.Mutex
	last       *metadata.Image
	partitions map[topic.Partition]*metadata.PartitionState
	shards     map[string]metadata.ShardOwner
	changed    chan struct{}
}

func (c *chain) next(old, img *metadata.Image) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old != c.last || old != nil && img.Rev() < old.Rev() {
		c.t.Errorf("image after %p is %p after %p", c.last, img, old)
	}
	c.last = img
	ch := img.Diff(old)
	for _, p := range ch.Partitions {
		if was, ok := c.partitions[p.Partition]; (p.Old != nil) != ok || was != p.Old {
			c.t.Errorf("%v changes from %+v, want from %+v", p.Partition, p.Old, was)
		}
		if p.New == nil {
			delete(c.partitions, p.Partition)
		} else {
			c.partitions[p.Partition] = p.New
		}
	}
	for _, s := range ch.Shards {
		c.shards[fmt.Sprint(s.Kind, s.Shard)] = s.New
	}
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

func (c *chain) await(rev int64) {
	c.t.Helper()
	ctx := testContext(c.t)
	for {
		c.mu.Lock()
		if c.last != nil && c.last.Rev() >= rev {
			c.mu.Unlock()
			return
		}
		changed := make(chan struct{})
		c.changed = changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			c.t.Fatal("subscriber not called")
		}
	}
}

func (c *chain) compare(img *metadata.Image) {
	c.t.Helper()
	want := make(map[topic.Partition]*metadata.PartitionState)
	for p := range img.Partitions() {
		want[p.Partition] = p
	}
	if !maps.Equal(c.partitions, want) {
		c.t.Errorf("differences add up to partitions %v, want %v", c.partitions, want)
	}
	for kind := range metadata.ShardKind(3) {
		for n := range int32(4) {
			got, ok := c.shards[fmt.Sprint(kind, n)]
			if want := img.ShardOwner(kind, n); ok && fmt.Sprint(got) != fmt.Sprint(want) {
				c.t.Errorf("differences add up to shard %v/%d %+v, want %+v", kind, n, got, want)
			}
		}
	}
}

// TestDiffTellsOfTopicsThatComeAndGo shows what a broker acts on: a topic's partitions come and go with it.
func TestDiffTellsOfTopicsThatComeAndGo(t *testing.T) {
	k := testKeys(t)
	id := topic.NewID()
	at := func(rev int64, op metadata.Op) metadata.Event {
		return metadata.Event{Entry: metadata.Entry{Key: op.Key, Value: op.Value, CreateRev: rev, ModRev: rev}, Deleted: op.Delete}
	}
	part := func(i int32) metadata.Op {
		return k.PutPartition(&metadata.PartitionState{Partition: topic.Partition{ID: id, Index: i}})
	}
	live := k.PutTopic(&metadata.Topic{ID: id, Name: "t", Partitions: 2})
	dead := k.PutTopic(&metadata.Topic{ID: id, Name: "t", Partitions: 2, State: metadata.TopicDeleting})
	build := func(events ...metadata.Event) *metadata.Image {
		im, err := metadata.Apply(k, events...)
		if err != nil {
			t.Fatal(err)
		}
		return im
	}
	orphans := build(at(5, part(0)), at(5, part(1)))
	topicThere := build(at(5, part(0)), at(5, part(1)), at(6, live), at(6, k.PutTopicName("t", id)))
	deleting := build(at(5, part(0)), at(5, part(1)), at(7, dead))
	purged := build()

	ch := orphans.Diff(nil)
	if len(ch.Partitions) != 0 || len(ch.Topics) != 0 {
		t.Errorf("partitions without a topic: %+v", ch)
	}
	if ch = topicThere.Diff(orphans); len(ch.Partitions) != 2 || ch.Partitions[0].Old != nil || len(ch.Topics) != 1 {
		t.Errorf("topic made: %+v", ch)
	}
	if ch = deleting.Diff(topicThere); len(ch.Partitions) != 2 || ch.Partitions[0].New != nil || len(ch.Topics) != 1 || ch.Topics[0].New.Live() {
		t.Errorf("topic deleted: %+v", ch)
	}
	if ch = purged.Diff(deleting); len(ch.Partitions) != 0 || len(ch.Topics) != 1 || ch.Topics[0].New != nil {
		t.Errorf("topic purged: %+v", ch)
	}
	if _, ok := deleting.Topic("t"); ok {
		t.Error("a topic that is being deleted is found by its name")
	}
	if _, ok := deleting.Partition(topic.Partition{ID: id}); ok {
		t.Error("a partition of a topic that is being deleted is found")
	}
	if _, ok := topicThere.Topic("t"); !ok {
		t.Error("topic not found by its name")
	}
}

func BenchmarkApplyOneOf100kPartitions(b *testing.B) {
	k := testKeys(b)
	server := memkv.NewServer()
	kv := dial(b, server)
	id := topic.NewID()
	for i := int32(0); i < 100_000; i += 4000 {
		var txn metadata.Txn
		for j := i; j < i+4000; j++ {
			txn.Then = append(txn.Then, k.PutPartition(&metadata.PartitionState{Partition: topic.Partition{ID: id, Index: j}, ISR: []int32{1, 2, 3}, Replicas: []int32{1, 2, 3}}))
		}
		mustTxn(b, kv, txn)
	}
	store, err := metadata.Open(testContext(b), kv, metadata.Options{Cluster: "test"})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		rev := mustTxn(b, kv, metadata.Txn{Then: []metadata.Op{k.PutPartition(&metadata.PartitionState{Partition: topic.Partition{ID: id, Index: int32(i % 100_000)}, LeaderEpoch: int32(i)})}})
		waitRev(b, store, rev)
	}
}
