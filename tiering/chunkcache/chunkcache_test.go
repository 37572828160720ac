package chunkcache

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"firn/segment/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, fs vfs.FS, dir string, max int64) *Cache {
	t.Helper()
	c, err := Open(Options{FS: fs, Dir: dir, MaxBytes: max})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func chunk(n int, size int) (Key, []byte) {
	b := make([]byte, size)
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return NewKey([]byte("topic"), uint64(n)), b
}

func mustWrite(t *testing.T, c *Cache, n, size int) {
	t.Helper()
	k, b := chunk(n, size)
	if err := c.Write(k, b); err != nil {
		t.Fatal(err)
	}
}

func has(t *testing.T, c *Cache, n, size int) bool {
	t.Helper()
	k, want := chunk(n, size)
	got := make([]byte, size)
	if !c.Read(k, got) {
		return false
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("chunk %d: wrong bytes", n)
	}
	return true
}

func TestWriteReadReopen(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"mem": vfs.NewMem(), "os": vfs.OS()} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "cache")
			c := open(t, fs, dir, 1<<20)
			if has(t, c, 1, 1000) {
				t.Fatal("there before it was written")
			}
			for n := range 10 {
				mustWrite(t, c, n, 1000+n)
				mustWrite(t, c, n, 1000+n) // once is enough
			}
			for n := range 10 {
				if !has(t, c, n, 1000+n) {
					t.Errorf("chunk %d is not there", n)
				}
			}
			if s := c.Stats(); s.Entries != 10 || s.Writes != 10 || s.Hits != 10 || s.Misses != 1 || s.Bytes != 10*1032+45 {
				t.Errorf("stats %+v", s)
			}
			_ = c.Close()
			if has(t, c, 1, 1001) {
				t.Error("read after close")
			}
			c = open(t, fs, dir, 1<<20)
			for n := range 10 {
				if !has(t, c, n, 1000+n) {
					t.Errorf("chunk %d is not there after opening again", n)
				}
			}
		})
	}
}

func TestBound(t *testing.T) {
	fs := vfs.NewMem()
	c := open(t, fs, "/c", 10*1032)
	for n := range 30 {
		mustWrite(t, c, n, 1000)
		has(t, c, 0, 1000) // keeps it young
		if s := c.Stats(); s.Bytes > 10*1032 {
			t.Fatalf("%d bytes", s.Bytes)
		}
	}
	if !has(t, c, 0, 1000) || has(t, c, 5, 1000) || !has(t, c, 29, 1000) {
		t.Error("not what was used longest ago was evicted")
	}
	mustWrite(t, c, 100, 100_000) // larger than all of the cache
	if has(t, c, 100, 100_000) {
		t.Error("kept a chunk larger than the bound")
	}
	files, err := fs.ReadDir("/c")
	if err != nil || len(files) != 10 {
		t.Errorf("%d files, %v", len(files), err)
	}
	_ = c.Close()
	if c = open(t, fs, "/c", 3*1032); c.Stats().Bytes > 3*1032 {
		t.Error("a smaller bound does not hold after opening again")
	}
}

// A damaged file counts as not there, and goes.
func TestDamagedFiles(t *testing.T) {
	for name, damage := range map[string]func(b []byte) []byte{
		"bit in the data":     func(b []byte) []byte { b[500] ^= 1; return b },
		"bit in the header":   func(b []byte) []byte { b[17] ^= 1; return b },
		"bit in the checksum": func(b []byte) []byte { b[25] ^= 1; return b },
		"torn":                func(b []byte) []byte { return b[:400] },
		"torn in the header":  func(b []byte) []byte { return b[:10] },
		"empty":               func([]byte) []byte { return nil },
		"zeros at the end":    func(b []byte) []byte { clear(b[300:]); return b },
		"all zeros":           func(b []byte) []byte { clear(b); return b },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := open(t, vfs.OS(), dir, 1<<20)
			mustWrite(t, c, 1, 1000)
			mustWrite(t, c, 2, 1000)
			_ = c.Close()
			k, _ := chunk(1, 1000)
			b, err := os.ReadFile(c.path(k))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(c.path(k), damage(b), 0o644); err != nil {
				t.Fatal(err)
			}
			c = open(t, vfs.OS(), dir, 1<<20)
			if has(t, c, 1, 1000) {
				t.Error("a damaged chunk was read")
			}
			if _, err := os.Stat(c.path(k)); err == nil {
				t.Error("the damaged file is still there")
			}
			if !has(t, c, 2, 1000) {
				t.Error("the other chunk is gone")
			}
			mustWrite(t, c, 1, 1000)
			if !has(t, c, 1, 1000) {
				t.Error("not written again")
			}
		})
	}
}

func TestStrangeFilesGo(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"x", "00.chunk", "0123456789abcdef0123456789abcdeg.chunk"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("?"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	open(t, vfs.OS(), dir, 1<<20)
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// A power cut leaves some of the pages of unsynced files: right bytes or none.
func TestPowerCut(t *testing.T) {
	for seed := range uint64(30) {
		fs := vfs.NewMem()
		c := open(t, fs, "/c", 1<<20)
		for n := range 10 {
			mustWrite(t, c, n, 20_000)
		}
		_ = c.Close()
		c = open(t, fs.CrashClone(seed, 50), "/c", 1<<20)
		for n := range 10 {
			if has(t, c, n, 20_000); t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
	}
}

func TestFullDisk(t *testing.T) {
	fs := vfs.NewMem()
	c := open(t, fs, "/c", 1<<20)
	mustWrite(t, c, 1, 1000)
	fs.SetCapacity(1500)
	k, b := chunk(2, 1000)
	if err := c.Write(k, b); err == nil {
		t.Fatal("written to a full disk")
	}
	if has(t, c, 2, 1000) || !has(t, c, 1, 1000) {
		t.Error("wrong chunks after a full disk")
	}
	if s := c.Stats(); s.Entries != 1 || s.Bytes != 1032 {
		t.Errorf("stats %+v", s)
	}
}

func TestConcurrently(t *testing.T) {
	c := open(t, vfs.NewMem(), "/c", 20*5032)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 3))
			for range 300 {
				n := rng.IntN(40)
				k, want := chunk(n, 5000)
				got := make([]byte, 5000)
				if c.Read(k, got) {
					if !bytes.Equal(got, want) {
						t.Error("wrong bytes")
					}
				} else if err := c.Write(k, want); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if s := c.Stats(); s.Bytes > 20*5032 {
		t.Errorf("stats %+v", s)
	}
}

// A chunk that makes room for another while it is about to be read is a miss like any other, and no damage to tell of.
func TestReadBesideAnEviction(t *testing.T) {
	var log strings.Builder
	fs := &hookedFS{FS: vfs.NewMem()}
	c, err := Open(Options{FS: fs, Dir: "/cache", MaxBytes: 1100, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	mustWrite(t, c, 1, 1000)
	fs.beforeOpen = func() { mustWrite(t, c, 2, 1000) }
	if has(t, c, 1, 1000) {
		t.Fatal("the chunk was not evicted")
	}
	fs.beforeOpen = func() {}
	if !has(t, c, 2, 1000) {
		t.Error("the other is not there")
	}
	if s := c.Stats(); s.Hits != 1 || s.Misses != 1 || s.Dropped != 1 {
		t.Errorf("stats %+v", s)
	}
	if log.Len() > 0 {
		t.Errorf("it says %s", &log)
	}
}

// hookedFS lets something happen before a file is opened.
type hookedFS struct {
	vfs.FS
	beforeOpen func()
}

func (h *hookedFS) Open(name string) (vfs.File, error) {
	h.beforeOpen()
	return h.FS.Open(name)
}
