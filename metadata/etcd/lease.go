package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"firn/metadata"
)

// Grant implements metadata.KV. etcd counts whole seconds, so the TTL is rounded up, and it has a least TTL
// of one and a half election time-outs.
func (k *kv) Grant(ctx context.Context, ttl time.Duration) (metadata.LeaseID, time.Duration, error) {
	ctx, cancel := k.bound(ctx)
	defer cancel()
	ctx, sent := watchSent(ctx)
	res, err := k.client.Grant(ctx, int64((ttl+time.Second-1)/time.Second))
	if err != nil {
		return 0, 0, fmt.Errorf("grant lease: %w", classify(err, sent.Load()))
	}
	return metadata.LeaseID(res.ID), time.Duration(res.TTL) * time.Second, nil
}

// KeepAlive implements metadata.KV.
func (k *kv) KeepAlive(ctx context.Context, id metadata.LeaseID) (time.Duration, error) {
	ctx, cancel := k.bound(ctx)
	defer cancel() // ends the stream
	ctx = clientv3.WithRequireLeader(ctx)
	stream, err := k.leases.LeaseKeepAlive(ctx)
	if err == nil {
		err = stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(id)})
	}
	var res *pb.LeaseKeepAliveResponse
	if err == nil {
		res, err = stream.Recv()
	}
	if err != nil {
		return 0, fmt.Errorf("keep lease alive: %w", classify(err, false))
	}
	if res.TTL <= 0 {
		return 0, metadata.ErrLeaseNotFound
	}
	return time.Duration(res.TTL) * time.Second, nil
}

// Revoke implements metadata.KV.
func (k *kv) Revoke(ctx context.Context, id metadata.LeaseID) error {
	ctx, cancel := k.bound(ctx)
	defer cancel()
	ctx, sent := watchSent(ctx)
	if _, err := k.client.Revoke(ctx, clientv3.LeaseID(id)); err != nil {
		if err = classify(err, sent.Load()); errors.Is(err, metadata.ErrLeaseNotFound) {
			return metadata.ErrLeaseNotFound
		}
		return fmt.Errorf("revoke lease: %w", err)
	}
	return nil
}
