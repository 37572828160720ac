package etcd

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"firn/metadata"
	"firn/metadata/kvtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func embedded(tb testing.TB) *Server {
	tb.Helper()
	s, err := Embed(context.Background(), tb.TempDir(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

func dial(tb testing.TB, endpoint string) metadata.KV {
	tb.Helper()
	kv, err := Dial(Config{Endpoints: []string{endpoint}})
	if err != nil {
		tb.Fatal(err)
	}
	return kv
}

func compact(tb testing.TB, endpoint string, rev int64) {
	tb.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Compact(context.Background(), rev); err != nil {
		tb.Fatal(err)
	}
}

// subjects gives each part of an exam a key space of its own on one server by deleting what is there.
func subjects(endpoint string, ttl time.Duration) func(testing.TB) kvtest.Subject {
	return func(tb testing.TB) kvtest.Subject {
		kv := dial(tb, endpoint)
		defer kv.Close()
		_, err := kv.Txn(context.Background(), metadata.Txn{Then: []metadata.Op{metadata.DeleteRange("\x00", "\x00")}})
		if err != nil {
			tb.Fatal(err)
		}
		return kvtest.Subject{
			Dial:    func(tb testing.TB) metadata.KV { return dial(tb, endpoint) },
			Compact: func(tb testing.TB, rev int64) { compact(tb, endpoint, rev) },
			TTL:     ttl,
		}
	}
}

func TestExamEmbedded(t *testing.T) {
	t.Parallel()
	kvtest.Run(t, subjects(embedded(t).Endpoint(), time.Second))
}

func TestExamProcess(t *testing.T) {
	t.Parallel()
	kvtest.Run(t, subjects(kvtest.StartEtcd(t, quick...).Endpoint(), time.Second))
}

func TestEmbedTwiceIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := Embed(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if second, err := Embed(t.Context(), dir, nil); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second server in %s: %v, %v", dir, second, err)
	}
}

func TestEmbedKeepsDataUnderALongName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40))
	for i := range 2 {
		start := time.Now()
		s, err := Embed(t.Context(), dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		kv, err := s.Dial()
		if err != nil {
			t.Fatal(err)
		}
		res, err := kv.Txn(t.Context(), metadata.Txn{
			If: []metadata.Cmp{metadata.Absent("/k")}, Then: []metadata.Op{metadata.Put("/k", nil)},
		})
		if err != nil || res.OK != (i == 0) {
			t.Errorf("start %d: %+v, %v", i, res, err)
		}
		t.Logf("start %d: served after %v", i, time.Since(start))
		_ = kv.Close()
		start = time.Now()
		_ = s.Close()
		t.Logf("closed in %v", time.Since(start))
		link := filepath.Dir(strings.TrimPrefix(s.Endpoint(), "unix://"))
		if _, err := os.Lstat(link); err == nil || link == dir {
			t.Errorf("%s is left behind", link)
		}
	}
}
