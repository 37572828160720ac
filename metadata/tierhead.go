package metadata

import (
	"context"

	"firn/metadata/topic"
)

// TierHeads reads and swaps tier heads for one broker. It is the anchor of its archives: the swap is the
// commit point of every change to a manifest.
type TierHeads struct{}

// TierHeads returns the tier heads as written by the broker with that id; epoch returns its broker epoch
// at the moment (Lease.Epoch).
func (s *Store) TierHeads(broker int32, epoch func() int64) *TierHeads { panic("unwritten") }

// Load reads a head linearizably. A partition without one has rev 0 and a nil head.
func (h *TierHeads) Load(ctx context.Context, tp topic.Partition) (head []byte, rev int64, err error) {
	panic("unwritten")
}

// Swap writes head if the partition's head is still that of rev, our broker epoch stands and the topic is
// live. ok is false if another write came first. ErrUnknown: Load and compare before believing
// anything, for the swap may still happen until the head's revision has moved. ErrTopicGone and ErrFenced
// are final.
func (h *TierHeads) Swap(ctx context.Context, tp topic.Partition, rev int64, leaderEpoch int32, head []byte) (newRev int64, ok bool, err error) {
	panic("unwritten")
}
