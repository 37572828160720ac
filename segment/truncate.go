package segment

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"firn/segment/index"
)

// TruncateTo cuts the log at offset; a batch that spans it goes whole. Producers are put back to that
// point, and epochs that were assigned but have no batch are forgotten, even where offset is the log's end
// or beyond. It is durable on return. Readers of what is cut may find their extents short. Where what is kept turns out to be
// damaged, a *CorruptionError, the log may be closed as by a crash, then the error is an ErrClosed, too: the next Open meets the damage.
func (l *Log) TruncateTo(offset int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	begun, err := l.truncate(offset)
	if begun && errors.Is(err, ErrCorrupt) {
		l.mu.closed = true // what follows the cut in the log, or in memory, is not to be relied on
		l.stopTimer()
		l.disk.background.Go(l.drain) // not waited for: a callback may be waiting for the caller's lock
		l.withdraw()
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	if begun && err != nil {
		return l.disk.fail(err)
	}
	return err
}

// truncate is TruncateTo with mu held. Once it has begun the log is as it was no more.
func (l *Log) truncate(offset int64) (begun bool, err error) {
	if err := l.writable(); err != nil {
		return false, err
	}
	if offset >= l.Next() {
		return false, l.forgetEmptyEpochs()
	}
	if start := l.Start(); offset < start {
		return false, &RangeError{Offset: offset, Start: start, End: l.Next()}
	}
	v := l.view.Load()
	i := v.index(offset)
	s := v.at(i)
	kept, err := s.sumBelow(offset)
	if err != nil {
		return false, fmt.Errorf("truncate to %d: %w", offset, err)
	}
	base := kept.LastOffset + 1
	st := l.st.clone()
	st.sealed, st.active = st.sealed[:i], s.base
	st.epochs = epochList(st.epochs).below(base)
	st.start = min(st.start, base)
	if i < len(v.sealed) || l.mu.mustRoll || st.start < l.st.start {
		st.pending, st.pendingAt = pendingTruncate, base // it takes several steps
	}
	if begun, err := l.carryOutTruncate(v, i, kept, st); err != nil {
		return begun, fmt.Errorf("truncate to %d: %w", offset, err)
	}
	l.restartReports()
	l.logger.Info("log is truncated", "to", base, "asked", offset)
	return true, nil
}

// forgetEmptyEpochs takes epochs away that begin at the log's end: a follower's next batch may be of an older
// one. It does no IO unless the state file has such an epoch. mu is held.
func (l *Log) forgetEmptyEpochs() error {
	have := epochList(l.Epochs())
	kept := have.below(l.Next())
	if len(kept) == len(have) {
		return nil
	}
	st := l.st.clone()
	st.epochs = slices.Clone(kept)
	if len(l.mu.saved.below(l.Next())) == len(l.mu.saved) {
		l.applyState(st)
		return nil
	}
	if err := l.writeState(st); err != nil {
		return fmt.Errorf("forget leader epochs at %d: %w", l.Next(), err)
	}
	return nil
}

// sumBelow sums up the batches of the segment that end at or below offset, which lies in it.
func (s *segment) sumBelow(offset int64) (index.Entry, error) {
	h, err := s.acquire()
	if err != nil {
		return index.Entry{}, err
	}
	defer h.unref()
	pos, base, err := s.locate(h, offset)
	if err != nil {
		return index.Entry{}, err
	}
	maxTime, err := s.maxTimeIn(s.base, base)
	return index.Entry{LastOffset: base - 1, Pos: pos, MaxTime: maxTime}, err
}

// carryOutTruncate cuts segment i of v behind what is kept, and drops those above, once the state is st.
func (l *Log) carryOutTruncate(v *view, i int, kept index.Entry, st *state) (begun bool, err error) {
	l.markMu.Lock()
	defer l.markMu.Unlock()
	f, err := l.listFiles()
	if err != nil {
		return false, err
	}
	if begun, err = l.cutActive(v, i, kept, st); err != nil {
		return begun, err
	}
	base := kept.LastOffset + 1
	bases := make(map[int64]bool)
	for _, s := range l.st.sealed {
		bases[s.Base] = true
	}
	bases[l.st.active] = true
	first := l.view.Load().first()
	snaps, err := l.tidy(f, func(b int64) bool { return bases[b] }, func(at int64) bool { return at >= first && at <= base })
	if err != nil {
		return true, err
	}
	if _, err := l.loadProducers(snaps, base); err != nil {
		return true, err
	}
	if l.st.pending == pendingNone {
		l.disk.armCheckpoint()
		return true, nil
	}
	// 5. Once the checkpoint no longer vouches for what was cut, the state can forget it.
	if err := l.disk.writeCheckpoint(); err != nil {
		return true, err
	}
	return true, l.finishPending()
}

// cutActive is steps 1 to 4.
func (l *Log) cutActive(v *view, i int, kept index.Entry, st *state) (begun bool, err error) {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	pos, base := kept.Pos, kept.LastOffset+1
	old := v.at(i)
	old.mu.Lock() // who opens it now would take the index that is about to be cut for a damaged one
	h, begun, err := l.beginCut(old, i == len(v.sealed), position{base: old.base, size: pos, next: base}, st)
	if err != nil {
		old.mu.Unlock()
		return begun, err
	}
	// 3. Readers see the shorter log, 4. then the file is cut.
	h.idx.Add(kept.LastOffset, kept.Pos, kept.MaxTime) // of what lies behind its last entry it knows nothing any more
	s := newSegment(l.disk, l.dir, old.base)
	s.open.Store(h)
	s.tail.Store(new(tail))
	s.maxTime.Store(h.idx.MaxTime())
	s.publish(base, pos)
	l.view.Store(&view{sealed: slices.Clip(v.sealed[:i]), active: s})
	old.dropLocked()
	old.mu.Unlock()
	since := time.UnixMilli(l.since.Load())
	if i < len(v.sealed) {
		since = time.Now()
	}
	if pos == 0 {
		since = time.Time{}
	}
	end := position{base: s.base, size: pos, next: base}
	durable := end
	if p := l.synced(); p.base == s.base && p.size < pos {
		durable = p // a checkpoint may be written before the sync below
	}
	l.setActive(durable, 0, since)
	l.mu.mustRoll = false
	for j := i + 1; j < v.len(); j++ {
		v.at(j).drop()
	}
	if err := h.log.Truncate(pos); err != nil {
		return true, err
	}
	if err := h.log.Sync(); err != nil {
		return true, err
	}
	l.setSynced(end)
	return true, nil
}

// beginCut is steps 1 and 2. It returns the files of a segment for appending to it again at end, where its index ends then,
// with a reference for the caller.
func (l *Log) beginCut(s *segment, active bool, end position, st *state) (h *handle, begun bool, err error) {
	// 1. The files are opened: where there are no more descriptors, nothing has begun.
	if active && !l.mu.mustRoll { // else its index is sealed already, perhaps
		h = s.open.Load()
		h.ref()
	} else if h, err = l.reopen(s); err != nil {
		return nil, false, err
	}
	// 2. The state says what is to be done, and it will be, now or by recovery; or, within the active segment, nothing speaks of
	// what is to be cut any more, so that recovery finds out whether it was.
	if st.pending == pendingNone {
		err = l.disavow(end, st)
	} else {
		err = l.writeState(st)
	}
	if err != nil {
		h.unref()
		return nil, false, err
	}
	if h.idx.Truncate(end.size) == nil {
		return h, true, nil
	}
	h.unref()
	if h, err = l.reopen(s); err != nil {
		return nil, true, err
	}
	if err := h.idx.Truncate(end.size); err != nil {
		h.unref()
		return nil, true, err
	}
	return h, true, nil
}

// disavow has the checkpoint vouch for nothing of the active segment behind end, and the state file know no epoch that begins
// there: a follower that cuts many logs at a time shares the checkpoint, and seldom has such an epoch. mu and syncMu are held.
func (l *Log) disavow(end position, st *state) error {
	behind := func(p position) bool { return p.base == end.base && p.size > end.size }
	l.pos.Lock()
	if behind(l.pos.synced) {
		l.pos.synced, l.pos.indexed = end, 0
		l.durable.Store(end.next)
	}
	if l.pos.held && behind(l.pos.heldAt) {
		l.pos.heldAt, l.pos.heldIndexed = end, 0
	}
	l.pos.Unlock()
	err := l.disk.writeCheckpoint()
	if err == nil && len(l.mu.saved.below(end.next)) < len(l.mu.saved) {
		err = l.writeState(st)
	}
	if err != nil {
		l.restartReports() // of what is durable all the same
		return err
	}
	l.applyState(st)
	return nil
}

// reopen opens the files of a segment for appending to it again.
func (l *Log) reopen(s *segment) (*handle, error) {
	log, err := l.disk.fs.OpenRW(s.path(logSuffix))
	if err != nil {
		return nil, err
	}
	o := s.indexOptions(l.settings.Load())
	idx, err := s.unsealIndex(o)
	if err != nil && !ranOut(err) {
		idx, err = s.rebuildIndex(log, o)
	}
	if err != nil {
		log.Close()
		return nil, err
	}
	return newHandle(log, idx), nil
}

// unsealIndex opens a sealed index for appending.
func (s *segment) unsealIndex(o index.Options) (*index.Index, error) {
	idx, err := index.OpenSealed(s.disk.fs, s.path(idxSuffix), o)
	if err != nil {
		return nil, err
	}
	count := idx.Count()
	idx.Close()
	_, size := s.bounds()
	return index.OpenActive(s.disk.fs, s.path(idxSuffix), o, count, size)
}

// finishPending makes the state forget a truncation or reset that was carried out and checkpointed.
func (l *Log) finishPending() error {
	if l.st.pending == pendingNone {
		return nil
	}
	return l.writeState(l.st.clearPending())
}

// truncate carries out a truncation that a crash left pending. It returns the size of the file then.
// The batches below are durable where the checkpoint vouches for them or for a later segment.
func (r *recovery) truncate(s *segment, size int64) (int64, error) {
	at := r.l.st.pendingAt
	f := newFrames(r.log, 0, size, s.base, &scanBuffers)
	defer f.close()
	for f.next < at {
		h, n, err := f.head()
		if errors.Is(err, io.EOF) || errors.Is(err, ErrCorrupt) && f.pos >= r.from.size && !r.sealed {
			return size, nil // nothing there to cut; the rest is as after any crash
		}
		if err != nil {
			return 0, err
		}
		f.skip(h, n)
	}
	r.changed = true
	if r.sealed || r.from.size > f.pos {
		r.from, r.counted = position{base: s.base, size: f.pos, next: f.next}, 0
	}
	if f.pos == size {
		return size, nil
	}
	if err := r.cut(f.pos, size); err != nil {
		return 0, err
	}
	return f.pos, nil
}
