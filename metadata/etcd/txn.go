package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"firn/metadata"
)

const (
	// clientMaxOps is etcd's default bound on the operations of one level of a transaction. The
	// operations of a nested one count on top of those of the level around it.
	clientMaxOps = 128
	// manyPerTrip is how many transactions of a TxnMany go in one request: nested, each then has
	// clientMaxOps - manyPerTrip operations, which is no less than metadata.MaxManyOps.
	manyPerTrip = 100
	// manyTrips is how many such requests are on their way at once.
	manyTrips = 4
)

func cmps(guards []metadata.Cmp) []clientv3.Cmp {
	out := make([]clientv3.Cmp, len(guards))
	for i, g := range guards {
		if g.Create {
			out[i] = clientv3.Compare(clientv3.CreateRevision(g.Key), "=", g.Rev)
		} else {
			out[i] = clientv3.Compare(clientv3.ModRevision(g.Key), "=", g.Rev)
		}
	}
	return out
}

func ops(list []metadata.Op) []clientv3.Op {
	out := make([]clientv3.Op, len(list))
	for i, op := range list {
		switch {
		case !op.Delete:
			var opts []clientv3.OpOption
			if op.Lease != 0 {
				opts = append(opts, clientv3.WithLease(clientv3.LeaseID(op.Lease)))
			}
			out[i] = clientv3.OpPut(op.Key, string(op.Value), opts...)
		case op.End != "":
			out[i] = clientv3.OpDelete(op.Key, clientv3.WithRange(op.End))
		default:
			out[i] = clientv3.OpDelete(op.Key)
		}
	}
	return out
}

// nest puts operations into as few transactions inside the transaction as keep every level within etcd's
// bound; guards is the number of guards or reads of the outer one.
func nest(list []clientv3.Op, guards int) []clientv3.Op {
	if len(list) <= clientMaxOps {
		return list
	}
	groups := guards
	for groups*(clientMaxOps-max(groups, guards)) < len(list) {
		groups++
	}
	size := (len(list) + groups - 1) / groups
	var out []clientv3.Op
	for len(list) > 0 {
		n := min(size, len(list))
		out = append(out, clientv3.OpTxn(nil, list[:n], nil))
		list = list[n:]
	}
	return out
}

// Txn implements metadata.KV.
func (k *kv) Txn(ctx context.Context, txn metadata.Txn) (metadata.TxnResult, error) {
	if err := txn.Check(); err != nil {
		return metadata.TxnResult{}, err
	}
	then := nest(ops(txn.Then), max(1, len(txn.If), len(txn.Else)))
	res, err := k.commit(ctx, cmps(txn.If), then, gets(txn.Else))
	if err != nil {
		return metadata.TxnResult{}, fmt.Errorf("txn on %s: %w", about(txn), err)
	}
	out := metadata.TxnResult{OK: res.Succeeded, Rev: res.Header.Revision}
	if !out.OK {
		out.Else = entries(txn.Else, getResponses(res))
	}
	return out, nil
}

func about(txn metadata.Txn) string {
	if len(txn.Then) == 0 {
		return "nothing"
	}
	return txn.Then[0].Key
}

func (k *kv) commit(ctx context.Context, guards []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error) {
	ctx, cancel := k.bound(ctx)
	defer cancel()
	ctx, sent := watchSent(ctx)
	res, err := k.client.Txn(ctx).If(guards...).Then(then...).Else(otherwise...).Commit()
	if err != nil {
		return nil, classify(err, sent.Load() && len(then) > 0)
	}
	return res, nil
}

// TxnMany implements metadata.KV.
func (k *kv) TxnMany(ctx context.Context, txns []metadata.Txn) ([]metadata.TxnResult, error) {
	if err := metadata.CheckMany(txns); err != nil {
		return nil, err
	}
	out := make([]metadata.TxnResult, len(txns))
	places := make(chan struct{}, manyTrips)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for from, to := range trips(txns) {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			if err := k.trip(ctx, txns[from:to], out[from:to]); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return out, worst(errs)
}

// trips cuts transactions into requests: [from, to) each.
func trips(txns []metadata.Txn) func(yield func(from, to int) bool) {
	return func(yield func(from, to int) bool) {
		from, bytes := 0, 0
		for i, t := range txns {
			n := t.Size()
			if i > from && (i-from == manyPerTrip || bytes+n > metadata.MaxTxnBytes) {
				if !yield(from, i) {
					return
				}
				from, bytes = i, 0
			}
			bytes += n
		}
		if from < len(txns) {
			yield(from, len(txns))
		}
	}
}

// trip runs one request's worth of transactions.
func (k *kv) trip(ctx context.Context, txns []metadata.Txn, out []metadata.TxnResult) error {
	nested := make([]clientv3.Op, len(txns))
	for i, t := range txns {
		nested[i] = clientv3.OpTxn(cmps(t.If), ops(t.Then), gets(t.Else))
	}
	res, err := k.commit(ctx, nil, nested, nil)
	if err != nil {
		return fmt.Errorf("%d txns from %s on: %w", len(txns), about(txns[0]), err)
	}
	for i, r := range res.Responses {
		inner := (*clientv3.TxnResponse)(r.GetResponseTxn())
		out[i] = metadata.TxnResult{OK: inner.Succeeded, Rev: res.Header.Revision}
		if !inner.Succeeded {
			out[i].Else = entries(txns[i].Else, getResponses(inner))
		}
	}
	return nil
}

// worst returns the error that says least about what happened.
func worst(errs []error) error {
	for _, err := range errs {
		if errors.Is(err, metadata.ErrUnknown) {
			return err
		}
	}
	if len(errs) > 0 {
		return errs[0]
	}
	return nil
}
