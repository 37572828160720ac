package metadata_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"firn/metadata"
	"firn/metadata/memkv"
	"firn/metadata/topic"
)

func TestOneClusterIsMade(t *testing.T) {
	server := memkv.NewServer()
	var wg sync.WaitGroup
	ids := make([]string, 5)
	for i := range ids {
		kv := dial(t, server)
		wg.Go(func() {
			s, err := metadata.Open(testContext(t), kv, metadata.Options{Shards: [3]int32{int32(i + 1), 2, 3}})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			ids[i] = s.Image().Cluster().ID
			if s.Image().Shards(metadata.TxnShard) != 2 {
				t.Errorf("%+v", s.Image().Cluster())
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] || len(id) != 22 {
			t.Fatalf("cluster ids %q", ids)
		}
	}
	other := openStore(t, dial(t, server))
	if other.Image().Cluster().ID != ids[0] {
		t.Error("another cluster id after all")
	}
	apart, err := metadata.Open(testContext(t), dial(t, server), metadata.Options{Cluster: "other"})
	if err != nil {
		t.Fatal(err)
	}
	defer apart.Close()
	if apart.Image().Cluster().ID == ids[0] {
		t.Error("two clusters with one id")
	}
}

func TestBootstrapWithLostReplies(t *testing.T) {
	server := memkv.NewServer()
	kv := dial(t, server)
	lost := 0
	kv.SetFaults(func(c memkv.Call) memkv.Fault {
		if c.Name == "txn" && lost < 2 {
			lost++
			return memkv.Fault{LoseReply: true}
		}
		return memkv.Fault{}
	})
	if s := openStore(t, kv); s.Image().Cluster().ID == "" || lost != 2 {
		t.Errorf("%+v after %d lost replies", s.Image().Cluster(), lost)
	}
}

// While a large key space is read, page by page, its history up to then may be forgotten.
func TestStoreOpensWhileHistoryIsForgotten(t *testing.T) {
	server := memkv.NewServer()
	kv, other := dial(t, server), dial(t, server)
	s := openStore(t, other)
	for i := range 30 {
		var txn metadata.Txn
		for j := range 100 {
			txn.Then = append(txn.Then, s.Keys().PutTopicName(fmt.Sprintf("t%02d%02d", i, j), topic.NewID()))
		}
		mustTxn(t, other, txn)
	}
	pages := 0
	kv.SetFaults(func(c memkv.Call) (f memkv.Fault) {
		if c.Name == "range" {
			if pages++; pages == 2 {
				server.Compact(mustTxn(t, other, metadata.Txn{Then: []metadata.Op{s.Keys().PutTopicName("last", topic.NewID())}}))
			}
		}
		return f
	})
	if n := openStore(t, kv).Image().NumTopics(); n != 3001 {
		t.Errorf("%d topics", n)
	}
}

func TestStoreFailsOnRecordsItCannotRead(t *testing.T) {
	for _, c := range []struct {
		name, key string
		value     []byte
		want      error
	}{
		{"newer", "/k/firn/t/i/" + topic.NewID().String(), []byte{8, 9}, metadata.ErrNewerVersion},
		{"garbage", "/k/firn/n/1", []byte{0xff}, metadata.ErrBadRecord},
		{"key", "/k/firn/n/one", []byte{8, 1}, metadata.ErrBadRecord},
	} {
		t.Run(c.name, func(t *testing.T) {
			kv := dial(t, memkv.NewServer())
			s := openStore(t, kv)
			before := s.Image()
			rev := mustTxn(t, kv, metadata.Txn{Then: []metadata.Op{metadata.Put(c.key, c.value)}})
			awaitFailure(t, s)
			if err := s.Err(); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.key) {
				t.Errorf("%v, want %v naming %s", err, c.want, c.key)
			}
			if _, err := s.WaitRev(testContext(t), rev); !errors.Is(err, c.want) {
				t.Errorf("wait for it: %v", err)
			}
			if s.Image() != before {
				t.Error("the image changed")
			}
			if _, err := metadata.Open(testContext(t), kv, metadata.Options{}); !errors.Is(err, c.want) {
				t.Errorf("a new store: %v", err)
			}
		})
	}
}

// redirect is a KV whose server can be replaced by another, as a restored etcd is.
type redirect struct {
	metadata.KV
	mu sync.Mutex
	to metadata.KV
}

func (r *redirect) target() metadata.KV {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.to
}

func (r *redirect) Range(ctx context.Context, start, end string, rev int64, limit int) (metadata.Page, error) {
	return r.target().Range(ctx, start, end, rev, limit)
}

func (r *redirect) Watch(ctx context.Context, start, end string, rev int64) <-chan metadata.WatchBatch {
	return r.target().Watch(ctx, start, end, rev)
}

func TestStoreRefusesAnOlderKeySpace(t *testing.T) {
	for _, c := range []struct {
		name      string
		writes    int // in the new key space before the store sees it
		compacted bool
		deleted   bool // the newest change that the store has seen is a deletion
	}{
		{"older", 0, true, false},
		{"another cluster", 300, true, false},
		{"older, with all its history", 0, false, false},
		{"older once, with all its history", 300, false, false},
		{"older once, without what was deleted last", 300, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			kv := dial(t, memkv.NewServer())
			r := &redirect{KV: kv, to: kv}
			s := openStore(t, r)
			rev := mustTxn(t, kv, metadata.Txn{Then: []metadata.Op{metadata.Put("/other", nil)}})
			for range 50 {
				rev = mustTxn(t, kv, metadata.Txn{Then: []metadata.Op{s.Keys().PutNode(&metadata.Node{ID: 1})}})
			}
			if c.deleted {
				rev = mustTxn(t, kv, metadata.Txn{Then: []metadata.Op{metadata.Delete(s.Keys().Node(1))}})
			}
			waitRev(t, s, rev)

			restored := dial(t, memkv.NewServer())
			openStore(t, restored)
			for range c.writes {
				mustTxn(t, restored, metadata.Txn{Then: []metadata.Op{metadata.Put("/other", nil)}})
			}
			r.mu.Lock()
			if r.to = restored; c.compacted {
				r.to = &compacted{KV: restored}
			}
			r.mu.Unlock()
			kv.BreakWatches()
			awaitFailure(t, s)
			if !errors.Is(s.Err(), metadata.ErrWentBack) {
				t.Errorf("%v", s.Err())
			}
		})
	}
}

// compacted answers watches with ErrCompacted.
type compacted struct{ metadata.KV }

func (c *compacted) Watch(context.Context, string, string, int64) <-chan metadata.WatchBatch {
	out := make(chan metadata.WatchBatch, 1)
	out <- metadata.WatchBatch{Err: metadata.ErrCompacted}
	close(out)
	return out
}

// hasty says that everything was delivered before it is.
type hasty struct{ metadata.KV }

func (h *hasty) Watch(ctx context.Context, start, end string, rev int64) <-chan metadata.WatchBatch {
	out := make(chan metadata.WatchBatch)
	go func() {
		defer close(out)
		for b := range h.KV.Watch(ctx, start, end, rev) {
			for _, b := range []metadata.WatchBatch{{Rev: b.Rev}, b} {
				select {
				case out <- b:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out
}

// A watch that delivers what it said was delivered may have left out more: the store lists anew.
func TestStoreListsAnewAfterAWatchOutOfOrder(t *testing.T) {
	kv := dial(t, memkv.NewServer())
	s := openStore(t, &hasty{KV: kv})
	rev := mustTxn(t, kv, metadata.Txn{Then: []metadata.Op{s.Keys().PutNode(&metadata.Node{ID: 1})}})
	waitRev(t, s, rev)
	if _, ok := s.Image().Node(1); !ok {
		t.Error("a change was left out")
	}
}

func awaitFailure(t *testing.T, s *metadata.Store) {
	t.Helper()
	select {
	case <-s.Failed():
	case <-testContext(t).Done():
		t.Fatal("the store has not failed")
	}
}

func TestWaitRevEnds(t *testing.T) {
	s := openStore(t, dial(t, memkv.NewServer()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.WaitRev(ctx, 1<<40); !errors.Is(err, metadata.ErrUnavailable) {
		t.Errorf("context ended: %v", err)
	}
	_ = s.Close()
	if _, err := s.WaitRev(testContext(t), 1<<40); !errors.Is(err, metadata.ErrClosed) {
		t.Errorf("store closed: %v", err)
	}
	s.Subscribe(func(_, _ *metadata.Image) { t.Error("called after Close") })()
}

func TestSlowSubscriberHoldsNobodyUp(t *testing.T) {
	kv := dial(t, memkv.NewServer())
	s := openStore(t, kv)
	entered, release := make(chan struct{}), make(chan struct{})
	var calls int
	var last *metadata.Image
	stop := s.Subscribe(func(_, img *metadata.Image) {
		if calls++; calls == 1 {
			close(entered)
			<-release
		}
		last = img
	})
	<-entered
	var rev int64
	for range 100 {
		rev = mustTxn(t, kv, metadata.Txn{Then: []metadata.Op{s.Keys().PutNode(&metadata.Node{ID: 1})}})
	}
	waitRev(t, s, rev) // though the subscriber stands still
	close(release)
	seen := make(chan struct{})
	once := sync.OnceFunc(func() { close(seen) })
	stop2 := s.Subscribe(func(_, img *metadata.Image) {
		if img.Rev() >= rev {
			once()
		}
	})
	<-seen
	stop2()
	stop() // waits for a running call
	if calls > 3 || last.Rev() != rev && calls > 1 {
		t.Errorf("%d calls, the last with revision %d of %d", calls, last.Rev(), rev)
	}
}
