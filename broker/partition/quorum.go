package partition

import (
	"slices"
	"time"
)

// quorum is what a leader knows of its followers during one leader epoch, and what follows from it for the high
// watermark and the in-sync set. It has no clock and no lock: the replica's waiters guard it.
//
// Of these, the sets only change by what is committed in the metadata:
//
//   - isr are the replicas of which every one has every committed record.
//   - A proposal is a set that is being committed. Until the outcome is known both sets count, so that whichever holds
//     has every record below the high watermark.
//   - elr are replicas that left while the in-sync set was smaller than min.insync.replicas, when the high watermark
//     stood still: they have all that is committed, too, though they may be away.
type quorum struct {
	self       int32
	epochStart int64 // log end when leadership began
	rev        int64 // partition epoch of isr and elr
	isr, elr   []int32
	proposed   []int32 // in-sync set that is being committed, nil if none is
	followers  []follower
}

// follower is what the fetches of one other replica have said.
type follower struct {
	id          int32
	brokerEpoch int64     // in its newest fetch
	start       int64     // start of its log
	end         int64     // end of what it has, on durable topics on its disk; -1 is unknown
	fetched     time.Time // when it last asked
	followed    time.Time // it has asked at this time or later, and not only been heard then; zero is unknown
	leaderEnd   int64     // where our log ended then
	caughtUp    time.Time // the last time of which it is known to have had all that there was then
	left        bool      // the in-sync set without asking since
	barred      bool      // from joining, when it was last looked at
	serves      bool      // clients were sent to it
	by          *Follower // whose every fetch asks for this partition too, without naming it; nil for none
}

// newQuorum begins a leader epoch in which nothing is known of the followers yet. Those in the in-sync set have until
// the lag runs out to ask.
func newQuorum(self int32, st State, epochStart int64, now time.Time) *quorum {
	q := &quorum{self: self, epochStart: epochStart, rev: -1}
	q.adopt(st)
	for i := range q.followers {
		if f := &q.followers[i]; slices.Contains(q.isr, f.id) {
			f.caughtUp = now
		}
	}
	return q
}

// adopt takes in a committed state of the same leader epoch. An older one than the present is ignored.
func (q *quorum) adopt(st State) {
	if st.Rev < q.rev {
		return
	}
	for i := range q.followers {
		f := &q.followers[i]
		f.refresh()
		counted := slices.Contains(q.isr, f.id) || slices.Contains(q.proposed, f.id) && st.Rev > q.rev
		if counted && !slices.Contains(st.ISR, f.id) {
			f.caughtUp, f.left = time.Time{}, true // dead, perhaps: it must not hold the high watermark back
		}
	}
	if st.Rev > q.rev {
		q.proposed = nil // it is committed now, or never will be: its guard was the old revision
	}
	q.rev, q.isr, q.elr = st.Rev, slices.Clone(st.ISR), slices.Clone(st.ELR)
	followers := make([]follower, 0, len(st.Replicas))
	for _, id := range st.Replicas {
		if id == q.self {
			continue
		}
		f := follower{id: id, end: -1}
		if old := q.follower(id); old != nil {
			f = *old
		}
		followers = append(followers, f)
	}
	q.followers = followers
}

// follower returns what is known of a replica, nil if it is none of ours.
func (q *quorum) follower(id int32) *follower {
	for i := range q.followers {
		if q.followers[i].id == id {
			return &q.followers[i]
		}
	}
	return nil
}

// stand takes in that from now on each fetch of by asks for this partition, too, from where it is known to be, which is
// our log's end, until unstand. It reports whether that counts.
func (q *quorum) stand(by *Follower) bool {
	f := q.follower(by.ID)
	if f == nil || f.brokerEpoch != by.BrokerEpoch {
		return false
	}
	f.by = by
	return true
}

func (q *quorum) unstand(by *Follower) {
	if f := q.follower(by.ID); f != nil && f.by == by {
		f.refresh()
		f.by = nil
	}
}

// refresh takes in what a follower has asked without naming the partition.
func (f *follower) refresh() {
	if f.by == nil {
		return
	}
	f.followed = later(f.followed, f.by.followedAt())
	at := f.by.askedAt()
	if !at.After(f.fetched) {
		return
	}
	f.fetched, f.left = at, false
	if f.end >= f.leaderEnd {
		f.caughtUp = later(f.caughtUp, at)
	}
}

// heard reports whether a follower has asked in that life of it.
func (q *quorum) heard(id int32, brokerEpoch int64) bool {
	f := q.follower(id)
	return f != nil && f.brokerEpoch == brokerEpoch
}

// fetched takes in that a follower has asked for what comes after end, while our log ended at leaderEnd. It reports
// whether that may raise the high watermark, and whether it may let the follower join the in-sync set: one that was barred may
// not be any more, and is not waited for before that is seen. What an earlier life of a follower has sent is ignored.
func (q *quorum) fetched(id int32, brokerEpoch, end, leaderEnd, hw int64, now time.Time) (moved, joins bool) {
	f := q.follower(id)
	if f == nil || brokerEpoch < f.brokerEpoch {
		return false, false
	}
	f.refresh()
	if brokerEpoch > f.brokerEpoch {
		*f = follower{id: id, brokerEpoch: brokerEpoch, end: -1, caughtUp: f.caughtUp}
		if !slices.Contains(q.isr, id) {
			f.caughtUp = time.Time{}
		}
	}
	moved = f.end != end
	switch {
	case end >= leaderEnd:
		f.caughtUp = now
	case !f.fetched.IsZero() && end >= f.leaderEnd:
		f.caughtUp = later(f.caughtUp, f.fetched) // it has all that there was when it asked before
	}
	f.end, f.leaderEnd, f.fetched, f.left = end, leaderEnd, now, false
	return moved, f.barred || q.joins(f, hw)
}

// follows takes in that a follower has asked at this time or later.
func (q *quorum) follows(id int32, brokerEpoch int64, at time.Time) {
	if f := q.follower(id); f != nil && f.brokerEpoch == brokerEpoch {
		f.followed = later(f.followed, at)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// joins reports whether a follower that is not in sync has all that is committed, and all that earlier leaders have
// left, of which we do not know whether it was. One that was in sync has to ask again first: while nothing is committed it
// lacks nothing, however long it is silent.
func (q *quorum) joins(f *follower, hw int64) bool {
	return f.brokerEpoch > 0 && !f.left && f.end >= max(hw, q.epochStart) && !slices.Contains(q.isr, f.id) && !slices.Contains(q.proposed, f.id)
}

// highWatermark returns the offset below which every record is on all replicas that count, at least hw, where it stood.
// own is our own end, of a durable topic the durable one. While fewer than minISR are in sync it is frozen, so that
// nothing is committed which too few disks have; and while any others are eligible, who lack what is committed from then
// on: when min.insync.replicas was lowered, they are struck off the record first. A replica that has caught up and is about to join counts as if it had,
// or it might never get there.
func (q *quorum) highWatermark(hw, own int64, minISR int, maxLag time.Duration, now time.Time) int64 {
	if len(q.isr) < minISR || len(q.elr) > 0 {
		return hw
	}
	low := own
	for i := range q.followers {
		f := &q.followers[i]
		f.refresh()
		if q.counts(f, maxLag, now) {
			low = min(low, f.end)
		}
	}
	return max(hw, low)
}

// counts reports whether the high watermark waits for a follower: it is in sync, or may be so any moment.
func (q *quorum) counts(f *follower, maxLag time.Duration, now time.Time) bool {
	about := f.end >= 0 && f.brokerEpoch > 0 && !f.barred && now.Sub(f.caughtUp) <= maxLag
	return about || slices.Contains(q.isr, f.id) || slices.Contains(q.proposed, f.id)
}

// Proposal is an in-sync set that a leader wants to be committed.
type Proposal struct {
	LeaderEpoch int32
	Rev         int64 // partition epoch that it follows
	ISR, ELR    []int32
	Joiners     []Joiner // of ISR, those that were not in sync before
}

// Joiner is a follower about to enter the in-sync set.
type Joiner struct {
	ID          int32
	BrokerEpoch int64 // in its Fetch
}

// propose returns the in-sync set that there should be: without those that have not been caught up for longer than
// maxLag, and with those that have all that is committed. False if it is right as it is, or a proposal is under way.
// eligible says whether a broker may join now.
func (q *quorum) propose(hw, leaderEnd int64, minISR int, maxLag time.Duration, now time.Time, eligible func(Joiner) bool) (Proposal, bool) {
	if q.proposed != nil {
		return Proposal{}, false
	}
	for i := range q.followers {
		q.followers[i].refresh()
	}
	p := Proposal{Rev: q.rev}
	var left []int32
	for _, id := range q.isr {
		if f := q.follower(id); f != nil && f.end < leaderEnd && now.Sub(f.caughtUp) > maxLag {
			left = append(left, id)
			continue
		}
		p.ISR = append(p.ISR, id)
	}
	for i := range q.followers {
		f := &q.followers[i]
		joins := q.joins(f, hw)
		if !joins && !f.barred {
			continue
		}
		j := Joiner{ID: f.id, BrokerEpoch: f.brokerEpoch}
		f.barred = !eligible(j) // nor may it hold the high watermark back, however often it asks
		if f.barred || !joins {
			continue
		}
		p.ISR, p.Joiners = append(p.ISR, f.id), append(p.Joiners, j)
	}
	if len(left) == 0 && len(p.Joiners) == 0 && (len(q.elr) == 0 || len(p.ISR) < minISR) {
		return Proposal{}, false
	}
	if len(p.ISR) < minISR {
		for _, id := range slices.Concat(q.elr, left) {
			if !slices.Contains(p.ISR, id) && !slices.Contains(p.ELR, id) {
				p.ELR = append(p.ELR, id)
			}
		}
	}
	q.proposed = p.ISR
	return p, true
}

// refused takes in that p is not committed and never will be. Its joiners have to prove themselves anew.
func (q *quorum) refused(p Proposal) {
	if p.Rev != q.rev {
		return
	}
	q.proposed = nil
	for _, j := range p.Joiners {
		if f := q.follower(j.ID); f != nil {
			f.refresh()
			f.caughtUp = time.Time{}
		}
	}
}

// lag is how many offsets the followers lack of a log that ends at end, added up; those that never asked do not count.
func (q *quorum) lag(end int64) int64 {
	var n int64
	for i := range q.followers {
		if f := &q.followers[i]; f.end >= 0 {
			n += max(0, end-f.end)
		}
	}
	return n
}

// held reports whether every other replica that could be elected, also by a proposal under way, has fetched from us lately:
// then it follows nobody else, so nobody else leads. While we are registered the eligible ones could not be: we are in sync.
func (q *quorum) held(now time.Time, within time.Duration, registered bool) bool {
	for i := range q.followers {
		f := &q.followers[i]
		f.refresh()
		could := slices.Contains(q.isr, f.id) || slices.Contains(q.proposed, f.id) || !registered && slices.Contains(q.elr, f.id)
		if could && (f.followed.IsZero() || now.Sub(f.followed) > within) {
			return false
		}
	}
	return true
}
