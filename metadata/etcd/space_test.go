package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"firn/metadata"
	"firn/metadata/kvtest"
)

// TestHistoryIsForgotten writes one key over and over: the embedded etcd keeps old values for a while, not for ever.
func TestHistoryIsForgotten(t *testing.T) {
	t.Parallel()
	s := &Server{logger: slog.New(slog.DiscardHandler), history: time.Second}
	if err := s.start(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	kv := dial(t, s.Endpoint())
	defer kv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	write := func() int64 {
		res, err := kv.Txn(ctx, metadata.Txn{Then: []metadata.Op{metadata.Put("/k", []byte(time.Now().String()))}})
		if err != nil {
			t.Fatal(err)
		}
		return res.Rev
	}
	first := write()
	for {
		write()
		_, err := kv.Range(ctx, "/k", "/l", first, 1)
		if errors.Is(err, metadata.ErrCompacted) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestEtcdIsFull fills etcd up to its quota: writes are refused and known not to have happened, the lease stands, reads
// and deletions go on, and all is well again once an operator has made space.
func TestEtcdIsFull(t *testing.T) {
	t.Parallel()
	e := kvtest.StartEtcd(t, append(quick, "--quota-backend-bytes=8388608")...)
	b := newBroker(t, e.Endpoint(), 10*time.Second)
	put := func(key string, bytes int) error {
		_, err := b.kv.Txn(b.ctx, metadata.Txn{Then: []metadata.Op{metadata.Put(key, make([]byte, bytes))}})
		return err
	}
	var err error
	full := 0
	for ; err == nil && full < 100; full++ {
		err = put(fmt.Sprint("/fill/", full), 1<<20-100)
	}
	if !errors.Is(err, metadata.ErrNoSpace) || errors.Is(err, metadata.ErrUnknown) {
		t.Fatalf("after %d MiB: %v", full, err)
	}
	if err := put("/small", 1); !errors.Is(err, metadata.ErrNoSpace) {
		t.Errorf("a small write: %v", err)
	}
	got, _, err := b.kv.Get(b.ctx, "/small", b.store.Keys().Broker(1))
	if err != nil || got[0].Exists() || !got[1].Exists() {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := b.own.KeepAlive(b.ctx, got[1].Lease); err != nil {
		t.Errorf("keep the lease alive: %v", err)
	}
	if _, err := b.kv.Txn(b.ctx, metadata.Txn{Then: []metadata.Op{metadata.DeleteRange("/fill/", "/fill0")}}); err != nil {
		t.Errorf("delete: %v", err)
	}
	makeSpace(t, e.Endpoint())
	b.sees(b.note(b.kv))
	if !b.lease.Valid() || b.lease.Epoch() != got[1].CreateRev {
		t.Errorf("valid %v, epoch %d, was %d", b.lease.Valid(), b.lease.Epoch(), got[1].CreateRev)
	}
}

// makeSpace is what the operator of a full etcd does.
func makeSpace(t *testing.T, endpoint string) {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	now, err := c.Get(ctx, "/none")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Compact(ctx, now.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Defragment(ctx, endpoint); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
}
