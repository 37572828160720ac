package controller

import (
	"context"
	"fmt"
	"slices"

	"firn/metadata"
)

// Election asks for another leader of one partition.
type Election struct {
	Topic     string
	Partition int32
	// Unclean elects whatever replica is alive for a partition that nobody leads, with the loss of what it lacks.
	// Otherwise the preferred leader is elected, if it is in sync.
	Unclean bool
}

// Elect elects leaders; one error (or nil) per entry.
//
// Errors: ErrNotController, ErrUnknownTopic, ErrElectionNotNeeded, ErrPreferredLeader, ErrEligibleLeaders, ErrRequest
// and metadata's.
func (c *Controller) Elect(ctx context.Context, list []Election) []error {
	return c.verb(ctx, "elect", len(list), func(ctx context.Context, errs []error) {
		named := func(img *metadata.Image, i int) (*metadata.PartitionState, error) {
			return partitionOf(img, list[i].Topic, list[i].Partition)
		}
		c.changePartitions(ctx, errs, named, func(i int, e *elector, p *metadata.PartitionState) (metadata.Txn, error) {
			next, err := e.request(p, list[i])
			if err != nil {
				return metadata.Txn{}, err
			}
			txn := c.replace(p, &next)
			err = c.fence(e, p, &next, &txn)
			return txn, err
		})
		for _, err := range errs {
			if err == nil {
				c.metrics.elections.Inc()
			}
		}
	})
}

// request returns a partition's record with the leader that was asked for.
func (e *elector) request(p *metadata.PartitionState, el Election) (metadata.PartitionState, error) {
	n := *p
	at := fmt.Sprintf("%s-%d", el.Topic, el.Partition)
	led := p.Leader >= 0 && e.epoch(p.Leader) == p.LeaderBrokerEpoch
	switch {
	case el.Unclean && led:
		return n, fmt.Errorf("%w: broker %d leads %s", ErrElectionNotNeeded, p.Leader, at)
	case el.Unclean:
		// Whoever can lead without loss goes first.
		if clean, _ := e.next(p); clean.Leader >= 0 {
			return clean, nil
		}
		if !e.electUnclean(&n) {
			return n, fmt.Errorf("%w: no replica of %s is alive and can serve", ErrEligibleLeaders, at)
		}
	case led && p.Leader == p.Replicas[0]:
		return n, fmt.Errorf("%w: broker %d leads %s", ErrElectionNotNeeded, p.Leader, at)
	case !e.prefer(&n):
		return n, fmt.Errorf("%w: broker %d of %s", ErrPreferredLeader, p.Replicas[0], at)
	}
	return n, nil
}

// prefer makes the preferred leader lead, if it can do so, now and without loss, and is to stay.
func (e *elector) prefer(n *metadata.PartitionState) bool {
	id := n.Replicas[0]
	if !e.able(n, id) || !ready(e.img, id) || e.leaving(id) || !slices.Contains(n.ISR, id) || e.lacks(n, id) != metadata.LossNone {
		return false
	}
	e.crown(n, id)
	return true
}

// electUnclean makes a replica lead that may lack committed records: the last known leader, or else the first that has
// been there for long, or else one that is being added, or else one with a new disk. False if none is alive.
func (e *elector) electUnclean(n *metadata.PartitionState) bool {
	was := n.LastKnownLeader
	rank := func(id int32) int {
		switch {
		case e.loss(id) == metadata.LossAll:
			return 3
		case slices.Contains(n.Adding, id):
			return 2
		case id == was:
			return 0
		}
		return 1
	}
	best := int32(-1)
	for _, id := range n.Replicas {
		if e.able(n, id) && (best < 0 || rank(id) < rank(best)) {
			best = id
		}
	}
	if best < 0 {
		return false
	}
	n.ISR, n.ELR = []int32{best}, nil
	e.crown(n, best)
	return true
}

// fence adds to the transaction of an unclean election what keeps leaders of the past from putting into the tier what
// the new leader lacks: the tier head is written under the new leader epoch in the same transaction, so that any swap
// that was decided before fails. Clean elections need none: what an old leader still puts there, every one in sync has.
func (c *Controller) fence(e *elector, p, next *metadata.PartitionState, txn *metadata.Txn) error {
	if c.opts.FenceTier == nil || !e.unclean(p, next) {
		return nil
	}
	head, _ := e.img.TierHead(p.Partition)
	value, err := c.opts.FenceTier(head.Value, next.LeaderEpoch)
	if err != nil {
		return fmt.Errorf("fence the tier of %v: %w", p.Partition, err)
	}
	key := c.keys.TierHead(p.Partition)
	txn.If = append(txn.If, metadata.ModIs(key, head.Rev))
	txn.Then = append(txn.Then, metadata.Put(key, value))
	return nil
}

// unclean reports whether next is newly led by one who was neither in sync nor eligible, or whose disk may lack records.
func (e *elector) unclean(p, next *metadata.PartitionState) bool {
	if next.Leader < 0 || next.LeaderEpoch == p.LeaderEpoch {
		return false
	}
	had := slices.Contains(p.ISR, next.Leader) || slices.Contains(p.ELR, next.Leader)
	return !had || e.lacks(p, next.Leader) != metadata.LossNone
}
