package manifest

import "errors"

const (
	// MaxTail is how many segments a head holds before they must be folded into a root.
	MaxTail = 16
	// MaxHeadBytes bounds an encoded head; it is folded before it grows past this.
	MaxHeadBytes = 1536
	// PageSegments is how many segments one page holds.
	PageSegments = 4096
)

var (
	// ErrFenced says that a newer leader has written: an edit's epoch is below the head's.
	ErrFenced = errors.New("manifest: fenced by a newer writer")
	// ErrNotAbut says that a segment does not begin where the tier ends.
	ErrNotAbut = errors.New("manifest: segment does not begin at the end of the tier")
	// ErrFull says that the head must be folded before it takes another segment.
	ErrFull = errors.New("manifest: head is full")
	// ErrCorrupt is wrapped by every error about bytes that are not what an encoder wrote.
	ErrCorrupt = errors.New("manifest: corrupt")
	// ErrVersion is wrapped by the error for bytes of a newer format than this build reads.
	ErrVersion = errors.New("manifest: unknown newer version")
)

// Segment describes one object: a run of whole batches of one partition.
type Segment struct {
	Base, End   int64 // first and last offset, both inclusive
	LeaderEpoch int32 // of the leader that uploaded it
	LastEpoch   int32 // leader epoch of its last batch
	BrokerEpoch int64 // of the uploader's process
	Attempt     uint32
	Size        int64 // of the object, in bytes
	FooterLen   uint32
	CRC         uint32 // CRC-32C of the object up to its trailer
	RawBytes    int64  // of the batches, before block compression
	MinTime     int64  // least and greatest batch timestamps, ms; -1 if there is none
	MaxTime     int64
	MaxTimeBase int64 // base offset of the first batch whose greatest timestamp is MaxTime
}

// Next is the offset behind the segment.
func (s Segment) Next() int64 { return s.End + 1 }

// RootRef names a root object. The zero value names none.
type RootRef struct {
	Seq         uint64 // 1 for a partition's first root; grows by one per fold
	LeaderEpoch int32
	Rand        uint32
	Size        uint32 // of the object, in bytes
	CRC         uint32 // CRC-32C of the object
}

// IsZero reports whether r names no root.
func (r RootRef) IsZero() bool { return r == RootRef{} }

// PageRef names a page object and sums it up.
type PageRef struct {
	Base, End   int64 // offsets, inclusive
	Rand        uint32
	Size        uint32
	CRC         uint32
	Segments    uint32
	RawBytes    int64
	StoredBytes int64
	MinTime     int64
	MaxTime     int64
	MaxTimeBase int64
}

// Head is the only part of a manifest that changes. Its zero value describes a partition that has
// nothing in the tier and begins at offset 0.
type Head struct {
	// LogStart is the first offset readers may see. It never falls.
	LogStart int64
	// TierEnd is the offset behind the last one that is in the tier; everything in
	// [LogStart, TierEnd) is. It never falls.
	TierEnd int64
	// TierEndEpoch is the leader epoch of the last batch that was put in the tier, 0 while there was
	// none. It never falls.
	TierEndEpoch int32
	// WriterEpoch is the leader epoch of the newest writer. It never falls.
	WriterEpoch int32
	Root        RootRef
	// RawBytes, StoredBytes and Segments sum up all segments that are not in the trash.
	RawBytes    int64
	StoredBytes int64
	Segments    int64
	// Tail holds the segments that are in no root yet, oldest first.
	Tail []Segment
}

// Root is the immutable object that a head names.
type Root struct {
	Seq uint64
	// Floor is the offset below which every segment has gone to the trash; segments of a page that
	// end below it are gone, though the page still lists them.
	Floor    int64
	FoldedAt int64 // ms since the epoch
	Pages    []PageRef
	Open     []Segment // behind the last page, oldest first
	Trash    []Trash
}

// TrashKind says what a trash entry is.
type TrashKind uint8

// The kinds of trash.
const (
	TrashSegment TrashKind = 1 + iota
	TrashPage
	TrashRoot
)

// Trash is an object that nobody refers to any more and that may be deleted from DeleteAfter on.
type Trash struct {
	Kind        TrashKind
	DeleteAfter int64 // ms since the epoch
	// Exactly the field of the kind is set, as far as it takes to name the object.
	Segment Segment
	Page    PageRef
	Root    RootRef
}

// Page is the immutable object that a PageRef names: exactly its segments, oldest first.
type Page struct {
	Segments []Segment
}
