package etcd

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"

	"firn/metadata"
)

// lockedBuffer takes writes of several goroutines.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// A server that starts empty and stops as it should has nothing to say to its operator.
func TestEmbedIsQuiet(t *testing.T) {
	var out lockedBuffer
	dir := t.TempDir()
	for range 2 {
		s, err := Embed(t.Context(), dir, slog.New(slog.NewTextHandler(&out, nil)))
		if err != nil {
			t.Fatal(err)
		}
		kv, err := s.Dial()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Txn(t.Context(), metadata.Txn{Then: []metadata.Op{metadata.Put("/k", nil)}}); err != nil {
			t.Error(err)
		}
		_ = kv.Close()
		_ = s.Close()
	}
	if out.buf.Len() > 0 {
		t.Errorf("it logged:\n%s", out.buf.String())
	}
}

func TestHarmlessMessages(t *testing.T) {
	for _, c := range []struct {
		message, err string
		want         bool
	}{
		{"failed to update storage version", "cannot detect storage schema version: missing term information", true},
		{"setting up serving from embedded etcd failed.", "http: Server closed", true},
		{"setting up serving from embedded etcd failed.", "accept unix /d/client.sock: use of closed network connection", true},
		{"setting up serving from embedded etcd failed.", "accept: too many open files", false},
		{"failed to purge wal file", "server closed", false},
	} {
		if got := harmless(c.message, c.err); got != c.want {
			t.Errorf("harmless(%q, %q) = %v", c.message, c.err, got)
		}
	}
}
