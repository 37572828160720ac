package tiering

import "time"

// LocalSegment is what LocalFloor needs to know of a sealed local segment.
type LocalSegment struct {
	Base, End int64 // offsets, inclusive
	Size      int64 // bytes
	MaxTime   int64 // greatest timestamp in it, ms since the epoch
}

// LocalView is what LocalFloor decides on.
type LocalView struct {
	// Tiered says that the topic goes to the tier: then nothing at or beyond TierEnd is dropped.
	Tiered bool
	// TierEnd is the end of the tier as proven by a read of the anchor or of its image, never as
	// taken from an unconfirmed write.
	TierEnd int64
	// LogStart is the partition's first visible offset, from the same read.
	LogStart int64
	// HighWatermark bounds what may go of an untiered topic.
	HighWatermark int64
	// RetentionMs and RetentionBytes are the local limits (of an untiered topic: the total ones);
	// negative means none.
	RetentionMs, RetentionBytes int64
	// DiskLow drops everything that is safely in the tier, whatever the limits say.
	DiskLow bool
	// Sealed are the sealed segments, oldest first, ActiveBytes what lies behind them.
	Sealed      []LocalSegment
	ActiveBytes int64
}

// LocalFloor returns the offset below which local bytes may go; segments wholly below it can be dropped.
// It never exceeds what is proven to be in the tier (or, untiered, the high watermark), except that what
// lies below LogStart is wanted by nobody. 0 means that nothing may go.
func LocalFloor(v LocalView, now time.Time) int64 {
	limit := v.HighWatermark
	if v.Tiered {
		limit = v.TierEnd
	}
	left := v.ActiveBytes
	for _, s := range v.Sealed {
		left += s.Size
	}
	oldest := now.UnixMilli() - v.RetentionMs
	floor := int64(0)
	for _, s := range v.Sealed {
		next := s.End + 1
		left -= s.Size
		switch {
		case next <= v.LogStart:
		case next > limit:
			return floor
		case v.Tiered && v.DiskLow:
		case v.RetentionMs >= 0 && s.MaxTime < oldest:
		case v.RetentionBytes >= 0 && left >= v.RetentionBytes:
		default:
			return floor
		}
		floor = next
	}
	return floor
}
