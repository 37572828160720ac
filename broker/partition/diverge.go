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

// Following is how lately a follower that goes on asking is known to have followed, where a leader keeps its fetches for wait if
// there is nothing new: that shows in the fetch before the last but one.
func Following(wait time.Duration) time.Duration { return 3*wait + time.Second }

// still reports whether we lead as we did, or follow: what a log was asked in between may be about another, as it is cut when the role
// ends.
func (r *Replica) still(ro *role) bool {
	now := r.role.Load()
	return now == ro || now.leads == ro.leads && now.epoch == ro.epoch
}

// lacks is what to say of an offset or an epoch that a client has and our log has not: missing, unless another could be leading
// by now and have it, or a consumer that has not heard of that would begin anew. Our lease may stand, and another lead that we
// have not heard of: so the others have to follow us. Without a lease even they prove too little.
func (r *Replica) lacks(ro *role, missing error) error {
	within, registered := Following(r.set.opts.FollowerWait), r.set.registered(ro)
	if !registered {
		if r.config.Load().UncleanElection {
			return ErrNotLeader
		}
		within = -1
	}
	r.waiters.Lock()
	defer r.waiters.Unlock()
	if ro.leads && !ro.quorum.held(time.Now(), within, registered) {
		return ErrNotLeader
	}
	return missing
}
