package metadata_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"firn/metadata"
	"firn/metadata/memkv"
	"firn/metadata/topic"
)

// Brokers that have left for good hold nothing up; one that only drains or is away does.
func TestHolders(t *testing.T) {
	kv := dial(t, memkv.NewServer())
	s := openStore(t, kv)
	k := s.Keys()
	rev := mustTxn(t, kv, metadata.Txn{Then: []metadata.Op{
		k.PutNode(&metadata.Node{ID: 1}), k.PutNode(&metadata.Node{ID: 2, State: metadata.NodeGone}),
		k.PutNode(&metadata.Node{ID: 3, State: metadata.NodeDraining}), k.PutNode(&metadata.Node{ID: 4}),
	}})
	im := waitRev(t, s, rev)
	if got := im.Holders(&metadata.Topic{Released: []int32{1}}); !slices.Equal(got, []int32{3, 4}) {
		t.Errorf("held by %v", got)
	}
}

func TestReleaseTopic(t *testing.T) {
	kv := dial(t, memkv.NewServer())
	s := openStore(t, kv)
	k := s.Keys()
	epoch := brokerRecord(t, kv, k, 1)
	live := &metadata.Topic{ID: topic.NewID(), Name: "t", Partitions: 1}
	waitRev(t, s, mustTxn(t, kv, metadata.Txn{Then: []metadata.Op{k.PutTopic(live)}}))
	live, _ = s.Image().TopicByID(live.ID)
	ctx := testContext(t)
	if err := s.ReleaseTopic(ctx, live, 1, epoch); !errors.Is(err, metadata.ErrConflict) {
		t.Errorf("release a live topic: %v", err)
	}
	gone := *live
	gone.State = metadata.TopicDeleting
	waitRev(t, s, mustTxn(t, kv, metadata.Txn{Then: []metadata.Op{k.PutTopic(&gone)}}))
	known, _ := s.Image().TopicByID(live.ID)
	if err := s.ReleaseTopic(ctx, known, 1, epoch-1); !errors.Is(err, metadata.ErrFenced) {
		t.Errorf("release in another life: %v", err)
	}
	for range 2 { // what is known is old the second time
		if err := s.ReleaseTopic(ctx, known, 1, epoch); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.PurgeTopic(ctx, live.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.ReleaseTopic(ctx, known, 1, epoch); err != nil {
		t.Errorf("release a topic that is gone: %v", err)
	}
}

// Many brokers confirm one topic at the same time while requests and replies are lost and late: each is on record in the
// end, once, and nobody takes another's confirmation away.
func TestReleasesOfUnknownOutcome(t *testing.T) {
	const brokers = 8
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	server := memkv.NewServer()
	admin := dial(t, server)
	k := openStore(t, admin).Keys()
	id := topic.NewID()
	epochs := make([]int64, brokers)
	for i := range epochs {
		epochs[i] = brokerRecord(t, admin, k, int32(i))
	}
	rev := mustTxn(t, admin, metadata.Txn{Then: []metadata.Op{k.PutTopic(&metadata.Topic{ID: id, Name: "t", State: metadata.TopicDeleting})}})
	var all sync.WaitGroup
	for i := range brokers {
		kv := dial(t, server)
		s := openStore(t, kv)
		known, _ := waitRev(t, s, rev).TopicByID(id)
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		var mu sync.Mutex
		kv.SetFaults(func(c memkv.Call) memkv.Fault {
			mu.Lock()
			defer mu.Unlock()
			if !c.Write {
				return memkv.Fault{}
			}
			switch rng.IntN(4) {
			case 0:
				return memkv.Fault{LoseReply: true}
			case 1:
				return memkv.Fault{LoseRequest: true}
			case 2:
				return memkv.Fault{Late: time.Duration(rng.Int64N(int64(50 * time.Millisecond)))}
			}
			return memkv.Fault{}
		})
		all.Go(func() {
			for err := errors.New("not yet"); err != nil; {
				if err = s.ReleaseTopic(t.Context(), known, int32(i), epochs[i]); err != nil && !errors.Is(err, metadata.ErrUnknown) {
					t.Errorf("broker %d: %v", i, err)
					return
				}
			}
		})
	}
	all.Wait()
	late := openStore(t, dial(t, server))
	got, ok := late.Image().TopicByID(id)
	if !ok || got.Live() || !slices.Equal(got.Released, []int32{0, 1, 2, 3, 4, 5, 6, 7}) {
		t.Errorf("%+v", got)
	}
}
