package controller

import (
	"context"
	"errors"
	"slices"
	"sync"

	"firn/metadata"
)

// verb runs fn as the controller and returns its n errors.
func (c *Controller) verb(ctx context.Context, name string, n int, fn func(ctx context.Context, errs []error)) []error {
	errs := make([]error, n)
	err := c.do(ctx, func(ctx context.Context, t *term) {
		if t == nil {
			fill(errs, ErrNotController)
			return
		}
		fn(ctx, errs)
	})
	if err != nil {
		fill(errs, err)
	}
	for _, err := range errs {
		c.metrics.count(name, err)
	}
	return errs
}

func fill(errs []error, err error) {
	for i := range errs {
		errs[i] = err
	}
}

// commitEach commits the transactions of the entries that have no error yet, and waits until what was
// written is in the image; one that changes nothing must have no writes, for there is no revision of it. Each transaction's first guard is that we are the controller, and the first key it
// reads otherwise is ctl. refused says what the failure of another guard means; nil is that
// what was to be written is there. Where a lingering attempt could make anew what one of them removes, the term ends instead: to be tried again with the next controller.
func (c *Controller) commitEach(ctx context.Context, txns []metadata.Txn, errs []error, refused func(int, metadata.TxnResult) error) {
	if c.term.revives(txns, errs) {
		err := c.giveUp(ctx)
		if err == nil {
			err = ErrNotController
		}
		for i := range errs {
			if errs[i] == nil {
				errs[i] = err
			}
		}
		return
	}
	results := c.outcomes(ctx, txns, errs)
	var rev int64
	for i, t := range txns {
		if results[i].Lingers || errors.Is(errs[i], metadata.ErrUnknown) {
			c.term.linger(t)
		}
		if errs[i] != nil {
			continue
		}
		if !results[i].OK {
			switch errs[i] = refused(i, results[i]); {
			case errs[i] == nil:
				rev = max(rev, results[i].Rev)
			case results[i].Else[0].CreateRev == t.If[0].Rev: // we still are the controller
			case results[i].Lingers: // an earlier attempt may have got there before, and been overwritten since
				errs[i] = metadata.ErrUnknown
			default:
				errs[i] = ErrNotController
			}
		} else if len(t.Then) > 0 {
			rev = max(rev, results[i].Rev)
		}
	}
	// Should the image not get there in time, the change has happened all the same.
	_, _ = c.store.WaitRev(ctx, rev)
}

// aloneAtOnce is how many transactions that are too large to go with others are under way at a time: etcd syncs once for several.
const aloneAtOnce = 16

// outcomes runs the transactions of the entries that have no error yet, and returns how they end.
func (c *Controller) outcomes(ctx context.Context, txns []metadata.Txn, errs []error) []metadata.TxnResult {
	var many []int // go together
	for i, t := range txns {
		if errs[i] == nil && max(len(t.If), len(t.Then), len(t.Else)) <= metadata.MaxManyOps {
			many = append(many, i)
		}
	}
	results := make([]metadata.TxnResult, len(txns))
	batch := make([]metadata.Txn, len(many))
	for j, i := range many {
		batch[j] = txns[i]
	}
	unsure := make([]bool, len(txns))
	got, err := c.store.KV().TxnMany(ctx, batch)
	for j, i := range many {
		if j < len(got) {
			results[i] = got[j]
		}
		unsure[i] = errors.Is(err, metadata.ErrUnknown)
	}
	var alone sync.WaitGroup
	places := make(chan struct{}, aloneAtOnce)
	for i, t := range txns {
		if errs[i] != nil || results[i].Rev != 0 {
			continue
		}
		// It is too large for company, or there is no verdict yet.
		places <- struct{}{}
		alone.Go(func() {
			results[i], errs[i] = c.settle(ctx, t, unsure[i])
			<-places
		})
	}
	alone.Wait()
	return results
}

// linger notes what an attempt of txn that may still be under way could make anew.
func (t *term) linger(txn metadata.Txn) {
	for _, g := range txn.If {
		if g.Rev != 0 {
			continue
		}
		if t.lingering == nil {
			t.lingering = make(map[string]struct{})
		}
		t.lingering[g.Key] = struct{}{}
	}
}

// revives reports whether one of the transactions that have no error yet removes a key that a lingering attempt would make anew.
func (t *term) revives(txns []metadata.Txn, errs []error) bool {
	for i, txn := range txns {
		if errs[i] == nil && slices.ContainsFunc(txn.Then, func(op metadata.Op) bool {
			_, lingers := t.lingering[op.Key]
			return op.Delete && lingers
		}) {
			return true
		}
	}
	return false
}

func (c *Controller) settle(ctx context.Context, t metadata.Txn, unsure bool) (metadata.TxnResult, error) {
	if unsure {
		return metadata.Resettle(ctx, c.store.KV(), t)
	}
	return metadata.Settle(ctx, c.store.KV(), t)
}

// giveUp ends the term, so that nothing that was sent in it takes effect any more, and waits until that is in the image.
// Somebody, most likely the same broker, is elected anew.
func (c *Controller) giveUp(ctx context.Context) error {
	c.log.Info("giving the controllership up: a change of it may still be under way", "epoch", c.term.epoch)
	ctl := c.keys.Controller()
	res, err := c.settle(ctx, metadata.Txn{If: []metadata.Cmp{c.mine()}, Then: []metadata.Op{metadata.Delete(ctl)}, Else: []string{ctl}}, false)
	if err != nil {
		return err
	}
	_, err = c.store.WaitRev(ctx, res.Rev)
	return err
}
