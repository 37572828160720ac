package segment

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firn/segment/batch"
	"firn/segment/vfs"
)

// damaged is a log as a kill leaves it: three sealed segments, an active one of which the checkpoint
// knows the first half.
type damaged struct {
	fs      *vfs.Mem
	dir     string
	starts  []int64 // positions of the active segment's batches
	bases   []int64 // their base offsets
	durable int     // how many of them the checkpoint knows
	active  int64
	sealed  []Info
	end     int64
}

func makeDamaged(t *testing.T) *damaged {
	fsys := vfs.NewMem()
	d := openDisk(t, fsys)
	state := newCounter()
	l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 4 << 10, IndexInterval: 512}, Producers: state})
	g := &damaged{fs: fsys, dir: l.dir}
	epoch := int32(0)
	add := func() {
		b := makeBatch(t, l.Next(), 3, 100, epoch)
		_, pos, _ := l.Active()
		mustAppend(t, l, b)
		state.Apply(b)
		if base, size, _ := l.Active(); base != g.active {
			g.active, g.starts, g.bases = base, nil, nil
			pos = size - int64(len(b))
		}
		g.starts, g.bases = append(g.starts, pos), append(g.bases, b.BaseOffset())
	}
	for len(l.Segments()) < 4 {
		add()
	}
	epoch = 1
	for range 3 {
		add()
	}
	l.mu.Lock()
	l.stashMark()
	l.mu.Unlock()
	d.timedCheckpoint()
	g.durable = len(g.starts)
	for range 3 {
		add()
	}
	g.end = l.Next()
	infos := l.Segments()
	g.sealed = infos[:3]
	if err := d.Close(false); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *damaged) path(at int64, suffix string) string {
	return filepath.Join(g.dir, offsetName(at, suffix))
}

func (g *damaged) activeLog() string { return g.path(g.active, logSuffix) }

func (g *damaged) edit(t *testing.T, name string, fn func(f vfs.File) error) {
	t.Helper()
	f, err := g.fs.OpenRW(name)
	if err == nil {
		err = errors.Join(fn(f), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (g *damaged) flip(t *testing.T, name string, pos int64, bits byte) {
	t.Helper()
	g.edit(t, name, func(f vfs.File) error {
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, pos); err != nil {
			return err
		}
		b[0] ^= bits
		_, err := f.WriteAt(b, pos)
		return err
	})
}

func (g *damaged) cut(t *testing.T, name string, size int64) {
	t.Helper()
	g.edit(t, name, func(f vfs.File) error { return f.Truncate(size) })
}

func (g *damaged) remove(t *testing.T, name string) {
	t.Helper()
	if err := g.fs.Remove(name); err != nil {
		t.Fatal(err)
	}
}

// TestDamage damages one thing each time. Either the log is recovered to an end that loses nothing
// durable, or it is refused with the place named, and then not a byte of it is changed. Check agrees.
// It is long for its table.
func TestDamage(t *testing.T) {
	last := func(g *damaged) int { return len(g.starts) - 1 }
	cases := []struct {
		name    string
		damage  func(t *testing.T, g *damaged)
		end     func(g *damaged) int64 // recovered end, if it is
		path    func(g *damaged) string
		at      func(g *damaged) int64 // position named, if refused
		quiet   bool                   // Check need not find anything
		harmful bool                   // recovered, but Check finds damage
	}{
		{name: "nothing", damage: func(*testing.T, *damaged) {}, quiet: true},
		{
			name:   "torn header",
			damage: func(t *testing.T, g *damaged) { g.cut(t, g.activeLog(), g.starts[last(g)]+30) },
			end:    func(g *damaged) int64 { return g.bases[last(g)] },
		},
		{
			name:   "torn records",
			damage: func(t *testing.T, g *damaged) { g.cut(t, g.activeLog(), g.starts[last(g)]+150) },
			end:    func(g *damaged) int64 { return g.bases[last(g)] },
		},
		{
			name:   "bad CRC",
			damage: func(t *testing.T, g *damaged) { g.flip(t, g.activeLog(), g.starts[last(g)]+100, 1) },
			end:    func(g *damaged) int64 { return g.bases[last(g)] },
		},
		{
			name:   "bad CRC with good batches after it",
			damage: func(t *testing.T, g *damaged) { g.flip(t, g.activeLog(), g.starts[g.durable]+100, 1) },
			end:    func(g *damaged) int64 { return g.bases[g.durable] },
		},
		{
			name:   "short length",
			damage: func(t *testing.T, g *damaged) { g.flip(t, g.activeLog(), g.starts[g.durable]+10, 1) },
			end:    func(g *damaged) int64 { return g.bases[g.durable] },
		},
		{
			name:   "huge length",
			damage: func(t *testing.T, g *damaged) { g.flip(t, g.activeLog(), g.starts[g.durable]+8, 0x7f) },
			end:    func(g *damaged) int64 { return g.bases[g.durable] },
		},
		{
			name:   "base offset of the tail",
			damage: func(t *testing.T, g *damaged) { g.flip(t, g.activeLog(), g.starts[g.durable]+6, 1) },
			end:    func(g *damaged) int64 { return g.bases[g.durable] },
		},
		{
			name:   "leader epoch of the tail",
			damage: func(t *testing.T, g *damaged) { g.flip(t, g.activeLog(), g.starts[g.durable]+15, 1) }, // one that is over
			end:    func(g *damaged) int64 { return g.bases[g.durable] },
		},
		{
			name:   "leader epoch of the tail, to one that has not begun",
			damage: func(t *testing.T, g *damaged) { g.flip(t, g.activeLog(), g.starts[g.durable]+15, 2) },
			end:    func(g *damaged) int64 { return g.bases[g.durable] },
		},
		{
			name: "zero tail",
			damage: func(t *testing.T, g *damaged) {
				g.edit(t, g.activeLog(), func(f vfs.File) error {
					size, err := f.Size()
					return errors.Join(err, f.Truncate(size+8192))
				})
			},
		},
		{
			name:   "size of the checkpoint exactly",
			damage: func(t *testing.T, g *damaged) { g.cut(t, g.activeLog(), g.starts[g.durable]) },
			end:    func(g *damaged) int64 { return g.bases[g.durable] },
			quiet:  true,
		},
		{
			name: "flipped header below the checkpoint",
			damage: func(t *testing.T, g *damaged) {
				g.flip(t, g.activeLog(), g.starts[g.durable-1]+7, 1)
				g.remove(t, g.path(g.active, idxSuffix)) // which leads past it
			},
			path: (*damaged).activeLog, at: func(g *damaged) int64 { return g.starts[g.durable-1] },
		},
		{
			name: "number of offsets in the last batch below the checkpoint",
			damage: func(t *testing.T, g *damaged) {
				g.cut(t, g.activeLog(), g.starts[g.durable])
				g.flip(t, g.activeLog(), g.starts[g.durable-1]+26, 4)
				g.remove(t, g.path(g.active, idxSuffix)) // which knows better
			},
			path: (*damaged).activeLog, at: func(g *damaged) int64 { return g.starts[g.durable] },
		},
		{
			name:    "flipped record below the checkpoint",
			damage:  func(t *testing.T, g *damaged) { g.flip(t, g.activeLog(), g.starts[1]+100, 1) },
			harmful: true,
		},
		{
			name:   "cut below the checkpoint",
			damage: func(t *testing.T, g *damaged) { g.cut(t, g.activeLog(), g.starts[1]+20) },
			path:   (*damaged).activeLog, at: func(g *damaged) int64 { return g.starts[1] + 20 },
		},
		{
			name:   "missing active log",
			damage: func(t *testing.T, g *damaged) { g.remove(t, g.activeLog()) },
			path:   (*damaged).activeLog,
		},
		{
			name:   "missing sealed log",
			damage: func(t *testing.T, g *damaged) { g.remove(t, g.path(g.sealed[1].Base, logSuffix)) },
			path:   func(g *damaged) string { return g.path(g.sealed[1].Base, logSuffix) },
		},
		{
			name:   "cut sealed log",
			damage: func(t *testing.T, g *damaged) { g.cut(t, g.path(g.sealed[1].Base, logSuffix), 500) },
			path:   func(g *damaged) string { return g.path(g.sealed[1].Base, logSuffix) },
			at:     func(*damaged) int64 { return 500 },
		},
		{
			name:    "flipped record in a sealed log",
			damage:  func(t *testing.T, g *damaged) { g.flip(t, g.path(g.sealed[1].Base, logSuffix), 100, 1) },
			harmful: true,
		},
		{name: "missing active index", damage: func(t *testing.T, g *damaged) { g.remove(t, g.path(g.active, idxSuffix)) }},
		{name: "short active index", damage: func(t *testing.T, g *damaged) { g.cut(t, g.path(g.active, idxSuffix), 5) }},
		{name: "flipped active index", damage: func(t *testing.T, g *damaged) { g.flip(t, g.path(g.active, idxSuffix), 3, 1) }, harmful: true},
		{name: "missing sealed index", damage: func(t *testing.T, g *damaged) { g.remove(t, g.path(g.sealed[0].Base, idxSuffix)) }},
		{name: "short sealed index", damage: func(t *testing.T, g *damaged) { g.cut(t, g.path(g.sealed[0].Base, idxSuffix), 40) }},
		{name: "flipped sealed index", damage: func(t *testing.T, g *damaged) { g.flip(t, g.path(g.sealed[0].Base, idxSuffix), 20, 1) }},
		{
			name: "missing snapshots",
			damage: func(t *testing.T, g *damaged) {
				g.remove(t, g.path(g.active, snapSuffix))
				g.remove(t, g.path(g.sealed[1].Base, snapSuffix))
			},
			quiet: true,
		},
		{name: "flipped snapshot", damage: func(t *testing.T, g *damaged) {
			for _, at := range []int64{g.active, g.bases[g.durable]} {
				g.flip(t, g.path(at, snapSuffix), 15, 1)
			}
		}},
		{name: "missing state", damage: func(t *testing.T, g *damaged) { g.remove(t, filepath.Join(g.dir, stateName)) }},
		{name: "flipped state", damage: func(t *testing.T, g *damaged) { g.flip(t, filepath.Join(g.dir, stateName), 30, 1) }},
		{
			name: "missing state and sealed log",
			damage: func(t *testing.T, g *damaged) {
				g.remove(t, filepath.Join(g.dir, stateName))
				g.remove(t, g.path(g.sealed[1].Base, logSuffix))
			},
			path: func(g *damaged) string { return g.path(g.sealed[0].Base, logSuffix) },
			at:   func(g *damaged) int64 { return g.sealed[0].Size },
		},
		{name: "one checkpoint torn", damage: func(t *testing.T, g *damaged) { g.cut(t, filepath.Join(testDir, checkpointAName), 20) }},
		{
			name: "both checkpoints lost, log whole",
			damage: func(t *testing.T, g *damaged) {
				g.cut(t, filepath.Join(testDir, checkpointAName), 20)
				g.cut(t, filepath.Join(testDir, checkpointBName), 20)
			},
			harmful: true,
		},
		{
			name: "both checkpoints lost, bad tail",
			damage: func(t *testing.T, g *damaged) {
				g.cut(t, filepath.Join(testDir, checkpointAName), 20)
				g.cut(t, filepath.Join(testDir, checkpointBName), 20)
				g.flip(t, g.activeLog(), g.starts[last(g)]+100, 1)
			},
			path: (*damaged).activeLog, at: func(g *damaged) int64 { return g.starts[last(g)] },
		},
		{
			name:   "missing directory",
			damage: func(t *testing.T, g *damaged) { _ = g.fs.RemoveAll(g.dir) },
			path:   func(g *damaged) string { return g.dir },
		},
		{
			name: "unknown segment",
			damage: func(t *testing.T, g *damaged) {
				f, err := g.fs.Create(g.path(g.active+1000, logSuffix))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.WriteAt([]byte("x"), 0); err != nil {
					t.Fatal(err)
				}
			},
			path: func(g *damaged) string { return g.path(g.active+1000, logSuffix) },
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := makeDamaged(t)
			c.damage(t, g)
			before := dump(t, g.fs)
			var found []Finding
			if err := Check(g.fs, testDir, func(f Finding) { found = append(found, f) }); err != nil {
				t.Fatal(err)
			}
			harmful := slices.ContainsFunc(found, func(f Finding) bool { return !f.Harmless })
			if want := c.path != nil || c.harmful; harmful != want || !c.quiet && len(found) == 0 || c.quiet && len(found) > 0 {
				t.Errorf("Check found %v", found)
			}
			if diff := differs(before, dump(t, g.fs)); diff != "" {
				t.Fatalf("Check changed %s", diff)
			}
			d := openDisk(t, g.fs)
			defer func() { _ = d.Close(false) }()
			state := newCounter()
			l, err := d.Open(testID, 0, Options{Settings: Settings{SegmentBytes: 4 << 10, IndexInterval: 512}, Producers: state, NextEpoch: 2})
			if c.path != nil {
				var ce *CorruptionError
				if !errors.As(err, &ce) || ce.Path != c.path(g) || c.at != nil && ce.Offset != c.at(g) {
					t.Fatalf("open: %v, want corruption of %s", err, c.path(g))
				}
				if diff := differs(before, dump(t, g.fs)); diff != "" {
					t.Fatalf("a refused log was changed: %s", diff)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			end := g.end
			if c.end != nil {
				end = c.end(g)
			}
			if l.Next() != end || l.Durable() != end {
				t.Fatalf("ends at %d, durable to %d, want %d", l.Next(), l.Durable(), end)
			}
			if state.next != end {
				t.Errorf("producers are at %d", state.next)
			}
			if got := l.Epochs(); len(got) != 2 || got[0].Epoch != 0 || got[1].Epoch != 1 {
				t.Errorf("epochs are %v", got)
			}
			checkEveryOffset(t, l, 0, end, c.harmful && strings.Contains(c.name, "record"))
		})
	}
}

// checkEveryOffset reads from each offset on.
func checkEveryOffset(t *testing.T, l *Log, start, end int64, damaged bool) {
	t.Helper()
	for from := start; from < end; from++ {
		b := readAll(t, l, from, end, 700)
		if damaged {
			continue
		}
		first, _, err := batch.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if first.BaseOffset() > from || first.LastOffset() < from {
			t.Fatalf("read %d begins with [%d, %d]", from, first.BaseOffset(), first.LastOffset())
		}
		mustCheck(t, b, first.BaseOffset(), end)
	}
}

// dump is every file's content. The lock file and the index of the active segment, which may be made
// anew at any time, are left out.
func dump(t *testing.T, fsys vfs.FS) map[string]string {
	t.Helper()
	out := map[string]string{}
	var walk func(dir string)
	walk = func(dir string) {
		names, err := fsys.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			path := filepath.Join(dir, n.Name())
			if n.IsDir() {
				walk(path)
				continue
			}
			b, err := vfs.ReadFile(fsys, path, 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			if n.Name() != lockName && filepath.Ext(path) != idxSuffix {
				out[path] = string(b)
			}
		}
	}
	walk(testDir)
	return out
}

func differs(a, b map[string]string) string {
	for name, content := range a {
		if got, ok := b[name]; !ok || got != content {
			return name
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			return name
		}
	}
	return ""
}

// TestReadDamage reads where a header was damaged after it was found good: an error names the place.
func TestReadDamage(t *testing.T) {
	g := makeDamaged(t)
	at := 4 // of the batch within its segment
	one := g.sealed[1].Size / ((g.sealed[1].End - g.sealed[1].Base) / 3)
	pos, offset := one*int64(at), g.sealed[1].Base+int64(at)*3
	g.flip(t, g.path(g.sealed[1].Base, logSuffix), pos+5, 1)
	d := openDisk(t, g.fs)
	defer func() { _ = d.Close(false) }()
	l := openLog(t, d, Options{})
	for _, o := range []int64{offset, offset + 2} {
		_, err := l.Read(o, l.Next(), 1<<20, true)
		var ce *CorruptionError
		if !errors.As(err, &ce) || ce.Path != g.path(g.sealed[1].Base, logSuffix) || ce.Offset != pos {
			t.Errorf("read %d: %v, want corruption at %d", o, err, pos)
		}
	}
	mustCheck(t, readAll(t, l, offset+6, l.Next(), 1<<20), offset+6, l.Next()) // past the run
	g.flip(t, g.path(g.sealed[1].Base, logSuffix), pos+5, 1)
	g.flip(t, g.path(g.sealed[1].Base, logSuffix), pos+100, 1)
	_, _, err := l.FindTime(timeOf(offset), 0, l.Next())
	var ce *CorruptionError
	if !errors.As(err, &ce) || ce.Offset != pos {
		t.Errorf("find time: %v, want corruption at %d", err, pos)
	}
}

// FuzzTail puts any bytes behind what the checkpoint knows. The log opens, has everything durable, and
// of the tail at most what is a whole right batch.
func FuzzTail(f *testing.F) {
	f.Add([]byte{}, []byte{0})
	f.Add(bytes.Repeat([]byte{0}, 200), []byte{1, 2, 3})
	w := batch.Builder{BaseOffset: 10}
	w.Add(1, nil, []byte("value"))
	good, err := w.Build(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, good)
	f.Add(good[:40], good[40:])
	f.Fuzz(func(t *testing.T, a, b []byte) {
		mem := vfs.NewMem()
		d := openDisk(t, mem)
		l := openLog(t, d, Options{Producers: newCounter()})
		fill(t, l, 10, 5, 20)
		if err := l.sync(); err != nil {
			t.Fatal(err)
		}
		d.timedCheckpoint()
		_, size, _ := l.Active()
		if err := d.Close(false); err != nil {
			t.Fatal(err)
		}
		file, err := mem.OpenRW(l.offsetPath(0, logSuffix))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteV([][]byte{a, b}, size); err != nil {
			t.Fatal(err)
		}
		d = openDisk(t, mem)
		l = openLog(t, d, Options{Producers: newCounter()})
		if l.Next() < 10 {
			t.Fatalf("ends at %d", l.Next())
		}
		rest := readAll(t, l, 0, l.Next(), 1<<30)
		for len(rest) > 0 {
			var one batch.Batch
			if one, rest, err = batch.Parse(rest); err != nil {
				t.Fatal(err)
			}
			if err := one.VerifyCRC(); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Close(true); err != nil {
			t.Fatal(err)
		}
	})
}

// No CRC covers a batch's base offset, nor what comes before it in a batch: a reader would take records of a batch with another one
// for others, and pass over those that follow.
func TestReadsRefuseBatchesThatDoNotFollow(t *testing.T) {
	fsys := vfs.NewMem()
	d := openDisk(t, fsys)
	defer func() { _ = d.Close(true) }()
	l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 4 << 10, IndexInterval: 512}})
	for len(l.Segments()) < 2 {
		mustAppend(t, l, makeBatch(t, l.Next(), 3, 100, 0))
	}
	for range 4 {
		mustAppend(t, l, makeBatch(t, l.Next(), 3, 100, 0))
	}
	g := &damaged{fs: fsys}
	for _, s := range l.Segments() {
		read := func(from int64) error {
			e, err := l.Read(from, s.End, 1<<20, true)
			if err == nil && e.NextOffset() != s.End {
				t.Errorf("read %d: up to %d of %d", from, e.NextOffset(), s.End)
			}
			e.Release()
			return err
		}
		name := filepath.Join(l.dir, offsetName(s.Base, logSuffix))
		if err := read(s.Base); err != nil {
			t.Fatal(err)
		}
		size := s.Size / ((s.End - s.Base) / 3) // of each batch, as they are all alike
		for pos := int64(0); pos < s.Size; pos += size {
			for bit := range int64(12 * 8) { // base offset and length
				g.flip(t, name, pos+bit/8, 1<<(bit%8))
				if err := read(s.Base); !errors.Is(err, ErrCorrupt) {
					t.Errorf("bit %d of the batch at %d: %v", bit, pos, err)
				}
				g.flip(t, name, pos+bit/8, 1<<(bit%8))
			}
		}
		if err := read(s.End - 1); err != nil {
			t.Error(err)
		}
	}
}

// Whatever bit of a log flips, in a sealed segment or in the one that is written to, somebody who reads it all in the background
// finds it.
func TestVerifyFindsEveryBit(t *testing.T) {
	g := makeDamaged(t)
	d := openDisk(t, g.fs)
	defer func() { _ = d.Close(true) }()
	l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 4 << 10, IndexInterval: 512}})
	pace := func(int64) error { return nil }
	if err := l.Verify(pace); err != nil {
		t.Fatal(err)
	}
	all := l.Segments()
	for _, s := range []Info{all[0], all[len(all)-1]} {
		path := filepath.Join(l.dir, offsetName(s.Base, logSuffix))
		for pos := range s.Size {
			for bit := range 8 {
				g.flip(t, path, pos, 1<<bit)
				if err := l.Verify(pace); !errors.Is(err, ErrCorrupt) {
					t.Fatalf("bit %d of byte %d of %s: %v", bit, pos, path, err)
				}
				g.flip(t, path, pos, 1<<bit)
			}
		}
	}
}

// A truncation that meets damage in what it keeps costs that log and no other of its disk: it is closed as it is, does not open, and
// can be put away.
func TestTruncationThatMeetsDamage(t *testing.T) {
	mem := vfs.NewMem()
	d := openDisk(t, mem)
	l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 16 << 10}, Producers: newCounter()})
	other, err := d.Open([16]byte{9}, 0, Options{})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, 400, 5, 100)
	g := &damaged{fs: mem}
	g.flip(t, filepath.Join(l.dir, offsetName(0, logSuffix)), 16, 2) // the magic of the first batch
	for _, s := range l.Segments()[1:] {                             // or the producers' state would be there without the first
		if err := mem.Remove(filepath.Join(l.dir, offsetName(s.Base, snapSuffix))); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.TruncateTo(398); !errors.Is(err, ErrCorrupt) || d.Offline() != nil {
		t.Fatalf("truncate: %v; disk: %v", err, d.Offline())
	}
	if _, err := l.Append([]batch.Batch{makeBatch(t, 395, 5, 100, 0)}); !errors.Is(err, ErrClosed) {
		t.Errorf("append: %v", err)
	}
	if s := l.Segments(); len(s) > 0 {
		t.Errorf("a closed log has segments: %v", s)
	}
	mustAppend(t, other, makeBatch(t, 0, 5, 100, 0))
	if _, err := d.Open(testID, 0, Options{Producers: newCounter()}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("open: %v", err)
	}
	if err := d.SetAside(testID, 0); err != nil {
		t.Fatal(err)
	}
	fill(t, openLog(t, d, Options{Producers: newCounter()}), 10, 5, 100)
}

// A truncation that meets damage does not wait for a callback, which may want the lock that the caller holds. Who sets the log aside
// then finds it closed.
func TestTruncationThatMeetsDamageUnderTheCallersLock(t *testing.T) {
	mem := vfs.NewMem()
	d := openDisk(t, mem)
	var lock sync.Mutex // the caller's
	called := make(chan struct{}, 1000)
	l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 16 << 10}, Producers: newCounter(), OnDurable: func(int64) {
		called <- struct{}{}
		lock.Lock()
		defer lock.Unlock()
	}})
	lock.Lock()
	fill(t, l, 400, 5, 100)
	g := &damaged{fs: mem}
	g.flip(t, filepath.Join(l.dir, offsetName(0, logSuffix)), 16, 2) // the magic of the first batch

	for _, s := range l.Segments()[1:] { // or the producers would be there without the first
		if err := mem.Remove(filepath.Join(l.dir, offsetName(s.Base, snapSuffix))); err != nil {
			t.Fatal(err)
		}
	}
	l.Commit()
	<-called
	cut := make(chan error, 1)
	go func() { cut <- l.TruncateTo(398) }()
	select {
	case err := <-cut:
		if !errors.Is(err, ErrCorrupt) || d.Offline() != nil || len(l.Segments()) > 0 {
			t.Fatalf("truncate: %v; disk: %v", err, d.Offline())
		}
	case <-time.After(time.Minute):
		t.Fatal("the truncation waits for a callback that waits for its caller")
	}
	if err := d.SetAside(testID, 0); err != nil {
		t.Fatal(err)
	}
	fill(t, openLog(t, d, Options{Producers: newCounter()}), 10, 5, 100)
	lock.Unlock()
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
}
