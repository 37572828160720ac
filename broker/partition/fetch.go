package partition

import "time"

// Extent is a run of whole record batches that a response sends as it is: a range of a segment file or memory
// read back from the tier. Release ends its use; the bytes do not change before.
type Extent interface {
	Len() int
	File() (fd uintptr, pos int64, ok bool)
	ReadAt(p []byte, off int64) (int, error)
	Release()
}

// Fetch is a read of many partitions at once. The caller owns it until Set.Fetch and again once Done is called.
type Fetch struct {
	// MinBytes is how much to wait for, at most MaxWait; an error ends the wait too, unless it is one that
	// asking again at once cannot heal.
	MinBytes int
	// MaxBytes bounds the whole answer, but the first batch found is returned whatever its size.
	MaxBytes int
	MaxWait  time.Duration
	// ReadCommitted bounds reads by the last stable offset instead of the high watermark.
	ReadCommitted bool
	// Parts are read in order; MaxBytes may leave nothing to the last ones.
	Parts []FetchPart
	// Done is called exactly once, perhaps before Set.Fetch returns, with no lock held.
	Done func(*Fetch)
}

// FetchPart is one partition of a Fetch.
type FetchPart struct {
	// Replica may be nil if Err is set already.
	Replica     *Replica
	Offset      int64
	MaxBytes    int
	LeaderEpoch int32 // the caller's; -1 for none
	LastEpoch   int32 // of the last batch the caller has; -1 for none

	// The outcome. Extents are the caller's to release.
	Err           error
	HighWatermark int64
	LastStable    int64
	LogStart      int64
	Diverging     EpochEnd // Epoch -1 for none
	Extents       []Extent
	Bytes         int
}

// EpochEnd is a leader epoch and the offset behind its last record; -1 and -1 where there is none.
type EpochEnd struct {
	Epoch int32
	End   int64
}
