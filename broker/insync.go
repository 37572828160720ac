package broker

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"firn/broker/partition"
	"firn/metadata"
	"firn/metadata/topic"
)

const (
	// inSyncLinger is how long a wanted change of an in-sync set waits for others: after a broker's return there
	// are many.
	inSyncLinger = 50 * time.Millisecond
	// inSyncRetry is the pause after the metadata could not be written.
	inSyncRetry = 200 * time.Millisecond
	// inSyncTimeout bounds one attempt to write.
	inSyncTimeout = 10 * time.Second
)

// inSyncKeeper commits what this broker's leaders propose for their in-sync sets, and gives up what is on failed disks.
// What is committed reaches the replica through the image, like everything that others write.
type inSyncKeeper struct {
	b   *Broker
	log *slog.Logger

	yielded map[topic.Partition]time.Time // when the lead was yielded last; run's alone

	wake chan struct{}
	mu   sync.Mutex
	due  map[topic.Partition]struct{}
}

var _ partition.InSync = (*inSyncKeeper)(nil)

func newInSyncKeeper(b *Broker) *inSyncKeeper {
	return &inSyncKeeper{b: b, log: b.partitionLogger(), wake: make(chan struct{}, 1), due: map[topic.Partition]struct{}{}, yielded: map[topic.Partition]time.Time{}}
}

// Propose implements partition.InSync.
func (k *inSyncKeeper) Propose(r *partition.Replica) { k.mark(r.Partition()) }

// mark has a partition looked at soon.
func (k *inSyncKeeper) mark(tp topic.Partition) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.due[tp] = struct{}{}
	if len(k.due) == 1 {
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
}

// run commits until ctx ends. Besides what is asked for, it looks for followers that lag twice in the time that they
// may.
func (k *inSyncKeeper) run(ctx context.Context) error {
	lag := time.NewTicker(max(k.b.cfg.Replication.MaxLag/2, time.Millisecond))
	defer lag.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-lag.C:
			for r := range k.b.set.All() {
				if _, _, leads := r.LeaderEpoch(); leads {
					k.Propose(r)
				}
			}
		case <-k.wake:
			if !pause(ctx, inSyncLinger) {
				return nil
			}
		}
		k.commit(ctx, k.take())
	}
}

// pause waits and reports whether ctx still lives.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (k *inSyncKeeper) take() []topic.Partition {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]topic.Partition, 0, len(k.due))
	for tp := range k.due {
		out = append(out, tp)
	}
	clear(k.due)
	return out
}

// change is one partition's proposal on its way.
type change struct {
	replica  *partition.Replica
	proposal partition.Proposal
	update   metadata.PartitionUpdate
	unsure   bool // the outcome of an attempt has been unknown
}

// commit writes what the partitions' leaders want.
func (k *inSyncKeeper) commit(ctx context.Context, due []topic.Partition) {
	im, epoch := k.b.store.Image(), k.b.lease.Epoch()
	var changes []*change
	var broken []metadata.PartitionUpdate
	for _, tp := range due {
		if u, ok := k.broken(im, tp, epoch); ok {
			broken = append(broken, u)
		} else if c := k.plan(im, tp, epoch); c != nil {
			changes = append(changes, c)
		}
	}
	k.resign(ctx, epoch, broken)
	for told := false; len(changes) > 0; {
		updates := make([]metadata.PartitionUpdate, len(changes))
		for i, c := range changes {
			updates[i] = c.update
		}
		try, cancel := context.WithTimeout(ctx, inSyncTimeout)
		verdicts := k.b.store.UpdatePartitions(try, epoch, updates)
		cancel()
		var again []*change
		var why error
		committed, joined := 0, 0
		for i, c := range changes {
			if verdicts[i].Err == nil {
				committed, joined = committed+1, joined+len(c.update.Joiners)
			}
			if k.judge(c, verdicts[i].Err) {
				again, why = append(again, c), verdicts[i].Err
			}
		}
		if committed > 0 {
			k.log.Info("in-sync sets changed", "partitions", committed, "joined", joined)
		}
		if len(again) > 0 && !told { // once for as long as it goes on: acknowledgements may wait for them
			told = true
			k.log.Warn("in-sync sets are not changed yet", "partitions", len(again), "error", why)
		}
		if changes = again; len(changes) > 0 && !pause(ctx, inSyncRetry) {
			return
		}
	}
}

// broken returns what is to become of tp if this broker has a part in it that it cannot play because of its disk. The last one
// that could lead keeps its part, and the lead as long as nobody else may have it.
func (k *inSyncKeeper) broken(im *metadata.Image, tp topic.Partition, epoch int64) (u metadata.PartitionUpdate, ok bool) {
	r := k.b.set.Get(tp)
	if r == nil || !errors.Is(r.Err(), partition.ErrStorage) {
		return u, false
	}
	if u.Known, ok = im.Partition(tp); !ok {
		return u, false
	}
	if u.Next, ok = u.Known.Resigned(k.b.cfg.NodeID, epoch); ok {
		if u.Next.Leader < 0 && r.Reopens() {
			u.Next.LeaderBrokerEpoch = 0 // it may serve in this life yet
		}
		return u, true
	}
	if c, err := k.b.topicConfig(im, tp.ID); err != nil || !c.UncleanElection || r.Reopens() {
		return u, false
	}
	if u.Next, ok = u.Known.Yielded(k.b.cfg.NodeID, epoch); !ok {
		return u, false
	}
	// Where several cannot serve it, the lead goes round among them, if not without a pause.
	if wait := k.b.cfg.Replication.MaxLag - time.Since(k.yielded[tp]); wait > 0 {
		time.AfterFunc(wait, func() { k.mark(tp) })
		return u, false
	}
	return u, true
}

// resign takes this broker out of partitions, so that others lead and none waits for it.
func (k *inSyncKeeper) resign(ctx context.Context, epoch int64, broken []metadata.PartitionUpdate) {
	if len(broken) == 0 {
		return
	}
	try, cancel := context.WithTimeout(ctx, inSyncTimeout)
	defer cancel()
	done := 0
	verdicts := k.b.store.Resign(try, k.b.cfg.NodeID, epoch, broken)
	for _, u := range broken {
		tp := u.Known.Partition
		switch v := verdicts[tp]; {
		case v.Err == nil:
			if done++; slices.Contains(u.Next.ISR, k.b.cfg.NodeID) {
				k.yielded[tp] = time.Now()
			}
		case errors.Is(v.Err, metadata.ErrConflict), errors.Is(v.Err, metadata.ErrFenced):
			// The image is about to show something newer, and that is looked at.
		default:
			k.log.Warn("a partition on a failed disk is not given up yet", "partition", tp, "error", v.Err)
			time.AfterFunc(inSyncRetry, func() { k.mark(tp) })
		}
	}
	if done > 0 {
		k.log.Warn("partitions that cannot be served here are left to others", "partitions", done)
	}
}

// plan asks the leader of tp what it wants, and says how that is written; nil if it wants nothing that can be.
func (k *inSyncKeeper) plan(im *metadata.Image, tp topic.Partition, epoch int64) *change {
	r := k.b.set.Get(tp)
	known, ok := im.Partition(tp)
	if r == nil || !ok || known.Leader != k.b.cfg.NodeID || known.LeaderBrokerEpoch != epoch {
		return nil
	}
	joiners := 0
	p, ok := r.Propose(func(j partition.Joiner) bool {
		if joiners == metadata.MaxJoiners || !mayJoin(im, j) {
			return false // for now
		}
		joiners++
		return true
	})
	if !ok {
		return nil
	}
	if p.Rev != known.Rev || p.LeaderEpoch != known.LeaderEpoch {
		// The replica is about to hear of a newer state, which ends the proposal.
		r.Refused(p)
		return nil
	}
	c := &change{replica: r, proposal: p, update: metadata.PartitionUpdate{Known: known, Next: *known}}
	c.update.Next.ISR, c.update.Next.ELR = p.ISR, p.ELR
	if len(p.ISR) == len(known.Replicas) {
		c.update.Next.ISR = known.Replicas // in one order, for people
	}
	for _, j := range p.Joiners {
		node, _ := im.Node(j.ID)
		c.update.Joiners = append(c.update.Joiners, metadata.Joiner{ID: j.ID, Epoch: j.BrokerEpoch, NodeRev: node.Rev})
	}
	return c
}

// mayJoin reports whether a follower may enter an in-sync set: it is alive, in the life that its fetches speak of, not
// about to leave, and nothing is left to do about what its disks may have lost.
func mayJoin(im *metadata.Image, j partition.Joiner) bool {
	b, alive := im.Broker(j.ID)
	n, known := im.Node(j.ID)
	return alive && known && b.Epoch == j.BrokerEpoch && n.State == metadata.NodeLive && n.Loss == metadata.LossNone
}

// judge acts on the verdict on a change and reports whether it has to be tried again.
func (k *inSyncKeeper) judge(c *change, err error) (again bool) {
	was, now := c.update.Known.ISR, c.update.Next.ISR
	log := k.log.With("partition", c.update.Known.Partition)
	switch {
	case err == nil:
		log.Debug("in-sync set changed", "was", was, "now", now, "eligible", c.update.Next.ELR)
		return false
	case errors.Is(err, metadata.ErrUnknown), errors.Is(err, metadata.ErrNoSpace):
		// etcd says that it is full, too, of the write that has filled it.
		c.unsure = true
		return true
	case errors.Is(err, metadata.ErrFenced):
		return false // a new epoch brings a new role
	case !c.unsure:
		// It has not happened and will not.
		log.Debug("in-sync set not changed", "wanted", now, "error", err)
		c.replica.Refused(c.proposal)
		return false
	}
	// An attempt may still be on its way. Writing the record as it was proves the contrary: either that moves it on, or
	// something else has.
	if len(c.update.Joiners) == 0 && errors.Is(err, metadata.ErrConflict) {
		return false // something else has
	}
	c.update.Next, c.update.Joiners = *c.update.Known, nil
	return true
}
