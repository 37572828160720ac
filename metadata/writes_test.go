package metadata_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"firn/metadata"
	"firn/metadata/memkv"
	"firn/metadata/topic"
)

// brokerRecord registers a broker in the plainest way and returns its epoch.
func brokerRecord(t *testing.T, kv metadata.KV, k metadata.Keys, id int32) int64 {
	t.Helper()
	mustTxn(t, kv, metadata.Txn{Then: []metadata.Op{metadata.Delete(k.Broker(id))}})
	value := append([]byte{8, 1, 18, 16}, make([]byte, 16)...) // version 1, an incarnation
	return mustTxn(t, kv, metadata.Txn{Then: []metadata.Op{metadata.Put(k.Broker(id), value)}})
}

func TestTierHeadSwap(t *testing.T) {
	kv := dial(t, memkv.NewServer())
	s := openStore(t, kv)
	k := s.Keys()
	tp := topic.Partition{ID: topic.NewID(), Index: 3}
	epoch := brokerRecord(t, kv, k, 1)
	record := &metadata.Topic{ID: tp.ID, Name: "t", Partitions: 4}
	putTopic := func() { waitRev(t, s, mustTxn(t, kv, metadata.Txn{Then: []metadata.Op{k.PutTopic(record)}})) }
	putTopic()
	heads := s.TierHeads(1, func() int64 { return epoch })
	ctx := testContext(t)
	swap := func(what string, rev int64, head string, want bool) int64 {
		t.Helper()
		got, ok, err := heads.Swap(ctx, tp, rev, 0, []byte(head))
		if err != nil || ok != want {
			t.Errorf("%s: %d, %v, %v", what, got, ok, err)
		}
		return got
	}

	if head, rev, err := heads.Load(ctx, tp); head != nil || rev != 0 || err != nil {
		t.Errorf("no head: %q, %d, %v", head, rev, err)
	}
	r1 := swap("first", 0, "1", true)
	swap("first again", 0, "other", false)
	r2 := swap("second", r1, "2", true)
	swap("from an old head", r1, "other", false)
	if head, rev, err := heads.Load(ctx, tp); string(head) != "2" || rev != r2 || err != nil {
		t.Errorf("%q, %d, %v; want 2 of %d", head, rev, err, r2)
	}
	if h, ok := waitRev(t, s, r2).TierHead(tp); !ok || string(h.Value) != "2" || h.Rev != r2 {
		t.Errorf("in the image: %+v", h)
	}

	// The topic grows, which our image has not heard of: the swap goes through.
	record.Partitions = 9
	mustTxn(t, kv, metadata.Txn{Then: []metadata.Op{k.PutTopic(record)}})
	r3 := swap("topic grown", r2, "3", true)
	// With an image that is up to date nothing but the broker's epoch stands in the way of what follows.
	waitRev(t, s, r3)

	old := epoch
	brokerRecord(t, kv, k, 1)
	swap("broker registered again elsewhere", r3, "zombie", false)
	epoch = brokerRecord(t, kv, k, 1)
	r4 := swap("with the new epoch", r3, "4", true)
	if old == epoch {
		t.Fatal("one epoch twice")
	}

	record.State = metadata.TopicDeleting
	mustTxn(t, kv, metadata.Txn{Then: []metadata.Op{k.PutTopic(record)}})
	swap("topic deleted, image perhaps old", r4, "zombie", false)
	putTopic()
	swap("topic deleted", r4, "zombie", false)
	if err := s.PurgeTopic(ctx, tp.ID); err != nil {
		t.Fatal(err)
	}
	swap("topic purged", 0, "zombie", false)
	if _, rev, _ := heads.Load(ctx, tp); rev != 0 {
		t.Errorf("a head of a purged topic at %d", rev)
	}
}

// TestSwapOfUnknownOutcome loses replies and delays requests: whoever loads and tries again ends with exactly
// its own appends in order.
func TestSwapOfUnknownOutcome(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		r := newLeaseRig(t)
		defer r.close()
		k := r.store.Keys()
		tp := topic.Partition{ID: topic.NewID()}
		epoch := brokerRecord(t, r.kv, k, 1)
		mustTxn(t, r.kv, metadata.Txn{Then: []metadata.Op{k.PutTopic(&metadata.Topic{ID: tp.ID, Name: "t", Partitions: 1})}})
		synctest.Wait()
		heads := r.store.TierHeads(1, func() int64 { return epoch })
		rng := rand.New(rand.NewPCG(seed, 0))
		r.kv.SetFaults(func(c memkv.Call) memkv.Fault {
			if !c.Write {
				return memkv.Fault{}
			}
			switch rng.IntN(4) {
			case 0:
				return memkv.Fault{LoseReply: true}
			case 1:
				return memkv.Fault{LoseRequest: true}
			case 2:
				return memkv.Fault{Late: time.Duration(rng.Int64N(int64(100 * time.Millisecond)))}
			}
			return memkv.Fault{}
		})
		unknown := 0
		want := ""
		for i := range 200 {
			next := want + "," + strconv.Itoa(i)
			for {
				head, rev, err := heads.Load(t.Context(), tp)
				if err != nil {
					t.Fatal(err)
				}
				if string(head) == next {
					break
				}
				if string(head) != want {
					t.Fatalf("head %q, want %q", head, want)
				}
				_, _, err = heads.Swap(t.Context(), tp, rev, 0, []byte(next))
				if errors.Is(err, metadata.ErrUnknown) {
					unknown++
				} else if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Duration(rng.Int64N(int64(50 * time.Millisecond))))
			}
			want = next
		}
		if unknown < 50 {
			t.Errorf("a dull run: %d unknown outcomes", unknown)
		}
	})
}

func TestPurgeTopic(t *testing.T) {
	kv := dial(t, memkv.NewServer())
	s := openStore(t, kv)
	k := s.Keys()
	gone, kept := topic.NewID(), topic.NewID()
	for _, id := range []topic.ID{gone, kept} {
		tp := topic.Partition{ID: id}
		mustTxn(t, kv, metadata.Txn{Then: []metadata.Op{
			k.PutTopic(&metadata.Topic{ID: id, Name: id.String(), Partitions: 1}), k.PutPartition(&metadata.PartitionState{Partition: tp}),
			metadata.Put(k.TierHead(tp), []byte("h")), k.PutSettings(k.TopicSettings(id), metadata.Settings{Values: map[string]string{"a": "b"}}),
		}})
	}
	ctx := testContext(t)
	if err := s.PurgeTopic(ctx, gone); !errors.Is(err, metadata.ErrConflict) {
		t.Errorf("purge a live topic: %v", err)
	}
	mustTxn(t, kv, metadata.Txn{Then: []metadata.Op{k.PutTopic(&metadata.Topic{ID: gone, Name: "t", State: metadata.TopicDeleting})}})
	for range 2 { // the second finds nothing to do
		if err := s.PurgeTopic(ctx, gone); err != nil {
			t.Fatal(err)
		}
	}
	page, err := kv.Range(ctx, "/", metadata.PrefixEnd("/"), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	for _, e := range page.Entries {
		if slices.Contains([]string{k.Topic(gone), k.Partition(topic.Partition{ID: gone}), k.TierHead(topic.Partition{ID: gone}), k.TopicSettings(gone)}, e.Key) {
			t.Errorf("%s is left", e.Key)
		}
		left++
	}
	if left != 1+4 { // the cluster, and the other topic
		t.Errorf("%d keys left: %v", left, page.Entries)
	}
}

func TestProducerIDsAreNeverGivenTwice(t *testing.T) {
	server := memkv.NewServer()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	seen := make(map[int64]bool)
	var wg sync.WaitGroup
	for i := range 4 {
		kv := dial(t, server)
		s := openStore(t, kv)
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		kv.SetFaults(func(c memkv.Call) memkv.Fault {
			mu.Lock()
			defer mu.Unlock()
			return memkv.Fault{LoseReply: c.Write && rng.IntN(6) == 0, LoseRequest: c.Write && rng.IntN(6) == 0}
		})
		wg.Go(func() {
			for range 15 {
				first, count, err := s.NextProducerIDs(testContext(t))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for id := first; id < first+count; id++ {
					if seen[id] {
						t.Errorf("producer id %d was given twice", id)
					}
					seen[id] = true
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != 4*15*metadata.ProducerIDBlock {
		t.Errorf("%d ids", len(seen))
	}
	kv := dial(t, server)
	s := openStore(t, kv)
	kv.SetFaults(only("txn", memkv.Fault{Refuse: true}))
	if _, _, err := s.NextProducerIDs(t.Context()); !errors.Is(err, metadata.ErrUnavailable) {
		t.Errorf("key space away: %v", err)
	}
}

func TestUpdatePartitions(t *testing.T) {
	kv := dial(t, memkv.NewServer())
	s := openStore(t, kv)
	k := s.Keys()
	self, joiner := brokerRecord(t, kv, k, 1), brokerRecord(t, kv, k, 2)
	node := &metadata.Node{ID: 2}
	nodeRev := mustTxn(t, kv, metadata.Txn{Then: []metadata.Op{k.PutNode(node)}})
	id := topic.NewID()
	const n = 120
	record := func(i int32) metadata.Op {
		return k.PutPartition(&metadata.PartitionState{
			Partition: topic.Partition{ID: id, Index: i}, Leader: 1, LeaderBrokerEpoch: self, ISR: []int32{1}, Replicas: []int32{1, 2},
		})
	}
	txn := metadata.Txn{Then: []metadata.Op{k.PutTopic(&metadata.Topic{ID: id, Name: "t", Partitions: n})}}
	for i := range int32(n) {
		txn.Then = append(txn.Then, record(i))
	}
	img := waitRev(t, s, mustTxn(t, kv, txn))

	update := func(i int32, change func(*metadata.PartitionUpdate)) metadata.PartitionUpdate {
		known, _ := img.Partition(topic.Partition{ID: id, Index: i})
		u := metadata.PartitionUpdate{Known: known, Next: *known, Joiners: []metadata.Joiner{{ID: 2, Epoch: joiner, NodeRev: nodeRev}}}
		u.Next.ISR = []int32{1, 2}
		if change != nil {
			change(&u)
		}
		return u
	}
	var updates []metadata.PartitionUpdate
	want := make([]error, n)
	for i := range int32(n) {
		var change func(*metadata.PartitionUpdate)
		switch i {
		case 3: // changed since
			mustTxn(t, kv, metadata.Txn{Then: []metadata.Op{k.PutPartition(&metadata.PartitionState{Partition: topic.Partition{ID: id, Index: i}})}})
			want[i] = metadata.ErrConflict
		case 50: // the follower is another incarnation by now
			change = func(u *metadata.PartitionUpdate) { u.Joiners[0].Epoch-- }
			want[i] = metadata.ErrConflict
		case 70: // the follower has been told to drain
			change = func(u *metadata.PartitionUpdate) { u.Joiners[0].NodeRev-- }
			want[i] = metadata.ErrConflict
		}
		updates = append(updates, update(i, change))
	}
	ctx := testContext(t)
	// Nobody hears how it went; the same again says it.
	kv.SetFaults(only("txn", memkv.Fault{LoseReply: true}))
	for i, v := range s.UpdatePartitions(ctx, self, updates) {
		if !errors.Is(v.Err, metadata.ErrUnknown) {
			t.Fatalf("%d: %+v", i, v)
		}
	}
	kv.SetFaults(nil)
	for i, v := range s.UpdatePartitions(ctx, self, updates) {
		if !errors.Is(v.Err, want[i]) || v.Err == nil && v.Rev <= updates[i].Known.Rev {
			t.Errorf("%d: %+v, want %v", i, v, want[i])
		}
	}
	img = waitRev(t, s, kv.Server().Rev())
	if p, _ := img.Partition(topic.Partition{ID: id, Index: 9}); len(p.ISR) != 2 {
		t.Errorf("%+v", p)
	}
	brokerRecord(t, kv, k, 1)
	for i, v := range s.UpdatePartitions(ctx, self, []metadata.PartitionUpdate{update(9, func(u *metadata.PartitionUpdate) { u.Next.ISR = []int32{1} })}) {
		if !errors.Is(v.Err, metadata.ErrFenced) {
			t.Errorf("%d: a leader of an earlier life: %+v", i, v)
		}
	}
	kv.Cut(true)
	for _, v := range s.UpdatePartitions(ctx, self, updates[:2]) {
		if !errors.Is(v.Err, metadata.ErrUnavailable) {
			t.Errorf("cut off: %+v", v)
		}
	}
}

// After a start of everything at once all followers of a partition may join at the same time, however many there are.
func TestManyJoinersHoldNobodyUp(t *testing.T) {
	kv := dial(t, memkv.NewServer())
	s := openStore(t, kv)
	k := s.Keys()
	self := brokerRecord(t, kv, k, 1)
	id := topic.NewID()
	var joiners []metadata.Joiner
	replicas := []int32{1}
	for i := int32(2); i <= 30; i++ {
		j := metadata.Joiner{ID: i, Epoch: brokerRecord(t, kv, k, i)}
		j.NodeRev = mustTxn(t, kv, metadata.Txn{Then: []metadata.Op{k.PutNode(&metadata.Node{ID: i})}})
		joiners, replicas = append(joiners, j), append(replicas, i)
	}
	txn := metadata.Txn{Then: []metadata.Op{k.PutTopic(&metadata.Topic{ID: id, Name: "t", Partitions: 3})}}
	for i := range int32(3) {
		txn.Then = append(txn.Then, k.PutPartition(&metadata.PartitionState{
			Partition: topic.Partition{ID: id, Index: i}, Leader: 1, LeaderBrokerEpoch: self, ISR: []int32{1}, Replicas: replicas,
		}))
	}
	img := waitRev(t, s, mustTxn(t, kv, txn))
	var updates []metadata.PartitionUpdate
	for i, n := range []int{1, len(joiners), 2} {
		known, _ := img.Partition(topic.Partition{ID: id, Index: int32(i)})
		u := metadata.PartitionUpdate{Known: known, Next: *known, Joiners: joiners[:n]}
		u.Next.ISR = replicas[:n+1]
		updates = append(updates, u)
	}
	for i, v := range s.UpdatePartitions(testContext(t), self, updates) {
		if v.Err != nil || v.Rev <= updates[i].Known.Rev {
			t.Errorf("%d joiners: %+v", len(updates[i].Joiners), v)
		}
	}
	img = waitRev(t, s, kv.Server().Rev())
	for _, u := range updates {
		if p, _ := img.Partition(u.Known.Partition); !slices.Equal(p.ISR, u.Next.ISR) {
			t.Errorf("in sync: %v, want %v", p.ISR, u.Next.ISR)
		}
	}
}

// filled is a key space that makes some writes and says that it has no space, as etcd does of the write that takes the last of it.
type filled struct {
	metadata.KV
	left int
}

func (f *filled) Txn(ctx context.Context, txn metadata.Txn) (metadata.TxnResult, error) {
	res, err := f.KV.Txn(ctx, txn)
	if f.left--; f.left >= 0 && err == nil {
		return metadata.TxnResult{}, metadata.ErrNoSpace
	}
	return res, err
}

// That there is no space says nothing of the write that took the last of it, nor of an attempt that was made before.
func TestSettleWhereThereIsNoSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := memkv.New()
		defer kv.Close()
		txn := func(key string) metadata.Txn {
			return metadata.Txn{If: []metadata.Cmp{metadata.Absent(key)}, Then: []metadata.Op{metadata.Put(key, []byte("mine"))}, Else: []string{key}}
		}
		check := func(key string, res metadata.TxnResult, err error, want error) {
			t.Helper()
			time.Sleep(time.Minute) // what is under way arrives
			kv.SetFaults(nil)
			got, _, gerr := kv.Get(t.Context(), key)
			if gerr != nil || !errors.Is(err, want) || want == nil && (err != nil || !res.OK) || res.OK != got[0].Exists() {
				t.Errorf("%s: %+v, %v; stored %+v, %v", key, res, err, got, gerr)
			}
		}
		res, err := metadata.Settle(t.Context(), &filled{kv, 1}, txn("/filled by it"))
		check("/filled by it", res, err, nil)
		for _, refusal := range []error{metadata.ErrNoSpace, metadata.ErrRefused} {
			n := 0
			faults := func(list ...memkv.Fault) {
				n = 0
				kv.SetFaults(func(c memkv.Call) (f memkv.Fault) {
					if c.Write {
						if n++; n <= len(list) {
							f = list[n-1]
						}
					}
					return f
				})
			}
			key := "/refused " + refusal.Error()
			faults(memkv.Fault{Err: refusal})
			res, err = metadata.Settle(t.Context(), kv, txn(key))
			check(key, res, err, refusal)
			key = "/refused later " + refusal.Error()
			faults(memkv.Fault{Late: 10 * time.Second}, memkv.Fault{Err: refusal}, memkv.Fault{Err: refusal})
			res, err = metadata.Settle(t.Context(), kv, txn(key))
			check(key, res, err, nil)
		}
	})
}

func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kv := memkv.New()
		defer kv.Close()
		ctx := t.Context()
		other := kv.Server().Dial()
		defer other.Close()
		run := func(key, value string, faults ...memkv.Fault) (metadata.TxnResult, error) {
			kv.SetFaults(func(c memkv.Call) memkv.Fault {
				if c.Write && len(faults) > 0 {
					f := faults[0]
					faults = faults[1:]
					return f
				}
				return memkv.Fault{}
			})
			return metadata.Settle(ctx, kv, metadata.Txn{
				If: []metadata.Cmp{metadata.Absent(key)}, Then: []metadata.Op{metadata.Put(key, []byte(value)), metadata.Put(key+"/2", []byte(value))}, Else: []string{key},
			})
		}
		lost, never, late, away := memkv.Fault{LoseReply: true}, memkv.Fault{LoseRequest: true}, memkv.Fault{Late: 100 * time.Millisecond}, memkv.Fault{Refuse: true}
		for name, faults := range map[string][]memkv.Fault{
			"none": nil, "reply lost": {lost}, "request lost": {never}, "refused": {away}, "late": {late},
			"late twice": {late, late}, "all": {away, never, lost, away, lost},
		} {
			if res, err := run("/"+name, "mine", faults...); err != nil || !res.OK {
				t.Errorf("%s: %+v, %v", name, res, err)
			}
			time.Sleep(time.Minute)
			got, _, err := other.Get(ctx, "/"+name)
			if err != nil || string(got[0].Value) != "mine" || got[0].ModRev != got[0].CreateRev {
				t.Errorf("%s: %+v, %v; want it written once", name, got, err)
			}
		}
		mustTxn(t, other, metadata.Txn{Then: []metadata.Op{metadata.Put("/taken", []byte("theirs"))}})
		if res, err := run("/taken", "mine", never, lost); err != nil || res.OK || string(res.Else[0].Value) != "theirs" {
			t.Errorf("taken: %+v, %v", res, err)
		}
		// The same values of an older revision are no proof.
		rev := mustTxn(t, other, metadata.Txn{Then: []metadata.Op{metadata.Put("/same", []byte("v"))}})
		kv.SetFaults(nil)
		res, err := metadata.Resettle(ctx, kv, metadata.Txn{
			If:   []metadata.Cmp{metadata.ModIs("/same", rev), metadata.Absent("/taken")},
			Then: []metadata.Op{metadata.Put("/same", []byte("v"))},
		})
		if err != nil || res.OK {
			t.Errorf("same value, other guard failing: %+v, %v", res, err)
		}
	})
}
