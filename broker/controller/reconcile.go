package controller

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"firn/metadata"
)

// reconcile writes what the newest image calls for, one kind after the other: leaders, then shard owners, then
// that losses have been acted on. Verbs get their turn in between. It returns when to go on.
func (c *Controller) reconcile(ctx context.Context, img *metadata.Image) time.Duration {
	t := c.term
	if t.seen != img || t.again {
		ch := img.Diff(t.seen)
		todo := changedPartitions(ch)
		switch {
		case t.again || t.seen == nil || len(ch.Brokers)+len(ch.Nodes) > 0:
			todo, t.shards = img.Partitions(), true
		case ch.Cluster || slices.ContainsFunc(ch.Topics, func(c metadata.TopicChange) bool { return c.Settings }):
			todo = img.Partitions() // whether elections may be unclean is a setting
		}
		t.seen, t.again = img, false
		txns, elected := c.planPartitions(img, todo)
		if len(txns) > 0 {
			start := time.Now()
			next := c.commitAll(ctx, txns)
			c.metrics.elections.Add(float64(elected))
			c.log.Info("partitions have new leaders or in-sync replicas", "partitions", len(txns), "leaders", elected, "took", time.Since(start))
			return next
		}
	}
	if t.shards {
		t.shards = false
		if txns := c.planShards(img); len(txns) > 0 {
			return c.commitAll(ctx, txns)
		}
	}
	// Every partition is as it should be, so what the disks may have lost has been acted on.
	if txns := c.planLosses(img); len(txns) > 0 {
		return c.commitAll(ctx, txns)
	}
	if txns := c.planDeparture(img); len(txns) > 0 {
		return c.commitAll(ctx, txns)
	}
	return c.balance(ctx, img)
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
		var fenced metadata.Txn
		if err := c.fence(e, p, &next, &fenced); err != nil {
			// It stays without a leader, but all else is written: losses count as acted on when this is done.
			c.log.Error("unclean election", "error", err)
			next, change = e.nextClean(p)
		}
		if !change {
			continue
		}
		guards := []metadata.Cmp{c.mine(), metadata.ModIs(c.keys.Partition(p.Partition), p.Rev)}
		if next.LeaderEpoch != p.LeaderEpoch {
			if next.Leader != p.Leader || next.LeaderBrokerEpoch != p.LeaderBrokerEpoch {
				elected++
			}
			if next.Leader >= 0 {
				guards = append(guards, metadata.CreatedAt(c.keys.Broker(next.Leader), next.LeaderBrokerEpoch))
			}
		}
		txns = append(txns, metadata.Txn{If: append(guards, fenced.If...), Then: append(fenced.Then, c.keys.PutPartition(&next))})
	}
	return txns, elected
}

// planShards returns the transactions that give a live owner to every group and transaction shard that has none.
func (c *Controller) planShards(img *metadata.Image) []metadata.Txn {
	var txns []metadata.Txn
	for _, kind := range []metadata.ShardKind{metadata.GroupShard, metadata.TxnShard} {
		for _, m := range takenShards(img, kind) {
			txn := m.Txn(c.keys)
			txn.If = append(txn.If, c.mine())
			txns = append(txns, txn)
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

// commitAll writes what it can, waits until it is in the image, and returns when to go on. What conflicts or
// has no verdict makes the controller look at everything again.
func (c *Controller) commitAll(ctx context.Context, txns []metadata.Txn) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, verbTimeout)
	defer cancel()
	var rev int64
	results, err := c.store.KV().TxnMany(ctx, txns)
	for _, r := range results {
		switch {
		case r.OK:
			rev = max(rev, r.Rev)
		case r.Rev != 0 && err == nil:
			err = metadata.ErrConflict
		}
	}
	if err == nil {
		if _, err = c.store.WaitRev(ctx, rev); err == nil {
			return 0
		}
	}
	c.term.again = true
	if !errors.Is(err, metadata.ErrConflict) && ctx.Err() == nil {
		c.log.Warn("controller commit", "error", err)
	}
	return retryPause
}
