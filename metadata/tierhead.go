package metadata

import (
	"context"
	"fmt"

	"firn/metadata/topic"
)

// TierHeads reads and swaps tier heads for one broker. It is the anchor of its archives: the swap is the
// commit point of every change to a manifest. Safe for concurrent use.
type TierHeads struct {
	store  *Store
	broker int32
	epoch  func() int64
}

// TierHeads returns the tier heads as written by the broker with that id; epoch returns its broker epoch
// at the moment (Lease.Epoch).
func (s *Store) TierHeads(broker int32, epoch func() int64) *TierHeads {
	return &TierHeads{store: s, broker: broker, epoch: epoch}
}

// Load reads a head linearizably. A partition without one has rev 0 and a nil head.
func (h *TierHeads) Load(ctx context.Context, tp topic.Partition) (head []byte, rev int64, err error) {
	entries, _, err := h.store.kv.Get(ctx, h.store.keys.TierHead(tp))
	if err != nil {
		return nil, 0, fmt.Errorf("load tier head of %v: %w", tp, err)
	}
	return entries[0].Value, entries[0].ModRev, nil
}

// Swap writes head if the partition's head is still that of rev (0: there is none), our broker epoch stands
// and the topic is live. ok is false if one of these does not hold: nothing was written and never will be.
// After an error the outcome is unknown: Load and compare before believing anything, for the swap may still
// happen until the head's revision has moved; swapping the same again is safe. The leader epoch is not
// compared here: the head carries its writer's, and whoever read the head at rev has compared it.
func (h *TierHeads) Swap(ctx context.Context, tp topic.Partition, rev int64, _ int32, head []byte) (newRev int64, ok bool, err error) {
	keys, epoch := h.store.keys, h.epoch()
	x, b, t := keys.TierHead(tp), keys.Broker(h.broker), keys.Topic(tp.ID)
	known, ok := h.store.Image().TopicByID(tp.ID)
	if !ok {
		return 0, false, nil
	}
	for known.Live() {
		res, err := h.store.kv.Txn(ctx, Txn{
			If:   []Cmp{ModIs(x, rev), CreatedAt(b, epoch), ModIs(t, known.Rev)},
			Then: []Op{Put(x, head)},
			Else: []string{x, b, t},
		})
		if err != nil {
			return 0, false, fmt.Errorf("swap tier head of %v: %w", tp, err)
		}
		if res.OK {
			return res.Rev, true, nil
		}
		if res.Else[0].ModRev != rev || res.Else[1].CreateRev != epoch || !res.Else[2].Exists() {
			return 0, false, nil
		}
		// The topic's record changed, which growing does, too: what counts is that it is live.
		if known, err = decodeTopic(res.Else[2], tp.ID); err != nil {
			return 0, false, fmt.Errorf("swap tier head of %v: %w", tp, err)
		}
	}
	return 0, false, nil
}
