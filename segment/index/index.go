// Package index is the sparse offset and time index of one segment.
//
// What belongs here: the index file, looking up in it, sealing it. What does not: the log file it
// speaks of, batches, when to roll.
//
// An entry sums up a prefix of the log: everything in the first Pos bytes has an offset of at most
// LastOffset and a timestamp of at most MaxTime. So any entry may be missing and lookups stay right,
// only the stretch of log to scan becomes longer; and one array, in which nothing ever falls, answers
// by offset, by time and by position.
//
// The file is written by pwrite only, and read through a read-only mapping, each page brought in
// before it is loaded. A directory of its pages on the heap, 16 bytes for each 4 KiB, says which one
// page a lookup needs. See format.go for the bytes.
//
// Locks: mu guards the open file against Truncate, Seal and Close; it is held shared by lookups. The
// appender publishes without it, through count.
package index

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"sync"
	"sync/atomic"

	"firn/segment/vfs"
)

const (
	defaultInterval     = 4096
	defaultSegmentBytes = 1 << 30
	// maxEntries bounds the file to Kafka's default segment.index.bytes, 10 MiB, whatever the interval.
	maxEntries = 10 << 20 / EntrySize
)

var (
	// ErrCorrupt says that the file is not the index it should be: Rebuild it from the log. The error
	// is a *CorruptError.
	ErrCorrupt = errors.New("index: corrupt")
	// ErrSealed says that a sealed index was to be changed.
	ErrSealed = errors.New("index: sealed")
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
	// Interval is the least number of log bytes between two entries; 0 means 4096. Only new entries
	// heed it.
	Interval int64
	// SegmentBytes is how large the log may grow; 0 means 1 GiB. Beyond it, or beyond 655,360
	// entries, the index is Full.
	SegmentBytes int64
}

func (o Options) capacity() int64 {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	return min(o.SegmentBytes/o.interval()+1, maxEntries)
}

func (o Options) interval() int64 {
	if o.Interval <= 0 {
		return defaultInterval
	}
	return o.Interval
}

// Index is an open index. Lookups, Count and Sync are safe for concurrent use, with each other and
// with the one goroutine at a time that may call the rest.
type Index struct {
	name     string
	base     int64
	interval int64
	capacity int64

	app appender

	mu struct {
		sync.RWMutex
		file    vfs.File    // nil once sealed, if it is mapped
		mapping vfs.Mapping // nil where the system has none
		crcs    []uint32    // of a sealed index, for each page
		closed  bool
	}

	// count is how many entries lookups may see. The directory holds at least their pages; entries
	// and directory elements once published never change but by Truncate.
	count atomic.Int64
	dir   atomic.Pointer[[]packed]
}

// appender is what only the appending goroutine touches.
type appender struct {
	staged  []byte   // entries not flushed yet
	crcs    []uint32 // running CRC of each page
	flushed Entry    // the newest entry in the file
	last    Entry    // the newest entry, staged or not
	end     Entry    // sums up every batch added
	sealed  bool
}

func newIndex(name string, o Options) *Index {
	x := &Index{name: name, base: o.Base, interval: o.interval(), capacity: o.capacity()}
	x.dir.Store(new([]packed))
	none := x.none()
	x.app.flushed, x.app.last, x.app.end = none, none, none
	return x
}

// none sums up the empty prefix.
func (x *Index) none() Entry { return Entry{LastOffset: x.base - 1, MaxTime: math.MinInt64} }

// Count is the number of entries visible to lookups.
func (x *Index) Count() int64 { return x.count.Load() }

// Full says that there is no room for another entry: time to roll. Add stays harmless.
func (x *Index) Full() bool {
	return x.count.Load()+int64(len(x.app.staged)/EntrySize) >= x.capacity
}

// Last sums up the log as far as entries go, those staged included; ok is false if there is none. Of
// a sealed index it sums up the whole log.
func (x *Index) Last() (e Entry, ok bool) { return x.app.last, x.app.last.Pos > 0 }

// MaxTime is the largest timestamp of all batches added; math.MinInt64 if none.
func (x *Index) MaxTime() int64 { return x.app.end.MaxTime }

// Sync makes the flushed entries survive a power cut. Count them before, not after.
func (x *Index) Sync() error {
	f, err := x.unsealed()
	if f == nil {
		return err
	}
	// Without mu: whoever waits for it behind a slow sync would stop the lookups.
	err = f.Sync()
	if errors.Is(err, fs.ErrClosed) {
		if f, stateErr := x.unsealed(); f == nil {
			return stateErr // sealed meanwhile
		}
	}
	return err
}

// unsealed is the open file while there is something to sync: of a sealed index Seal did.
func (x *Index) unsealed() (vfs.File, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	switch {
	case x.mu.closed:
		return nil, x.errClosed()
	case x.mu.crcs != nil:
		return nil, nil
	}
	return x.mu.file, nil
}

// Close releases the file and its mapping, after the lookups that are under way. It does not sync.
func (x *Index) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.mu.closed {
		return x.errClosed()
	}
	x.mu.closed = true
	return x.release()
}

// release closes what is open; the caller holds mu.
func (x *Index) release() error {
	var errs [2]error
	if x.mu.mapping != nil {
		errs[0] = x.mu.mapping.Close()
	}
	if x.mu.file != nil {
		errs[1] = x.mu.file.Close()
	}
	x.mu.mapping, x.mu.file = nil, nil
	return errors.Join(errs[:]...)
}

func (x *Index) errClosed() error {
	return &fs.PathError{Op: "index", Path: x.name, Err: fs.ErrClosed}
}

func (x *Index) corrupt(at int64, format string, args ...any) error {
	return &CorruptError{Path: x.name, Offset: at, Reason: fmt.Sprintf(format, args...)}
}
