package tiering

import (
	"context"

	"firn/metadata/topic"
)

// Anchor keeps the head of each partition's manifest: small bytes under compare-and-swap, outside the
// bucket. Both methods are linearizable. The bytes are an encoded manifest.Head; none (nil, with the
// revision to swap against, 0 for a key that does not exist) stands for the zero Head.
type Anchor interface {
	// Load reads the head as it is now, never from a cache.
	Load(ctx context.Context, tp topic.Partition) (head []byte, rev int64, err error)
	// Swap writes head if the revision is still rev, if this process is still the registered broker
	// that it was, and if the topic is alive. With ok false nothing was written and never will be.
	// After an error the outcome is unknown: the write may have happened or may still happen, unless
	// the error wraps ErrRefused, which is as good as ok false.
	Swap(ctx context.Context, tp topic.Partition, rev int64, leaderEpoch int32, head []byte) (newRev int64, ok bool, err error)
}
