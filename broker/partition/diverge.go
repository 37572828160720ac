package partition

import "time"

// diverges reports whether the caller's log has parted from ours, or that cannot be told, and says so in p.
func (r *Replica) diverges(p *FetchPart) bool {
	epoch, end := r.log.EndOffsetFor(p.LastEpoch)
	switch {
	case p.Offset < r.logStart(): // out of range says it better
		return false
	case epoch < 0:
		p.Err = ErrOffsetOutOfRange
		return true
	case parted(p.LastEpoch, p.Offset, epoch, end):
		local := r.log.Start()
		p.HighWatermark, p.LastStable, p.LogStart = r.hw.Load(), r.hw.Load(), r.startAbove(local)
		p.Diverging = EpochEnd{Epoch: epoch, End: end}
		return true
	}
	return false
}

// parted reports whether a log whose last batch has the epoch last and that ends at offset has parted from one of which
// found and end are what segment.Log.EndOffsetFor says of that epoch.
func parted(last int32, offset int64, found int32, end int64) bool {
	return found < last || end < offset
}

// stillFollowing is how lately the others must have asked for a leader to be sure that it leads, registered or not: another
// may have been elected that it has not heard of.
const stillFollowing = 2 * time.Second

// beyondEnd is what to say of an offset beyond the log's end: it is out of range, unless another could be leading by now
// and have it, or a consumer that has not heard of that would begin anew.
func (r *Replica) beyondEnd(ro *role) error {
	if !r.set.registered(ro) && r.config.Load().UncleanElection {
		return ErrNotLeader
	}
	r.waiters.Lock()
	defer r.waiters.Unlock()
	if ro.leads && !ro.quorum.held(time.Now(), stillFollowing) {
		return ErrNotLeader
	}
	return ErrOffsetOutOfRange
}
