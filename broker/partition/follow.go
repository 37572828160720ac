package partition

import (
	"errors"
	"fmt"
	"time"

	"firn/segment"
	"firn/segment/batch"
)

// Fetcher is told when a replica that follows has something to say to its leader.
type Fetcher interface {
	// Moved says that what r has appended is durable, or that its log starts elsewhere. It does not block and may be
	// called with locks held.
	Moved(r *Replica)
	// Heard returns when the leader last answered.
	Heard() time.Time
}

// SetFetcher names who fetches for the replica, nil for nobody.
func (r *Replica) SetFetcher(f Fetcher) {
	if f == nil {
		r.fetcher.Store(nil)
		return
	}
	r.fetcher.Store(&f)
}

// Place is where a follower is in its log.
type Place struct {
	Epoch     int32 // leader epoch it follows at
	Leader    int32
	Offset    int64 // end of its log
	LastEpoch int32 // of the last batch it has, -1 if it has none
	LogStart  int64 // first offset that it can serve, from either tier
	// Durable says that a power cut would take nothing, or that the topic does not ask for that: only then may the
	// leader be told of Offset.
	Durable bool
	// Throttled says that the topic's settings have it held back to the followers' rate, as it is not in sync (KIP-73).
	Throttled bool
	// Anew says that the replica has nothing and the tier has something: it begins at the tier's end, by StartAnew.
	Anew bool
}

// Place returns where a follower is, false if the replica does not follow anybody.
func (r *Replica) Place() (Place, bool) {
	r.append.Lock()
	defer r.append.Unlock()
	ro := r.role.Load()
	if ro.leads || ro.leader < 0 || r.failure() != nil {
		return Place{}, false
	}
	p := Place{Epoch: ro.epoch, Leader: ro.leader, Offset: r.log.Next(), LastEpoch: r.log.LastEpoch(), LogStart: r.logStart()}
	head := r.head.Load()
	p.Anew = archived(head) && head.TierEnd > p.Offset && r.empty()
	p.Durable = !r.config.Load().Flush.Durable() || r.log.Durable() >= p.Offset
	p.Throttled = r.throttledAt(ro, p.Offset)
	return p, true
}

// Fetched is what a leader has sent of one partition.
type Fetched struct {
	LeaderEpoch   int32  // at which it was asked
	Records       []byte // whole batches; they are written as they are and not kept
	HighWatermark int64
	LogStart      int64
}

// AppendFetched appends what the leader has sent, byte for byte, and takes over its watermarks. Batches that are here
// already are passed over; ErrGap says that some between are missing. ErrFencedEpoch or ErrUnknownEpoch is the answer
// if the replica does not follow at that epoch any more.
func (r *Replica) AppendFetched(f *Fetched) error {
	r.append.Lock()
	defer r.append.Unlock()
	if err := r.following(f.LeaderEpoch); err != nil {
		return err
	}
	err := r.appendFetchedLocked(f)
	if err == nil || errors.Is(err, ErrDiskFull) { // which has room again once what lies below the leader's log start has gone
		r.followWatermarksLocked(f)
	}
	return err
}

// appendFetchedLocked appends what the leader has sent, under the append lock.
func (r *Replica) appendFetchedLocked(f *Fetched) error {
	ap := &r.append
	defer func() {
		clear(ap.batches)
		ap.batches = ap.batches[:0]
	}()
	if err := r.stageFetchedLocked(f); err != nil || len(ap.batches) == 0 {
		return err
	}
	return r.putLocked()
}

// following returns nil if the replica follows at the epoch. The append lock keeps it so.
func (r *Replica) following(epoch int32) error {
	if err := r.failure(); err != nil {
		return err
	}
	switch ro := r.role.Load(); {
	case epoch < ro.epoch || ro.leads:
		return fmt.Errorf("%w: %d, now %d", ErrFencedEpoch, epoch, ro.epoch)
	case epoch > ro.epoch:
		return fmt.Errorf("%w: %d, now %d", ErrUnknownEpoch, epoch, ro.epoch)
	}
	return nil
}

// stageFetchedLocked checks fetched batches and lays out those that are new, as many as one write takes; the rest is asked for again.
func (r *Replica) stageFetchedLocked(f *Fetched) error {
	next := r.log.Next()
	for rest := f.Records; len(rest) > 0; {
		b, more, err := batch.Parse(rest)
		if err == nil {
			err = b.VerifyCRC()
		}
		if err != nil {
			return fmt.Errorf("batch fetched for offset %d of %s: %w: %w", next, r.tp, ErrCorruptBatch, err)
		}
		rest = more
		switch base := b.BaseOffset(); {
		case b.NextOffset() <= next:
			continue
		case base > next:
			return fmt.Errorf("%w: base offset %d, the log of %s ends at %d", ErrGap, base, r.tp, next)
		case base < next && !r.empty():
			return fmt.Errorf("%w: offsets %d to %d of %s go over the end of the log, %d", ErrCorruptBatch, base, b.LastOffset(), r.tp, next)
		case base < next: // the log begins within this batch
			if err := r.startAnewLocked(base, r.log.EpochsBelow(base), r.producers.Snapshot()); err != nil {
				return err
			}
		}
		if b.LeaderEpoch() > f.LeaderEpoch {
			return fmt.Errorf("%w: leader epoch %d in a log led at %d", ErrCorruptBatch, b.LeaderEpoch(), f.LeaderEpoch)
		}
		if staged := r.append.batches; len(staged) > 0 && b.NextOffset()-staged[0].BaseOffset() > maxGroupOffsets {
			return nil
		}
		r.append.batches = append(r.append.batches, b)
		next = b.NextOffset()
	}
	return nil
}

// followWatermarksLocked takes the leader's watermarks over as far as the log has what they speak of. Under the append lock: once
// another leads, the log may be cut below where this one says that it starts.
func (r *Replica) followWatermarksLocked(f *Fetched) {
	if f.LogStart > r.logStart() {
		r.raiseFloor(f.LogStart)
		r.set.kick(r)
	}
	w := &r.waiters
	w.Lock()
	defer w.Unlock()
	w.toldEpoch, w.told = f.LeaderEpoch, f.HighWatermark
	r.followToldLocked()
}

// followToldLocked raises the high watermark to what the leader has said, as far as the log has it for good. The leader
// does not say it again, so it is looked at once more when the disk has what came with it.
func (r *Replica) followToldLocked() {
	w := &r.waiters
	if w.failed != nil || r.role.Load().epoch != w.toldEpoch {
		return
	}
	end := r.log.Next()
	if r.config.Load().Flush.Durable() {
		end = r.log.Durable()
	}
	r.raiseHighWatermarkLocked(max(r.hw.Load(), min(w.told, end)))
}

// Truncate cuts the follower's log where it parts from the leader's, which has said that its own epoch at.Epoch ends at
// at.End. It may take several rounds of fetching and cutting: each leads to an older epoch, until both know it. The high
// watermark does not matter (it may be behind), but after clean elections the cut is never below it.
//
// Damage to what is kept may have the log closed. The replica serves nothing then, so that it resigns, should it be elected
// before its log is put away.
func (r *Replica) Truncate(leaderEpoch int32, at EpochEnd) error {
	r.leadership.Lock() // whoever is about to lead has looked at where the log ends
	defer r.leadership.Unlock()
	err := r.truncate(leaderEpoch, at)
	if errors.Is(err, segment.ErrClosed) {
		r.onFailure(err)
	}
	return err
}

// truncate is Truncate under the leadership lock.
func (r *Replica) truncate(leaderEpoch int32, at EpochEnd) error {
	r.append.Lock()
	defer r.append.Unlock()
	if err := r.following(leaderEpoch); err != nil {
		return err
	}
	to := truncation(at, r.log.Next(), r.log.EndOffsetFor)
	if to < r.log.Start() {
		r.logger.Warn("log parts from the leader's below its start", "epoch", at.Epoch, "end", at.End, "start", r.log.Start())
		return r.startAnewLocked(to, nil, nil)
	}
	if hw := r.hw.Load(); to < hw {
		r.logger.Error("log parts from the leader's below the high watermark", "epoch", at.Epoch, "end", at.End, "high_watermark", hw)
	}
	if err := r.log.TruncateTo(to); err != nil {
		return r.storageError("truncate", err)
	}
	r.cutLocked()
	return nil
}

// truncation is where a log that ends at next has to be cut, given where the leader's log of an epoch ends and what
// endFor, as segment.Log.EndOffsetFor, says of our own.
func truncation(leader EpochEnd, next int64, endFor func(int32) (int32, int64)) int64 {
	found, end := endFor(leader.Epoch)
	switch {
	case found < 0:
		return min(leader.End, next)
	case found != leader.Epoch: // we have nothing of that epoch: up to here the logs may agree
		return min(end, next)
	}
	return min(end, leader.End, next)
}

// cutLocked makes what is remembered of the log fit its new end, under the append lock.
func (r *Replica) cutLocked() {
	next := r.log.Next()
	r.append.active, _, _ = r.log.Active()
	if r.floor.Load() > next {
		r.floor.Store(next) // it has been taken back; or the tier head, which keeps those that have not, is about to say so again
	}
	w := &r.waiters
	w.Lock()
	defer w.Unlock()
	w.commits.cut(next)
	if r.hw.Load() > next {
		r.hw.Store(next)
		r.log.SetHighWatermark(next)
	}
	r.changedLocked()
}

// startAnewLocked throws the log away and begins it at an offset, unless the replica is shut: its log is about to be another's to close.
func (r *Replica) startAnewLocked(at int64, epochs []segment.Epoch, producers []byte) error {
	if err := r.failure(); err != nil {
		return err
	}
	if err := r.log.Reset(at, epochs, producers); err != nil {
		return r.storageError("reset", err)
	}
	r.cutLocked()
	w := &r.waiters
	w.Lock()
	defer w.Unlock()
	r.hw.Store(at)
	r.log.SetHighWatermark(at)
	return nil
}

// StartAnew begins a follower's log anew because the leader has nothing at its end: at the end of the tier, or without
// one at logStart, where the leader's log begins. It may read the tier and so take long. ErrTierUnavailable says that
// the tier is not known yet to go as far.
func (r *Replica) StartAnew(leaderEpoch int32, logStart int64) error {
	r.leadership.Lock()
	defer r.leadership.Unlock()
	if err := r.following(leaderEpoch); err != nil {
		return err
	}
	next := r.log.Next()
	if archived(r.head.Load()) {
		if err := r.adoptTier(false); err != nil {
			return err
		}
		if r.log.Next() > next {
			return nil
		}
	}
	if logStart <= next {
		return fmt.Errorf("log of %s ends at %d: %w that far", r.tp, next, ErrTierUnavailable)
	}
	r.logger.Warn("local log starts anew where the leader's begins", "old_end", next, "start", logStart)
	r.append.Lock()
	defer r.append.Unlock()
	if err := r.following(leaderEpoch); err != nil {
		return err
	}
	return r.startAnewLocked(logStart, nil, nil)
}

// StartOver begins a follower's log, which has nothing, anew where the leader's begins, at logStart, or at the tier's end: the
// leader's ends below it. An unclean election has brought back less than the log was begun for.
func (r *Replica) StartOver(leaderEpoch int32, logStart int64) error {
	r.leadership.Lock()
	defer r.leadership.Unlock()
	if err := r.following(leaderEpoch); err != nil || !r.empty() {
		return err
	}
	if archived(r.head.Load()) {
		return r.adoptTier(true)
	}
	r.append.Lock()
	defer r.append.Unlock()
	if err := r.following(leaderEpoch); err != nil {
		return err
	}
	return r.startAnewLocked(logStart, nil, nil)
}

// Outdated reports whether err says that the replica does not follow at the leader epoch in question any more.
func Outdated(err error) bool {
	return errors.Is(err, ErrFencedEpoch) || errors.Is(err, ErrUnknownEpoch)
}
