package partition

import (
	"slices"
	"time"

	"firn/metadata/topic"
)

// A reassignment copies whole partitions, and its throttle (KIP-73) keeps that from taking what everybody else needs:
// settings of the topic name the replicas which, as leaders, send no more than their broker's rate, and those which, as
// followers, fetch no more than theirs. Only followers for which the high watermark does not wait are held back, and only
// their bytes are counted: the others have to keep up, whatever is being copied. What followers do not fetch is package
// replication's; here is who counts.

// configure makes c the replica's settings.
func (r *Replica) configure(c topic.Config) {
	r.retaining.Lock()
	r.config.Store(&c)
	r.retaining.Unlock()
	r.throttledLeader.Store(c.ThrottledLeaders.Has(r.tp.Index, r.set.opts.BrokerID))
	r.throttledFollower.Store(c.ThrottledFollowers.Has(r.tp.Index, r.set.opts.BrokerID))
}

// throttledAt reports whether the follower, whose log ends at next, is to be held back: it is neither in the in-sync set
// nor has it all that the leader has called committed.
func (r *Replica) throttledAt(ro *role, next int64) bool {
	if !r.throttledFollower.Load() || slices.Contains(ro.isr, r.set.opts.BrokerID) {
		return false
	}
	w := &r.waiters
	w.Lock()
	defer w.Unlock()
	return w.toldEpoch != ro.epoch || next < w.told
}

// holdBack reports whether the follower has to wait before it may have more of p, and has the fetch look again then. If
// not, it notes whether what is read is to be counted.
func (p *FetchPart) holdBack(ro *role) bool {
	r := p.Replica
	if !r.throttledLeader.Load() || !r.set.opts.Throttle.Limited() {
		return false
	}
	now := time.Now()
	r.waiters.Lock()
	f := ro.quorum.follower(p.fetch.Follower.ID)
	free := f == nil || ro.quorum.counts(f, r.set.opts.ReplicaLag, now)
	r.waiters.Unlock()
	if free {
		return false
	}
	wait := r.set.opts.Throttle.Wait(now)
	if f := p.fetch; wait > 0 && (f.held == 0 || wait < f.held) {
		f.held = wait
	}
	p.counted = wait == 0
	return wait > 0
}

// patience is how long f waits if nothing happens.
func (f *Fetch) patience() time.Duration {
	left := time.Until(f.deadline)
	if f.held > 0 {
		left = min(left, f.held)
	}
	return left
}

// count takes what p has read from the throttle, if it is to be counted.
func (p *FetchPart) count() {
	if p.counted && p.Bytes > 0 {
		p.Replica.set.opts.Throttle.Take(p.Bytes, time.Now())
	}
}

// uncount gives it back: it is not sent.
func (p *FetchPart) uncount() {
	if p.counted && p.Bytes > 0 {
		p.Replica.set.opts.Throttle.Take(-p.Bytes, time.Now())
	}
}
