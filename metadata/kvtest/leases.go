package kvtest

import (
	"context"
	"errors"
	"time"

	"firn/metadata"
)

func (x *exam) grant(ttl time.Duration) metadata.LeaseID {
	x.Helper()
	id, got, err := x.kv.Grant(x.ctx, ttl)
	if err != nil || id == 0 || got < ttl {
		x.Fatalf("grant of %v: lease %d for %v, %v", ttl, id, got, err)
	}
	return id
}

// leased puts keys under a lease and watches them.
func (x *exam) leased(id metadata.LeaseID, keys ...string) <-chan metadata.WatchBatch {
	x.Helper()
	var txn metadata.Txn
	for _, k := range keys {
		txn.Then = append(txn.Then, metadata.PutLeased(k, []byte("v"), id))
	}
	res := x.txn(txn)
	if e := x.get(keys[0])[0]; e.Lease != id {
		x.Fatalf("leased key: %+v, want lease %d", e, id)
	}
	return x.kv.Watch(x.ctx, keys[0], metadata.PrefixEnd(keys[0]), res.Rev+1)
}

func (x *exam) leaseEnds() {
	start := time.Now()
	id := x.grant(x.TTL)
	w := x.leased(id, "/lease", "/lease/other")
	x.put("/kept", "v")
	b := x.next(w)
	if took := time.Since(start); b.Err != nil || len(b.Events) != 2 || !b.Events[0].Deleted || took < x.TTL {
		x.Errorf("lease of %v: %+v after %v", x.TTL, b, took)
	}
	if got := x.get("/lease", "/kept"); got[0].Exists() || !got[1].Exists() {
		x.Errorf("after the lease ended: %+v", got)
	}
	if _, err := x.kv.KeepAlive(x.ctx, id); !errors.Is(err, metadata.ErrLeaseNotFound) {
		x.Errorf("renew an ended lease: %v", err)
	}
	_, err := x.kv.Txn(x.ctx, metadata.Txn{Then: []metadata.Op{
		metadata.Put("/plain", nil), metadata.PutLeased("/lease", nil, id),
	}})
	if !errors.Is(err, metadata.ErrLeaseNotFound) || x.get("/plain")[0].Exists() {
		x.Errorf("put under an ended lease: %v", err)
	}
}

func (x *exam) leaseKeptAlive() {
	id := x.grant(x.TTL)
	w := x.leased(id, "/lease")
	var renewed time.Time
	for range 6 {
		renewed = time.Now()
		ttl, err := x.kv.KeepAlive(x.ctx, id)
		if err != nil || ttl != x.TTL {
			x.Fatalf("renew: %v, %v", ttl, err)
		}
		select {
		case b := <-w:
			if len(b.Events) > 0 || b.Err != nil {
				x.Fatalf("while renewed: %+v", b)
			}
		case <-time.After(x.TTL / 3):
		}
	}
	if b := x.next(w); b.Err != nil || !b.Events[0].Deleted || time.Since(renewed) < x.TTL {
		x.Errorf("%v after the last renewal: %+v", time.Since(renewed), b)
	}
}

func (x *exam) leaseRevoked() {
	id := x.grant(time.Hour)
	w := x.leased(id, "/lease")
	// A key written again without the lease outlives it.
	x.txn(metadata.Txn{Then: []metadata.Op{metadata.PutLeased("/free", nil, id)}})
	x.put("/free", "v")
	if err := x.kv.Revoke(x.ctx, id); err != nil {
		x.Fatalf("revoke: %v", err)
	}
	if b := x.next(w); b.Err != nil || !b.Events[0].Deleted {
		x.Errorf("revoked: %+v", b)
	}
	if !x.get("/free")[0].Exists() {
		x.Error("a key freed of its lease went with it")
	}
	if err := x.kv.Revoke(x.ctx, id); !errors.Is(err, metadata.ErrLeaseNotFound) {
		x.Errorf("revoke again: %v", err)
	}
}

func (x *exam) endedContext() {
	ctx, cancel := context.WithCancel(x.ctx)
	cancel()
	if _, _, err := x.kv.Get(ctx, "/a"); !errors.Is(err, metadata.ErrUnavailable) {
		x.Errorf("get: %v", err)
	}
	// Nothing was sent, so nothing is unknown.
	_, err := x.kv.Txn(ctx, metadata.Txn{Then: []metadata.Op{metadata.Put("/a", nil)}})
	if !errors.Is(err, metadata.ErrUnavailable) {
		x.Errorf("txn: %v", err)
	}
	if x.get("/a")[0].Exists() {
		x.Error("a transaction that was never sent is there")
	}
}
