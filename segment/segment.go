package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"sort"
	"sync"
	"sync/atomic"

	"firn/segment/batch"
	"firn/segment/index"
	"firn/segment/vfs"
)

// segment is one log file with its index. What it holds is published by end: readers see whole batches
// below it and nothing above.
type segment struct {
	disk *Disk
	dir  string
	base int64

	// end packs the offset after the last batch, less base, and the size in bytes: one load gives
	// both as they belong together. Of a sealed segment it does not change.
	end     atomic.Uint64
	maxTime atomic.Int64

	// tail remembers where recent appends began; nil once sealed.
	tail atomic.Pointer[tail]

	open atomic.Pointer[handle] // nil while a sealed segment is not open
	used atomic.Bool            // for the clock

	mu struct {
		sync.Mutex // held while the files are opened or dropped
		gone       bool
	}

	slot   int // guarded by openSegments
	cached bool
}

func newSegment(d *Disk, dir string, base int64) *segment {
	s := &segment{disk: d, dir: dir, base: base}
	s.maxTime.Store(math.MinInt64)
	return s
}

// publish makes everything below next, in the first size bytes, visible to readers.
func (s *segment) publish(next, size int64) { s.end.Store(uint64(next-s.base)<<32 | uint64(size)) }

// bounds is the offset after the last batch and the size in bytes.
func (s *segment) bounds() (next, size int64) {
	e := s.end.Load()
	return s.base + int64(e>>32), int64(e & math.MaxUint32)
}

func (s *segment) info(sealed bool) Info {
	next, size := s.bounds()
	return Info{Base: s.base, End: next, Size: size, MaxTime: s.maxTime.Load(), Sealed: sealed}
}

func (s *segment) path(suffix string) string {
	return filepath.Join(s.dir, offsetName(s.base, suffix))
}

// indexOptions of the segment under the settings given.
func (s *segment) indexOptions(set *Settings) index.Options {
	_, size := s.bounds()
	return index.Options{Base: s.base, Interval: set.IndexInterval, SegmentBytes: max(size, min(set.SegmentBytes, maxSegmentBytes))}
}

// acquire returns the segment's open files with a reference for the caller, opening them if need be.
func (s *segment) acquire() (*handle, error) {
	if h := s.open.Load(); h != nil && h.ref() {
		if !s.used.Load() {
			s.used.Store(true)
		}
		return h, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.open.Load(); h != nil && h.ref() {
		return h, nil
	}
	if s.mu.gone {
		return nil, errGone
	}
	h, err := s.openSealed()
	if err != nil {
		return nil, err
	}
	h.ref()
	s.open.Store(h)
	s.disk.sealed.add(s)
	return h, nil
}

func (s *segment) openSealed() (*handle, error) {
	fsys := s.disk.fs
	log, err := fsys.Open(s.path(logSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &CorruptionError{Path: s.path(logSuffix), Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	h, err := func() (*handle, error) {
		_, want := s.bounds()
		if size, err := log.Size(); err != nil || size != want {
			if err == nil {
				err = &CorruptionError{Path: log.Name(), Offset: min(size, want), Err: fmt.Errorf("%w: %d bytes, want %d", errNoData, size, want)}
			}
			return nil, err
		}
		o := s.indexOptions(&Settings{})
		idx, err := index.OpenSealed(fsys, s.path(idxSuffix), o)
		if err != nil && !ranOut(err) {
			s.disk.logger.Warn("index is rebuilt", "path", s.path(idxSuffix), "error", err)
			if idx, err = s.rebuildIndex(log, o); err == nil {
				err = sealIndex(idx)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("open index: %w", err)
		}
		return newHandle(log, idx), nil
	}()
	if err != nil {
		log.Close()
	}
	return h, err
}

func sealIndex(idx *index.Index) error {
	err := idx.Seal()
	if err != nil {
		idx.Close()
	}
	return err
}

// drop takes the segment out of use: who holds its files keeps them, nobody gets them anew.
func (s *segment) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropLocked()
}

// dropLocked is drop with the segment's lock held.
func (s *segment) dropLocked() {
	s.mu.gone = true
	s.disk.sealed.remove(s)
	if h := s.open.Swap(nil); h != nil {
		h.unref()
	}
}

// unlink deletes the segment's files.
func (s *segment) unlink() error {
	err := removeIfThere(s.disk.fs, s.path(logSuffix))
	return errors.Join(err, removeIfThere(s.disk.fs, s.path(idxSuffix)))
}

// view is the segments of a log at a moment. It is never changed, only replaced.
type view struct {
	sealed []*segment // by base, abutting
	active *segment
}

// find returns the segment that holds offset, nil if it lies below all. An offset at or above the end
// belongs to the active one.
func (v *view) find(offset int64) *segment {
	if i := v.index(offset); i >= 0 {
		return v.at(i)
	}
	return nil
}

// index is the place of the segment that holds offset, counting the active one as the last; -1 if it
// lies below all.
func (v *view) index(offset int64) int {
	if offset >= v.active.base {
		return len(v.sealed)
	}
	return sort.Search(len(v.sealed), func(i int) bool { return v.sealed[i].base > offset }) - 1
}

func (v *view) len() int { return len(v.sealed) + 1 }

func (v *view) at(i int) *segment {
	if i == len(v.sealed) {
		return v.active
	}
	return v.sealed[i]
}

// first is the base offset of the oldest segment.
func (v *view) first() int64 { return v.at(0).base }

// tailSize is how many appends the tail remembers; readers that keep up are within it.
const tailSize = 64

// tail is a ring of where recent appends began. One goroutine adds, any number look up; a lookup that
// the writer overtakes finds nothing.
type tail struct {
	count atomic.Int64 // appends ever added
	slots [tailSize]struct{ offset, pos atomic.Int64 }
}

// add notes that an append began at offset and pos.
func (t *tail) add(offset, pos int64) {
	n := t.count.Load()
	s := &t.slots[n%tailSize]
	s.offset.Store(offset)
	s.pos.Store(pos)
	t.count.Store(n + 1)
}

// find returns where the append began that began with offset.
func (t *tail) find(offset int64) (pos int64, ok bool) {
	n := t.count.Load()
	for i := n - 1; i >= max(0, n-tailSize+1); i-- {
		s := &t.slots[i%tailSize]
		o := s.offset.Load()
		if o > offset {
			continue
		}
		pos = s.pos.Load()
		// The slot is being overwritten only once count has reached i+tailSize.
		return pos, o == offset && t.count.Load() < i+tailSize
	}
	return 0, false
}

// rebuildIndex makes the index of the whole log file anew from its headers.
func (s *segment) rebuildIndex(log vfs.File, o index.Options) (*index.Index, error) {
	if err := removeIfThere(s.disk.fs, s.path(idxSuffix)); err != nil {
		return nil, err
	}
	idx, err := index.Create(s.disk.fs, s.path(idxSuffix), o)
	if err != nil {
		return nil, err
	}
	next, size := s.bounds()
	r := newFrames(log, 0, size, s.base, &scanBuffers)
	defer r.close()
	err = r.each(func(h batch.Batch, end int64) error {
		idx.Add(h.LastOffset(), end, h.MaxTimestamp())
		return nil
	})
	if err == nil && r.next != next {
		err = r.bad(fmt.Errorf("%w: ends at offset %d, want %d", errChain, r.next, next))
	}
	if err == nil {
		err = idx.Flush()
	}
	if err != nil {
		idx.Close()
		return nil, err
	}
	return idx, nil
}
