package metadata

import (
	"bytes"
	"context"
	"fmt"
)

// MaxJoiners bounds the Joiners of a PartitionUpdate: each costs two guards, beside those of the partition and its leader.
const MaxJoiners = (MaxTxnGuards - 2) / 2

// PartitionUpdate is a leader's change of its own partition: its in-sync set and what goes with it.
type PartitionUpdate struct {
	Known *PartitionState // as the leader knows it; Known.Rev is the guard
	Next  PartitionState  // what to write; made from a copy of *Known, whose identity, leader and epochs it keeps
	// Joiners are the followers that Next.ISR has and Known.ISR has not. Each must still be the broker
	// incarnation whose Fetch the leader judged by, and not have been told to drain since.
	Joiners []Joiner
}

// Joiner is a follower about to enter the in-sync set.
type Joiner struct {
	ID      int32
	Epoch   int64 // broker epoch in its Fetch
	NodeRev int64 // Node.Rev in the image the decision was made on
}

// PartitionVerdict is the outcome of one PartitionUpdate.
type PartitionVerdict struct {
	Rev int64 // the new partition epoch, if Err is nil
	Err error
}

// UpdatePartitions writes many of a leader's changes in few round trips, guarded by each partition's epoch,
// by the leader's own broker epoch and by its joiners'. Verdicts come per update, in order: nil, ErrConflict
// (the partition or a joiner changed: decide anew on the next image), ErrFenced (our broker epoch is over),
// ErrUnavailable or ErrUnknown. After ErrUnknown the same update may be given again: it cannot apply twice,
// and if it had applied the verdict is nil.
func (s *Store) UpdatePartitions(ctx context.Context, brokerEpoch int64, updates []PartitionUpdate) []PartitionVerdict {
	txns := make([]Txn, len(updates))
	for i, u := range updates {
		if u.Next.Partition != u.Known.Partition || u.Next.Leader != u.Known.Leader || u.Next.LeaderEpoch != u.Known.LeaderEpoch {
			panic(fmt.Sprintf("metadata: update of %v changes its identity or leader", u.Known.Partition))
		}
		p, self := s.keys.Partition(u.Known.Partition), s.keys.Broker(u.Known.Leader)
		guards := []Cmp{ModIs(p, u.Known.Rev), CreatedAt(self, brokerEpoch)}
		for _, j := range u.Joiners {
			guards = append(guards, CreatedAt(s.keys.Broker(j.ID), j.Epoch), ModIs(s.keys.Node(j.ID), j.NodeRev))
		}
		txns[i] = Txn{If: guards, Then: []Op{Put(p, encodePartition(&u.Next))}, Else: []string{p, self}}
	}
	return s.updatePartitions(ctx, brokerEpoch, txns)
}

// updatePartitions runs transactions that each write one partition's record, guarded first by its revision, and otherwise
// read it and the writer's registration.
func (s *Store) updatePartitions(ctx context.Context, brokerEpoch int64, txns []Txn) []PartitionVerdict {
	verdicts := make([]PartitionVerdict, len(txns))
	var many []int // go together
	var batch []Txn
	for i, t := range txns {
		if len(t.If) <= MaxManyOps {
			many, batch = append(many, i), append(batch, t)
			continue
		}
		res, err := s.kv.Txn(ctx, t) // so many join at once
		verdicts[i] = verdict(t, res, err, brokerEpoch)
	}
	results, err := s.kv.TxnMany(ctx, batch)
	for j, i := range many {
		var res TxnResult
		if j < len(results) {
			res = results[j]
		}
		verdicts[i] = verdict(txns[i], res, err, brokerEpoch)
	}
	return verdicts
}

// verdict is how one transaction ended: if its result has no revision, by err.
func verdict(txn Txn, res TxnResult, err error, brokerEpoch int64) PartitionVerdict {
	switch {
	case res.OK:
		return PartitionVerdict{Rev: res.Rev}
	case res.Rev != 0:
		return judgePartition(txn, res, brokerEpoch)
	case err == nil:
		return PartitionVerdict{Err: ErrUnknown}
	}
	return PartitionVerdict{Err: err}
}

// judgePartition says why an update's guards failed.
func judgePartition(txn Txn, res TxnResult, brokerEpoch int64) PartitionVerdict {
	p, self := res.Else[0], res.Else[1]
	switch {
	case p.ModRev > txn.If[0].Rev && bytes.Equal(p.Value, txn.Then[0].Value):
		return PartitionVerdict{Rev: p.ModRev} // an attempt whose outcome was unknown
	case self.CreateRev != brokerEpoch:
		return PartitionVerdict{Err: fmt.Errorf("write %s: broker epoch %d: %w", p.Key, brokerEpoch, ErrFenced)}
	default:
		return PartitionVerdict{Err: fmt.Errorf("write %s: %w", p.Key, ErrConflict)}
	}
}
