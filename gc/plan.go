package gc

import (
	"time"

	"firn/tiering/manifest"
)

// Policy is how long a partition's records live in total.
type Policy struct {
	RetentionMs    int64 // negative: for ever
	RetentionBytes int64 // of batches, before block compression; negative: without limit
}

// Plan returns the log start that the policy asks for. It never lies below the head's, nor beyond the
// end of the tier: what is not uploaded does not expire. oldest are the oldest segments, in order and
// abutting, as many as have been read; untiered is the number of local bytes beyond the tier's end, which
// count toward RetentionBytes. What is dead already must have been folded away, or the head's sum is too
// large.
func Plan(head manifest.Head, oldest []manifest.Segment, untiered int64, p Policy, now time.Time) (logStart int64) {
	logStart = head.LogStart
	left := head.RawBytes + untiered
	before := now.UnixMilli() - p.RetentionMs
	for _, s := range oldest {
		left -= s.RawBytes
		old := p.RetentionMs >= 0 && s.MaxTime >= 0 && s.MaxTime < before // without timestamps it is never old
		large := p.RetentionBytes >= 0 && left >= p.RetentionBytes
		if !old && !large || s.Next() > head.TierEnd {
			break
		}
		logStart = max(logStart, s.Next())
	}
	return logStart
}
