package controller

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"firn/metadata"
	"firn/metadata/topic"
)

// Replicas that have to be on brokers that are away are on racks of their own, too, as far as there are racks.
func TestReplicasOnBrokersThatAreAwayAreOnOtherRacks(t *testing.T) {
	w := newWorld(t)
	racks := map[int32]string{1: "a", 2: "b", 3: "a", 4: "b", 5: "c"}
	for id, rack := range racks {
		w.ops = append(w.ops, w.keys.PutNode(&metadata.Node{ID: id, Rack: rack, State: metadata.NodeLive}))
		if id <= 2 {
			b := append([]byte{8, 1, 18, 16}, make([]byte, 16)...)
			w.ops = append(w.ops, metadata.Put(w.keys.Broker(id), append(b, 34, 1, rack[0])))
		}
	}
	img := w.image()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for factor := 2; factor <= 5; factor++ {
		list, err := spread(img, 30, factor, seed)
		if err != nil {
			t.Fatal(err)
		}
		at := map[int32]int{}
		for _, replicas := range list {
			used := map[string]bool{}
			for i, id := range replicas {
				if used[racks[id]] = true; i >= 2 {
					at[id]++
				}
			}
			if len(used) != min(factor, 3) || len(replicas) != factor || max(replicas[0], replicas[1]) != 2 {
				t.Errorf("factor %d: %v is on %d racks", factor, replicas, len(used))
			}
		}
		if factor == 4 && (at[3] < 10 || at[4] < 10) {
			t.Errorf("replicas on brokers that are away: %v", at)
		}
	}
}

func TestPlace(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 400 {
		racks := 1 + rng.IntN(4)
		brokers := make([]candidate, 1+rng.IntN(12))
		byID := map[int32]string{}
		distinct := map[string]bool{}
		for i := range brokers {
			brokers[i] = candidate{id: int32(i * 3), rack: fmt.Sprint("r", rng.IntN(racks))}
			byID[brokers[i].id] = brokers[i].rack
			distinct[brokers[i].rack] = true
		}
		n, factor := 1+rng.IntN(60), 1+rng.IntN(len(brokers))
		at := rng.Uint64()
		got, err := place(brokers, n, factor, at)
		if err != nil || len(got) != n {
			t.Fatalf("%d partitions, %v", len(got), err)
		}
		leaders := map[int32]int{}
		for i, replicas := range got {
			leaders[replicas[0]]++
			used := map[string]bool{}
			for j, id := range replicas {
				if _, ok := byID[id]; !ok || slices.Contains(replicas[:j], id) {
					t.Fatalf("partition %d: %v", i, replicas)
				}
				used[byID[id]] = true
			}
			if len(replicas) != factor || len(used) != min(factor, len(distinct)) {
				t.Fatalf("partition %d of factor %d on %d racks: %v uses %d racks", i, factor, len(distinct), replicas, len(used))
			}
		}
		for _, b := range brokers {
			if l := leaders[b.id]; l < n/len(brokers) || l > (n+len(brokers)-1)/len(brokers) {
				t.Fatalf("broker %d leads %d of %d partitions on %d brokers", b.id, l, n, len(brokers))
			}
		}
		if again, _ := place(brokers, n, factor, at); fmt.Sprint(again) != fmt.Sprint(got) {
			t.Fatal("another placement with the same seed")
		}
		if more, _ := place(brokers, n+5, factor, at); fmt.Sprint(more[:n]) != fmt.Sprint(got) {
			t.Fatal("a topic that grows would have been placed otherwise")
		}
	}
	for _, factor := range []int{0, -3, 3} {
		if _, err := place([]candidate{{id: 1}, {id: 2}}, 1, factor, 0); !errors.Is(err, ErrReplicationFactor) {
			t.Errorf("factor %d on two brokers: %v", factor, err)
		}
	}
}

// TestPlaceSpreadsALostBrokersLoad counts who would take over when a broker dies.
func TestPlaceSpreadsALostBrokersLoad(t *testing.T) {
	brokers := []candidate{{id: 0}, {id: 1}, {id: 2}, {id: 3}, {id: 4}}
	got, err := place(brokers, 100, 2, 42)
	if err != nil {
		t.Fatal(err)
	}
	heirs := map[int32]int{}
	for _, r := range got {
		if r[0] == 0 {
			heirs[r[1]]++
		}
	}
	for id := int32(1); id < 5; id++ {
		if heirs[id] != 5 {
			t.Errorf("heirs of broker 0: %v, want each five times", heirs)
		}
	}
}

// A broker is registered before its disks have its epoch, and serves no shard before they do.
func TestShardsAreGivenToBrokersThatCanServeThem(t *testing.T) {
	w := newWorld(t).alive(1)
	for i, m := range planShards(w.image(), metadata.GroupShard) {
		w.ops = append(w.ops, w.keys.PutShardOwner(metadata.GroupShard, int32(i), &m.Next))
	}
	img := w.incomplete(2).image()
	one, _ := img.Broker(1)
	if moves := GivenShards(img, metadata.GroupShard, 1, one.Epoch); len(moves) != 0 {
		t.Errorf("%d shards are given to one that is not there yet", len(moves))
	}
	two, _ := img.Broker(2)
	w.ops = append(w.ops, w.keys.PutNode(&metadata.Node{ID: 2, LastEpoch: two.Epoch}))
	if moves := GivenShards(w.image(), metadata.GroupShard, 1, one.Epoch); len(moves) != int(img.Shards(metadata.GroupShard))/2 {
		t.Errorf("%d shards are given", len(moves))
	}
}

// Nor does it get shards of one that is gone while others are there, but it keeps those that it had.
func TestShardsOfALostBrokerGoToBrokersThatCanServeThem(t *testing.T) {
	for _, c := range []struct{ comes, to int32 }{{3, 1}, {2, 2}} {
		w := newWorld(t).alive(1, 2)
		for i, m := range planShards(w.image(), metadata.GroupShard) {
			w.ops = append(w.ops, w.keys.PutShardOwner(metadata.GroupShard, int32(i), &m.Next))
		}
		w.ops = append(w.ops, metadata.Delete(w.keys.Broker(2)))
		w.image()
		img := w.incomplete(c.comes).image()
		moves := takenShards(img, metadata.GroupShard)
		if len(moves) != int(img.Shards(metadata.GroupShard))/2 {
			t.Errorf("%d shards are taken when %d comes", len(moves), c.comes)
		}
		for _, m := range moves {
			if m.Next.Broker != c.to {
				t.Fatalf("shard %d goes to %d when %d comes", m.Shard, m.Next.Broker, c.comes)
			}
		}
	}
}

// A new partition is led by a broker that can serve it, as far as there is one.
func TestPartitionsBeginOnBrokersThatCanServeThem(t *testing.T) {
	for want, ready := range map[int32]ids{2: {2, 3}, 1: nil} {
		img := newWorld(t).alive(ready...).incomplete(1).image()
		got, err := newPartitions(img, topic.NewID(), 0, [][]int32{{1, 2, 3}}, 1)
		if err != nil || got[0].Leader != want || len(got[0].ISR) != len(ready)+1 {
			t.Errorf("ready %v: %+v, %v", ready, got, err)
		}
	}
}

func TestPlanShards(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t)
	var alive []int32
	owners := map[int32]metadata.ShardOwner{}
	for range 40 {
		for range 1 + rng.IntN(2) {
			id := rng.Int32N(6)
			if i := slices.Index(alive, id); i >= 0 && rng.IntN(2) == 0 {
				alive = slices.Delete(alive, i, i+1)
				w.ops = slices.DeleteFunc(w.ops, func(o metadata.Op) bool { return o.Key == w.keys.Broker(id) })
				w.ops = append(w.ops, metadata.Delete(w.keys.Broker(id)))
			} else if i < 0 {
				alive = append(alive, id)
				w.ops = slices.DeleteFunc(w.ops, func(o metadata.Op) bool { return o.Key == w.keys.Broker(id) })
				w.alive(id)
			}
		}
		img := w.image()
		moves := planShards(img, metadata.GroupShard)
		made := takenShards(img, metadata.GroupShard)
		for _, m := range made {
			if now := img.ShardOwner(metadata.GroupShard, m.Shard); now.Broker != m.Next.Broker && m.owned(img) {
				t.Fatalf("shard %d is taken from a live broker: %+v", m.Shard, now)
			}
		}
		for _, b := range img.Brokers() {
			made = append(made, GivenShards(img, metadata.GroupShard, b.ID, b.Epoch)...)
		}
		if len(made) != len(moves) {
			t.Fatalf("%d moves are somebody's to make, of %d", len(made), len(moves))
		}
		if len(alive) == 0 {
			if len(moves) != 0 {
				t.Fatal("shards given to nobody")
			}
			continue
		}
		before := map[int32]int{}
		for _, o := range owners {
			if slices.Contains(alive, o.Broker) {
				before[o.Broker]++
			}
		}
		handed := 0
		for _, m := range moves {
			old := owners[m.Shard]
			if m.Next.Epoch != old.Epoch+1 || m.Next.Rev != img.ShardOwner(metadata.GroupShard, m.Shard).Rev {
				t.Fatalf("shard %d: %+v after %+v", m.Shard, m.Next, old)
			}
			if old.Epoch > 0 && slices.Contains(alive, old.Broker) && m.Next.Broker != old.Broker {
				handed++
			}
			owners[m.Shard] = m.Next
			w.ops = append(w.ops, w.keys.PutShardOwner(metadata.GroupShard, m.Shard, &m.Next))
		}
		load := map[int32]int{}
		for _, o := range owners {
			load[o.Broker]++
			if b, ok := img.Broker(o.Broker); !ok || b.Epoch != o.BrokerEpoch {
				t.Fatalf("owned by a dead broker: %+v", o)
			}
		}
		n := int(img.Shards(metadata.GroupShard))
		surplus := 0
		for _, id := range alive {
			if load[id] < n/len(alive) || load[id] > (n+len(alive)-1)/len(alive) {
				t.Fatalf("load %v over %v", load, alive)
			}
			surplus += max(0, before[id]-load[id])
		}
		if len(owners) != n || handed != surplus {
			t.Fatalf("%d shards, %d taken from live brokers that had %d too many", len(owners), handed, surplus)
		}
	}
}
