package tiering

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"time"

	"firn/tiering/manifest"
	"firn/tiering/objstore"
)

// step does one thing for the partition: it uploads one segment, or finds out what to wait for. more says
// that there may be another thing to do at once.
func (p *Upload) step() (more bool, err error) {
	if p.archive.Fenced() {
		return false, nil
	}
	if p.left != nil {
		return true, p.settle()
	}
	limits := p.limits()
	head, err := p.archive.Head(p.ctx)
	if err != nil {
		return false, err
	}
	p.forgetMarks(max(head.TierEnd, p.src.Start()))
	if limits.Paused || limits.Ended {
		return false, nil
	}
	if start := p.src.Start(); head.TierEnd < start {
		err := p.archive.begin(p.ctx, start)
		return err == nil, err
	}
	sealed := p.src.Sealed(head.TierEnd)
	defer func() {
		for _, s := range sealed {
			s.Release()
		}
	}()
	if len(sealed) == 0 {
		return p.age(limits)
	}
	s := sealed[0]
	if s.Base() > head.TierEnd {
		return false, fmt.Errorf("%w: tier ends at %d, first sealed segment begins at %d", ErrGap, head.TierEnd, s.Base())
	}
	if !p.belowHighWatermark(s.End()) {
		return false, nil
	}
	if err := p.u.describe(p.ctx, p.tp.ID); err != nil {
		return false, err
	}
	if err := p.upload(s, head); err != nil {
		return false, err
	}
	return true, nil
}

// belowHighWatermark reports whether all below end is safe from being taken back, and if not makes
// HighWatermark wake us when it is.
func (p *Upload) belowHighWatermark(end int64) bool {
	p.wantHW.Store(end)
	// Only now: a rise between a look and the store would go unnoticed.
	if p.src.HighWatermark() < end {
		return false
	}
	p.wantHW.Store(math.MaxInt64)
	return true
}

// age has the active segment sealed if it is old enough, and else sees to it that we come back when it is.
func (p *Upload) age(limits Limits) (more bool, err error) {
	p.armed.Store(false) // an append from here on wakes us, unless we set the timer
	_, size, since := p.note()
	if size == 0 || since.IsZero() {
		return false, nil
	}
	p.armed.Store(true)
	age := time.Since(since)
	if age < -limits.MaxLag { // the clock has been set back, and by it the segment would wait for as long again
		age = smallLag
	}
	if age >= smallLag || age >= limits.MaxLag && size >= limits.MinBytes {
		if err := p.src.Roll(); err != nil {
			return false, fmt.Errorf("seal %s for upload: %w", p.tp, err)
		}
		return true, nil
	}
	wait := limits.MaxLag - age
	if wait <= 0 { // too small: look again when it may have grown
		wait = min(limits.MaxLag, smallLag-age)
	}
	p.mu.Lock()
	p.setTimerLocked(wait)
	p.mu.Unlock()
	return false, nil
}

// upload encodes a segment, puts it and commits it. In order:
//
//  1. encode: blocks, footer; nothing is in the bucket yet;
//  2. put under a key that was never used: an orphan until 3, found by the scrubber;
//  3. commit: now it counts;
//  4. read the commit back: now the local bytes may go.
func (p *Upload) upload(s SealedSegment, head manifest.Head) error {
	begun := time.Now()
	if err := p.probe(); err != nil {
		return err
	}
	producers, err := s.ProducerSnapshot()
	if err != nil {
		return fmt.Errorf("producer snapshot of %s at %d: %w", p.tp, s.End(), err)
	}
	meta := Footer{Partition: p.tp, LeaderEpoch: p.archive.epoch, BrokerEpoch: p.u.o.BrokerEpoch(), Epochs: s.Epochs(), Producers: producers}
	o, err := encode(s, head.TierEnd, meta, p.u.spool, func(n int) error { return p.u.disk.wait(p.ctx, n) })
	if err != nil {
		if rot := (*rotError)(nil); errors.As(err, &rot) {
			p.src.Damaged(s.Base(), rot.at, err)
		}
		return fmt.Errorf("encode [%d, %d) of %s: %w", head.TierEnd, s.End(), p.tp, err)
	}
	defer s.DropCache()
	defer o.Close()
	if o.spoolErr != nil {
		p.log.Warn("the spool takes no more: blocks go up uncompressed", "error", o.spoolErr)
	}
	f := o.footer
	segment := manifest.Segment{
		Base: f.Base, End: f.End, LeaderEpoch: f.LeaderEpoch, LastEpoch: f.LastEpoch, BrokerEpoch: f.BrokerEpoch,
		Attempt: rand.Uint32(), Size: f.Size, FooterLen: uint32(f.Size - f.StoredBytes), CRC: f.CRC, RawBytes: f.RawBytes,
		MinTime: f.MinTime, MaxTime: f.MaxTime, MaxTimeBase: f.MaxTimeBase,
	}
	since := time.Now()
	if err := p.put(segment, o); err != nil {
		return err
	}
	p.u.sent()
	p.u.metrics.puts.Inc()
	p.u.metrics.stored.Add(float64(f.Size))
	p.u.metrics.raw.Add(float64(f.RawBytes))
	p.left = &leftover{segment, since}
	if err := p.settle(); err != nil {
		return err
	}
	p.u.metrics.seconds.Observe(time.Since(begun).Seconds())
	return nil
}

// probe asks the store for a sign of life after a failure, before a segment is encoded for nothing.
func (p *Upload) probe() error {
	p.mu.Lock()
	failures := p.mu.failures
	p.mu.Unlock()
	if failures == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(p.ctx, askTimeout)
	defer cancel()
	_, err := p.u.o.Bucket.Head(ctx, p.u.keys.Head(p.tp))
	if err != nil && !errors.Is(err, objstore.ErrNotFound) {
		return fmt.Errorf("object store: %w", err)
	}
	return nil
}

// deleteFailedTimeout bounds the clean-up after a failed upload, which holds one of few places.
const deleteFailedTimeout = 2 * time.Second

// discard deletes what no manifest names and none ever will. A store that is away keeps nobody waiting for this: the scrubber
// finds what stays.
func (p *Upload) discard(key string) {
	ctx, cancel := context.WithTimeout(p.ctx, deleteFailedTimeout)
	defer cancel()
	if err := p.u.o.Bucket.Delete(ctx, key); err != nil {
		p.log.Debug("delete after a failed upload", "key", key, "error", err)
	}
}

// slowLink is how many bytes an upload gets through in a second at least: less than the slowest of a few on one poor link do, for
// what is given up is sent again from its beginning. Who gives no sign of life at all is the driver's to find out, much sooner.
const slowLink = 64 << 10

// put stores the object, within a time that even a slow link keeps.
func (p *Upload) put(s manifest.Segment, o *object) error {
	limit := time.Minute + time.Duration(o.Size())*time.Second/slowLink
	if rate := p.u.o.BytesPerSecond; rate > 0 {
		limit += 2 * time.Duration(float64(o.Size())/float64(rate)*float64(time.Second)) * time.Duration(p.u.o.Concurrency)
	}
	ctx, cancel := context.WithTimeout(p.ctx, limit)
	defer cancel()
	key := p.u.keys.Segment(p.tp, s)
	_, err := p.u.o.Bucket.Put(ctx, key, newPacedSource(ctx, o, p.u.net), objstore.Condition{IfAbsent: true})
	if err == nil {
		return nil
	}
	if errors.Is(err, objstore.ErrPrecondition) {
		// A client's own retry after a lost reply finds the object that it wrote itself.
		if p.isThere(ctx, key, o) {
			return nil
		}
		return fmt.Errorf("put %s: %w", key, err) // not ours: leave it
	}
	p.discard(key)
	return fmt.Errorf("put %s: %w", key, err)
}

// isThere reports whether the object under key ends as o does, with the same checksum over all of it.
func (p *Upload) isThere(ctx context.Context, key string, o *object) bool {
	info, err := p.u.o.Bucket.Head(ctx, key)
	if err != nil || info.Size != o.Size() {
		return false
	}
	rc, err := p.u.o.Bucket.Get(ctx, key, -trailerLen, -1)
	if err != nil {
		return false
	}
	defer rc.Close()
	got, err := io.ReadAll(io.LimitReader(rc, trailerLen+1))
	return err == nil && bytes.Equal(got, o.tail[len(o.tail)-trailerLen:])
}

// settle commits the segment that is in the bucket, or finds out that it never will be committed.
func (p *Upload) settle() error {
	left := p.left
	age := age(left.since, time.Now())
	if age >= maxCommitAge {
		p.left = nil
		return fmt.Errorf("commit of [%d, %d] given up after %s", left.segment.Base, left.segment.End, age)
	}
	ctx, cancel := context.WithTimeout(p.ctx, maxCommitAge-age)
	defer cancel()
	err := p.archive.Commit(ctx, left.segment)
	switch {
	case errors.Is(err, ErrOrphan):
		p.left = nil
		p.discard(p.u.keys.Segment(p.tp, left.segment))
		return err
	case errors.Is(err, ErrFenced):
		p.left = nil
		return err
	case err != nil:
		return err
	}
	p.left = nil
	p.u.metrics.commits.Inc()
	p.log.Debug("segment committed", "base", left.segment.Base, "end", left.segment.End, "bytes", left.segment.Size)
	if h, ok := p.archive.Known(); ok && p.u.o.OnCommit != nil && p.archive.ProvenTierEnd() > left.segment.End {
		p.u.o.OnCommit(p.tp, h)
	}
	return nil
}

// age is how long ago since was, by the clock that stands still while the machine sleeps or by the one on
// the wall, whichever says more.
func age(since, now time.Time) time.Duration {
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}
