package broker

import (
	"context"
	"errors"
	"time"

	"firn/broker/controller"
	"firn/metadata"
)

// giveRetry is the pause after a shard could not be given away.
const giveRetry = time.Second

var errLapsed = errors.New("the lease has lapsed")

// giver hands shards over to brokers that own fewer, such as one that has just come. The owner does that itself: it answers
// what groups have committed from memory for as long as its registration stands, so that nobody else may begin before it
// has ended. In between, for the time of a write, nobody coordinates the shard's groups.
type giver struct {
	b    *Broker
	wake chan struct{}
}

func newGiver(b *Broker) *giver { return &giver{b: b, wake: make(chan struct{}, 1)} }

// look has it looked at whether there is something to give. It does not block.
func (g *giver) look() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

func (g *giver) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.wake:
		}
		for moves := g.moves(); len(moves) > 0 && ctx.Err() == nil; moves = g.moves() {
			if err := g.give(ctx, moves); err != nil {
				g.b.log.Info("coordinator shards are not given away yet", "shards", len(moves), "error", err)
				pause(ctx, giveRetry)
			}
		}
	}
}

// moves are those to be made by the newest image.
func (g *giver) moves() (all []controller.ShardMove) {
	for _, kind := range []metadata.ShardKind{metadata.GroupShard, metadata.TxnShard} {
		all = append(all, controller.GivenShards(g.b.store.Image(), kind, g.b.cfg.NodeID, g.b.lease.Epoch())...)
	}
	return all
}

// give makes moves, and ends the serving of the shards first.
func (g *giver) give(ctx context.Context, moves []controller.ShardMove) error {
	if !g.b.lease.Valid() {
		return errLapsed // and perhaps they are not ours to give any more
	}
	txns := make([]metadata.Txn, len(moves))
	for i, m := range moves {
		txns[i] = m.Txn(g.b.store.Keys())
		if m.Kind == metadata.GroupShard {
			g.b.applier.disown(m.Shard, m.Next.Rev)
		}
	}
	try, cancel := context.WithTimeout(ctx, g.b.cfg.Etcd.RequestTimeout)
	results, _ := g.b.store.KV().TxnMany(try, txns) // of what has no verdict, settle finds out
	cancel()
	var rev int64
	var errs []error
	for i, res := range results {
		if !res.OK {
			var err error
			res, err = g.settle(ctx, moves[i], txns[i])
			errs = append(errs, err)
		}
		rev = max(rev, res.Rev)
	}
	_, err := g.b.store.WaitRev(ctx, rev)
	return errors.Join(append(errs, err)...)
}

// settle finds out how a move ends that may have been made, and takes the shard back if it was not and will not be. As long
// as that is not known somebody else may serve the shard.
func (g *giver) settle(ctx context.Context, m controller.ShardMove, txn metadata.Txn) (res metadata.TxnResult, err error) {
	for err = metadata.ErrUnknown; errors.Is(err, metadata.ErrUnknown) && ctx.Err() == nil; {
		try, cancel := context.WithTimeout(ctx, g.b.cfg.Etcd.RequestTimeout)
		res, err = metadata.Resettle(try, g.b.store.KV(), txn)
		cancel()
	}
	switch {
	case err == nil && res.OK, errors.Is(err, metadata.ErrUnknown):
		return res, err
	case err == nil:
		err = metadata.ErrConflict
	}
	if m.Kind == metadata.GroupShard {
		g.b.applier.reown(m.Shard)
	}
	return metadata.TxnResult{}, err
}
