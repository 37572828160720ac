package segment

import (
	"errors"
	"fmt"
	"io"
	"math"

	"firn/segment/batch"
	"firn/segment/index"
)

// errFound ends a walk over records.
var errFound = errors.New("found")

// Found is a record found by time.
type Found struct {
	Offset    int64
	Timestamp int64 // ms since 1970
	Epoch     int32 // leader epoch of its batch
}

// FindTime finds the first record in [from, limit) with a timestamp of at least ts (ms since 1970).
func (l *Log) FindTime(ts, from, limit int64) (f Found, ok bool, err error) {
	return l.look(func(v *view) (Found, bool, error) { return v.findTime(ts, max(from, l.Start()), limit) })
}

// MaxTime finds the first of the records with the largest timestamp below limit; not ok if there is
// none.
func (l *Log) MaxTime(limit int64) (f Found, ok bool, err error) {
	return l.look(func(v *view) (Found, bool, error) { return v.latest(l.Start(), limit) })
}

// look finds something in the segments that there are, at last.
func (l *Log) look(find func(*view) (Found, bool, error)) (f Found, ok bool, err error) {
	for {
		v := l.view.Load()
		if v == nil {
			return Found{}, false, ErrClosed
		}
		if f, ok, err = find(v); !l.outdated(v, err) {
			return f, ok, err
		}
	}
}

// findTime is FindTime in the segments of v.
func (v *view) findTime(ts, from, limit int64) (f Found, ok bool, err error) {
	for i := max(v.index(from), 0); i < v.len() && v.at(i).base < limit; i++ {
		s := v.at(i)
		if s.maxTime.Load() < ts {
			continue
		}
		if f, ok, err = s.findTime(ts, from, limit); ok || err != nil {
			return f, ok, err
		}
	}
	return f, false, nil
}

// latest is MaxTime in the segments of v, from start on.
func (v *view) latest(start, limit int64) (f Found, ok bool, err error) {
	best, most := -1, int64(math.MinInt64)
	for i := max(v.index(start), 0); i < v.len() && v.at(i).base < limit; i++ {
		t, err := v.at(i).maxTimeIn(start, limit)
		if err != nil {
			return f, false, err
		}
		if t > most {
			best, most = i, t
		}
	}
	if best < 0 {
		return f, false, nil
	}
	return v.at(best).findTime(most, start, limit)
}

// findTime finds the first record of the segment in [from, limit) with a timestamp of at least ts.
func (s *segment) findTime(ts, from, limit int64) (f Found, ok bool, err error) {
	h, err := s.acquire()
	if err != nil {
		return f, false, err
	}
	defer h.unref()
	run, err := h.idx.LookupTime(ts)
	if err != nil {
		s.distrustIndex(err)
		run = index.Run{}
	}
	pos, next := run.Start, int64(-1)
	if from > s.base {
		at, base, err := s.locate(h, min(from, s.last()))
		if err != nil {
			return f, false, err
		}
		if at > pos {
			pos, next = at, base
		}
	}
	_, size := s.bounds()
	r := newFrames(h.log, pos, size, next, &lookupBuffers)
	defer r.close()
	for {
		b, n, err := r.head()
		if errors.Is(err, io.EOF) || err == nil && b.BaseOffset() >= limit {
			return f, false, nil
		}
		if err != nil {
			return f, false, err
		}
		if b.MaxTimestamp() >= ts && b.LastOffset() >= from {
			if f, ok, err = s.findRecord(h, r.pos, n, ts, from, limit); ok || err != nil {
				return f, ok, err
			}
		}
		r.skip(b, n)
	}
}

// last is the last offset of a segment that is not empty.
func (s *segment) last() int64 {
	next, _ := s.bounds()
	return next - 1
}

// findRecord looks into the batch at pos.
func (s *segment) findRecord(h *handle, pos, size, ts, from, limit int64) (f Found, ok bool, err error) {
	defer batch.Turn()()
	b := batch.Batch(make([]byte, size))
	if _, err := h.log.ReadAt(b, pos); err != nil {
		return f, false, fmt.Errorf("read %s at %d: %w", h.log.Name(), pos, err)
	}
	if err := b.VerifyCRC(); err != nil {
		return f, false, &CorruptionError{Path: h.log.Name(), Offset: pos, Err: err}
	}
	err = b.Each(nil, batch.LookBytes(len(b)), func(r batch.Record) error {
		o, t := b.BaseOffset()+int64(r.OffsetDelta), b.Timestamp(r)
		if o < from || t < ts {
			return nil
		}
		f = Found{Offset: o, Timestamp: t, Epoch: b.LeaderEpoch()}
		return errFound
	})
	switch {
	case errors.Is(err, errFound):
	case err != nil:
		// The producer's CRC holds, so it sent records that do not decode: the batch is the answer.
		f = Found{Offset: max(b.BaseOffset(), from), Timestamp: b.MaxTimestamp(), Epoch: b.LeaderEpoch()}
	default:
		return f, false, nil
	}
	return f, f.Offset < limit, nil
}

// maxTimeIn is the largest timestamp of the segment's batches that end above start and at or below limit.
func (s *segment) maxTimeIn(start, limit int64) (int64, error) {
	sealed := s.tail.Load() == nil // else maxTime may be that of a batch that is not in the bounds
	next, end := s.bounds()
	if sealed && s.base >= start && next <= limit {
		return s.maxTime.Load(), nil
	}
	h, err := s.acquire()
	if err != nil {
		return 0, err
	}
	defer h.unref()
	if next > limit {
		if end, _, err = s.locate(h, limit); err != nil {
			return 0, err
		}
	}
	most, pos := int64(math.MinInt64), int64(0)
	if s.base < start {
		if start >= next {
			return most, nil
		}
		if pos, _, err = s.locate(h, start); err != nil {
			return 0, err
		}
	} else if e, ok, err := h.idx.LookupPos(end); err == nil && ok {
		most, pos = e.MaxTime, e.Pos
	}
	r := newFrames(h.log, pos, end, -1, &scanBuffers)
	defer r.close()
	err = r.each(func(b batch.Batch, end int64) error {
		t := b.MaxTimestamp()
		if base := b.BaseOffset(); base < start { // its largest may be that of a record below start
			if t, err = s.maxTimeFrom(h, r.pos, end-r.pos, start); err != nil {
				return err
			}
		}
		most = max(most, t)
		return nil
	})
	return most, err
}

// maxTimeFrom is the largest timestamp of the records from start on in the batch at pos.
func (s *segment) maxTimeFrom(h *handle, pos, size, start int64) (int64, error) {
	defer batch.Turn()()
	b := batch.Batch(make([]byte, size))
	if _, err := h.log.ReadAt(b, pos); err != nil {
		return 0, fmt.Errorf("read %s at %d: %w", h.log.Name(), pos, err)
	}
	if err := b.VerifyCRC(); err != nil {
		return 0, &CorruptionError{Path: h.log.Name(), Offset: pos, Err: err}
	}
	most := int64(math.MinInt64)
	err := b.Each(nil, batch.LookBytes(len(b)), func(r batch.Record) error {
		if b.BaseOffset()+int64(r.OffsetDelta) >= start {
			most = max(most, b.Timestamp(r))
		}
		return nil
	})
	if err != nil {
		return b.MaxTimestamp(), nil // as findRecord takes such a batch
	}
	return most, nil
}
