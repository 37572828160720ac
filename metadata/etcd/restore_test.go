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
