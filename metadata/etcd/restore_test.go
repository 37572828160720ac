package etcd

import (
	"errors"
	"os"
	"testing"
	"time"

	"firn/metadata"
	"firn/metadata/kvtest"
)

// TestRestoredEtcd gives etcd an older copy of its data, as a restore from a backup does whose revision is not
// raised. The clients' watches survive it and ask for what comes after a revision that etcd has yet to reach, so
// nothing but the revision tells: the store must not take what is missing for never written.
func TestRestoredEtcd(t *testing.T) {
	t.Parallel()
	e := kvtest.StartEtcd(t, quick...)
	b := newBroker(t, e.Endpoint(), 2*time.Second)
	b.sees(b.note(b.kv))
	e.Stop()
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(e.Dir)); err != nil {
		t.Fatal(err)
	}
	e.Restart()
	b.eventually("the lease is valid again", b.lease.Valid)
	for range 50 {
		b.sees(b.note(b.kv))
	}
	newest := b.store.Image().Rev()

	e.Stop()
	if err := os.RemoveAll(e.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(e.Dir, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	e.Restart()
	start := time.Now()
	select {
	case <-b.store.Failed():
	case <-b.ctx.Done():
		t.Fatal("the store follows an older key space")
	}
	t.Logf("noticed after %v", time.Since(start))
	if err := b.store.Err(); !errors.Is(err, metadata.ErrWentBack) {
		t.Errorf("%v", err)
	}
	if rev := b.store.Image().Rev(); rev < newest {
		t.Errorf("the image is of revision %d, was %d", rev, newest)
	}
}

// TestRestoreThatCatchesUpIsNoticed gives etcd a copy of its data that lacks a few writes, more of which follow at once, as
// they do when brokers register anew. No revision tells then, nor is etcd silent for long: a watch that went on would
// only lack what was written in place of what is lost.
func TestRestoreThatCatchesUpIsNoticed(t *testing.T) {
	t.Parallel()
	e := kvtest.StartEtcd(t, quick...)
	kv, err := Dial(Config{Endpoints: []string{e.Endpoint()}, quiet: patience})
	if err != nil {
		t.Fatal(err)
	}
	store, err := metadata.Open(t.Context(), kv, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = store.Close()
		_ = kv.Close()
	})
	note := func(id int32) int64 {
		res, err := kv.Txn(t.Context(), metadata.Txn{Then: []metadata.Op{store.Keys().PutNode(&metadata.Node{ID: id})}})
		if err != nil {
			t.Fatal(err)
		}
		return res.Rev
	}
	e.Kill()
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(e.Dir)); err != nil {
		t.Fatal(err)
	}
	e.Restart()
	for id := range int32(3) {
		if _, err := store.WaitRev(t.Context(), note(id)); err != nil {
			t.Fatal(err)
		}
	}
	e.Kill()
	if err := os.RemoveAll(e.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(e.Dir, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	e.Restart()
	var last int64
	for id := range int32(6) {
		last = note(10 + id)
	}
	select {
	case <-store.Failed():
		if err := store.Err(); !errors.Is(err, metadata.ErrWentBack) {
			t.Errorf("%v", err)
		}
	case <-time.After(patience / 2):
		t.Fatalf("an image of revision %d, after %d, has %d nodes", store.Image().Rev(), last, len(store.Image().Nodes()))
	}
}
