package tiering_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"firn/metadata/topic"
	"firn/segment/vfs"
	"firn/tiering"
	"firn/tiering/chunkcache"
	"firn/tiering/manifest"
	"firn/tiering/objstore"
	"firn/tiering/objstore/faulty"
	"firn/tiering/objstore/mem"
	"firn/tiering/tiertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const cluster = "test-cluster"

// world is a bucket and an anchor with one broker on them.
type world struct {
	t      *testing.T
	raw    *mem.Bucket // as it is
	faults *faulty.Injector
	bucket objstore.Bucket // through the faults
	anchor *tiertest.Anchor
	fs     vfs.FS
	grace  time.Duration

	mu      sync.Mutex
	commits []manifest.Head // as OnCommit said
	changed chan struct{}
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, raw: mem.New(), faults: faulty.NewInjector(1), anchor: tiertest.NewAnchor(1), fs: vfs.NewMem(), changed: make(chan struct{}, 1)}
	w.bucket = faulty.Wrap(w.raw, w.faults)
	return w
}

func partition(n int32) topic.Partition {
	return topic.Partition{ID: topic.ID{1, 2, 3, 15: 9}, Index: n}
}

func (w *world) uploader(change ...func(*tiering.UploaderOptions)) *tiering.Uploader {
	w.t.Helper()
	o := tiering.UploaderOptions{
		Bucket: w.bucket, Anchor: w.anchor, Cluster: cluster, Grace: w.grace, BrokerEpoch: func() int64 { return 42 },
		FS: w.fs, SpoolDir: "/spool",
		OnCommit: func(_ topic.Partition, h manifest.Head) {
			w.mu.Lock()
			w.commits = append(w.commits, h)
			w.mu.Unlock()
			select {
			case w.changed <- struct{}{}:
			default:
			}
		},
	}
	for _, c := range change {
		c(&o)
	}
	u, err := tiering.NewUploader(o)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = u.Run(ctx)
	}()
	w.t.Cleanup(func() {
		cancel()
		<-done
	})
	return u
}

func (w *world) reader(change ...func(*tiering.ReaderOptions)) *tiering.Reader {
	w.t.Helper()
	o := tiering.ReaderOptions{Bucket: w.bucket, Anchor: w.anchor, Cluster: cluster}
	for _, c := range change {
		c(&o)
	}
	r, err := tiering.NewReader(o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := r.Close(); err != nil {
			w.t.Error(err)
		}
		if used, idle := r.Memory(); used != 0 || idle != 0 {
			w.t.Errorf("reader leaves %d bytes in use and %d idle", used, idle)
		}
	})
	return r
}

func withCache(c *chunkcache.Cache) func(*tiering.ReaderOptions) {
	return func(o *tiering.ReaderOptions) { o.Cache = c }
}

// head reads the head from the anchor, without faults in the way.
func (w *world) head(tp topic.Partition) *manifest.Head {
	w.t.Helper()
	w.anchor.SetFaults(0, 0, 0, 0)
	raw, _, err := w.anchor.Load(context.Background(), tp)
	if err != nil {
		w.t.Fatal(err)
	}
	h, err := manifest.DecodeHead(raw)
	if err != nil {
		w.t.Fatal(err)
	}
	return &h
}

// waitTierEnd waits until a commit has told of at least end.
func (w *world) waitTierEnd(end int64) {
	w.t.Helper()
	limit := time.NewTimer(5 * time.Minute)
	defer limit.Stop()
	for {
		w.mu.Lock()
		n := len(w.commits)
		reached := n > 0 && w.commits[n-1].TierEnd >= end
		w.mu.Unlock()
		if reached {
			return
		}
		select {
		case <-w.changed:
		case <-limit.C:
			w.t.Fatalf("tier does not reach %d: %+v", end, w.head(partition(0)))
		}
	}
}

// archive uploads a whole log and returns the head.
func (w *world) archive(tp topic.Partition, log *tiertest.Log) *manifest.Head {
	w.t.Helper()
	log.Commit()
	if err := log.Roll(); err != nil {
		w.t.Fatal(err)
	}
	u := w.uploader()
	p := u.Register(tp, 1, log, tiering.Limits{})
	w.waitTierEnd(log.Next())
	p.Close()
	if n := log.Held(); n != 0 {
		w.t.Errorf("%d segments still held", n)
	}
	return w.head(tp)
}

// replay reads [from, to) and returns its bytes.
func replay(t *testing.T, r *tiering.Reader, tp topic.Partition, head *manifest.Head, from, to int64, maxBytes int) []byte {
	t.Helper()
	var out []byte
	for offset := from; offset < to; {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		d, err := r.Read(ctx, tp, head, offset, maxBytes)
		cancel()
		if errors.Is(err, tiering.ErrNotReady) {
			continue
		}
		if err != nil {
			t.Fatalf("read at %d: %v", offset, err)
		}
		if d.Next <= offset || d.First > offset {
			t.Fatalf("read at %d gave [%d, %d)", offset, d.First, d.Next)
		}
		if d.Len() > maxBytes && len(d.Slabs) > 1 {
			t.Fatalf("read of %d bytes where %d were allowed", d.Len(), maxBytes)
		}
		for _, s := range d.Slabs {
			out = append(out, s.Bytes()...)
		}
		offset = d.Next
		d.Release()
	}
	return out
}

func same(t *testing.T, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	t.Fatalf("%d bytes, want %d; first difference at byte %d", len(got), len(want), i)
}
