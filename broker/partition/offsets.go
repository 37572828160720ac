package partition

import (
	"context"
	"errors"
	"fmt"

	"firn/tiering"
)

// Special timestamps of Replica.ListOffset, with Kafka's numbers.
const (
	Latest         = -1 // the high watermark
	Earliest       = -2 // the log start
	MaxTimestamp   = -3 // the record with the largest timestamp
	EarliestLocal  = -4 // first offset on this disk
	LastTiered     = -5 // last archived offset
	EarliestToTier = -6 // first offset that is still to be archived
)

// TimedOffset is a place in the log. Timestamp is -1 where none was asked for, Epoch is that of the record there (at
// the log's end the leader's), -1 if it is not known.
type TimedOffset struct {
	Offset    int64
	Timestamp int64 // ms since 1970
	Epoch     int32
}

// nowhere is the answer where there is no such offset.
var nowhere = TimedOffset{Offset: -1, Timestamp: -1, Epoch: -1}

// NeedsTier reports whether ListOffset with ts may have to read the tier, and so to wait.
func (r *Replica) NeedsTier(ts int64) bool {
	if ts < 0 && ts != MaxTimestamp || r.log == nil || r.set.opts.Tier == nil {
		return false
	}
	return archived(r.head.Load()) && r.logStart() < r.log.Start()
}

// ListOffset finds an offset by timestamp in ms (the first record that is not older) or by one of the special
// timestamps, in both tiers. Where there is none every field is -1. currentEpoch is the caller's leader epoch, -1 for
// none.
func (r *Replica) ListOffset(ctx context.Context, ts int64, currentEpoch int32) (TimedOffset, error) {
	ro, err := r.leading(currentEpoch)
	if err != nil {
		return nowhere, err
	}
	local, hw := r.log.Start(), r.hw.Load()
	start := r.startAbove(local)
	head := r.head.Load()
	switch ts {
	case Earliest:
		return r.at(start), nil
	case EarliestLocal:
		return r.at(max(start, local)), nil
	case LastTiered:
		if !archived(head) {
			return nowhere, nil
		}
		return TimedOffset{Offset: head.TierEnd - 1, Timestamp: -1, Epoch: head.TierEndEpoch}, nil
	case EarliestToTier:
		if !r.config.Load().Tier.Enabled {
			return nowhere, nil
		}
		if head != nil {
			start = max(start, head.TierEnd)
		}
		return r.at(start), nil
	}
	// What follows depends on the high watermark, of which a new leader must first be sure.
	if hw < min(ro.epochStart, r.log.Next()) {
		return nowhere, fmt.Errorf("%w: high watermark %d, epoch %d began at %d", ErrOffsetNotAvailable, hw, ro.epoch, ro.epochStart)
	}
	switch {
	case ts == Latest:
		return TimedOffset{Offset: hw, Timestamp: -1, Epoch: ro.epoch}, nil
	case ts < 0 && ts != MaxTimestamp:
		return nowhere, nil
	}
	for {
		if start < local && r.set.opts.Tier == nil {
			return nowhere, fmt.Errorf("find time of %s below offset %d: %w: this broker has no object storage", r.tp, local, ErrTierUnavailable)
		}
		var t TimedOffset
		if ts == MaxTimestamp {
			t, err = r.maxTime(ctx, start, local, hw)
		} else {
			t, err = r.findTime(ctx, ts, start, local, hw)
		}
		// What was archived and dropped from the disk meanwhile may have been looked for in neither place.
		now := r.log.Start()
		if err != nil || now == local {
			return t, err
		}
		local, start = now, r.startAbove(now)
	}
}

// at is offset with the epoch of the record there, as far as the local log knows it.
func (r *Replica) at(offset int64) TimedOffset {
	t := TimedOffset{Offset: offset, Timestamp: -1, Epoch: -1}
	for _, e := range r.log.Epochs() {
		if e.Start > offset {
			break
		}
		t.Epoch = e.Epoch
	}
	return t
}

// findTime looks into the tier first, for what is not on the disk, and then into the local log.
func (r *Replica) findTime(ctx context.Context, ts, start, local, hw int64) (TimedOffset, error) {
	if start < local {
		s, ok, err := r.set.opts.Tier.FindTime(ctx, r.tp, r.head.Load(), ts, start)
		if err != nil {
			return nowhere, r.tierError("find time", -1, err)
		}
		if ok && s.Offset < hw {
			return TimedOffset{Offset: s.Offset, Timestamp: s.Timestamp, Epoch: s.Epoch}, nil
		}
	}
	f, ok, err := r.log.FindTime(ts, max(start, local), hw)
	if err != nil {
		return nowhere, r.storageError("find time", err)
	}
	if !ok {
		return nowhere, nil
	}
	return TimedOffset{Offset: f.Offset, Timestamp: f.Timestamp, Epoch: f.Epoch}, nil
}

// maxTime compares both tiers; of equal timestamps the first record counts.
func (r *Replica) maxTime(ctx context.Context, start, local, hw int64) (TimedOffset, error) {
	best := nowhere
	if start < local {
		s, ok, err := r.set.opts.Tier.MaxTime(ctx, r.tp, r.head.Load())
		if err != nil {
			return nowhere, r.tierError("find largest time", -1, err)
		}
		if ok {
			best = TimedOffset{Offset: s.Offset, Timestamp: s.Timestamp, Epoch: s.Epoch}
		}
	}
	if local < start {
		r.followLogStart() // or the log would count what is deleted
	}
	f, ok, err := r.log.MaxTime(hw)
	if err != nil {
		return nowhere, r.storageError("find largest time", err)
	}
	if ok && f.Offset >= start && (best.Offset < 0 || f.Timestamp > best.Timestamp) {
		best = TimedOffset{Offset: f.Offset, Timestamp: f.Timestamp, Epoch: f.Epoch}
	}
	return best, nil
}

// EpochNeedsTier reports whether EpochEnd of epoch may have to read the tier, and so to wait.
func (r *Replica) EpochNeedsTier(epoch int32) bool {
	if r.log == nil || r.set.opts.Tier == nil || !archived(r.head.Load()) {
		return false
	}
	epochs := r.log.Epochs()
	return len(epochs) == 0 || epoch < epochs[0].Epoch
}

// EpochEnd finds the largest epoch that is at most epoch, and its end, in both tiers; -1 and -1 if there is none.
// currentEpoch is the caller's leader epoch, -1 for none.
func (r *Replica) EpochEnd(ctx context.Context, epoch, currentEpoch int32) (EpochEnd, error) {
	ro, err := r.leading(currentEpoch)
	if err != nil {
		return EpochEnd{-1, -1}, err
	}
	found, err := r.epochEnd(ctx, epoch)
	switch {
	case err != nil:
	case !r.still(ro):
		err = ErrNotLeader
	case epoch > ro.epoch:
		err = r.lacks(ro, nil)
	}
	if err != nil {
		return EpochEnd{-1, -1}, err
	}
	return found, nil
}

func (r *Replica) epochEnd(ctx context.Context, epoch int32) (EpochEnd, error) {
	if epoch < 0 {
		return EpochEnd{-1, -1}, nil
	}
	if r.EpochNeedsTier(epoch) {
		found, end, ok, err := r.set.opts.Tier.EpochEnd(ctx, r.tp, r.head.Load(), epoch)
		if err != nil {
			return EpochEnd{-1, -1}, r.tierError("find epoch", -1, err)
		}
		if epochs := r.log.Epochs(); len(epochs) > 0 {
			end = min(end, epochs[0].Start)
		}
		if !ok { // older than all that are known: it ended where they begin, at the latest
			found, end = epoch, max(end, r.logStart())
		}
		return EpochEnd{found, end}, nil
	}
	found, end := r.log.EndOffsetFor(epoch)
	return EpochEnd{found, end}, nil
}

// DeleteRecords moves the log start up to offset, -1 for the high watermark, durably for the cluster, and returns the
// low watermark.
func (r *Replica) DeleteRecords(ctx context.Context, offset int64) (int64, error) {
	ro, err := r.leading(-1)
	if err != nil {
		return -1, err
	}
	hw, start, cleanup := r.hw.Load(), r.logStart(), r.config.Load().Cleanup
	if offset == -1 {
		offset = hw
	}
	switch {
	case cleanup.Compact && !cleanup.Delete:
		return -1, ErrPolicy
	case offset < 0 || offset > hw:
		return -1, fmt.Errorf("%w: %d, high watermark is %d", ErrOffsetOutOfRange, offset, hw)
	case offset <= start:
		return start, nil
	case r.set.opts.LogStarts == nil:
		return -1, ErrPolicy
	}
	moved, err := r.set.opts.LogStarts.AdvanceLogStart(ctx, r.tp, ro.epoch, offset)
	if err != nil {
		switch {
		case errors.Is(err, tiering.ErrFenced), errors.Is(err, tiering.ErrRefused): // another leads, or the topic is being deleted
			err = fmt.Errorf("%w: %w", ErrNotLeader, err)
		case ctx.Err() != nil:
			err = fmt.Errorf("%w: %w", ErrTimeout, err)
		}
		return -1, fmt.Errorf("delete records of %s below %d: %w", r.tp, offset, err)
	}
	r.raiseFloor(moved)
	r.set.kick(r)
	return r.logStart(), nil
}

// raiseFloor makes a durable log start count before the tier head that says so has come.
func (r *Replica) raiseFloor(start int64) {
	for {
		old := r.floor.Load()
		if start <= old || r.floor.CompareAndSwap(old, start) {
			break
		}
	}
	r.wakeFetches()
}
