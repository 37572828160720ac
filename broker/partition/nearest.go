package partition

import (
	"slices"
	"time"
)

// Clients may read from followers (KIP-392), whose high watermark is what the leader last told them, never more than they
// have. The leader sends a client that is nearer to a follower there, at each fetch anew and without data, so that the
// client does not get from one what the other is about to send. A follower that falls behind the others is not chosen
// any more; one that has reason to believe that it is cut off sends its clients back to the leader, and so does one that
// does not have the offset: whether that is out of range is the leader's to say, and clients who hear it from a follower
// may ask the same one again without end. A leader without a lease sends nobody away: while etcd is away followers have none
// either, and would send them back.

// nearLag is how long ago a follower may have been caught up to be sent clients.
const nearLag = time.Second

// refer says in p whom the client should rather read from, and reports whether it should.
func (p *FetchPart) refer(ro *role) bool {
	r := p.Replica
	switch {
	case ro.leads && p.fetch.Near != nil && !p.fetch.Near(r.set.opts.BrokerID) && r.set.registered(ro):
		r.waiters.Lock()
		p.Preferred = ro.quorum.nearest(p.Offset, time.Now(), p.fetch.Near)
		r.waiters.Unlock()
	case !ro.leads && (!r.current(ro) || p.Offset < r.logStart() || p.Offset > r.log.Next() || r.knowsNothingOf(p)):
		p.Preferred = ro.leader
		p.waiting = true // the leader may send it back here at once, until it knows better itself
	}
	if p.Preferred < 0 {
		return false
	}
	p.HighWatermark, p.LastStable, p.LogStart = r.hw.Load(), r.hw.Load(), r.logStart()
	return true
}

// knowsNothingOf reports whether it cannot be told if the client's log has parted from ours, as a follower that has begun anew
// where the leader's log ends has no epochs.
func (r *Replica) knowsNothingOf(p *FetchPart) bool {
	if p.LastEpoch < 0 || p.Offset > r.hw.Load() {
		return false
	}
	epoch, _ := r.log.EndOffsetFor(p.LastEpoch)
	return epoch < 0
}

// current reports whether a follower has reason to believe that it knows all that is committed, but for the newest: it is
// in sync and registered, and its leader has answered it.
func (r *Replica) current(ro *role) bool {
	if lease := r.set.opts.Lease; !slices.Contains(ro.isr, r.set.opts.BrokerID) || lease != nil && !lease.Valid() {
		return false
	}
	f := r.fetcher.Load()
	return f != nil && time.Since((*f).Heard()) <= r.set.opts.ReplicaLag
}

// nearest returns the follower that a client should read from offset on, -1 for none: of those that near names, in sync,
// with the offset and caught up lately, the one that has most. From then on it is told of the high watermark at once.
func (q *quorum) nearest(offset int64, now time.Time, near func(int32) bool) int32 {
	var best *follower
	for i := range q.followers {
		f := &q.followers[i]
		f.refresh()
		if f.start > offset || f.end < offset || now.Sub(f.caughtUp) > nearLag || !slices.Contains(q.isr, f.id) || !near(f.id) {
			continue
		}
		if best == nil || f.end > best.end {
			best = f
		}
	}
	if best == nil {
		return -1
	}
	best.serves = true
	return best.id
}

// serves reports whether clients have been sent to a follower.
func (q *quorum) serves(id int32) bool {
	f := q.follower(id)
	return f != nil && f.serves
}

// starts takes in where a follower's log starts, and reports whether clients have been sent to it.
func (q *quorum) starts(id int32, start int64) (serves bool) {
	f := q.follower(id)
	if f == nil {
		return false
	}
	f.start = start
	return f.serves
}
