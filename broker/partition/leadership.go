package partition

import (
	"context"
	"fmt"
	"slices"
	"time"

	"firn/segment"
	"firn/tiering"
)

// State is what the cluster's metadata says of a partition.
type State struct {
	Leader      int32
	BrokerEpoch int64 // the registration under which Leader leads
	LeaderEpoch int32
	Rev         int64 // partition epoch: the revision that wrote all this
	Replicas    []int32
	ISR         []int32
	ELR         []int32 // eligible to lead though not in sync
	Moving      []int32 // of Replicas, those that a reassignment adds or takes away
}

// role is what the replica is at the moment. It never changes; a new one takes its place.
type role struct {
	leads  bool
	leader int32 // -1 for unknown
	epoch  int32
	// brokerEpoch is the registration under which leader leads.
	brokerEpoch int64
	rev         int64
	epochStart  int64 // log end when leadership began
	replicas    []int32
	isr         []int32
	others      int     // replicas beside this one that could be elected cleanly
	short       bool    // one is not in sync, those that a reassignment moves aside
	quorum      *quorum // of a leader; the waiters' lock guards it
}

func newRole(st State, self int32) *role {
	ro := &role{leader: st.Leader, brokerEpoch: st.BrokerEpoch, epoch: st.LeaderEpoch, rev: st.Rev, replicas: slices.Clone(st.Replicas), isr: slices.Clone(st.ISR)}
	for _, id := range slices.Concat(st.ISR, st.ELR) {
		if id != self {
			ro.others++
		}
	}
	ro.short = slices.ContainsFunc(st.Replicas, func(id int32) bool {
		return !slices.Contains(st.ISR, id) && !slices.Contains(st.Moving, id)
	})
	return ro
}

// outdates reports whether st is older than what the role was made of.
func (ro *role) outdates(st State) bool {
	return st.LeaderEpoch < ro.epoch || st.LeaderEpoch == ro.epoch && st.Rev < ro.rev
}

// BecomeLeader makes the replica lead at st.LeaderEpoch, or, if it does already, takes over st's replica sets. It syncs
// nothing: the epoch is durable with its first batch. A state older than the present one is ignored. The tier head must have been
// set before: a log that ends below the end of the tier, or has other records there, starts anew there, for which the tier is read. After an error it
// does not lead and may be told again.
func (r *Replica) BecomeLeader(st State) error {
	r.leadership.Lock()
	defer r.leadership.Unlock()
	if err := r.failure(); err != nil {
		return err
	}
	old := r.role.Load()
	if old.outdates(st) {
		return nil
	}
	next := newRole(st, r.set.opts.BrokerID)
	next.leads, next.epochStart, next.quorum = true, old.epochStart, old.quorum
	begins := !old.leads || old.epoch != st.LeaderEpoch
	if err := r.adoptTier(begins && r.partsFromTier()); err != nil {
		return err
	}
	if err := r.lead(st, next, old); err != nil {
		return err
	}
	if begins {
		r.logger.Info("leads", "epoch", next.epoch, "end", next.epochStart)
	}
	var done doneList
	r.advance(&done)
	if conf := r.config.Load(); len(next.isr) < minInSync(conf.MinInsync, len(next.replicas)) {
		r.failAcksAll(&done)
	}
	r.wakeFetches()
	r.notifyUpload()
	done.complete()
	if len(st.ELR) > 0 && r.set.opts.InSync != nil {
		r.set.opts.InSync.Propose(r) // with enough in sync they hold the high watermark back until they are struck off
	}
	r.set.kick(r)
	return nil
}

// adoptTimeout bounds the reading of the tier's end.
const adoptTimeout = 30 * time.Second

// partsFromTier reports whether the log is known to have another record than the tier where that ends: after unclean elections
// a leader of another line may have archived there. What is in the tier stays. One that has been emptied may end further on than what it
// had, as records of our line were deleted: then a later epoch than TierEndEpoch is none of another.
func (r *Replica) partsFromTier() bool {
	head := r.head.Load()
	if head == nil {
		return false
	}
	below := r.log.EpochsBelow(head.TierEnd)
	if len(below) == 0 {
		return false
	}
	last := below[len(below)-1].Epoch
	return last < head.TierEndEpoch || last > head.TierEndEpoch && archived(head)
}

// adoptTier starts a log that ends below the tier's end, or parts from it, anew at that end, with the epochs and producers that
// belong to it: what lies below comes from the tier alone, and no offset of it may be given again.
func (r *Replica) adoptTier(parts bool) error {
	head := r.head.Load()
	if head == nil || r.log.Next() >= head.TierEnd && !parts {
		return nil
	}
	tail := tiering.TailState{End: head.TierEnd}
	if archived(head) {
		if r.set.opts.Tier == nil {
			return fmt.Errorf("log of %s ends at %d, the tier at %d: %w", r.tp, r.log.Next(), head.TierEnd, ErrTierUnavailable)
		}
		ctx, cancel := context.WithTimeout(r.set.serving, adoptTimeout)
		defer cancel()
		var err error
		if tail, err = r.set.opts.Tier.Tail(ctx, r.tp, head); err != nil {
			return r.tierError("read the end of", -1, err)
		}
	}
	epochs := make([]segment.Epoch, len(tail.Epochs))
	for i, e := range tail.Epochs {
		epochs[i] = segment.Epoch(e)
	}
	r.logger.Warn("local log starts anew at the end of the tier", "old_end", r.log.Next(), "tier_end", tail.End)
	var done doneList
	defer done.complete()
	r.append.Lock()
	defer r.append.Unlock()
	r.failWaiters(ErrNotLeader, false, &done) // what they wait for goes, and its offsets are others' by then
	return r.startAnewLocked(tail.End, epochs, tail.ProducerSnapshot)
}

// lead makes next the role under the append lock, so that no append sees half of it.
func (r *Replica) lead(st State, next, old *role) error {
	r.append.Lock()
	defer r.append.Unlock()
	if !old.leads || old.epoch != next.epoch {
		if err := r.log.AssignEpoch(next.epoch); err != nil {
			return r.storageError("assign epoch", err)
		}
		next.epochStart = r.log.Next()
		next.quorum = newQuorum(r.set.opts.BrokerID, st, next.epochStart, time.Now())
	} else {
		r.waiters.Lock()
		next.quorum.adopt(st)
		r.waiters.Unlock()
	}
	r.role.Store(next)
	return nil
}

// BecomeFollower ends leadership: every append that is not committed fails with ErrNotLeader. A state older than the
// present one is ignored. After an error it follows all the same and may be told again.
func (r *Replica) BecomeFollower(st State) error {
	r.leadership.Lock()
	defer r.leadership.Unlock()
	old := r.role.Load()
	if old.outdates(st) {
		return nil
	}
	next := newRole(st, r.set.opts.BrokerID)
	if next.leader == r.set.opts.BrokerID { // in another life; nobody is to be sent here for the leader
		next.leader = -1
	}
	var done doneList
	r.append.Lock()
	r.advance(&done)
	r.role.Store(next)
	err := r.failure()
	if err == nil && r.ledInVain() {
		err = r.storageError("forget epochs", r.log.TruncateTo(r.log.Next()))
	}
	r.append.Unlock()
	r.failWaiters(ErrNotLeader, false, &done)
	done.complete()
	r.set.kick(r)
	if old.leads {
		r.logger.Info("follows", "leader", st.Leader, "epoch", st.LeaderEpoch)
	}
	return err
}

// ledInVain reports whether the log has an epoch in which nothing was written, which is not part of any log.
func (r *Replica) ledInVain() bool {
	epochs := r.log.Epochs()
	return len(epochs) > 0 && epochs[len(epochs)-1].Epoch != r.log.LastEpoch()
}

// empty reports whether the local log has never had a record.
func (r *Replica) empty() bool { return r.log.Next() == r.log.Start() && r.log.Size() == 0 }

// LeaderEpoch returns the epoch it leads or follows at, who leads (-1 if that is unknown), and whether that is this
// replica.
func (r *Replica) LeaderEpoch() (epoch, leader int32, leads bool) {
	ro := r.role.Load()
	return ro.epoch, ro.leader, ro.leads
}

// leading returns the role if the replica leads and the caller's leader epoch, -1 for none, is the same.
func (r *Replica) leading(epoch int32) (*role, error) {
	ro, err := r.roleAt(epoch)
	if err == nil && !ro.leads {
		return nil, ErrNotLeader
	}
	return ro, err
}

// roleAt returns the role if the caller's leader epoch, -1 for none, is the same.
func (r *Replica) roleAt(epoch int32) (*role, error) {
	if err := r.failure(); err != nil {
		return nil, err
	}
	ro := r.role.Load()
	switch {
	case epoch >= 0 && epoch < ro.epoch:
		return nil, fmt.Errorf("%w: %d, now %d", ErrFencedEpoch, epoch, ro.epoch)
	case epoch >= 0 && epoch > ro.epoch:
		return nil, fmt.Errorf("%w: %d, now %d", ErrUnknownEpoch, epoch, ro.epoch)
	}
	return ro, nil
}
