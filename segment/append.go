package segment

import (
	"fmt"
	"math"
	"time"

	"firn/segment/batch"
)

const (
	// maxSegmentBytes is what positions in an index and in a view hold.
	maxSegmentBytes = math.MaxInt32
	// maxOffsetSpan is what a relative offset in an index holds.
	maxOffsetSpan = math.MaxInt32
	// Of the log's end that much may be missing from the index, and more, up to maxUnflushed, if it is few entries: a lookup there
	// reads the headers of the batches one by one, a flush costs a write.
	minUnflushed     = 256 << 10
	maxUnflushed     = 4 << 20
	unflushedEntries = 16
	// writeBackBytes is how often the kernel is asked to begin writing to disk, so that a sync finds
	// little left to do and no storm of dirty pages builds up.
	writeBackBytes = 1 << 20
	// commitBytes is how much may be dirty before a Commit is asked for, whatever the settings.
	commitBytes = 8 << 20

	// Of the disk 1/reserveShare of what a segment has is set aside for it at a time, if that is worth a call and up to
	// maxReserve: a log that is not appended to any more must not hold much that it does not need.
	reserveShare = 8
	minReserve   = 1 << 20
	maxReserve   = 8 << 20

	pageSize = 4096
)

// Append writes bs at the log's end with one vectored write from the caller's memory and keeps nothing
// of them. Offsets and leader epochs are already stamped: the first BaseOffset must be Next, and each
// batch follow the one before; CRCs are not looked at. It returns the new end. A batch with a leader
// epoch above the log's is preceded by AssignEpoch. On an error nothing was appended.
func (l *Log) Append(bs []batch.Batch) (end int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return 0, err
	}
	if len(bs) == 0 {
		return l.Next(), nil
	}
	a, err := l.measure(bs)
	if err != nil {
		return 0, err
	}
	if err := l.disk.space.take(l.disk, a.size); err != nil {
		return 0, err
	}
	set := l.settings.Load()
	if reason := l.rollReason(a, set); reason != "" {
		if err := l.rollLocked(reason); err != nil {
			return 0, err
		}
	}
	before := l.st
	if a.epoch > l.mu.saved.last() {
		l.beginEpochs(bs)
	}
	if l.mu.unmarked >= markBytes {
		l.stashMark()
	}
	if err := l.write(bs, a); err != nil {
		l.applyState(before) // the next batches may be another leader's, of an older epoch
		return 0, err
	}
	l.flushPolicy(a)
	return a.next, nil
}

// appended sums up the batches of an Append.
type appended struct {
	base, next int64 // offsets
	size       int64 // bytes
	maxTime    int64
	epoch      int32 // of the last batch
}

// measure checks that the batches follow the log and each other.
func (l *Log) measure(bs []batch.Batch) (appended, error) {
	a := appended{base: l.Next(), maxTime: math.MinInt64, epoch: epochList(l.Epochs()).last()}
	a.next = a.base
	for _, b := range bs {
		if b.BaseOffset() != a.next {
			return a, fmt.Errorf("%w: base offset %d, want %d", ErrSequence, b.BaseOffset(), a.next)
		}
		e := b.LeaderEpoch()
		if e < a.epoch {
			return a, fmt.Errorf("%w: leader epoch %d after %d", ErrSequence, e, a.epoch)
		}
		a.epoch = e
		a.next = b.NextOffset()
		a.size += int64(len(b))
		a.maxTime = max(a.maxTime, b.MaxTimestamp())
	}
	if a.size > maxSegmentBytes || a.next-a.base > maxOffsetSpan {
		return a, fmt.Errorf("%w: %d bytes, %d offsets", ErrTooLarge, a.size, a.next-a.base)
	}
	return a, nil
}

// rollReason says why the active segment cannot take the batches, "" if it can.
func (l *Log) rollReason(a appended, set *Settings) RollReason {
	s := l.view.Load().active
	_, size := s.bounds()
	switch {
	case size == 0:
		return ""
	case l.mu.mustRoll:
		return RollSize
	case size+a.size > min(set.SegmentBytes, maxSegmentBytes):
		return RollSize
	case a.next-s.base > maxOffsetSpan:
		return RollOffsets
	case s.open.Load().idx.Full():
		return RollIndexFull
	}
	return ""
}

// write does the write and publishes it.
func (l *Log) write(bs []batch.Batch, a appended) error {
	s := l.view.Load().active
	h := s.open.Load()
	_, pos := s.bounds()
	l.reserve(h, pos, a.size)
	if err := l.writeAt(h, bs, pos, a.size); err != nil {
		l.disk.metrics.appendErrors.Inc()
		return err
	}
	at := pos
	for _, b := range bs {
		at += int64(len(b))
		h.idx.Add(b.LastOffset(), at, b.MaxTimestamp())
	}
	if pos == 0 {
		l.since.Store(time.Now().UnixMilli())
	}
	if a.maxTime > s.maxTime.Load() {
		s.maxTime.Store(a.maxTime)
	}
	s.tail.Load().add(a.base, pos)
	s.publish(a.next, pos+a.size)
	l.mu.unmarked, l.mu.marked = l.mu.unmarked+a.size, false
	l.mu.unflushed += a.size
	if l.mu.unflushed >= minUnflushed && h.idx.Staged() >= unflushedEntries || l.mu.unflushed >= maxUnflushed {
		l.flushIndex(s)
	}
	l.disk.metrics.appended(a.size, len(bs))
	return nil
}

// flushIndex makes the active segment's index entries visible to lookups; mu is held. An error only
// makes the index sparser.
func (l *Log) flushIndex(s *segment) {
	l.mu.unflushed = 0
	if err := s.open.Load().idx.Flush(); err != nil {
		l.logger.Warn("index is sparser", "path", s.path(idxSuffix), "error", err)
	}
}

// reserve sets blocks aside for an append of size bytes at pos and for more to come; mu is held. Whether there are any is
// left to the append.
func (l *Log) reserve(h *handle, pos, size int64) {
	if n := min(pos/reserveShare, maxReserve); n >= minReserve && pos+size > l.mu.reserved && l.disk.space.grant(n) {
		at := max(pos, l.mu.reserved)
		h.log.Reserve(at, pos+size+n-at)
		l.mu.reserved = pos + size + n
	}
}

// unreserve gives back what is left of that; mu is held. What a crash keeps from it goes with the segment.
func (l *Log) unreserve(s *segment) error {
	if l.mu.reserved == 0 {
		return nil
	}
	l.mu.reserved = 0
	_, size := s.bounds()
	return s.open.Load().log.Truncate(size)
}

// writeAt writes the batches at pos or leaves the file as it was.
func (l *Log) writeAt(h *handle, bs []batch.Batch, pos, size int64) error {
	var n int64
	var err error
	if len(bs) == 1 {
		var k int
		k, err = h.log.WriteAt(bs[0], pos)
		n = int64(k)
	} else {
		l.mu.iov = l.mu.iov[:0]
		for _, b := range bs {
			l.mu.iov = append(l.mu.iov, b)
		}
		n, err = h.log.WriteV(l.mu.iov, pos)
		clear(l.mu.iov)
	}
	if err == nil && n == size {
		return nil
	}
	err = fmt.Errorf("append to %s at %d: %d of %d bytes: %w", h.log.Name(), pos, n, size, err)
	// What a torn write left must not lie between this batch and the next.
	if terr := h.log.Truncate(pos); terr != nil {
		return l.disk.fail(fmt.Errorf("%w; cut it back: %w", err, terr))
	}
	l.cutBack.Store(true)
	l.mu.reserved = 0 // went with it
	return err
}

// flushPolicy asks for the syncs and the write-back that the settings want.
func (l *Log) flushPolicy(a appended) {
	set := l.settings.Load() // now that readers see the batches: who changed them before counts on it
	l.mu.dirty += a.size
	l.mu.records += a.next - a.base
	v := l.view.Load()
	_, size := v.active.bounds()
	whole := size &^ (pageSize - 1) // the last page will be written to again
	if set.FlushMessages > 0 && l.mu.records >= set.FlushMessages || l.mu.dirty >= commitBytes {
		l.mu.dirty, l.mu.records = 0, 0
		l.mu.writeBack = whole
		l.Commit()
		return
	}
	if size-l.mu.writeBack >= writeBackBytes {
		v.active.open.Load().log.WriteBack(l.mu.writeBack, whole-l.mu.writeBack)
		l.mu.writeBack = whole
	}
	if l.mu.armed > 0 && l.mu.armed <= set.FlushInterval { // it may have been longer until now
		return
	}
	l.mu.armed = set.FlushInterval
	if l.mu.timer == nil {
		l.mu.timer = time.AfterFunc(set.FlushInterval, l.flushTimed)
	} else {
		l.mu.timer.Reset(set.FlushInterval)
	}
}

// flushTimed is the Commit that FlushInterval asks for.
func (l *Log) flushTimed() {
	l.mu.Lock()
	l.mu.armed = 0
	l.mu.dirty, l.mu.records = 0, 0
	closed := l.mu.closed
	l.mu.Unlock()
	if !closed {
		l.Commit()
	}
}
