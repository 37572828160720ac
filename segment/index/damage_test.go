package index

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

// sealedFile is a sealed index of a little over two pages, and its log.
func sealedFile(t testing.TB) ([]byte, *model) {
	t.Helper()
	mem := vfs.NewMem()
	x, err := Create(mem, "/x", Options{Base: testBase})
	if err != nil {
		t.Fatal(err)
	}
	m := new(model)
	for _, b := range m.grow(rand.New(rand.NewPCG(8, 8)), 1500) {
		x.Add(b.LastOffset, b.Pos, b.MaxTime)
	}
	if err := x.Seal(); err != nil {
		t.Fatal(err)
	}
	data, err := vfs.ReadFile(mem, "/x", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return data, m
}

func memWith(t testing.TB, data []byte) *vfs.Mem {
	t.Helper()
	mem := vfs.NewMem()
	if err := vfs.WriteAtomic(mem, "/x", data); err != nil {
		t.Fatal(err)
	}
	return mem
}

// A flipped bit anywhere in a sealed index is found before an answer rests on it.
func TestFlippedBits(t *testing.T) {
	data, m := sealedFile(t)
	rng := rand.New(rand.NewPCG(9, 9))
	for at := range data {
		data[at] ^= 1 << (at % 8)
		x, err := OpenSealed(memWith(t, data), "/x", Options{Base: testBase})
		data[at] ^= 1 << (at % 8)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("byte %d: %v", at, err)
			}
			continue
		}
		if err := x.Each(func(Entry) error { return nil }); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d: each: %v", at, err)
		}
		for range 4 {
			offset := testBase + rng.Int64N(m.batches[len(m.batches)-1].LastOffset-testBase)
			run, err := x.Lookup(offset)
			var bad *CorruptError
			if errors.As(err, &bad) {
				if bad.Path != "/x" || bad.Offset/pageSize != int64(at)/pageSize {
					t.Fatalf("byte %d: %v", at, err)
				}
				continue
			}
			m.inRun(t, "offset", run, err, func(b Entry) bool { return b.LastOffset >= offset })
		}
		x.Close()
	}
}

func TestShortAndForeignFiles(t *testing.T) {
	data, _ := sealedFile(t)
	for n := range len(data) {
		if n > 100 && n < len(data)-100 && n%64 != 0 {
			continue
		}
		if _, err := OpenSealed(memWith(t, data[:n]), "/x", Options{Base: testBase}); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%d of %d bytes: %v", n, len(data), err)
		}
	}
	if _, err := OpenSealed(vfs.NewMem(), "/x", Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("missing: %v", err)
	}
	if _, err := OpenActive(vfs.NewMem(), "/x", Options{}, 0, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("missing: %v", err)
	}
}

func TestOpenActiveRefuses(t *testing.T) {
	data, _ := sealedFile(t)
	count := int64(binary.BigEndian.Uint32(data[len(data)-trailerSize+4:]))
	for _, tc := range []struct {
		name  string
		count int64
		log   int64
		harm  func(b []byte)
	}{
		{"more entries than the file holds", 1 << 40, math.MaxInt64, func([]byte) {}},
		{"negative count", -1, math.MaxInt64, func([]byte) {}},
		{"an entry beyond the log", count, 1 << 20, func([]byte) {}},
		{"zeros", count, math.MaxInt64, func(b []byte) { clear(b[:EntrySize]) }},
		{"zeros in the middle", count, math.MaxInt64, func(b []byte) { clear(b[pageSize : pageSize+EntrySize]) }},
		{"position falls", count, math.MaxInt64, func(b []byte) { b[300*EntrySize+4] = 0 }},
		{"time falls", count, math.MaxInt64, func(b []byte) { b[300*EntrySize+8] = 0x80 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := append([]byte(nil), data...)
			if tc.name == "position falls" {
				copy(b[300*EntrySize:], b[299*EntrySize:300*EntrySize])
			} else {
				tc.harm(b)
			}
			if _, err := OpenActive(memWith(t, b), "/x", Options{Base: testBase}, tc.count, tc.log); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

// A file cut under a mapped index must give an error, not a signal.
func TestFileCutUnderTheMapping(t *testing.T) {
	data, m := sealedFile(t)
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	x := must(t)(OpenSealed(vfs.OS(), path, Options{Base: testBase}))
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Lookup(m.batches[700].LastOffset); err == nil {
		t.Fatal("a lookup in a file that is gone succeeded")
	}
}

// TestCrashes cuts the power before every change an index makes of the disk. What was synced is
// there, and a file that opens as sealed is whole.
func TestCrashes(t *testing.T) {
	for _, keep := range []int{0, 50, 100} {
		const seed = 11
		mem := vfs.NewMem()
		inject := new(faultfs.Injector)
		synced := int64(0) // entries a Sync has covered
		crashes := 0
		m := new(model)
		inject.Add(faultfs.Rule{Times: -1, Do: func(op faultfs.Op, _ string) {
			if !op.Changes() {
				return
			}
			crashes++
			after := mem.CrashClone(uint64(seed*1000+crashes), keep)
			checkCrashed(t, after, m, synced)
		}})
		x := must(t)(Create(faultfs.Wrap(mem, inject), "/x", Options{Base: testBase}))
		if err := mem.SyncDir("/"); err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(seed, uint64(keep)))
		for i := range 60 {
			for _, b := range m.grow(rng, 30) {
				x.Add(b.LastOffset, b.Pos, b.MaxTime)
			}
			if err := x.Flush(); err != nil {
				t.Fatal(err)
			}
			if i%7 == 6 {
				count := x.Count()
				if err := x.Sync(); err != nil {
					t.Fatal(err)
				}
				synced = count
			}
		}
		if err := x.Seal(); err != nil {
			t.Fatal(err)
		}
		m.checkSealed(t, must(t)(OpenSealed(mem.CrashClone(seed, keep), "/x", Options{Base: testBase})), rng)
		if crashes < 60 {
			t.Fatalf("only %d crashes", crashes)
		}
	}
}

func checkCrashed(t *testing.T, after *vfs.Mem, m *model, synced int64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 1))
	x, err := OpenSealed(after, "/x", Options{Base: testBase})
	switch {
	case err == nil:
		m.checkSealed(t, x, rng)
		x.Close()
	case errors.Is(err, fs.ErrNotExist) && synced == 0:
		return
	case !errors.Is(err, ErrCorrupt):
		t.Fatal(err)
	}
	x, err = OpenActive(after, "/x", Options{Base: testBase}, synced, math.MaxInt64)
	if err != nil {
		t.Fatalf("%d entries were synced: %v", synced, err)
	}
	defer x.Close()
	add(t, x, m.batches)
	m.check(t, x, rng, 5)
}

// Readers look up what is certainly there while the appender works, cuts and seals.
func TestReadersBesideTheAppender(t *testing.T) {
	for name, fsys := range systems(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := fsys.MkdirAll(dir); err != nil {
				t.Fatal(err)
			}
			x := must(t)(Create(fsys, filepath.Join(dir, "x"), Options{Base: testBase}))
			var m model
			rng := rand.New(rand.NewPCG(6, 6))
			add(t, x, m.grow(rng, 1000))
			fixed := model{batches: m.batches[:900:900], sparse: true}
			floor := m.batches[950].Pos

			stop := make(chan struct{})
			var readers sync.WaitGroup
			for i := range 4 {
				readers.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(i), 7))
					for {
						select {
						case <-stop:
							return
						default:
						}
						offset := fixed.batches[rng.IntN(900)].LastOffset
						run, err := x.Lookup(offset)
						if err != nil || run.Start >= floor {
							t.Errorf("offset %d: %+v %v", offset, run, err)
							return
						}
						fixed.inRun(t, "offset", run, err, func(b Entry) bool { return b.LastOffset >= offset })
						if err := x.Sync(); i == 0 && err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			for range 20 {
				add(t, x, m.grow(rng, 300))
				m.cut(floor + 500)
				if err := x.Truncate(floor + 500); err != nil {
					t.Fatal(err)
				}
			}
			add(t, x, m.batches)
			if err := x.Seal(); err != nil {
				t.Error(err)
			}
			m.check(t, x, rng, 50)
			close(stop)
			readers.Wait()
		})
	}
}

func FuzzOpen(f *testing.F) {
	data, _ := sealedFile(f)
	f.Add(data, int64(3))
	f.Add(data[:len(data)-1], int64(600))
	f.Add([]byte{}, int64(0))
	f.Add(data[len(data)-trailerSize:], int64(0))
	f.Fuzz(func(t *testing.T, data []byte, count int64) {
		mem := memWith(t, data)
		if x, err := OpenSealed(mem, "/x", Options{Base: testBase}); err == nil {
			for _, v := range []int64{math.MinInt64, 0, testBase, testBase + 5000, math.MaxInt64} {
				for _, look := range []func(int64) (Run, error){x.Lookup, x.LookupTime} {
					r, err := look(v)
					if err != nil && !errors.Is(err, ErrCorrupt) || err == nil && r.End < r.Start {
						t.Fatalf("%d: %+v %v", v, r, err)
					}
				}
			}
			x.Close()
		} else if !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		x, err := OpenActive(mem, "/x", Options{Base: testBase}, count, math.MaxInt64)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		n := int64(0)
		if err := x.Each(func(Entry) error { n++; return nil }); err != nil || n != count {
			t.Fatalf("%d of %d entries: %v", n, count, err)
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	for _, sealed := range []bool{false, true} {
		b.Run(map[bool]string{false: "active", true: "sealed"}[sealed], func(b *testing.B) {
			x, err := Create(vfs.OS(), filepath.Join(b.TempDir(), "x"), Options{SegmentBytes: 1 << 30})
			if err != nil {
				b.Fatal(err)
			}
			defer x.Close()
			const n = 32768
			for i := int64(1); i <= n; i++ {
				x.Add(i*10, i*4096, i)
			}
			if err := x.Flush(); err != nil {
				b.Fatal(err)
			}
			if sealed {
				if err := x.Seal(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			i := int64(0)
			for b.Loop() {
				i += 7919
				if _, err := x.Lookup(i % (n * 10)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAddFlush(b *testing.B) {
	x, err := Create(vfs.OS(), filepath.Join(b.TempDir(), "x"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer x.Close()
	b.ReportAllocs()
	i := int64(0)
	for b.Loop() {
		if i++; i%200_000 == 0 {
			if err := x.Truncate(0); err != nil {
				b.Fatal(err)
			}
			i = 1
		}
		x.Add(i, i*4096, i)
		if err := x.Flush(); err != nil {
			b.Fatal(err)
		}
	}
}
