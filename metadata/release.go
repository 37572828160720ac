package metadata

import (
	"context"
	"fmt"
	"slices"
)

// Holders returns the brokers that may still hold copies of a deleted topic, by id: all that have not released it and
// have not left for good.
func (im *Image) Holders(t *Topic) []int32 {
	var ids []int32
	for _, n := range im.Nodes() {
		if n.State != NodeGone && !slices.Contains(t.Released, n.ID) {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

// ReleaseTopic records that a broker holds nothing of a deleted topic any more, which t is as known. The guard is the
// broker's own epoch: another life of it may have other disks. What other brokers record meanwhile stays. It may be
// called again after any error; a topic that has no record is released.
//
// Errors: ErrFenced (our broker epoch is over), ErrConflict (the topic is live), ErrUnavailable or ErrUnknown.
func (s *Store) ReleaseTopic(ctx context.Context, t *Topic, broker int32, brokerEpoch int64) error {
	key, self := s.keys.Topic(t.ID), s.keys.Broker(broker)
	for {
		if t.Live() {
			return fmt.Errorf("release topic %v: it is live: %w", t.ID, ErrConflict)
		}
		if slices.Contains(t.Released, broker) {
			return nil
		}
		next := *t
		next.Released = append(slices.Clone(t.Released), broker)
		slices.Sort(next.Released)
		res, err := Settle(ctx, s.kv, Txn{
			If:   []Cmp{ModIs(key, t.Rev), CreatedAt(self, brokerEpoch)},
			Then: []Op{s.keys.PutTopic(&next)},
			Else: []string{key, self},
		})
		switch {
		case err != nil:
			return fmt.Errorf("release topic %v: %w", t.ID, err)
		case res.OK, !res.Else[0].Exists():
			return nil
		case res.Else[1].CreateRev != brokerEpoch:
			return fmt.Errorf("release topic %v: broker epoch %d: %w", t.ID, brokerEpoch, ErrFenced)
		}
		if t, err = decodeTopic(res.Else[0], t.ID); err != nil {
			return err
		}
	}
}
