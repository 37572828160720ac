package controller

import (
	"context"
	"errors"
	"iter"
	"time"

	"firn/metadata"
)

// reconcile writes what the newest image calls for: leaders, shard owners, and that losses have been acted
// on. It reports whether nothing is left to do.
func (c *Controller) reconcile(ctx context.Context, img *metadata.Image) bool {
	t := c.term
	if t.seen == img && !t.again {
		return true
	}
	ch := img.Diff(t.seen)
	all := t.again || t.seen == nil || len(ch.Brokers)+len(ch.Nodes) > 0
	todo := changedPartitions(ch)
	if all {
		todo = img.Partitions()
	}
	txns, elected := c.planPartitions(img, todo)
	if all {
		txns = append(txns, c.planShards(img)...)
	}
	if len(txns) == 0 {
		// Every partition is as it should be, so what the disks may have lost has been acted on.
		txns = c.planLosses(img)
	}
	t.seen, t.again = img, false
	if len(txns) == 0 {
		return true
	}
	start := time.Now()
	rev, err := c.commitAll(ctx, txns)
	if err != nil {
		t.again = true
		if ctx.Err() == nil && !errors.Is(err, metadata.ErrConflict) {
			c.log.Warn("controller commit", "err", err)
		}
	}
	if elected > 0 {
		c.metrics.elections.Add(float64(elected))
		c.log.Info("elected leaders", "partitions", elected, "took", time.Since(start))
	}
	// What was written is acted on like any other change, which finds nothing to do.
	if _, err := c.store.WaitRev(ctx, rev); err != nil {
		t.again = true
	}
	return false
}

// changedPartitions yields the partitions that changed and are still there.
func changedPartitions(ch *metadata.Changes) iter.Seq[*metadata.PartitionState] {
	return func(yield func(*metadata.PartitionState) bool) {
		for _, p := range ch.Partitions {
			if p.New != nil && !yield(p.New) {
				return
			}
		}
	}
}

// planPartitions returns the transactions that give partitions the records they should have, and how many of
// them change the leader.
func (c *Controller) planPartitions(img *metadata.Image, todo iter.Seq[*metadata.PartitionState]) (txns []metadata.Txn, elected int) {
	e := newElector(img, c.opts.Defaults)
	for p := range todo {
		next, change := e.next(p)
		if !change {
			continue
		}
		guards := []metadata.Cmp{c.mine(), metadata.ModIs(c.keys.Partition(p.Partition), p.Rev)}
		if next.LeaderEpoch != p.LeaderEpoch {
			elected++
			if next.Leader >= 0 {
				guards = append(guards, metadata.CreatedAt(c.keys.Broker(next.Leader), next.LeaderBrokerEpoch))
			}
		}
		txns = append(txns, metadata.Txn{If: guards, Then: []metadata.Op{c.keys.PutPartition(&next)}})
	}
	return txns, elected
}

// planShards returns the transactions that give every group and transaction shard a live owner.
func (c *Controller) planShards(img *metadata.Image) []metadata.Txn {
	var txns []metadata.Txn
	for _, kind := range []metadata.ShardKind{metadata.GroupShard, metadata.TxnShard} {
		for _, m := range planShards(img, kind) {
			txns = append(txns, metadata.Txn{
				If: []metadata.Cmp{
					c.mine(), metadata.ModIs(c.keys.ShardOwner(kind, m.shard), m.next.Rev),
					metadata.CreatedAt(c.keys.Broker(m.next.Broker), m.next.BrokerEpoch),
				},
				Then: []metadata.Op{c.keys.PutShardOwner(kind, m.shard, &m.next)},
			})
		}
	}
	return txns
}

// planLosses returns the transactions that clear what brokers' disks may have lost.
func (c *Controller) planLosses(img *metadata.Image) []metadata.Txn {
	var txns []metadata.Txn
	for _, n := range img.Nodes() {
		if n.Loss == metadata.LossNone {
			continue
		}
		next := *n
		next.Loss = metadata.LossNone
		txns = append(txns, metadata.Txn{
			If:   []metadata.Cmp{c.mine(), metadata.ModIs(c.keys.Node(n.ID), n.Rev)},
			Then: []metadata.Op{c.keys.PutNode(&next)},
		})
	}
	return txns
}

// mine is the guard that we are still the controller.
func (c *Controller) mine() metadata.Cmp {
	return metadata.CreatedAt(c.keys.Controller(), c.term.epoch)
}

// commitAll writes what it can and returns the newest revision it wrote, and the first reason why something
// was not written. What conflicts or is unknown is planned anew on a later image.
func (c *Controller) commitAll(ctx context.Context, txns []metadata.Txn) (rev int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, verbTimeout)
	defer cancel()
	results, err := c.store.KV().TxnMany(ctx, txns)
	for _, r := range results {
		switch {
		case r.OK:
			rev = max(rev, r.Rev)
		case r.Rev != 0 && err == nil:
			err = metadata.ErrConflict
		}
	}
	return rev, err
}
