package segment

import (
	"errors"
	"fmt"
)

// DropBefore deletes the sealed segments that lie wholly below offset and returns their bytes. Readers
// keep what they hold. It is durable on return.
//
// The epochs of what others still have, from offset keep on, stay known: where they ended is what tells a reader of that
// whether it was cut off.
func (l *Log) DropBefore(offset, keep int64) (bytes int64, err error) {
	dropped, resets, err := l.unlist(offset, keep)
	for _, s := range dropped {
		_, size := s.bounds()
		bytes += size
		s.drop()
	}
	if len(dropped) == 0 {
		return 0, err
	}
	// The state file no longer speaks of them: files that a crash leaves the next Open deletes. So does
	// a close; once it is through, the directory may be another log's. And a reset deletes all there are, after which
	// the names may be those of new segments.
	l.markMu.Lock()
	defer l.markMu.Unlock()
	if l.view.Load() == nil || l.resets != resets {
		return bytes, nil
	}
	for _, s := range dropped {
		uerr := s.unlink()
		err = errors.Join(err, uerr, removeIfThere(l.disk.fs, s.path(snapSuffix)))
	}
	l.disk.metrics.dropped.Add(float64(bytes))
	l.logger.Debug("segments are dropped", "below", offset, "segments", len(dropped), "bytes", bytes)
	return bytes, err
}

// unlist takes the segments below offset out of the state and the view and returns them, and how often the log was reset by
// then; epochs stay from keep on.
func (l *Log) unlist(offset, keep int64) (dropped []*segment, resets int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return nil, 0, err
	}
	v := l.view.Load()
	n := 0
	for n < len(l.st.sealed) && l.st.sealed[n].End <= offset {
		n++
	}
	if n == 0 {
		return nil, 0, nil
	}
	st := l.st.clone()
	st.start = max(st.start, st.sealed[n-1].End)
	st.sealed = st.sealed[n:]
	st.epochs = epochList(st.epochs).from(min(keep, st.start-1)) // a log that ends at its start has a last epoch too
	if err := l.writeState(st); err != nil {
		return nil, 0, fmt.Errorf("drop segments below %d: %w", offset, err)
	}
	l.view.Store(&view{sealed: v.sealed[n:len(v.sealed):len(v.sealed)], active: v.active})
	return v.sealed[:n], l.resets, nil
}

// SetStart raises Start to offset, at most Next, which may lie within a segment. It is durable on
// return and drops nothing.
func (l *Log) SetStart(offset int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	if offset <= l.st.start {
		return nil
	}
	if next := l.Next(); offset > next {
		return &RangeError{Offset: offset, Start: l.st.start, End: next}
	}
	if offset > l.Durable() { // else a crash could leave the log ending below its start
		if err := l.sync(); err != nil {
			return err
		}
	}
	st := l.st.clone()
	st.start = offset
	if err := l.writeState(st); err != nil {
		return fmt.Errorf("set log start %d: %w", offset, err)
	}
	return nil
}
