package metadata

import (
	"context"
	"errors"
	"fmt"
	"math"
)

// ProducerIDBlock is the number of producer ids one NextProducerIDs takes.
const ProducerIDBlock = 1000

// NextProducerIDs reserves a block of producer ids that nobody else will ever get: [first, first+count).
func (s *Store) NextProducerIDs(ctx context.Context) (first, count int64, err error) {
	key := s.keys.ProducerIDs()
	for pause := minSettle; ; pause = min(2*pause, maxSettle) {
		first, err = s.takeProducerIDs(ctx, key)
		if err == nil {
			return first, ProducerIDBlock, nil
		}
		// Whatever became of an attempt, the next one begins with what is there now: an attempt that
		// applied unseen costs a block.
		if !errors.Is(err, ErrConflict) && !errors.Is(err, ErrUnknown) || !sleep(ctx, pause) {
			return 0, 0, fmt.Errorf("reserve producer ids: %w", err)
		}
	}
}

func (s *Store) takeProducerIDs(ctx context.Context, key string) (first int64, err error) {
	entries, _, err := s.kv.Get(ctx, key)
	if err != nil {
		return 0, err
	}
	var unknown []byte
	if e := entries[0]; e.Exists() {
		if first, unknown, err = decodeProducerIDs(e); err != nil {
			return 0, err
		}
		if first < 0 || first > math.MaxInt64-ProducerIDBlock {
			return 0, badRecord(e, "producer ids used up")
		}
	}
	res, err := s.kv.Txn(ctx, Txn{
		If:   []Cmp{ModIs(key, entries[0].ModRev)},
		Then: []Op{Put(key, encodeProducerIDs(first+ProducerIDBlock, unknown))},
	})
	if err == nil && !res.OK {
		err = ErrConflict
	}
	return first, err
}
