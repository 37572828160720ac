package segment

import (
	"errors"
	"time"

	"firn/segment/batch"
)

// RollReason is why a segment was sealed.
type RollReason string

// The reasons. Append finds the first three by itself, RollIfDue RollAge, callers give the others.
const (
	RollSize      RollReason = "size"
	RollIndexFull RollReason = "index"
	RollOffsets   RollReason = "offsets"
	RollAge       RollReason = "age"
	RollTier      RollReason = "tier"      // so that it can be uploaded
	RollRetention RollReason = "retention" // so that it can be dropped
)

// Log is one partition on disk. See the package comment for who may call what when.
type Log struct{}

// Append writes bs at the log's end with one vectored write from the caller's memory and keeps nothing
// of them. Offsets and leader epochs are already stamped: the first BaseOffset must be at least Next,
// and equal to it unless the log is a copy of a compacted one; CRCs are not looked at. It returns the
// new end. A batch with a leader epoch above the log's is preceded by AssignEpoch. On an error nothing
// was appended.
func (l *Log) Append(bs []batch.Batch) (end int64, err error) { return 0, errors.ErrUnsupported }

// Commit asks for everything appended so far to be made durable. It does not wait: OnDurable tells.
func (l *Log) Commit() {}

// Start is the first offset the log serves; Next the offset that the next batch gets; Durable the end
// of what survives a power cut. Start <= Durable <= Next.
func (l *Log) Start() int64   { return 0 }
func (l *Log) Next() int64    { return 0 }
func (l *Log) Durable() int64 { return 0 }

// SetHighWatermark remembers the caller's high watermark; it is on disk from the next checkpoint on.
func (l *Log) SetHighWatermark(hw int64) {}

// RecoveredHighWatermark is the one that Open found, at most Next and at least Start.
func (l *Log) RecoveredHighWatermark() int64 { return 0 }

// SetSettings changes the settings from the next Append on.
func (l *Log) SetSettings(s Settings) {}

// Read returns whole batches from the one that holds offset up to, at most, the last that ends at or
// below limit, in at most maxBytes. With atLeastOne the first batch is returned even if it is larger
// than maxBytes. It returns what one segment has; there may be more. The extent is empty if offset is
// at limit or the first batch does not fit. ErrOutOfRange if offset is below Start or above Next.
// CRCs are not checked. The caller releases the extent.
func (l *Log) Read(offset, limit int64, maxBytes int, atLeastOne bool) (Extent, error) {
	return Extent{}, errors.ErrUnsupported
}

// Found is a record found by time.
type Found struct {
	Offset    int64
	Timestamp int64 // ms since 1970
	Epoch     int32 // leader epoch of its batch
}

// FindTime finds the first record in [from, limit) with a timestamp of at least ts (ms since 1970).
func (l *Log) FindTime(ts, from, limit int64) (f Found, ok bool, err error) {
	return Found{}, false, errors.ErrUnsupported
}

// MaxTime finds the first of the records with the largest timestamp below limit; not ok if there is
// none.
func (l *Log) MaxTime(limit int64) (f Found, ok bool, err error) {
	return Found{}, false, errors.ErrUnsupported
}

// Roll seals the active segment, which makes it durable, and starts a new one. Nothing happens if the
// active segment is empty.
func (l *Log) Roll(reason RollReason) error { return errors.ErrUnsupported }

// RollIfDue rolls if the active segment is older than SegmentAge.
func (l *Log) RollIfDue(now time.Time) error { return errors.ErrUnsupported }

// Active tells of the active segment: its base offset, its size in bytes, and when its first batch was
// appended, zero if it has none.
func (l *Log) Active() (base, size int64, since time.Time) { return 0, 0, time.Time{} }

// TruncateTo cuts the log at offset, which must be where a batch begins, or the end; a batch that
// spans it goes whole. Producers are put back to that point. It is durable on return.
func (l *Log) TruncateTo(offset int64) error { return errors.ErrUnsupported }

// DropBefore deletes the sealed segments that lie wholly below offset and returns their bytes. Readers
// keep what they hold. It is durable on return.
func (l *Log) DropBefore(offset int64) (bytes int64, err error) { return 0, errors.ErrUnsupported }

// SetStart raises Start to offset, which may lie within a segment, durably. It drops nothing.
func (l *Log) SetStart(offset int64) error { return errors.ErrUnsupported }

// Reset throws the log away and starts anew at offset at, with the epochs and the producer snapshot
// that belong to what lies below. It is durable on return; a crash leaves the old log or the new.
func (l *Log) Reset(at int64, epochs []Epoch, producers []byte) error { return errors.ErrUnsupported }

// Size is the log's bytes on disk.
func (l *Log) Size() int64 { return 0 }

// Info describes a segment.
type Info struct {
	Base, End int64 // offsets [Base, End)
	Size      int64 // bytes
	MaxTime   int64 // largest timestamp, ms since 1970; math.MinInt64 if it is empty
	Sealed    bool
}

// Segments describes all segments, oldest first, the active one last. It does no IO.
func (l *Log) Segments() []Info { return nil }

// Close makes the log durable and closes it, after the callback that may be running. Extents stay
// good.
func (l *Log) Close() error { return errors.ErrUnsupported }
