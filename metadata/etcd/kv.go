package etcd

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"firn/metadata"
)

func entry(kv *mvccpb.KeyValue) metadata.Entry {
	return metadata.Entry{
		Key: string(kv.Key), Value: kv.Value,
		CreateRev: kv.CreateRevision, ModRev: kv.ModRevision, Lease: metadata.LeaseID(kv.Lease),
	}
}

func entries(keys []string, responses []*clientv3.GetResponse) []metadata.Entry {
	out := make([]metadata.Entry, len(keys))
	for i, key := range keys {
		out[i].Key = key
		if i < len(responses) && len(responses[i].Kvs) > 0 {
			out[i] = entry(responses[i].Kvs[0])
		}
	}
	return out
}

// Get implements metadata.KV.
func (k *kv) Get(ctx context.Context, keys ...string) ([]metadata.Entry, int64, error) {
	if len(keys) > clientMaxOps {
		return nil, 0, fmt.Errorf("get %d keys: %w", len(keys), metadata.ErrTooLarge)
	}
	ctx, cancel := k.bound(ctx)
	defer cancel()
	res, err := k.client.Txn(ctx).Then(gets(keys)...).Commit()
	if err != nil {
		return nil, 0, fmt.Errorf("get %s: %w", first(keys), classify(err, false))
	}
	return entries(keys, getResponses(res)), res.Header.Revision, nil
}

func first(keys []string) string {
	switch len(keys) {
	case 0:
		return "nothing"
	case 1:
		return keys[0]
	}
	return fmt.Sprintf("%s and %d more", keys[0], len(keys)-1)
}

func gets(keys []string) []clientv3.Op {
	ops := make([]clientv3.Op, len(keys))
	for i, key := range keys {
		ops[i] = clientv3.OpGet(key)
	}
	return ops
}

func getResponses(res *clientv3.TxnResponse) []*clientv3.GetResponse {
	out := make([]*clientv3.GetResponse, 0, len(res.Responses))
	for _, r := range res.Responses {
		out = append(out, (*clientv3.GetResponse)(r.GetResponseRange()))
	}
	return out
}

// Range implements metadata.KV.
func (k *kv) Range(ctx context.Context, start, end string, rev int64, limit int) (metadata.Page, error) {
	ctx, cancel := k.bound(ctx)
	defer cancel()
	res, err := k.client.Get(ctx, start, clientv3.WithRange(end), clientv3.WithRev(rev), clientv3.WithLimit(int64(limit)))
	if err != nil {
		return metadata.Page{}, fmt.Errorf("range from %s at %d: %w", start, rev, classify(err, false))
	}
	page := metadata.Page{More: res.More, Rev: rev, Entries: make([]metadata.Entry, len(res.Kvs))}
	if rev == 0 {
		page.Rev = res.Header.Revision
	}
	for i, kv := range res.Kvs {
		page.Entries[i] = entry(kv)
	}
	return page, nil
}
