package tiering

import (
	"context"

	"firn/metadata/topic"
)

// AdvanceLogStart moves the log start of a partition that is not archived, and returns what it is then.
// It is Archive.SetLogStart for those who have no Archive: it needs no bucket.
func AdvanceLogStart(ctx context.Context, anchor Anchor, tp topic.Partition, leaderEpoch int32, start int64) (int64, error) {
	s := NewArchives(ArchiveOptions{Anchor: anchor})
	defer s.Close()
	h, err := s.Archive(tp, leaderEpoch).SetLogStart(ctx, start)
	return h.LogStart, err
}
