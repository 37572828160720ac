package metadata

import "context"

// PartitionUpdate is a leader's change of its own partition: its in-sync set and what goes with it.
type PartitionUpdate struct {
	Known *PartitionState // as the leader knows it; Known.Rev is the guard
	Next  PartitionState  // what to write; identity, leader and epochs must be those of Known
	// Joiners are the followers that Next.ISR has and Known.ISR has not. Each must still be the broker
	// incarnation whose Fetch the leader judged by, and not draining.
	Joiners []Joiner
}

// Joiner is a follower about to enter the in-sync set.
type Joiner struct {
	ID      int32
	Epoch   int64 // broker epoch in its Fetch
	NodeRev int64 // Node.Rev in the image the decision was made on
}

// UpdatePartitions writes many leader's changes in few round trips, guarded by each partition's epoch, by
// the leader's own broker epoch and by its joiners'. Verdicts come per update, in order: the new partition
// epoch, or ErrConflict (read the partition again), ErrFenced (our broker epoch is over) or ErrUnknown
// (settled by the next change of that partition: the image will tell).
func (s *Store) UpdatePartitions(ctx context.Context, brokerEpoch int64, updates []PartitionUpdate) []PartitionVerdict {
	panic("unwritten")
}

// PartitionVerdict is the outcome of one PartitionUpdate.
type PartitionVerdict struct {
	Rev int64
	Err error
}
