package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"firn/metadata"
	"firn/metadata/topic"
)

// Reassignment asks for other replicas of one partition.
type Reassignment struct {
	Topic     string
	Partition int32
	// Replicas are the ones to end with, the preferred leader first. Nil cancels the reassignment under way.
	Replicas []int32
	// KeepFactor refuses replicas of another number than there are now.
	KeepFactor bool
}

// Reassign begins, changes or cancels reassignments; one error (or nil) per entry. A reassignment goes on by
// itself: the partition's record holds old and new replicas until all new ones are in sync, and then exactly
// those asked for, under a new leader epoch. Records are readable and writable all the time.
//
// Errors: ErrNotController, ErrUnknownTopic, ErrAssignment, ErrReplicationFactor, ErrNoReassignment, ErrRequest
// and metadata's.
func (c *Controller) Reassign(ctx context.Context, list []Reassignment) []error {
	return c.verb(ctx, "reassign", len(list), func(ctx context.Context, errs []error) {
		named := func(img *metadata.Image, i int) (*metadata.PartitionState, error) {
			return partitionOf(img, list[i].Topic, list[i].Partition)
		}
		c.changePartitions(ctx, errs, named, func(i int, e *elector, p *metadata.PartitionState) (metadata.Txn, error) {
			return c.planReassign(e, p, list[i])
		})
	})
}

// changePartitions commits what plan says for the partition that each entry names. Leaders write these records, too: what one
// of them has changed before the commit is planned anew, on an image that has that.
func (c *Controller) changePartitions(ctx context.Context, errs []error,
	named func(img *metadata.Image, i int) (*metadata.PartitionState, error),
	plan func(i int, e *elector, p *metadata.PartitionState) (metadata.Txn, error),
) {
	first := make(map[topic.Partition]int) // who names it
	todo := make([]int, len(errs))
	for i := range todo {
		todo[i] = i
	}
	for {
		img := c.store.Image()
		e := newElector(img, c.opts.Defaults)
		txns, got := make([]metadata.Txn, len(todo)), make([]error, len(todo))
		for j, i := range todo {
			var p *metadata.PartitionState
			if p, got[j] = named(img, i); got[j] != nil {
				continue
			}
			if at, twice := first[p.Partition]; twice && at != i {
				got[j] = errTwice
				continue
			}
			first[p.Partition] = i
			txns[j], got[j] = plan(i, e, p)
		}
		c.commitEach(ctx, txns, got, conflict)
		var again []int
		for j, i := range todo {
			if errs[i] = got[j]; errors.Is(got[j], metadata.ErrConflict) {
				again = append(again, i)
			}
		}
		if todo = again; len(todo) == 0 {
			return
		}
		if _, err := c.store.WaitRev(ctx, img.Rev()+1); err != nil { // which has what a guard failed on, or is nearer to it
			return
		}
	}
}

// planReassign returns the transaction of one reassignment. It may elect, as the image may be newer than what has been acted on.
func (c *Controller) planReassign(e *elector, p *metadata.PartitionState, r Reassignment) (metadata.Txn, error) {
	next, err := e.reassign(p, r)
	if err != nil {
		return metadata.Txn{}, err
	}
	txn := c.replace(p, &next)
	err = c.fence(e, p, &next, &txn)
	return txn, err
}

// errTwice refuses a partition that a request has named before.
var errTwice = fmt.Errorf("%w: the partition is named twice", ErrRequest)

// partitionOf returns a partition's record by its topic's name. Its errors do not say the name, which whoever asks may have
// given once for very many partitions.
func partitionOf(img *metadata.Image, name string, index int32) (*metadata.PartitionState, error) {
	t, ok := img.Topic(name)
	if !ok {
		return nil, ErrUnknownTopic
	}
	p, ok := img.Partition(topic.Partition{ID: t.ID, Index: index})
	if !ok {
		return nil, fmt.Errorf("%w: there is no partition %d", ErrUnknownTopic, index)
	}
	return p, nil
}

// replace returns the transaction of a verb that puts next in p's place. It writes nothing if they are the same.
func (c *Controller) replace(p, next *metadata.PartitionState) metadata.Txn {
	txn := metadata.Txn{
		If:   []metadata.Cmp{c.mine(), metadata.ModIs(c.keys.Partition(p.Partition), p.Rev)},
		Else: []string{c.keys.Controller()},
	}
	if same(p, next) {
		return txn
	}
	if next.LeaderEpoch != p.LeaderEpoch && next.Leader >= 0 {
		txn.If = append(txn.If, metadata.CreatedAt(c.keys.Broker(next.Leader), next.LeaderBrokerEpoch))
	}
	txn.Then = []metadata.Op{c.keys.PutPartition(next)}
	return txn
}

// reassign returns a partition's record with a reassignment begun, changed or cancelled. What it can end with at
// once, it ends with.
func (e *elector) reassign(p *metadata.PartitionState, r Reassignment) (metadata.PartitionState, error) {
	n := *p
	moving := len(p.Adding)+len(p.Removing) > 0
	settled := without(p.Replicas, in(p.Adding)) // what there was before
	target := r.Replicas
	switch {
	case target == nil && !moving:
		return n, fmt.Errorf("%w: of %s-%d", ErrNoReassignment, r.Topic, r.Partition)
	case target == nil:
		target = settled
	default:
		if err := checkTarget(e.img, settled, r); err != nil {
			return n, err
		}
	}
	if moving && slices.Equal(target, without(p.Replicas, in(p.Removing))) {
		return n, nil // this very reassignment is under way
	}
	n.Adding, n.Removing = without(target, in(settled)), without(settled, in(target))
	n.Replicas = slices.Concat(target, n.Removing)
	if dropped := without(p.Adding, in(target)); len(dropped) > 0 {
		switch {
		case e.drop(&n, dropped):
		case r.Replicas == nil:
			return *p, fmt.Errorf("%w: no other replica of %s-%d could lead it", ErrAssignment, r.Topic, r.Partition)
		default: // they go when others are in sync, like those that were there before
			n.Removing = slices.Concat(n.Removing, dropped)
			n.Replicas = slices.Concat(target, n.Removing)
		}
	}
	if final, changed := e.next(&n); changed && len(final.Adding)+len(final.Removing) == 0 {
		final.LeaderEpoch = p.LeaderEpoch + 1 // one step, however many reasons
		return final, nil
	}
	return n, nil
}

// drop takes replicas that were being added out of a partition, under a new leader epoch: they throw their logs away, and what
// they have told the leader of them must not make them in sync if they are added once more. False if none of the others
// could lead then.
func (e *elector) drop(n *metadata.PartitionState, dropped []int32) bool {
	isr, elr := without(n.ISR, in(dropped)), without(n.ELR, in(dropped))
	id := e.pick(n, n.Replicas, isr)
	if len(isr) < len(n.ISR) && id < 0 || len(elr) < len(n.ELR) && len(isr)+len(elr) == 0 {
		return false
	}
	n.ISR, n.ELR = isr, elr
	if slices.Contains(dropped, n.LastKnownLeader) {
		n.LastKnownLeader = -1
	}
	if slices.Contains(dropped, n.Leader) {
		e.crown(n, id)
	} else {
		n.LeaderEpoch++
	}
	return true
}

// endReassignment is step 3 of next. It waits for every added replica, and for as many replicas in sync among those that
// stay as an acknowledgement with acks=all was worth, of which one can serve. It reports whether the reassignment has ended.
func (e *elector) endReassignment(n *metadata.PartitionState) bool {
	if len(n.Adding)+len(n.Removing) == 0 {
		return false
	}
	stay, isr := without(n.Replicas, in(n.Removing)), without(n.ISR, in(n.Removing))
	enough := min(max(e.facts(n.Partition.ID).minInsync, 1), len(stay))
	if len(without(n.Adding, in(isr))) > 0 || len(isr) < enough || !ready(e.img, e.pick(n, stay, isr)) {
		return false
	}
	n.Replicas, n.ISR, n.ELR = stay, isr, without(n.ELR, in(n.Removing))
	if slices.Contains(n.Removing, n.LastKnownLeader) {
		n.LastKnownLeader = -1
	}
	n.Adding, n.Removing = nil, nil
	return true
}

// checkTarget reports what is wrong with the replicas a partition is to end with.
func checkTarget(img *metadata.Image, settled []int32, r Reassignment) error {
	at := fmt.Sprintf("%s-%d", r.Topic, r.Partition)
	if len(r.Replicas) == 0 {
		return fmt.Errorf("%w: %s has no replicas", ErrAssignment, at)
	}
	leaving := false
	for i, id := range r.Replicas {
		if slices.Contains(r.Replicas[:i], id) {
			return fmt.Errorf("%w: %s has broker %d twice", ErrAssignment, at, id)
		}
		node, ok := img.Node(id)
		switch {
		case !ok || node.State == metadata.NodeGone:
			return fmt.Errorf("%w: %s is to be on broker %d, which is not registered", ErrAssignment, at, id)
		case node.State != metadata.NodeLive && !slices.Contains(settled, id):
			return fmt.Errorf("%w: %s is to be on broker %d, which is about to leave", ErrAssignment, at, id)
		}
		leaving = leaving || node.State != metadata.NodeLive
	}
	if staying := staying(img, -1); leaving && len(r.Replicas) > staying {
		return fmt.Errorf("%w: %s is to have %d replicas, and %d brokers will be left", ErrReplicationFactor, at, len(r.Replicas), staying)
	}
	if r.KeepFactor && len(r.Replicas) != len(settled) {
		return fmt.Errorf("%w: %s has %d replicas, not %d", ErrReplicationFactor, at, len(settled), len(r.Replicas))
	}
	return nil
}

// in returns whether an id is one of a list.
func in(list []int32) func(int32) bool {
	return func(id int32) bool { return slices.Contains(list, id) }
}
