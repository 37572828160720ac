package tiering

import (
	"errors"
	"fmt"
)

var (
	// ErrFenced says that a newer leader writes the partition's manifest: this one must stop.
	ErrFenced = errors.New("tiering: fenced by a newer leader")
	// ErrRefused says that the anchor refuses this broker's writes though the head has not changed:
	// its registration is gone or the topic is being deleted. Trying again later is harmless.
	ErrRefused = errors.New("tiering: the anchor refuses our writes")
	// ErrNotReady says that the bytes did not arrive in time. The read goes on, so that trying
	// again finds them.
	ErrNotReady = errors.New("tiering: not read yet")
	// ErrMissing says that an object which the manifest names is not in the bucket. It is retriable
	// and worth an alarm; it never means that the offset is out of range.
	ErrMissing = errors.New("tiering: object is missing")
	// ErrVersion says that an object is of a newer format than this build reads.
	ErrVersion = errors.New("tiering: unknown newer version")
	// ErrClosed says that the Reader or Uploader has been closed.
	ErrClosed = errors.New("tiering: closed")
	// ErrGap says that the local log begins behind the end of the tier, so that what lies between
	// them is nowhere and nothing more can be archived.
	ErrGap = errors.New("tiering: gap between the tier and the local log")
)

// OutOfRangeError says that an offset is not in the tier: below its log start, or at or beyond the end
// of the tier.
type OutOfRangeError struct {
	Offset     int64
	Start, End int64 // the range that is there, End exclusive
}

func (e *OutOfRangeError) Error() string {
	return fmt.Sprintf("tiering: offset %d is not in [%d, %d)", e.Offset, e.Start, e.End)
}

// CorruptionError says which object is damaged, and where.
type CorruptionError struct {
	Key    string // of the object, relative to the bucket
	Block  int    // number of the block, -1 outside of blocks
	Pos    int64  // byte position in the object, -1 if unknown
	Offset int64  // first offset of the damaged block, -1 outside of blocks
	Err    error
}

func (e *CorruptionError) Error() string {
	if e.Block < 0 {
		return fmt.Sprintf("tiering: %s is corrupt at byte %d: %v", e.Key, e.Pos, e.Err)
	}
	return fmt.Sprintf("tiering: %s is corrupt in block %d at byte %d (offset %d): %v", e.Key, e.Block, e.Pos, e.Offset, e.Err)
}

func (e *CorruptionError) Unwrap() error { return e.Err }
