package controller

import (
	"slices"

	"firn/metadata"
)

// ShardMove is a new owner for a shard.
type ShardMove struct {
	Kind  metadata.ShardKind
	Shard int32
	Next  metadata.ShardOwner // Rev is that of the record it replaces
}

// Txn writes the move. It fails if the record is another by now, or the next owner has gone.
func (m *ShardMove) Txn(keys metadata.Keys) metadata.Txn {
	key := keys.ShardOwner(m.Kind, m.Shard)
	return metadata.Txn{
		If:   []metadata.Cmp{metadata.ModIs(key, m.Next.Rev), metadata.CreatedAt(keys.Broker(m.Next.Broker), m.Next.BrokerEpoch)},
		Then: []metadata.Op{keys.PutShardOwner(m.Kind, m.Shard, &m.Next)},
	}
}

// owned reports whether a live registration owns the shard before the move.
func (m *ShardMove) owned(img *metadata.Image) bool {
	now := img.ShardOwner(m.Kind, m.Shard)
	b, ok := img.Broker(now.Broker)
	return ok && b.Epoch == now.BrokerEpoch
}

// takenShards are the moves of a kind that are the controller's to make: of shards that no live registration owns. An owner
// that lives answers from its memory, asking nobody, so it must have stopped before another begins: see GivenShards.
func takenShards(img *metadata.Image, kind metadata.ShardKind) []ShardMove {
	return slices.DeleteFunc(planShards(img, kind), func(m ShardMove) bool { return m.owned(img) })
}

// GivenShards are the moves of a kind that are to be made by a broker under the registration of an epoch, which owns the
// shards and must have stopped serving them. Nothing is given to one that is not ready.
func GivenShards(img *metadata.Image, kind metadata.ShardKind, broker int32, epoch int64) []ShardMove {
	return slices.DeleteFunc(planShards(img, kind), func(m ShardMove) bool {
		now := img.ShardOwner(m.Kind, m.Shard)
		return now.Broker != broker || now.BrokerEpoch != epoch || !m.owned(img) || !ready(img, m.Next.Broker)
	})
}

// ready reports whether a live broker's registration is complete: its disks have the epoch. It serves nothing before, which
// may take long.
func ready(img *metadata.Image, id int32) bool {
	b, alive := img.Broker(id)
	n, known := img.Node(id)
	return alive && (!known || n.LastEpoch == b.Epoch)
}

// shardOwners are the brokers that may own shards of a kind: those eligible that are ready or have some by its records, or all
// eligible if there are no others.
func shardOwners(img *metadata.Image, kind metadata.ShardKind) []*metadata.Broker {
	has := map[int32]bool{}
	for i := range img.Shards(kind) {
		has[img.ShardOwner(kind, i).Broker] = true
	}
	all := eligible(img)
	owners := slices.DeleteFunc(slices.Clone(all), func(b *metadata.Broker) bool { return !has[b.ID] && !ready(img, b.ID) })
	if len(owners) == 0 {
		return all
	}
	return owners
}

// planShards gives every shard of a kind a live owner, and as few as possible another one than now. No broker
// then owns two shards more than another. A broker that registered again keeps its shards, under its new
// epoch. Nothing changes while no broker can own any.
func planShards(img *metadata.Image, kind metadata.ShardKind) []ShardMove {
	owners := shardOwners(img, kind)
	if len(owners) == 0 {
		return nil
	}
	n := int(img.Shards(kind))
	load := make(map[int32]int, len(owners))
	held := make([]int32, n) // who keeps each shard, or -1
	most := (n + len(owners) - 1) / len(owners)
	atMost := n - (most-1)*len(owners) // so many brokers may own the most
	full := 0
	for i := range held {
		held[i] = -1
		id := img.ShardOwner(kind, int32(i)).Broker
		if !slices.ContainsFunc(owners, func(b *metadata.Broker) bool { return b.ID == id }) {
			continue
		}
		if load[id] < most-1 || load[id] == most-1 && full < atMost {
			held[i] = id
			if load[id]++; load[id] == most {
				full++
			}
		}
	}
	var moves []ShardMove
	for i, id := range held {
		now := img.ShardOwner(kind, int32(i))
		if id < 0 {
			id = leastLoaded(owners, load)
			load[id]++
		}
		b, _ := img.Broker(id)
		if now.Broker == id && now.BrokerEpoch == b.Epoch {
			continue
		}
		next := now // keeps the revision and what a later version wrote
		next.Broker, next.BrokerEpoch, next.Epoch = id, b.Epoch, now.Epoch+1
		moves = append(moves, ShardMove{kind, int32(i), next})
	}
	return moves
}

// eligible returns the brokers that may be given something new: those alive and not about to leave, or all
// alive if there are no others.
func eligible(img *metadata.Image) []*metadata.Broker {
	var out []*metadata.Broker
	for _, b := range img.Brokers() {
		if n, ok := img.Node(b.ID); !ok || n.State == metadata.NodeLive {
			out = append(out, b)
		}
	}
	if len(out) == 0 {
		return img.Brokers()
	}
	return out
}

func leastLoaded(owners []*metadata.Broker, load map[int32]int) int32 {
	best := owners[0].ID
	for _, b := range owners[1:] {
		if load[b.ID] < load[best] {
			best = b.ID
		}
	}
	return best
}
