package segment

import (
	"errors"
	"fmt"
	"io"
	"math"

	"firn/segment/index"
)

// Read returns whole batches from the one that holds offset up to, at most, the last that ends at or
// below limit, in at most maxBytes. With atLeastOne the first batch is returned even if it is larger
// than maxBytes. It returns what one segment has; there may be more. The extent is empty if offset is
// at or above limit or the first batch does not fit. ErrOutOfRange if offset is below Start or above
// Next, a *CorruptionError if the batches do not follow each other, which no CRC covers; CRCs are for readers to check. The caller
// releases the extent.
func (l *Log) Read(offset, limit int64, maxBytes int, atLeastOne bool) (Extent, error) {
	for {
		v := l.view.Load()
		e, err := l.readView(v, offset, limit, int64(maxBytes), atLeastOne)
		if !l.outdated(v, err) {
			return e, err
		}
	}
}

// outdated reports whether err, if not nil, says nothing of the log as it is, but perhaps only of v: the log may have been
// cut while it was read, and other batches be where some were, or segments be gone.
func (l *Log) outdated(v *view, err error) bool { return err != nil && l.view.Load() != v }

// readView is Read in the segments of v.
func (l *Log) readView(v *view, offset, limit, maxBytes int64, atLeastOne bool) (Extent, error) {
	start, durable := l.Start(), l.Durable()
	if v == nil {
		return Extent{}, ErrClosed
	}
	next, _ := v.active.bounds()
	s := v.find(offset)
	if offset < start || offset > next || s == nil {
		return Extent{}, &RangeError{Offset: offset, Start: max(start, v.first()), End: next}
	}
	limit = min(limit, next)
	if l.disk.Offline() != nil {
		// What the failed disk was not proven to hold may change under us.
		limit = min(limit, durable)
	}
	if offset >= limit {
		return Extent{first: offset, next: offset}, nil
	}
	h, err := s.acquire()
	if err != nil {
		return Extent{}, err
	}
	e, err := s.extent(h, offset, limit, maxBytes, atLeastOne)
	if err != nil || e.size == 0 {
		h.unref()
		e.h = nil
	}
	return e, err
}

// extent finds the bytes for Read; limit is above offset.
func (s *segment) extent(h *handle, offset, limit, maxBytes int64, atLeastOne bool) (Extent, error) {
	next, to := s.bounds()
	if offset >= next { // the log was truncated meanwhile
		return Extent{first: offset, next: offset}, nil
	}
	from, first, err := s.locate(h, offset)
	if err != nil {
		return Extent{}, err
	}
	if limit < next {
		if to, next, err = s.locate(h, limit); err != nil {
			return Extent{}, err
		}
	}
	cut := to-from > maxBytes
	if cut {
		if to, next, err = s.cut(h, from, to, first, maxBytes, atLeastOne); err != nil {
			return Extent{}, err
		}
	}
	if err := s.chain(h, from, to, first, next); err != nil {
		return Extent{}, err
	}
	return Extent{h: h, pos: from, size: int(to - from), first: first, next: next, cut: cut}, nil
}

// chain checks that the batches in bytes [from, to) have the offsets [first, next) one after the other.
func (s *segment) chain(h *handle, from, to, first, next int64) error {
	r := newFrames(h.log, from, to, first, &scanBuffers)
	defer r.close()
	for r.step = lookupWindow; ; {
		b, n, err := r.head()
		switch {
		case errors.Is(err, io.EOF) && r.next == next:
			return nil
		case errors.Is(err, io.EOF):
			return r.bad(fmt.Errorf("%w: offset %d follows, want %d", errChain, r.next, next))
		case err != nil:
			return err
		}
		if n > r.step { // only headers are wanted, of however many batches
			r.step = max(r.step/2, headStep)
		} else if n < r.step/4 {
			r.step = min(2*r.step, scanWindow)
		}
		r.skip(b, n)
	}
}

// locate returns where the batch that holds offset begins, in the file and in offsets. It must lie in
// the segment.
func (s *segment) locate(h *handle, offset int64) (pos, base int64, err error) {
	if offset == s.base {
		return 0, s.base, nil
	}
	if t := s.tail.Load(); t != nil {
		if pos, ok := t.find(offset); ok {
			return pos, offset, nil
		}
	}
	run, err := h.idx.Lookup(offset)
	if err == nil {
		pos, base, err = s.search(h, run, offset)
		if !errors.Is(err, ErrCorrupt) {
			return pos, base, err
		}
	}
	// The index cannot be read or leads astray, or the log is damaged: headers alone tell, from the segment's start.
	s.distrustIndex(err)
	return s.search(h, index.Run{End: math.MaxInt64}, offset)
}

// distrustIndex notes that a lookup does without the index.
func (s *segment) distrustIndex(err error) {
	s.disk.logger.Warn("index is not trusted", "path", s.path(idxSuffix), "error", err)
	s.disk.metrics.indexErrors.Inc()
}

// search looks for the batch that holds offset in run.
func (s *segment) search(h *handle, run index.Run, offset int64) (pos, base int64, err error) {
	_, size := s.bounds()
	next := int64(-1)
	if run.Start == 0 {
		next = s.base
	}
	r := newFrames(h.log, run.Start, min(run.End, size), next, &lookupBuffers)
	defer r.close()
	for {
		b, n, err := r.head()
		switch {
		case errors.Is(err, io.EOF):
			return 0, 0, r.bad(fmt.Errorf("%w: no batch holds offset %d", errChain, offset))
		case err != nil:
			return 0, 0, err
		case b.BaseOffset() > offset:
			return 0, 0, r.bad(fmt.Errorf("%w: base offset %d, want at most %d", errChain, b.BaseOffset(), offset))
		case b.LastOffset() >= offset:
			return r.pos, b.BaseOffset(), nil
		}
		r.skip(b, n)
	}
}

// cut returns a batch boundary in (from, from+maxBytes], a run short of the largest at most, where
// bytes [from, to) are too many. With atLeastOne it is at least one batch on; else it may be from.
func (s *segment) cut(h *handle, from, to, first, maxBytes int64, atLeastOne bool) (end, next int64, err error) {
	e, ok, err := h.idx.LookupPos(from + maxBytes)
	if err == nil && ok && e.Pos > from && e.Pos < to {
		if b, err := s.headAt(h, e.Pos); err == nil && b == e.LastOffset+1 {
			return e.Pos, b, nil
		}
		s.disk.metrics.indexErrors.Inc()
	}
	// No index entry lies within maxBytes, so there are few batches to walk over.
	r := newFrames(h.log, from, to, first, &lookupBuffers)
	defer r.close()
	for {
		b, n, err := r.head()
		if err != nil {
			return 0, 0, err
		}
		if r.pos+n > from+maxBytes && !(atLeastOne && r.pos == from) {
			return r.pos, r.next, nil
		}
		r.skip(b, n)
		if r.pos >= to || atLeastOne && r.pos >= from+maxBytes {
			return r.pos, r.next, nil
		}
	}
}

// headAt is the base offset of the batch at pos.
func (s *segment) headAt(h *handle, pos int64) (int64, error) {
	_, size := s.bounds()
	r := newFrames(h.log, pos, size, -1, &lookupBuffers)
	defer r.close()
	b, _, err := r.head()
	if err != nil {
		return 0, err
	}
	return b.BaseOffset(), nil
}
