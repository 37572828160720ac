package broker

import (
	"context"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"firn/metadata"
	"firn/metadata/memkv"
	"firn/segment"
	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

// A broker one of whose disks has failed registers again when its lease is lost, and serves what lies on the others.
func TestBrokerRegistersAgainWithoutItsFailedDisk(t *testing.T) {
	var faults faultfs.Injector
	fsys := faultfs.Wrap(vfs.NewMem(), &faults)
	var disks []*segment.Disk
	reg := metadata.Registration{ID: 1, BootID: "boot"}
	for _, dir := range []string{"/good", "/bad"} {
		d, err := segment.OpenDisk(segment.DiskOptions{FS: fsys, Dir: dir, BrokerID: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = d.Close(false) }()
		disks = append(disks, d)
		reg.Disks = append(reg.Disks, metadata.DiskFacts{ID: d.ID()})
	}
	kv := memkv.New()
	defer func() { _ = kv.Close() }()
	store, err := metadata.Open(t.Context(), kv, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	lease, err := store.Register(t.Context(), reg, metadata.LeaseOptions{
		TTL: 2 * time.Second, KV: kv, OnEpoch: func(_ context.Context, epoch int64) error { return keepEpoch(disks, epoch) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lease.Close() }()

	faults.Add(faultfs.Rule{Op: faultfs.Sync, Glob: "/bad/*", Times: -1, Err: syscall.EIO})
	first := lease.Epoch()
	entry, _, err := kv.Get(t.Context(), store.Keys().Broker(1))
	if err != nil {
		t.Fatal(err)
	}
	kv.Server().ExpireLease(entry[0].Lease)
	eventually(t, "it is registered again", func() bool { return lease.Epoch() > first && lease.Valid() })
	if disks[0].Offline() != nil || disks[1].Offline() == nil {
		t.Errorf("offline: %v, %v", disks[0].Offline(), disks[1].Offline())
	}

	faults.Add(faultfs.Rule{Op: faultfs.Sync, Glob: "/good/*", Times: -1, Err: syscall.EIO})
	if err := keepEpoch(disks, lease.Epoch()+1); err == nil {
		t.Error("an epoch that no disk keeps")
	}
}

// A registration that is over before it is complete, because etcd was slow, is made anew: the broker starts all the same.
func TestBrokerStartsThoughItsFirstRegistrationExpires(t *testing.T) {
	kv := memkv.New()
	defer func() { _ = kv.Close() }()
	store, err := metadata.Open(t.Context(), kv, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	tries := 0
	opts := metadata.LeaseOptions{TTL: time.Hour, KV: kv, OnEpoch: func(ctx context.Context, _ int64) error {
		if tries++; tries > 1 {
			return nil
		}
		entry, _, err := kv.Get(ctx, store.Keys().Broker(1))
		if err == nil {
			kv.Server().ExpireLease(entry[0].Lease)
		}
		return err
	}}
	b := &Broker{cfg: DefaultConfig(), log: slog.New(slog.DiscardHandler), began: time.Now()}
	err = b.onceReached(t.Context(), func() (err error) {
		b.lease, err = store.Register(t.Context(), metadata.Registration{ID: 1}, opts)
		return err
	})
	if err != nil || tries != 2 || !b.lease.Valid() {
		t.Fatalf("after %d tries: %v", tries, err)
	}
	_ = b.lease.Close()
}
