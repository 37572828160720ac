package segment

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// Reset throws the log away and starts anew at offset at, with the epochs and the producer snapshot
// that belong to what lies below. It is durable on return; a crash leaves the old log or the new. On a disk without room for it the
// old one stays, and the error says ENOSPC.
func (l *Log) Reset(at int64, epochs []Epoch, producers []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	st := &state{start: at, active: at, epochs: epochs, pending: pendingReset, pendingAt: at, producers: producers}
	st = st.clone()
	if err := st.validate(); err != nil {
		return fmt.Errorf("reset to %d: %w", at, err)
	}
	if err := l.roomForReset(len(producers)); err != nil {
		return fmt.Errorf("reset to %d: %w", at, err)
	}
	if len(epochs) > 0 && epochs[len(epochs)-1].Start > at {
		return fmt.Errorf("reset to %d: %w: an epoch starts at %d", at, ErrSequence, epochs[len(epochs)-1].Start)
	}
	if err := l.tryProducers(producers); err != nil {
		return fmt.Errorf("reset to %d: %w", at, err)
	}
	if err := l.writeState(st); err != nil {
		return fmt.Errorf("reset to %d: %w", at, errors.Join(err, l.reloadProducers()))
	}
	err := func() error {
		l.markMu.Lock()
		defer l.markMu.Unlock()
		f, err := l.listFiles()
		if err == nil {
			err = l.carryOutReset(f)
		}
		if err == nil {
			err = l.disk.writeCheckpoint()
		}
		if err == nil {
			err = l.finishPending()
		}
		return err
	}()
	if err != nil {
		return l.disk.fail(fmt.Errorf("reset to %d: %w", at, err))
	}
	l.restartReports()
	l.logger.Info("log is reset", "to", at)
	return nil
}

// resetBytes is what a reset takes at most beside the producers: a state, a segment and an index, all but empty, and a checkpoint's frame.
const resetBytes = 64 << 10

// roomForReset reports, by an error, that a reset could stop halfway for want of room, which only a disk that is offline survives: what is
// free, kept back and goes with the old log has to take the snapshot of the producers twice, in the state and in its own file.
func (l *Log) roomForReset(producers int) error {
	kept := l.disk.spare.have(l.disk)
	u, err := l.disk.Usage()
	if err != nil {
		return err
	}
	room := u.Free + l.Size()
	if kept {
		room += spareBytes
	}
	if need := int64(resetBytes + 2*producers); room < need {
		return fmt.Errorf("room for %d bytes, %d are needed: %w", room, need, syscall.ENOSPC)
	}
	return nil
}

// tryProducers finds out whether the snapshot can be loaded; if not, the state is put back.
func (l *Log) tryProducers(snapshot []byte) error {
	if l.producers == nil || snapshot == nil {
		return nil
	}
	if err := l.producers.Load(snapshot); err != nil {
		return errors.Join(fmt.Errorf("load producers: %w", err), l.reloadProducers())
	}
	return nil
}

// reloadProducers puts the producers' state to the log's end.
func (l *Log) reloadProducers() error {
	f, err := l.listFiles()
	if err != nil {
		return err
	}
	_, err = l.loadProducers(f.snaps, l.Next())
	return err
}

// carryOutReset does what the state says is pending: no old files, a new empty segment.
func (l *Log) carryOutReset(f files) error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.resets++
	// Nobody opens a file any more before the first one goes, which would pass for damage.
	at := l.st.pendingAt
	empty := newSegment(l.disk, l.dir, at)
	empty.publish(at, 0)
	empty.drop() // or the files that are made next would be opened, and the index taken for a damaged one
	if old := l.view.Swap(&view{active: empty}); old != nil {
		for i := range old.len() {
			old.at(i).drop()
		}
	}
	none := func(int64) bool { return false }
	if _, err := l.tidy(f, none, none); err != nil {
		return err
	}
	var s *segment
	err := l.disk.spare.spend(l.disk, func() (err error) {
		s, err = l.createSegment(at)
		return err
	})
	if err != nil {
		return err
	}
	l.view.Store(&view{active: s})
	l.setActive(position{base: at, next: at}, 0, time.Time{})
	l.mu.mustRoll = false
	if l.producers == nil {
		return nil
	}
	if l.producers.Reset(); l.st.producers != nil {
		if err := l.producers.Load(l.st.producers); err != nil {
			return fmt.Errorf("load producers: %w", err)
		}
	}
	return l.disk.spare.spend(l.disk, func() error { return l.writeSnapshot(at) })
}
