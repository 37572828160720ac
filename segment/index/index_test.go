package index

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

const testBase = 1 << 40

// model is a log as the index hears of it.
type model struct {
	batches []Entry // last offset, end and own largest timestamp of each
	sparse  bool    // entries are missing, rightly
}

// grow appends n batches of random size, offsets with gaps and times that jump about.
func (m *model) grow(rng *rand.Rand, n int) []Entry {
	last, end := int64(testBase-1), int64(0)
	if k := len(m.batches); k > 0 {
		last, end = m.batches[k-1].LastOffset, m.batches[k-1].Pos
	}
	from := len(m.batches)
	for range n {
		last += 1 + rng.Int64N(50)
		end += 61 + rng.Int64N(3000)
		m.batches = append(m.batches, Entry{LastOffset: last, Pos: end, MaxTime: 1000 + end/100 + rng.Int64N(400) - 200})
	}
	return m.batches[from:]
}

// cut drops what ends beyond size.
func (m *model) cut(size int64) {
	for len(m.batches) > 0 && m.batches[len(m.batches)-1].Pos > size {
		m.batches = m.batches[:len(m.batches)-1]
	}
}

// check looks up rng's choice of offsets, times and positions and compares with a scan.
func (m *model) check(t *testing.T, x *Index, rng *rand.Rand, times int) {
	t.Helper()
	if len(m.batches) == 0 {
		return
	}
	end := m.batches[len(m.batches)-1]
	for range times {
		offset := testBase - 5 + rng.Int64N(end.LastOffset-testBase+10)
		run, err := x.Lookup(offset)
		m.inRun(t, fmt.Sprintf("offset %d", offset), run, err, func(b Entry) bool { return b.LastOffset >= offset })

		ts := 700 + rng.Int64N(end.Pos/100+800)
		run, err = x.LookupTime(ts)
		m.inRun(t, fmt.Sprintf("time %d", ts), run, err, func(b Entry) bool { return b.MaxTime >= ts })

		pos := rng.Int64N(end.Pos + 100)
		e, ok, err := x.LookupPos(pos)
		if err != nil || e.Pos > pos || ok != (e.Pos > 0) {
			t.Fatalf("position %d: %+v %v %v", pos, e, ok, err)
		}
		if ok {
			m.sumsUp(t, e)
			if !m.sparse && pos-e.Pos > x.interval+2*3061 {
				t.Fatalf("position %d: the entry %+v is far below", pos, e)
			}
		}
	}
}

// inRun checks that a run begins at a batch and holds the first batch that matches.
func (m *model) inRun(t *testing.T, what string, run Run, err error, match func(Entry) bool) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	start, atBatch := int64(0), run.Start == 0
	for _, b := range m.batches {
		if match(b) {
			if start < run.Start || b.Pos > run.End || !atBatch {
				t.Fatalf("%s: batch [%d, %d) is not in run %+v", what, start, b.Pos, run)
			}
			bounded := b.Pos+defaultInterval+3061 < m.batches[len(m.batches)-1].Pos
			if !m.sparse && bounded && run.End-run.Start > defaultInterval+2*3061 {
				t.Fatalf("%s: run %+v is wide for entries every %d bytes", what, run, defaultInterval)
			}
			return
		}
		start = b.Pos
		atBatch = atBatch || start == run.Start
	}
}

func (m *model) sumsUp(t *testing.T, e Entry) {
	t.Helper()
	want := Entry{MaxTime: math.MinInt64}
	for _, b := range m.batches {
		if b.Pos > e.Pos {
			break
		}
		want = Entry{LastOffset: b.LastOffset, Pos: b.Pos, MaxTime: max(want.MaxTime, b.MaxTime)}
	}
	if e != want {
		t.Fatalf("entry %+v, the log up to there says %+v", e, want)
	}
}

func add(t *testing.T, x *Index, batches []Entry) {
	t.Helper()
	for i, b := range batches {
		x.Add(b.LastOffset, b.Pos, b.MaxTime)
		if i%3 == 0 {
			if err := x.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := x.Flush(); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T) func(*Index, error) *Index {
	return func(x *Index, err error) *Index {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { x.Close() })
		return x
	}
}

// systems are what an index runs on: with mappings, without, in memory.
func systems(t *testing.T) map[string]vfs.FS {
	noMap := new(faultfs.Injector)
	noMap.Add(faultfs.Rule{Op: faultfs.Map, Times: -1, Err: vfs.ErrNoMapping})
	mem := vfs.NewMem()
	if err := mem.MkdirAll(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return map[string]vfs.FS{"os": vfs.OS(), "os without mappings": faultfs.Wrap(vfs.OS(), noMap), "mem": mem}
}

// TestLookups follows an index through all its states and compares with a scan of the log in each.
func TestLookups(t *testing.T) {
	for name, fsys := range systems(t) {
		t.Run(name, func(t *testing.T) {
			const seed = 7
			rng := rand.New(rand.NewPCG(seed, 1))
			var m model
			dir := t.TempDir()
			if err := fsys.MkdirAll(dir); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "0.idx")
			o := Options{Base: testBase, SegmentBytes: 64 << 20}
			x := must(t)(Create(fsys, path, o))
			if r, err := x.Lookup(testBase); err != nil || r != (Run{0, math.MaxInt64}) {
				t.Fatalf("empty index: %v %v", r, err)
			}
			for range 8 {
				add(t, x, m.grow(rng, 700))
				m.check(t, x, rng, 60)
			}
			if x.Count() < 3*pageEntries {
				t.Fatalf("only %d entries", x.Count())
			}
			for _, keep := range []float64{0.9, 0.5, 0.1} {
				cut := int64(float64(m.batches[len(m.batches)-1].Pos) * keep)
				m.cut(cut)
				if err := x.Truncate(cut); err != nil {
					t.Fatal(err)
				}
				add(t, x, m.batches) // those it has are passed over
				m.check(t, x, rng, 60)
				add(t, x, m.grow(rng, 900))
				m.check(t, x, rng, 60)
			}
			count, logEnd := x.Count(), m.batches[len(m.batches)-1].Pos
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
			x = must(t)(OpenActive(fsys, path, o, count-300, logEnd))
			if st, err := fsys.Stat(path); err != nil || st.Size() != (count-300)*EntrySize {
				t.Fatalf("the file was not cut: %d bytes, %v", st.Size(), err)
			}
			add(t, x, m.batches)
			add(t, x, m.grow(rng, 500))
			m.check(t, x, rng, 100)
			if err := x.Seal(); err != nil {
				t.Fatal(err)
			}
			m.checkSealed(t, x, rng)
			x.Close()
			x = must(t)(OpenSealed(fsys, path, o))
			m.checkSealed(t, x, rng)
			count = x.Count()
			x.Close()
			x = must(t)(OpenActive(fsys, path, o, count, math.MaxInt64))
			add(t, x, m.grow(rng, 500))
			m.check(t, x, rng, 100)
		})
	}
}

func (m *model) checkSealed(t *testing.T, x *Index, rng *rand.Rand) {
	t.Helper()
	m.check(t, x, rng, 200)
	end := m.batches[len(m.batches)-1]
	last, ok := x.Last()
	if !ok || last.LastOffset != end.LastOffset || last.Pos != end.Pos || x.MaxTime() != last.MaxTime {
		t.Fatalf("last entry is %+v, the log ends %+v", last, end)
	}
	m.sumsUp(t, last)
	n := int64(0)
	if err := x.Each(func(e Entry) error { m.sumsUp(t, e); n++; return nil }); err != nil || n != x.Count() {
		t.Fatalf("%d of %d entries: %v", n, x.Count(), err)
	}
	if err := errors.Join(x.Sync(), x.Flush()); err != nil {
		t.Fatal(err)
	}
	if err := x.Seal(); !errors.Is(err, ErrSealed) {
		t.Fatalf("sealed twice: %v", err)
	}
	if err := x.Truncate(0); !errors.Is(err, ErrSealed) {
		t.Fatalf("truncated though sealed: %v", err)
	}
}

func TestTruncateToNothing(t *testing.T) {
	x := must(t)(Create(vfs.OS(), filepath.Join(t.TempDir(), "x"), Options{Base: testBase}))
	var m model
	add(t, x, m.grow(rand.New(rand.NewPCG(1, 1)), 1000))
	if err := x.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, ok := x.Last(); ok || x.Count() != 0 || x.MaxTime() != math.MinInt64 {
		t.Fatalf("%d entries left", x.Count())
	}
	add(t, x, m.batches)
	m.check(t, x, rand.New(rand.NewPCG(2, 2)), 50)
}

func TestEmptySeal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	x := must(t)(Create(vfs.OS(), path, Options{Base: 5}))
	if err := x.Seal(); err != nil {
		t.Fatal(err)
	}
	x = must(t)(OpenSealed(vfs.OS(), path, Options{Base: 5}))
	if r, err := x.LookupTime(3); err != nil || r != (Run{0, math.MaxInt64}) {
		t.Fatalf("%v %v", r, err)
	}
	if _, err := OpenSealed(vfs.OS(), path, Options{Base: 6}); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("another base: %v", err)
	}
}

func TestFullIndexStaysRight(t *testing.T) {
	x := must(t)(Create(vfs.OS(), filepath.Join(t.TempDir(), "x"), Options{Base: testBase, SegmentBytes: 400 << 10}))
	rng := rand.New(rand.NewPCG(3, 3))
	var m model
	m.sparse = true
	add(t, x, m.grow(rng, 100))
	if x.Full() {
		t.Fatal("full too soon")
	}
	add(t, x, m.grow(rng, 2000))
	if !x.Full() || x.Count() != x.capacity {
		t.Fatalf("%d entries, full %v", x.Count(), x.Full())
	}
	m.check(t, x, rng, 200)
	if err := x.Seal(); err != nil {
		t.Fatal(err)
	}
	m.checkSealed(t, x, rng)
}

func TestDiskFullLeavesASparserIndex(t *testing.T) {
	mem := vfs.NewMem()
	inject := new(faultfs.Injector)
	x := must(t)(Create(faultfs.Wrap(mem, inject), "/x", Options{Base: testBase}))
	rng := rand.New(rand.NewPCG(4, 4))
	var m model
	add(t, x, m.grow(rng, 1000))
	mem.SetCapacity(1)
	m.sparse = true
	for _, b := range m.grow(rng, 1000) {
		x.Add(b.LastOffset, b.Pos, b.MaxTime)
		_ = x.Flush() // fails once the page is full
	}
	if last, _ := x.Last(); last.Pos == m.batches[len(m.batches)-1].Pos {
		t.Fatal("no flush failed")
	} else {
		m.sumsUp(t, last)
	}
	m.check(t, x, rng, 200)
	if err := x.Seal(); err == nil {
		t.Fatal("sealed on a full disk")
	}
	mem.SetCapacity(0)
	add(t, x, m.grow(rng, 300))
	m.check(t, x, rng, 200)
	for _, op := range []faultfs.Op{faultfs.WriteAt, faultfs.Truncate, faultfs.Sync} {
		rule := inject.Add(faultfs.Rule{Op: op, Err: errors.New("disk"), Nth: 1})
		if err := x.Seal(); err == nil || rule.Hits() != 1 {
			t.Fatalf("seal with a failing %s: %v", op, err)
		}
		rule.Remove()
		m.check(t, x, rng, 20)
	}
	if err := x.Seal(); err != nil {
		t.Fatal(err)
	}
	m.checkSealed(t, x, rng)
}

// A Sync that is overtaken by Seal has nothing left to do, and holds nobody up meanwhile.
func TestSyncBesideSeal(t *testing.T) {
	mem, inject := vfs.NewMem(), new(faultfs.Injector)
	x := must(t)(Create(faultfs.Wrap(mem, inject), "/x", Options{Base: testBase}))
	var m model
	add(t, x, m.grow(rand.New(rand.NewPCG(1, 2)), 600))
	held, release := make(chan struct{}), make(chan struct{})
	inject.Add(faultfs.Rule{Op: faultfs.Sync, Do: func(faultfs.Op, string) { close(held); <-release }})
	done := make(chan error)
	go func() { done <- x.Sync() }()
	<-held
	if err := x.Seal(); err != nil {
		t.Fatal(err)
	}
	m.check(t, x, rand.New(rand.NewPCG(1, 3)), 20)
	close(release)
	if err := <-done; err != nil {
		t.Errorf("sync: %v", err)
	}
}

func TestUseAfterClose(t *testing.T) {
	x := must(t)(Create(vfs.OS(), filepath.Join(t.TempDir(), "x"), Options{}))
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	_, lookup := x.Lookup(0)
	x.Add(1, 1<<20, 0)
	for i, err := range []error{lookup, x.Flush(), x.Sync(), x.Truncate(0), x.Close()} {
		if !errors.Is(err, fs.ErrClosed) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	x.Add(2, 2<<20, 0)
	if err := x.Seal(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("seal: %v", err)
	}
}

func TestRebuild(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	var m model
	m.grow(rng, 3000)
	path := filepath.Join(t.TempDir(), "x")
	old := must(t)(Create(vfs.OS(), path, Options{Base: 1}))
	add(t, old, []Entry{{LastOffset: 3, Pos: 9999}})

	boom := errors.New("boom")
	batches := func(fail bool) func(yield func(Entry, error) bool) {
		return func(yield func(Entry, error) bool) {
			for _, b := range m.batches {
				if !yield(b, nil) {
					return
				}
			}
			if fail {
				yield(Entry{}, boom)
			}
		}
	}
	if _, err := Rebuild(vfs.OS(), path, Options{Base: testBase}, batches(true)); !errors.Is(err, boom) {
		t.Fatalf("got %v", err)
	}
	if _, err := vfs.OS().Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a failed rebuild left a file: %v", err)
	}
	x := must(t)(Rebuild(vfs.OS(), path, Options{Base: testBase}, batches(false)))
	m.check(t, x, rng, 200)
	if err := x.Seal(); err != nil {
		t.Fatal(err)
	}
	m.checkSealed(t, x, rng)
}
