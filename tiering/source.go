package tiering

import (
	"io"
	"time"
)

// Source is what the Uploader needs of a partition's local log. Its methods are safe for concurrent
// use and do not block on the network.
type Source interface {
	// Sealed returns the sealed segments that hold offsets at or beyond from, oldest first, each
	// held until its Release.
	Sealed(from int64) []SealedSegment
	// Start is the first offset of the local log, Next the offset behind its last batch.
	Start() int64
	Next() int64
	// HighWatermark is the offset below which nothing can be taken back. Only what lies below it
	// is archived.
	HighWatermark() int64
	// Bytes is about how much lies at or beyond from.
	Bytes(from int64) int64
	// Active tells of the segment that is being written: its base offset, its size, and when its
	// first batch was appended, zero if it has none.
	Active() (base, size int64, since time.Time)
	// Roll seals the active segment if it holds anything.
	Roll() error
	// Damaged tells that the sealed segment which begins at base does not hold what was written there, from byte at on.
	Damaged(base, at int64, err error)
}

// EpochStart is a leader epoch and the first offset written in it.
type EpochStart struct {
	Epoch int32
	Start int64
}

// SealedSegment is a local segment that will not change any more. It is held until Release. It is
// *segment.Sealed, in words that a test can speak, too.
type SealedSegment interface {
	// Base and End are the offsets [Base, End) that the segment covers.
	Base() int64
	End() int64
	// Size is the number of bytes that ReadAt gives: whole batches back to back, as on disk.
	Size() int64
	io.ReaderAt
	// Position is where the batch that holds offset begins.
	Position(offset int64) (int64, error)
	// ProducerSnapshot is the producers' state at End; nil if there is none.
	ProducerSnapshot() ([]byte, error)
	// Epochs are all leader epochs known that start below End, oldest first.
	Epochs() []EpochStart
	// DropCache tells the kernel that the bytes will not be read again soon.
	DropCache()
	Release()
}
