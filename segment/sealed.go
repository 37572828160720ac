package segment

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
)

// Sealed is a segment that no longer changes. From its first read until Release it holds its file, even
// if the log drops the segment; if the log dropped it before that, reads fail with ErrClosed. Safe for
// concurrent use.
type Sealed struct {
	log  *Log
	s    *segment
	info Info

	mu struct {
		sync.Mutex
		h        *handle
		released bool
	}
}

// Sealed returns the sealed segments that end above from, oldest first. The caller releases each.
func (l *Log) Sealed(from int64) []*Sealed {
	v := l.view.Load()
	if v == nil {
		return nil
	}
	var out []*Sealed
	for _, s := range v.sealed {
		if i := s.info(true); i.End > from {
			out = append(out, &Sealed{log: l, s: s, info: i})
		}
	}
	return out
}

// Base is the first offset of the segment.
func (s *Sealed) Base() int64 { return s.info.Base }

// End is the offset after its last.
func (s *Sealed) End() int64 { return s.info.End }

// Size is the number of bytes: whole batches, one after the other.
func (s *Sealed) Size() int64 { return s.info.Size }

// MaxTime is the largest timestamp, ms since 1970.
func (s *Sealed) MaxTime() int64 { return s.info.MaxTime }

// Path is the log file's.
func (s *Sealed) Path() string { return s.s.path(logSuffix) }

// Epochs are the leader epochs that start below End, those of older segments included.
func (s *Sealed) Epochs() []Epoch { return epochList(s.log.Epochs()).below(s.info.End) }

// ProducerSnapshot is the producer state at End, nil where the log has no Producers. The caller may keep
// it.
func (s *Sealed) ProducerSnapshot() ([]byte, error) {
	if s.log.producers == nil {
		return nil, nil
	}
	b, err := s.log.readSnapshot(s.info.End)
	if s.log.view.Load() == nil { // the directory may be another log's by now
		return nil, ErrClosed
	}
	if errors.Is(err, fs.ErrNotExist) {
		// The next Open writes it anew.
		err = &CorruptionError{Path: s.log.offsetPath(s.info.End, snapSuffix), Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("producer snapshot: %w", err)
	}
	return b, nil
}

// ReadAt reads from the segment's bytes. It is io.ReaderAt.
func (s *Sealed) ReadAt(p []byte, off int64) (int, error) {
	h, err := s.acquire()
	if err != nil {
		return 0, err
	}
	defer h.unref()
	if off < 0 || off > s.info.Size {
		return 0, fmt.Errorf("read %s at %d: %w", h.log.Name(), off, io.EOF)
	}
	e := Extent{h: h, size: int(s.info.Size)}
	return e.ReadAt(p, off)
}

// Position is where the batch that holds offset begins, the size for End.
func (s *Sealed) Position(offset int64) (int64, error) {
	if offset == s.info.End {
		return s.info.Size, nil
	}
	if offset < s.info.Base || offset > s.info.End {
		return 0, &RangeError{Offset: offset, Start: s.info.Base, End: s.info.End}
	}
	h, err := s.acquire()
	if err != nil {
		return 0, err
	}
	defer h.unref()
	pos, _, err := s.s.locate(h, offset)
	return pos, err
}

// DropCache tells the kernel that the file's pages will not be needed soon.
func (s *Sealed) DropCache() {
	if h, err := s.acquire(); err == nil {
		h.log.DropCache(0, 0)
		h.unref()
	}
}

// Release gives the file back, after which nothing can be read. The second and later calls do nothing.
func (s *Sealed) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.h != nil {
		s.mu.h.unref()
		s.mu.h = nil
	}
	s.mu.released = true
}

// acquire returns the open file with a reference for the call.
func (s *Sealed) acquire() (*handle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.released {
		return nil, ErrClosed
	}
	if s.mu.h == nil {
		h, err := s.s.acquire()
		if errors.Is(err, errGone) {
			return nil, fmt.Errorf("%w: segment %s was dropped", ErrClosed, s.Path())
		}
		if err != nil {
			return nil, err
		}
		s.mu.h = h
	}
	s.mu.h.ref()
	return s.mu.h, nil
}
