// Package index is the sparse offset and time index of one segment.
//
// What belongs here: the index file, looking up in it, sealing it. What does not: the log file it
// speaks of, batches, when to roll.
//
// An entry sums up a prefix of the log: everything in the first Pos bytes has an offset of at most
// LastOffset and a timestamp of at most MaxTime. So any entry may be missing and lookups stay right,
// only the stretch of log to scan becomes longer; and one array, in which nothing ever falls, answers
// both by offset and by time.
package index

import (
	"errors"
	"fmt"

	"firn/segment/vfs"
)

// EntrySize is the size of an entry in the file in bytes.
const EntrySize = 16

var (
	// ErrCorrupt says that the file is not the index it should be; Rebuild it from the log. The error
	// is a *CorruptError.
	ErrCorrupt = errors.New("index: corrupt")
	// ErrClosed says that the index was used after Close.
	ErrClosed = errors.New("index: closed")
)

// CorruptError names the place that is bad. It matches ErrCorrupt.
type CorruptError struct {
	Path   string
	Offset int64 // byte position in the file
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("index %s: corrupt at byte %d: %s", e.Path, e.Offset, e.Reason)
}

// Is makes the error match ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// Entry says that everything in the first Pos bytes of the log has an offset of at most LastOffset
// and a timestamp of at most MaxTime.
type Entry struct {
	LastOffset int64
	Pos        int64
	MaxTime    int64 // ms since 1970
}

// Run is a stretch [Start, End) of the log in bytes that begins at a batch and holds the one looked
// for, if there is one. End is math.MaxInt64 where no entry bounds it: up to the end of the log.
type Run struct {
	Start, End int64
}

// Options of an index.
type Options struct {
	// Base is the segment's base offset.
	Base int64
	// Interval is the least number of log bytes between two entries; 0 means 4096.
	Interval int64
	// SegmentBytes is how large the segment may grow; the index has room for that many bytes of log.
	SegmentBytes int64
}

// Index is an open index. Lookups are safe for concurrent use, with each other and with the one
// goroutine at a time that may call the rest.
type Index struct{}

// Create makes the index of a new, empty segment. The name survives a power cut after SyncDir.
func Create(fs vfs.FS, name string, o Options) (*Index, error) { return nil, errors.ErrUnsupported }

// OpenActive opens an unsealed index, or a sealed one to be appended to again, cutting it to its
// first count entries and checking those: each must rise over the one before and none may speak of
// more than logBytes of log. With ErrCorrupt the caller rebuilds: Remove, Create, Add each batch.
func OpenActive(fs vfs.FS, name string, o Options, count, logBytes int64) (*Index, error) {
	return nil, errors.ErrUnsupported
}

// OpenSealed opens a sealed index for reading. It reads only the page directory at the file's end;
// pages are read and checked as lookups need them.
func OpenSealed(fs vfs.FS, name string, o Options) (*Index, error) {
	return nil, errors.ErrUnsupported
}

// Add tells of one batch appended to the log: its last offset, where it ends in the log, its largest
// timestamp. It only stages an entry where one is due; Flush writes. Batches come in log order.
func (x *Index) Add(lastOffset, end, maxTime int64) {}

// Flush writes staged entries and makes them visible to lookups. On an error they are dropped, which
// leaves the index right but sparser. It does not sync.
func (x *Index) Flush() error { return errors.ErrUnsupported }

// Full says that there is no room for another entry: time to roll. Add stays harmless.
func (x *Index) Full() bool { return false }

// Count is the number of entries visible to lookups.
func (x *Index) Count() int64 { return 0 }

// Last is the newest entry visible to lookups; the zero Entry with ok false if there is none. Of a
// sealed index it sums up the whole segment.
func (x *Index) Last() (e Entry, ok bool) { return Entry{}, false }

// MaxTime is the largest timestamp of all batches added, flushed or not; math.MinInt64 if none.
func (x *Index) MaxTime() int64 { return 0 }

// Sync makes the flushed entries survive a power cut.
func (x *Index) Sync() error { return errors.ErrUnsupported }

// Lookup returns the run that holds the first batch whose last offset is at least offset.
func (x *Index) Lookup(offset int64) (Run, error) { return Run{}, errors.ErrUnsupported }

// LookupTime returns the run that holds the first batch with a timestamp of at least ts.
func (x *Index) LookupTime(ts int64) (Run, error) { return Run{}, errors.ErrUnsupported }

// Truncate drops every entry that speaks of more than the log's first logBytes bytes. The log was cut
// there, and maxTime is the largest timestamp of what is left.
func (x *Index) Truncate(logBytes int64) error { return errors.ErrUnsupported }

// Seal flushes, adds an entry for the whole log if there is none, writes the page directory and syncs
// the file. After it the index is read-only and keeps no descriptor where the system can map files.
func (x *Index) Seal() error { return errors.ErrUnsupported }

// Close releases the file and its mapping, after the lookups that are under way. It does not sync.
func (x *Index) Close() error { return errors.ErrUnsupported }
