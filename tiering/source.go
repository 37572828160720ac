package tiering

import (
	"io"
	"time"

	"firn/segment/batch"
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
	// Epochs are all leader epochs that the log knows of, below its start too, oldest first.
	Epochs() []EpochStart
	// Roll seals the active segment if it holds anything.
	Roll() error
}

// EpochStart is a leader epoch and the first offset written in it.
type EpochStart struct {
	Epoch int32
	Start int64
}

// SealedSegment is a local segment that will not change any more. It is held until Release.
type SealedSegment interface {
	// Base and End are the offsets [Base, End) that the segment covers; Size its bytes.
	Base() int64
	End() int64
	Size() int64
	// Open reads the batches one after the other, from the one that holds from up to the last that
	// ends at or below to, each with its CRC verified.
	Open(from, to int64) (BatchReader, error)
	// OpenFile gives the same bytes by position, Base's batch at position 0.
	OpenFile() (ReaderAtCloser, error)
	// ProducerSnapshot is the producers' state at End; nil if there is none.
	ProducerSnapshot() ([]byte, error)
	// DropCache tells the kernel that the bytes will not be read again soon.
	DropCache()
	Release()
}

// BatchReader gives batches in order; each is good until the next call. At the end it gives io.EOF.
type BatchReader interface {
	Next() (batch.Batch, error)
	io.Closer
}

// ReaderAtCloser is an open file.
type ReaderAtCloser interface {
	io.ReaderAt
	io.Closer
}
