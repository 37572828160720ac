package segment

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"firn/segment/batch"
	"firn/segment/index"
	"firn/segment/vfs"
)

// recovery brings back the active segment.
type recovery struct {
	l       *Log
	base    int64
	from    position // up to here the bytes are durable: bad ones are damage
	vouched bool     // from is what a checkpoint said
	sealed  bool     // the checkpoint knows the segment as sealed: a truncation went back to it
	counted int64    // index entries that the checkpoint vouches for
	epochs  epochList
	// nextEpoch is Options.NextEpoch, 0 if what the log is known to have contradicts it: then whoever said so has been put
	// back to an older state.
	nextEpoch int32

	log     vfs.File
	idx     *index.Index
	indexed int64 // index entries known to be durable
	changed bool
}

// start takes from the checkpoint what it knows.
func (r *recovery) start(known *entry) error {
	if known == nil {
		return nil
	}
	p := known.synced
	switch {
	case p.base == r.base:
		r.from, r.counted = p, known.indexed
	case p.base > r.base && r.l.st.pending == pendingTruncate:
		r.sealed = true
	case p.base > r.base:
		return &CorruptionError{Path: r.l.path(stateName), Err: fmt.Errorf("the state ends at segment %d, the checkpoint at %d", r.base, p.base)}
	}
	return nil
}

// run opens the files, syncs and verifies them. On an error nothing was cut.
func (r *recovery) run() (*segment, error) {
	l := r.l
	s := newSegment(l.disk, l.dir, r.base)
	log, err := l.disk.fs.OpenRW(s.path(logSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &CorruptionError{Path: s.path(logSuffix), Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	r.log = log
	size, next, err := r.verify(s)
	if err != nil {
		log.Close()
		if r.idx != nil {
			r.idx.Close()
		}
		return nil, err
	}
	s.activate(r.log, r.idx, size, next)
	return s, nil
}

// verify finds where the segment ends, in bytes and in offsets, and cuts what lies beyond.
func (r *recovery) verify(s *segment) (size, next int64, err error) {
	if size, err = r.log.Size(); err != nil {
		return 0, 0, err
	}
	if r.l.st.pending == pendingTruncate {
		if size, err = r.truncate(s, size); err != nil {
			return 0, 0, err
		}
	}
	if size < r.from.size {
		return 0, 0, &CorruptionError{Path: r.log.Name(), Offset: size, Err: fmt.Errorf("%w: %d bytes, %d were durable", errNoData, size, r.from.size)}
	}
	// A killed process leaves bytes of which only memory knows that they are there, or that they were cut
	// off. That is brought to disk and read back from it, before anything is said of them.
	r.changed = r.changed || size > r.from.size
	if r.changed || !r.l.disk.clean {
		if err := r.log.Sync(); err != nil {
			return 0, 0, r.l.disk.fail(fmt.Errorf("sync %s: %w", r.log.Name(), err))
		}
		r.log.DropCache(r.from.size, 0)
	}
	good, err := r.scan(s, size)
	if err != nil {
		return 0, 0, err
	}
	r.l.disk.metrics.verified.Add(float64(good.size - r.from.size))
	if good.size < size {
		if err := r.cut(good.size, size); err != nil {
			return 0, 0, err
		}
	}
	return good.size, good.next, nil
}

// cut takes a torn tail off.
func (r *recovery) cut(good, size int64) error {
	r.l.logger.Warn("torn tail is cut", "path", r.log.Name(), "at", good, "bytes", size-good)
	r.l.disk.metrics.torn.Add(float64(size - good))
	err := r.log.Truncate(good)
	if err == nil {
		err = r.log.Sync()
	}
	if err != nil {
		return r.l.disk.fail(fmt.Errorf("cut %s at %d: %w", r.log.Name(), good, err))
	}
	return nil
}

// scan walks from the last index entry that can be relied on to the end, headers only where the bytes
// were durable, with CRCs past that, bringing the index up to date.
func (r *recovery) scan(s *segment, size int64) (good position, err error) {
	o := s.indexOptions(r.l.settings.Load())
	r.idx, err = index.OpenActive(r.l.disk.fs, s.path(idxSuffix), o, r.counted, r.from.size)
	if err == nil {
		r.indexed = r.counted
		at := position{base: s.base, next: s.base}
		if e, ok := r.idx.Last(); ok {
			at.size, at.next = e.Pos, e.LastOffset+1
		}
		if good, err = r.walk(at, size); err == nil || !errors.Is(err, ErrCorrupt) || r.counted == 0 {
			return good, err
		}
		// The index may have led astray. The log alone decides.
		r.idx.Close()
		r.idx = nil
	} else if ranOut(err) {
		return good, fmt.Errorf("recover: %w", err)
	}
	r.indexed, r.changed = 0, true
	if err := removeIfThere(r.l.disk.fs, s.path(idxSuffix)); err != nil {
		return good, fmt.Errorf("recover: %w", err)
	}
	if r.idx, err = index.Create(r.l.disk.fs, s.path(idxSuffix), o); err != nil {
		return good, fmt.Errorf("recover: %w", err)
	}
	return r.walk(position{base: s.base, next: s.base}, size)
}

// walk checks the batches from at to size and returns the end of the good ones. A bad one below from is
// a *CorruptionError; without a checkpoint every byte may have been durable, so every bad one is.
func (r *recovery) walk(at position, size int64) (good position, err error) {
	f := newFrames(r.log, at.size, size, at.next, &scanBuffers)
	defer f.close()
	good = at
	r.epochs = r.l.Epochs()
	if r.epochs.last() >= r.nextEpoch {
		r.nextEpoch = 0
	}
	for {
		if good.size == r.from.size && good.next != r.from.next {
			return good, f.bad(fmt.Errorf("%w: offset %d, the checkpoint says %d", errChain, good.next, r.from.next))
		}
		h, n, err := f.head()
		if errors.Is(err, io.EOF) {
			break
		}
		var head [batch.HeaderLen]byte // verify overwrites the window
		if err == nil {
			h = head[:copy(head[:], h)]
			err = r.check(&f, h, n)
		}
		if errors.Is(err, ErrCorrupt) && f.pos >= r.from.size && r.vouched {
			break
		}
		if err != nil {
			return good, err
		}
		if e := h.LeaderEpoch(); e > r.epochs.last() && f.pos >= r.from.size {
			r.epochs = r.epochs.assign(e, h.BaseOffset())
		}
		r.idx.Add(h.LastOffset(), f.pos+n, h.MaxTimestamp())
		f.skip(h, n)
		good.size, good.next = f.pos, f.next
	}
	if good.size < r.from.size {
		return good, f.bad(errNoData)
	}
	if err := r.idx.Flush(); err != nil { // as in an append: a full disk must open to be freed
		r.l.logger.Warn("index is sparser", "path", r.l.offsetPath(r.base, idxSuffix), "error", err)
	}
	return good, nil
}

// check looks at a batch that walk came to. Past the checkpoint it may begin an epoch that the state does not know, but
// none that nobody has led at: the CRC does not cover the epoch.
func (r *recovery) check(f *frames, h batch.Batch, n int64) error {
	begins := f.pos >= r.from.size && h.LeaderEpoch() > r.epochs.last()
	want := r.epochs.at(h.BaseOffset())
	switch {
	case begins && r.nextEpoch > 0 && h.LeaderEpoch() >= r.nextEpoch:
		return f.bad(fmt.Errorf("%w: leader epoch %d, %d has not begun", errChain, h.LeaderEpoch(), r.nextEpoch))
	case !begins && want >= 0 && h.LeaderEpoch() != want:
		return f.bad(fmt.Errorf("%w: leader epoch %d, the state says %d", errChain, h.LeaderEpoch(), want))
	}
	if f.pos < r.from.size {
		if f.pos+n > r.from.size {
			return f.bad(fmt.Errorf("%w: ends at byte %d, the checkpoint says %d", errChain, f.pos+n, r.from.size))
		}
		return nil
	}
	return f.verify(h, n)
}
