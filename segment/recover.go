package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// recoverSegments brings the files in line with the state, in this order, so that a crash at any point
// leaves something that the same steps bring in line:
//
//  1. sealed segments must be there and have their size
//  2. the active segment is synced, verified past the checkpoint and cut at the first bad batch
//  3. files that the state does not name go, and what speaks of offsets that are no more
//  4. producers are replayed
//
// and by the caller: 5. checkpoint, 6. the state forgets a truncation or reset that was pending.
func (l *Log) recoverSegments(f files, known *entry, o *Options) (dirty bool, err error) {
	st := l.st
	if st.pending == pendingReset {
		return true, l.carryOutReset(f)
	}
	keep := func(base int64) bool {
		return base == st.active || slices.ContainsFunc(l.st.sealed, func(i Info) bool { return i.Base == base })
	}
	if err := l.checkStray(f, keep); err != nil {
		return false, err
	}
	v := &view{}
	if v.sealed, err = l.sealedSegments(o.Elsewhere); err != nil {
		return false, err
	}
	r := recovery{l: l, base: st.active, from: position{base: st.active, next: st.active}, vouched: known != nil, nextEpoch: o.NextEpoch}
	if err := r.start(known); err != nil {
		return false, err
	}
	if v.active, err = r.run(); err != nil {
		return false, err
	}
	l.view.Store(v)
	next, size := v.active.bounds()
	since := time.Time{}
	if known != nil && known.synced.base == st.active && known.since > 0 {
		since = time.UnixMilli(known.since)
	} else if size > 0 {
		since = time.Now()
	}
	l.setActive(position{base: st.active, size: size, next: next}, r.indexed, since)
	first := v.first()
	snaps, err := l.tidy(f, keep, func(at int64) bool { return at >= first && at <= next })
	if err != nil {
		return false, err
	}
	if err := l.fit(r.epochs, next); err != nil {
		return false, err
	}
	from, err := l.loadProducers(snaps, next)
	if err != nil {
		return false, err
	}
	l.mu.unmarked = size // the next append stashes a mark if that is much
	l.mu.marked = from == next && r.indexed == r.idx.Count()
	return r.changed || known == nil || known.synced != l.synced(), nil
}

// tidy deletes the segment files and snapshots that are not to be kept, and what atomic replacements
// left, durably. It returns the snapshots that stay.
func (l *Log) tidy(f files, keep, keepSnap func(offset int64) bool) (snaps []int64, err error) {
	var errs []error
	gone := len(f.left) > 0
	remove := func(offsets []int64, suffix string, keep func(int64) bool) (kept []int64) {
		for _, at := range offsets {
			if keep(at) {
				kept = append(kept, at)
				continue
			}
			gone = true
			errs = append(errs, removeIfThere(l.disk.fs, l.offsetPath(at, suffix)))
		}
		return kept
	}
	remove(f.logs, logSuffix, keep)
	remove(f.indexes, idxSuffix, keep)
	snaps = remove(f.snaps, snapSuffix, keepSnap)
	for _, name := range f.left {
		errs = append(errs, removeIfThere(l.disk.fs, name))
	}
	if gone {
		errs = append(errs, l.disk.fs.SyncDir(l.dir))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, l.disk.judge(fmt.Errorf("remove left-over files: %w", err))
	}
	return snaps, nil
}

// fit makes the state fit the log that was found: with the epochs of its batches, but without those that begin at or above
// next, the bytes they spoke of being lost or cut.
func (l *Log) fit(epochs epochList, next int64) error {
	st := l.st.clone()
	st.epochs = epochs.below(next)
	st.start = min(st.start, next)
	if slices.Equal(st.epochs, l.st.epochs) && st.start == l.st.start {
		return nil
	}
	return l.writeState(st)
}

// checkStray finds segments that hold data, lie above the active one and are not known: they are not
// left over by anything that this package does.
func (l *Log) checkStray(f files, keep func(int64) bool) error {
	if l.st.pending == pendingTruncate {
		return nil
	}
	for _, base := range f.logs {
		if keep(base) || base < l.st.active {
			continue
		}
		if size, err := l.logSize(base); err != nil || size > 0 {
			return errors.Join(err, &CorruptionError{
				Path: l.offsetPath(base, logSuffix), Err: errors.New("the state file does not know this segment"),
			})
		}
	}
	return nil
}

// sealedSegments checks the sealed segments. One that is not whole but can be had elsewhere goes, with those before it.
func (l *Log) sealedSegments(elsewhere int64) (list []*segment, err error) {
	gone := 0
	for n, i := range l.st.sealed {
		s, err := l.sealedSegment(i)
		if errors.Is(err, ErrCorrupt) && i.End <= elsewhere {
			l.logger.Warn("damaged segment is dropped, it can be had elsewhere", "error", err)
			gone, list = n+1, nil
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	if gone == 0 {
		return list, nil
	}
	st := l.st.clone()
	st.start = max(st.start, st.sealed[gone-1].End)
	st.sealed = st.sealed[gone:]
	return list, l.writeState(st)
}

// sealedSegment checks that a sealed segment is there, whole.
func (l *Log) sealedSegment(i Info) (*segment, error) {
	size, err := l.logSize(i.Base)
	if err != nil {
		return nil, err
	}
	name := l.offsetPath(i.Base, logSuffix)
	if size < 0 {
		return nil, &CorruptionError{Path: name, Err: fs.ErrNotExist}
	}
	if size != i.Size {
		return nil, &CorruptionError{Path: name, Offset: min(size, i.Size), Err: fmt.Errorf("file has %d bytes, want %d", size, i.Size)}
	}
	s := newSegment(l.disk, l.dir, i.Base)
	s.maxTime.Store(i.MaxTime)
	s.publish(i.End, i.Size)
	return s, nil
}
