package segment

import (
	"errors"
	"fmt"
	"slices"

	"firn/segment/batch"
	"firn/segment/vfs"
)

// markBytes is how much of the log lies between two marks. Recovery reads that much again by headers,
// to replay producers and to rebuild the index's end.
const markBytes = 16 << 20

// mark is a point of the active segment from which recovery can start: the producers' state there is in
// a snapshot and the index before it is durable.
type mark struct {
	s        *segment
	at       int64
	snapshot []byte
}

// stashMark takes the producers' state at the log's end, for the next checkpoint to write; mu is held.
func (l *Log) stashMark() {
	m := &mark{s: l.view.Load().active, at: l.Next()}
	l.flushIndex(m.s)
	if l.producers != nil {
		m.snapshot = l.producers.Snapshot()
	}
	l.mark.Store(m)
	l.mu.unmarked = 0
}

// writeMark makes the stashed mark durable, if there is one and it is of the active segment still.
func (l *Log) writeMark() error {
	l.markMu.Lock()
	defer l.markMu.Unlock()
	m := l.mark.Swap(nil)
	if m == nil {
		return nil
	}
	v := l.view.Load()
	if v == nil || v.active != m.s {
		return nil
	}
	h, err := m.s.acquire()
	if err != nil {
		return err
	}
	defer h.unref()
	// The entries counted speak of bytes that were appended before; those must not be durable later.
	count := h.idx.Count()
	if err := l.sync(); err != nil {
		return err
	}
	if err := h.idx.Sync(); err != nil {
		return l.disk.fail(fmt.Errorf("sync index of %s: %w", m.s.path(logSuffix), err))
	}
	if l.producers != nil {
		if err := l.writeSnapshotFile(m.at, m.snapshot); err != nil {
			return err
		}
	}
	l.pos.Lock()
	if l.pos.synced.base == m.s.base {
		l.pos.indexed = count
	}
	l.pos.Unlock()
	return nil
}

// writeSnapshot makes the producers' state at the log's end, offset at, durable; mu is held.
func (l *Log) writeSnapshot(at int64) error {
	if l.producers == nil {
		return nil
	}
	return l.writeSnapshotFile(at, l.producers.Snapshot())
}

func (l *Log) writeSnapshotFile(at int64, snapshot []byte) error {
	name := l.offsetPath(at, snapSuffix)
	b := append(appendI64(make([]byte, 0, 8+len(snapshot)), at), snapshot...)
	if err := vfs.WriteAtomic(l.disk.fs, name, wrap(kindSnapshot, b)); err != nil {
		return l.disk.judge(fmt.Errorf("write snapshot: %w", err))
	}
	return nil
}

// readSnapshot reads the producers' state at offset at. A damaged file is a *CorruptionError, a missing
// one matches fs.ErrNotExist.
func (l *Log) readSnapshot(at int64) ([]byte, error) {
	return readSnapshotFile(l.disk.fs, l.offsetPath(at, snapSuffix), at)
}

func readSnapshotFile(fsys vfs.FS, name string, at int64) ([]byte, error) {
	b, err := readEnvelope(fsys, name, kindSnapshot)
	if err != nil {
		return nil, err
	}
	d := decoder{b: b}
	if got := d.i64(); d.bad || got != at {
		return nil, &CorruptionError{Path: name, Err: fmt.Errorf("%w: it is of offset %d", errPayload, got)}
	}
	return d.b, nil
}

// removeSnapshots deletes the snapshots at the offsets that match. It does not sync the directory.
func (l *Log) removeSnapshots(match func(at int64) bool) error {
	files, err := l.listFiles()
	if err != nil {
		return err
	}
	for _, at := range files.snaps {
		if match(at) {
			err = errors.Join(err, removeIfThere(l.disk.fs, l.offsetPath(at, snapSuffix)))
		}
	}
	return err
}

// loadProducers brings the producers' state to offset end: the newest of the snapshots that is at or
// below it, then the headers of what follows from its offset, which is returned. Snapshots missing at segment ends on the way are
// written.
func (l *Log) loadProducers(snaps []int64, end int64) (from int64, err error) {
	if l.producers == nil {
		return end, nil
	}
	from = l.loadSnapshot(snaps, end)
	v := l.view.Load()
	for i := max(v.index(from), 0); i < v.len() && v.at(i).base < end; i++ {
		s := v.at(i)
		if s.base > from {
			if err := l.writeSnapshot(s.base); err != nil {
				return from, err
			}
		}
		if err := l.replay(s, from, end); err != nil {
			return from, err
		}
	}
	return from, nil
}

// loadSnapshot loads the newest good snapshot at or below end and returns its offset, or resets the
// state and returns the start of what the log has.
func (l *Log) loadSnapshot(snaps []int64, end int64) (from int64) {
	for _, at := range slices.Backward(snaps) {
		if at > end {
			continue
		}
		b, err := l.readSnapshot(at)
		if err == nil {
			if err = l.producers.Load(b); err == nil {
				return at
			}
		}
		l.logger.Warn("snapshot is passed over", "path", l.offsetPath(at, snapSuffix), "error", err)
	}
	l.producers.Reset()
	return l.view.Load().first()
}

// replay applies the batches of s in [from, end) to the producers.
func (l *Log) replay(s *segment, from, end int64) error {
	h, err := s.acquire()
	if err != nil {
		return err
	}
	defer h.unref()
	next, size := s.bounds()
	if from >= next {
		return nil
	}
	pos, base, err := s.locate(h, max(from, s.base))
	if err != nil {
		return err
	}
	r := newFrames(h.log, pos, size, base, &scanBuffers)
	defer r.close()
	err = r.each(func(b batch.Batch, _ int64) error {
		if b.BaseOffset() >= from && b.NextOffset() <= end {
			l.producers.Apply(b)
		}
		return nil
	})
	return err
}
