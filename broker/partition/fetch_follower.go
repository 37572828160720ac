package partition

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// Follower is a broker that fetches in order to replicate.
type Follower struct {
	ID          int32
	BrokerEpoch int64 // -1 if it does not say; then it never joins an in-sync set

	// When it last asked, and the two times before, since began; 0 is never. It has two requests on their way at most, so that it
	// sent the last one after it had the answer to the one before the last but one, however long the network kept that.
	asked, before, proven atomic.Int64
}

// began is what times of asking count from.
var began = time.Now()

func (w *Follower) ask() {
	w.proven.Store(w.before.Load())
	w.before.Store(w.asked.Load())
	w.asked.Store(int64(time.Since(began)))
}

// followedAt is a time at or after which it sent its last request, zero if none is known.
func (w *Follower) followedAt() time.Time {
	if at := w.proven.Load(); at != 0 {
		return began.Add(time.Duration(at))
	}
	return time.Time{}
}

func (w *Follower) askedAt() time.Time { return began.Add(time.Duration(w.asked.Load())) }

// listOf is the list that f waits in. Followers wait for the log's end and everybody else for the high watermark.
func (w *waiters) listOf(f *Fetch) *watchList {
	if f.Follower != nil {
		return &w.followers
	}
	return &w.fetches
}

// progress counts the bytes that f waits for.
func (r *Replica) progress(f *Fetch) *atomic.Uint64 {
	if f.Follower != nil {
		return &r.appended
	}
	return &r.visible
}

// readAsFollower reads for another replica: up to the log's end, durable or not, from the local log alone. What it asks
// for says where it is, which may raise the high watermark.
func (p *FetchPart) readAsFollower(ro *role, limit int, first bool) {
	r, who := p.Replica, p.fetch.Follower
	local := r.log.Start()
	p.HighWatermark, p.LastStable, p.LogStart = r.hw.Load(), r.hw.Load(), r.startAbove(local)
	if !slices.Contains(ro.replicas, who.ID) {
		p.Err = fmt.Errorf("%w: broker %d has no replica of %s", ErrNotLeader, who.ID, r.tp)
		return
	}
	switch {
	case p.Offset < p.LogStart:
		p.Err = ErrOffsetOutOfRange
		return
	case p.Offset < local:
		p.Err = ErrOffsetTiered
		return
	case p.LastEpoch >= 0 && r.diverges(p):
		return
	}
	// The end is read before the follower's state is taken in: it may be caught up with that, not with what follows.
	next := r.log.Next()
	if p.Offset > next {
		p.Err = ErrOffsetOutOfRange
		return
	}
	if !p.noted && p.LeaderEpoch == ro.epoch {
		p.noted = true
		p.serves = r.noteFollower(ro, p, next)
		p.HighWatermark, p.LastStable = r.hw.Load(), r.hw.Load()
	}
	switch {
	case p.Offset >= next:
		p.waiting, p.caughtUp = true, true
	case p.holdBack(ro):
		// The fetch's alarm has it read again, and what is appended meanwhile need not.
	case limit > 0 || first:
		if again := r.readHot(p, next, limit, first); again {
			p.Err = ErrOffsetTiered // or out of range, which the next fetch will be told
		}
		p.count()
	}
}

// noteFollower takes in that a follower has everything below p's offset, while our log ended at leaderEnd. It reports
// whether the follower has clients.
func (r *Replica) noteFollower(ro *role, p *FetchPart, leaderEnd int64) (serves bool) {
	w, who := &r.waiters, p.fetch.Follower
	w.Lock()
	back := !ro.quorum.heard(who.ID, who.BrokerEpoch)
	moved, joins := ro.quorum.fetched(who.ID, who.BrokerEpoch, p.Offset, leaderEnd, r.hw.Load(), who.askedAt())
	ro.quorum.follows(who.ID, who.BrokerEpoch, who.followedAt())
	serves = ro.quorum.starts(who.ID, p.Start)
	w.Unlock()
	if moved {
		var done doneList
		r.advance(&done)
		r.notifyUpload()
		done.complete()
	}
	if joins && r.set.opts.InSync != nil {
		r.set.opts.InSync.Propose(r)
	}
	if back && r.Damage() != nil && r.set.opts.OnDamage != nil {
		r.set.opts.OnDamage(r)
	}
	return serves
}

// Heard reports whether the replica leads and a follower has asked it for records in that life of it: the follower has its log open.
func (r *Replica) Heard(id int32, brokerEpoch int64) bool {
	ro := r.role.Load()
	if !ro.leads {
		return false
	}
	r.waiters.Lock()
	defer r.waiters.Unlock()
	return ro.quorum.heard(id, brokerEpoch)
}

// Propose returns the in-sync set that the replica, if it leads, wants to be committed; false if the present one is
// right or one is being committed already. The caller commits it, guarded by its Rev, and says by BecomeLeader or
// Refused how that ended. eligible says whether a broker may join now.
func (r *Replica) Propose(eligible func(Joiner) bool) (Proposal, bool) {
	ro, conf := r.role.Load(), r.config.Load()
	if !ro.leads || r.failure() != nil {
		return Proposal{}, false
	}
	next := r.log.Next()
	w := &r.waiters
	w.Lock()
	p, ok := ro.quorum.propose(r.hw.Load(), next, minInSync(conf.MinInsync, len(ro.replicas)), r.set.opts.ReplicaLag, time.Now(), func(j Joiner) bool {
		if eligible(j) {
			return true
		}
		w.followers.noted(nil) // or it would not ask again by itself
		return false
	})
	w.Unlock()
	p.LeaderEpoch = ro.epoch
	// One that was about to join may have gone away and no longer count.
	var done doneList
	r.advance(&done)
	r.notifyUpload()
	done.complete()
	return p, ok
}

// Refused says that a proposal is not committed and never will be.
func (r *Replica) Refused(p Proposal) {
	ro := r.role.Load()
	if !ro.leads || ro.epoch != p.LeaderEpoch {
		return
	}
	r.waiters.Lock()
	ro.quorum.refused(p)
	r.waiters.followers.noted(nil) // or they would not ask again by themselves
	r.waiters.Unlock()
}
