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
	// Backlog sums up what lies at or beyond from.
	Backlog(from int64) Backlog
	// Roll seals the active segment if it holds anything.
	Roll() error
}

// Backlog is local data that is not in the tier yet.
type Backlog struct {
	Bytes int64
	// Oldest is when the oldest of it was appended; zero if there is none.
	Oldest time.Time
}

// EpochStart is a leader epoch and the first offset written in it.
type EpochStart struct {
	Epoch int32
	Start int64
}

// SealedSegment is a local segment that will not change any more. It is held until Release.
type SealedSegment interface {
	// Base and End are its first and last offset, both inclusive.
	Base() int64
	End() int64
	// Size is the number of bytes that ReadAt gives: whole batches back to back, as on disk.
	io.ReaderAt
	Size() int64
	// Position is a byte position at or before the batch that holds offset, at a batch boundary.
	Position(offset int64) (int64, error)
	// ProducerSnapshot is the producers' state at End+1; nil if there is none.
	ProducerSnapshot() ([]byte, error)
	// Epochs are all leader epochs known that start at or before End, oldest first.
	Epochs() []EpochStart
	// DropCache tells the kernel that the bytes will not be read again soon.
	DropCache()
	Release()
}
