package segment

import (
	"errors"
	"fmt"
	"time"

	"firn/segment/index"
	"firn/segment/vfs"
)

// RollReason is why a segment was sealed.
type RollReason string

// The reasons. Append finds the first three by itself, RollIfDue RollAge, callers give the others.
const (
	RollSize      RollReason = "size"
	RollIndexFull RollReason = "index"
	RollOffsets   RollReason = "offsets"
	RollAge       RollReason = "age"
	RollTier      RollReason = "tier"      // so that it can be uploaded
	RollRetention RollReason = "retention" // so that it can be dropped
)

// Roll seals the active segment, which makes it durable, and starts a new one. Nothing happens if the
// active segment is empty.
func (l *Log) Roll(reason RollReason) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	if _, size := l.view.Load().active.bounds(); size == 0 {
		return nil
	}
	return l.rollLocked(reason)
}

// RollIfDue rolls if the active segment is older than SegmentAge.
func (l *Log) RollIfDue(now time.Time) error {
	_, size, since := l.Active()
	if since.After(now) { // the clock has been set back: it is at least as old as from now on
		l.since.CompareAndSwap(since.UnixMilli(), now.UnixMilli())
	}
	if size == 0 || now.Sub(since) < l.settings.Load().SegmentAge {
		return nil
	}
	return l.Roll(RollAge)
}

// rollLocked seals the active segment and starts a new one; mu is held. A full disk may stop it at any
// step; then no append is let in until a later call has done the rest.
func (l *Log) rollLocked(reason RollReason) error {
	v := l.view.Load()
	old := v.active
	next, _ := old.bounds()
	l.mu.mustRoll = true
	// 1. The old segment is made durable, whole.
	if err := l.unreserve(old); err != nil {
		return l.disk.judge(fmt.Errorf("seal %s: %w", old.path(logSuffix), err))
	}
	if err := l.sync(); err != nil {
		return err
	}
	if err := old.open.Load().idx.Seal(); err != nil && !errors.Is(err, index.ErrSealed) {
		return l.disk.judge(fmt.Errorf("seal index of %s: %w", old.path(logSuffix), err))
	}
	// 2. What the new segment starts from is made durable: the snapshot, then the empty files.
	l.markMu.Lock() // where an append failed, a mark of the same offset may be written at the moment
	err := l.writeSnapshot(next)
	l.markMu.Unlock()
	if err != nil {
		return err
	}
	fresh, err := l.createSegment(next)
	if err != nil {
		return err
	}
	// 3. The state file names the new segment. This commits the roll.
	st := l.st.clone()
	st.active = next
	st.sealed = append(st.sealed, old.info(true))
	if err := l.writeState(st); err != nil {
		fresh.drop()
		return err
	}
	// 4. Readers see it.
	l.mu.mustRoll = false
	l.install(v.sealed, old, fresh)
	l.disk.metrics.rolls.WithLabelValues(string(reason)).Inc()
	l.logger.Debug("segment is rolled", "base", old.base, "end", next, "reason", reason)
	if err := l.removeSnapshots(func(at int64) bool { return at > old.base && at < next }); err != nil {
		l.logger.Warn("snapshots are left", "segment", old.base, "error", err) // they do no harm
	}
	l.Commit() // reports what step 1 made durable
	return nil
}

// install publishes a new active segment after the one sealed.
func (l *Log) install(sealed []*segment, old, fresh *segment) {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.setActive(position{base: fresh.base, next: fresh.base}, 0, time.Time{})
	old.tail.Store(nil)
	l.view.Store(&view{sealed: append(sealed[:len(sealed):len(sealed)], old), active: fresh})
	l.disk.sealed.add(old)
}

// setActive notes what is known of a segment about to become the active one; mu and syncMu are held.
func (l *Log) setActive(synced position, indexed int64, since time.Time) {
	l.mark.Store(nil)
	l.mu.unmarked, l.mu.unflushed, l.mu.writeBack, l.mu.marked = 0, 0, synced.size&^(pageSize-1), false
	l.mu.reserved = 0
	l.since.Store(0)
	if !since.IsZero() {
		l.since.Store(since.UnixMilli())
	}
	l.pos.Lock()
	l.pos.synced, l.pos.indexed = synced, indexed
	l.pos.Unlock()
	l.durable.Store(synced.next)
}

// createSegment makes the empty files of the segment at base, in place of any that are left from an
// attempt that failed, and makes their names durable.
func (l *Log) createSegment(base int64) (*segment, error) {
	s := newSegment(l.disk, l.dir, base)
	if err := s.unlink(); err != nil {
		return nil, l.disk.judge(fmt.Errorf("create segment: %w", err))
	}
	log, err := l.disk.fs.Create(s.path(logSuffix))
	if err != nil {
		return nil, l.disk.judge(fmt.Errorf("create segment: %w", err))
	}
	idx, err := index.Create(l.disk.fs, s.path(idxSuffix), s.indexOptions(l.settings.Load()))
	if err == nil {
		err = l.disk.fs.SyncDir(l.dir)
		if err != nil {
			idx.Close()
		}
	}
	if err != nil {
		log.Close()
		return nil, l.disk.judge(fmt.Errorf("create segment %s: %w", s.path(logSuffix), err))
	}
	s.activate(log, idx, 0, base)
	return s, nil
}

// activate makes s an active segment of the files given, which hold size bytes up to offset next.
func (s *segment) activate(log vfs.File, idx *index.Index, size, next int64) {
	s.open.Store(newHandle(log, idx))
	s.tail.Store(new(tail))
	s.maxTime.Store(idx.MaxTime())
	s.publish(next, size)
}
