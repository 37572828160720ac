package partition

import (
	"errors"
	"fmt"
	"time"

	"firn/segment"
	"firn/tiering"
	"firn/tiering/manifest"
)

// storageError turns an error of the log into one of ours.
func (r *Replica) storageError(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, segment.ErrCorrupt):
		r.reportCorruption(doing, err)
		return r.damaged(fmt.Errorf("%s %s: %w: %w", doing, r.tp, ErrCorruptData, err))
	case errors.Is(err, segment.ErrFull):
		return fmt.Errorf("%s %s: %w", doing, r.tp, ErrDiskFull)
	case errors.Is(err, segment.ErrClosed):
		return fmt.Errorf("%s %s: %w", doing, r.tp, ErrNotLeader)
	case errors.Is(err, segment.ErrOutOfRange):
		return fmt.Errorf("%s %s: %w: %w", doing, r.tp, ErrOffsetOutOfRange, err)
	case errors.Is(err, segment.ErrTooLarge):
		return fmt.Errorf("%s %s: %w", doing, r.tp, ErrTooLarge)
	}
	r.set.met.storageErrors.Inc()
	return fmt.Errorf("%s %s: %w: %w", doing, r.tp, ErrStorage, err)
}

// tierError turns an error of the tier into one of ours.
func (r *Replica) tierError(doing string, offset int64, err error) error {
	var rangeErr *tiering.OutOfRangeError
	var corrupt *tiering.CorruptionError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &rangeErr) && offset >= 0 && offset < rangeErr.Start:
		return fmt.Errorf("%s %s in the tier: %w: %w", doing, r.tp, ErrOffsetOutOfRange, err)
	case errors.As(err, &corrupt), errors.Is(err, manifest.ErrCorrupt):
		r.reportCorruption(doing, err)
		return fmt.Errorf("%s %s in the tier: %w: %w", doing, r.tp, ErrCorruptData, err)
	case errors.Is(err, tiering.ErrMissing):
		r.reportCorruption(doing, err)
	}
	return fmt.Errorf("%s %s in the tier: %w: %w", doing, r.tp, ErrTierUnavailable, err)
}

// reportCorruption logs what is damaged, at most once in corruptionLogGap per replica.
func (r *Replica) reportCorruption(doing string, err error) {
	r.set.met.corruptions.Inc()
	now, last := time.Now().Unix(), r.reported.Load()
	if now-last >= corruptionLogGap && r.reported.CompareAndSwap(last, now) {
		r.logger.Error("stored data is corrupt", "doing", doing, "error", err)
	}
}

// corruptionLogGap is in seconds: readers come back to a damaged place over and over.
const corruptionLogGap = 60

// damaged takes in that the local log is damaged, and returns err, which says where. What the tier has, too, is read
// there from then on; of anything else OnDamage is told, once.
func (r *Replica) damaged(err error) error {
	if !r.dropRotten(err) && r.damage.CompareAndSwap(nil, &err) && r.set.opts.OnDamage != nil {
		r.set.opts.OnDamage(r)
	}
	return err
}

// Rotten takes in that the sealed segment which begins at base does not hold, from byte at on, what was written there.
func (r *Replica) Rotten(base, at int64, err error) {
	path := ""
	for _, s := range r.log.Sealed(base) {
		if s.Base() == base {
			path = s.Path()
		}
		s.Release()
	}
	if path != "" { // else it has gone
		_ = r.storageError("archive", &segment.CorruptionError{Path: path, Offset: at, Err: err})
	}
}

// dropRotten drops the segment that err is about, and those before it, if all of that is in the tier.
func (r *Replica) dropRotten(err error) bool {
	head := r.head.Load()
	s, ok := r.log.SegmentOf(err)
	if !ok || !s.Sealed || !archived(head) || s.End > head.TierEnd || r.set.opts.Tier == nil {
		return false
	}
	bytes, derr := r.log.DropBefore(s.End, r.logStart())
	if derr != nil {
		r.logger.Warn("damaged local segments are not dropped", "below", s.End, "error", derr)
		return false
	}
	r.set.met.droppedBytes.Add(float64(bytes))
	r.logger.Warn("damaged local segments are dropped, the tier has them", "below", s.End, "bytes", bytes, "error", err)
	return true
}
