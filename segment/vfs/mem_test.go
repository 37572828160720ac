package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

func memFileWith(t *testing.T, m *Mem, name string, data []byte) File {
	t.Helper()
	f, err := m.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	return f
}

func mustDo(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// snapshot is every file's content by name.
func snapshot(t *testing.T, m *Mem, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := m.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := ReadFile(m, filepath.Join(dir, e.Name()), 1<<24)
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(b)
	}
	return out
}

// TestCrashAgainstModel runs random scripts in one directory and compares crashes with a model that
// knows only what was synced and what was written.
func TestCrashAgainstModel(t *testing.T) {
	for seed := range uint64(40) {
		s := newScript(t, seed)
		for range 150 {
			s.step(t)
		}
		if d := diff(s.durable(), snapshot(t, s.mem.CrashClone(seed, 0), "/d")); d != "" {
			t.Fatalf("seed %d: nothing unsynced kept: %s", seed, d)
		}
		if d := diff(s.current(), snapshot(t, s.mem.CrashClone(seed, 100), "/d")); d != "" {
			t.Fatalf("seed %d: everything kept: %s", seed, d)
		}
		killed := s.mem.KillClone()
		if d := diff(s.current(), snapshot(t, killed, "/d")); d != "" {
			t.Fatalf("seed %d: after a kill: %s", seed, d)
		}
		for crash := range uint64(5) {
			clone := s.mem.CrashClone(crash, 50)
			if d := diff(snapshot(t, clone, "/d"), snapshot(t, killed.CrashClone(crash, 50), "/d")); d != "" {
				t.Fatalf("seed %d: a crash after a kill differs from one without: %s", seed, d)
			}
			after := snapshot(t, clone, "/d")
			if d := diff(after, snapshot(t, s.mem.CrashClone(crash, 50), "/d")); d != "" {
				t.Fatalf("seed %d: the same crash differs: %s", seed, d)
			}
			s.possible(t, after)
			if d := diff(after, snapshot(t, clone.CrashClone(9, 0), "/d")); d != "" {
				t.Fatalf("seed %d: what survived a crash did not survive the next: %s", seed, d)
			}
		}
		ruin(t, killed, "/d")
		if d := diff(s.current(), snapshot(t, s.mem, "/d")); d != "" {
			t.Fatalf("seed %d: a clone changed the original: %s", seed, d)
		}
		if d := diff(s.durable(), snapshot(t, s.mem.CrashClone(seed, 0), "/d")); d != "" {
			t.Fatalf("seed %d: a clone changed what is durable of the original: %s", seed, d)
		}
	}
}

// ruin writes over every file of dir and removes it.
func ruin(t *testing.T, fsys FS, dir string) {
	t.Helper()
	names, err := fsys.ReadDir(dir)
	mustDo(t, err)
	for _, n := range names {
		f, err := fsys.OpenRW(dir + "/" + n.Name())
		mustDo(t, err)
		_, err = f.WriteAt(make([]byte, 3*memPage), 1)
		mustDo(t, errors.Join(err, f.Sync(), f.Close(), fsys.Remove(dir+"/"+n.Name())))
	}
	mustDo(t, fsys.SyncDir(dir))
}

func diff(want, got map[string]string) string {
	names := slices.Sorted(maps.Keys(want))
	if g := slices.Sorted(maps.Keys(got)); !slices.Equal(names, g) {
		return fmt.Sprintf("names %q, want %q", g, names)
	}
	for _, n := range names {
		if want[n] != got[n] {
			return fmt.Sprintf("%s holds other bytes: %d, want %d", n, len(got[n]), len(want[n]))
		}
	}
	return ""
}

// modelFile is a file by identity, whatever its name.
type modelFile struct {
	f      File
	now    []byte
	synced []byte
}

type script struct {
	mem  *Mem
	rng  *rand.Rand
	now  map[string]*modelFile
	disk map[string]*modelFile
	past map[string]map[*modelFile]bool // what a name has stood for since the directory was synced
}

func newScript(t *testing.T, seed uint64) *script {
	s := &script{mem: NewMem(), rng: rand.New(rand.NewPCG(seed, 99)), now: map[string]*modelFile{}, disk: map[string]*modelFile{}}
	mustDo(t, s.mem.MkdirAll("/d"))
	s.syncDir(t)
	return s
}

func (s *script) syncDir(t *testing.T) {
	t.Helper()
	mustDo(t, s.mem.SyncDir("/d"))
	s.disk = maps.Clone(s.now)
	s.past = map[string]map[*modelFile]bool{}
	for name, f := range s.now {
		s.stands(name, f)
	}
}

func (s *script) stands(name string, f *modelFile) {
	if s.past[name] == nil {
		s.past[name] = map[*modelFile]bool{}
	}
	s.past[name][f] = true
}

func (s *script) step(t *testing.T) {
	name := string(rune('a' + s.rng.IntN(4)))
	path := "/d/" + name
	f := s.now[name]
	switch op := s.rng.IntN(20); {
	case op == 0:
		s.syncDir(t)
	case f == nil:
		file, err := s.mem.Create(path)
		mustDo(t, err)
		s.now[name] = &modelFile{f: file}
		s.stands(name, s.now[name])
	case op == 1:
		mustDo(t, s.mem.Remove(path))
		delete(s.now, name)
	case op == 2:
		to := string(rune('a' + s.rng.IntN(4)))
		mustDo(t, s.mem.Rename(path, "/d/"+to))
		delete(s.now, name)
		s.now[to] = f
		s.stands(to, f)
	case op < 6:
		mustDo(t, f.f.Sync())
		f.synced = bytes.Clone(f.now)
	case op < 8:
		size := s.rng.IntN(30_000)
		mustDo(t, f.f.Truncate(int64(size)))
		f.now = append(f.now, make([]byte, max(0, size-len(f.now)))...)[:size:size]
	default:
		off, n := s.rng.IntN(30_000), s.rng.IntN(9000)
		p := bytes.Repeat([]byte{byte(1 + s.rng.IntN(255))}, n)
		_, err := f.f.WriteV([][]byte{p[:n/3], p[n/3:]}, int64(off))
		mustDo(t, err)
		if n > 0 {
			f.now = append(f.now, make([]byte, max(0, off+n-len(f.now)))...)
			copy(f.now[off:], p)
		}
	}
}

func (s *script) durable() map[string]string {
	out := map[string]string{}
	for name, f := range s.disk {
		out[name] = string(f.synced)
	}
	return out
}

func (s *script) current() map[string]string {
	out := map[string]string{}
	for name, f := range s.now {
		out[name] = string(f.now)
	}
	return out
}

// possible checks that each name stands for a file it stood for, and each of its bytes is the one
// synced, the one now there, or a zero.
func (s *script) possible(t *testing.T, after map[string]string) {
	t.Helper()
	for name, got := range after {
		ok := false
		for f := range s.past[name] {
			ok = ok || f.couldBe([]byte(got))
		}
		if !ok {
			t.Fatalf("%s holds bytes that were never written", name)
		}
	}
}

func (f *modelFile) couldBe(got []byte) bool {
	if len(got) > max(len(f.now), len(f.synced)) || len(got) < min(len(f.now), len(f.synced)) {
		return false
	}
	for i, b := range got {
		if b != 0 && (i >= len(f.now) || f.now[i] != b) && (i >= len(f.synced) || f.synced[i] != b) {
			return false
		}
	}
	return true
}

// TestCrashesLookLikeRealOnes sees each of the ways in which a power cut is known to hurt.
func TestCrashesLookLikeRealOnes(t *testing.T) {
	m := NewMem()
	synced := bytes.Repeat([]byte{1}, 6000)
	f := memFileWith(t, m, "/f", synced)
	mustDo(t, f.Sync(), m.SyncDir("/"))
	_, err := f.WriteAt(bytes.Repeat([]byte{2}, 30_000), 6000)
	mustDo(t, err)
	memFileWith(t, m, "/new", []byte("x"))
	mustDo(t, memFileWith(t, m, "/synced-without-name", []byte("x")).Sync())

	seen := map[string]bool{}
	for seed := range uint64(300) {
		c := m.CrashClone(seed, 50)
		got, err := ReadFile(c, "/f", 1<<20)
		mustDo(t, err)
		if !bytes.Equal(got[:6000], synced) {
			t.Fatalf("seed %d: synced bytes are lost", seed)
		}
		switch len(got) {
		case 6000:
			seen["old size"] = true
		case 36_000:
			seen["new size"] = true
		default:
			seen["a size between"] = true
		}
		for at := 8192; at+memPage < len(got); at += memPage {
			switch {
			case got[at] == 0 && got[at+memPage] == 2:
				seen["a hole before data"] = true
			case got[at] == 2 && got[at+memPage] == 0:
				seen["zeros up to a size that is ahead"] = true
			}
		}
		if len(got) > 8192 && got[6000] == 0 {
			seen["the page that was appended to is the old one"] = true
		}
		for _, name := range []string{"/new", "/synced-without-name"} {
			_, err := c.Stat(name)
			seen[fmt.Sprintf("%s there: %v", name, err == nil)] = true
		}
	}
	for _, want := range []string{
		"old size", "new size", "a size between", "a hole before data", "zeros up to a size that is ahead",
		"the page that was appended to is the old one", "/new there: true", "/new there: false",
		"/synced-without-name there: true", "/synced-without-name there: false",
	} {
		if !seen[want] {
			t.Errorf("no crash in 300 showed %q", want)
		}
	}
}

func TestCrashKeepsRenamesWhole(t *testing.T) {
	m := NewMem()
	mustDo(t, m.MkdirAll("/a"), m.MkdirAll("/b"))
	f := memFileWith(t, m, "/a/old", []byte("x"))
	mustDo(t, f.Sync(), m.SyncDir("/a"))
	mustDo(t, m.Rename("/a/old", "/b/new"))
	outcomes := map[string]int{}
	for seed := range uint64(100) {
		c := m.CrashClone(seed, 50)
		_, inA := c.Stat("/a/old")
		_, inB := c.Stat("/b/new")
		outcomes[fmt.Sprint(inA == nil, inB == nil)]++
	}
	if outcomes["true false"] == 0 || outcomes["false true"] == 0 || len(outcomes) != 2 {
		t.Errorf("outcomes %v", outcomes)
	}
	mustDo(t, m.SyncDir("/b"))
	c := m.CrashClone(1, 0)
	_, inA := c.Stat("/a/old")
	_, inB := c.Stat("/b/new")
	if inA == nil || inB != nil {
		t.Errorf("after the sync: old %v, new %v", inA, inB)
	}
}

// What rests on a change that was lost is lost with it: the file that was replaced is still there.
func TestCrashLosesRemovalWithItsRename(t *testing.T) {
	m := NewMem()
	mustDo(t, memFileWith(t, m, "/a", []byte("a")).Sync(), memFileWith(t, m, "/b", []byte("b")).Sync(), m.SyncDir("/"))
	mustDo(t, m.Rename("/b", "/a"), m.Remove("/a"))
	outcomes := map[string]int{}
	for seed := range uint64(100) {
		outcomes[fmt.Sprint(snapshot(t, m.CrashClone(seed, 50), "/"))]++
	}
	if len(outcomes) != 3 || outcomes["map[a:a b:b]"] == 0 || outcomes["map[a:b]"] == 0 || outcomes["map[]"] == 0 {
		t.Errorf("outcomes %v", outcomes)
	}
}

// Changes left pending by the sync of another directory stay in order.
func TestPendingChangesKeepTheirOrder(t *testing.T) {
	m := NewMem()
	mustDo(t, m.MkdirAll("/a"), m.MkdirAll("/b"))
	memFileWith(t, m, "/a/f", []byte("first"))
	mustDo(t, m.Rename("/a/f", "/a/g"))
	memFileWith(t, m, "/a/f", []byte("second"))
	mustDo(t, m.SyncDir("/b"))
	if d := diff(map[string]string{"f": "second", "g": "first"}, snapshot(t, m.CrashClone(1, 100), "/a")); d != "" {
		t.Error(d)
	}
}

// Neither the original nor the copy sees what is written to the other after the crash, and bytes cut
// off by the crash do not come back when the file grows.
func TestCrashCloneIsApart(t *testing.T) {
	m := NewMem()
	f := memFileWith(t, m, "/f", []byte("synced"))
	mustDo(t, f.Sync(), m.SyncDir("/"))
	_, err := f.WriteAt(bytes.Repeat([]byte("x"), 3*memPage), 6)
	mustDo(t, err)
	whole := m.CrashClone(1, 100)
	want := snapshot(t, whole, "/")
	_, err = f.WriteAt(bytes.Repeat([]byte("y"), 2*memPage), 0)
	mustDo(t, err)
	if d := diff(want, snapshot(t, whole, "/")); d != "" {
		t.Errorf("the copy changed with the original: %s", d)
	}
	for seed := range uint64(100) {
		c := m.CrashClone(seed, 50)
		after, err := c.OpenRW("/f")
		mustDo(t, err)
		size, err := after.Size()
		mustDo(t, err, after.Truncate(4*memPage))
		got, err := ReadFile(c, "/f", 1<<20)
		mustDo(t, err)
		if rest := got[size:]; len(bytes.Trim(rest, "\x00")) > 0 {
			t.Fatalf("seed %d: bytes beyond the size of %d came back", seed, size)
		}
	}
}

// A name made and moved to another directory is durable there although its first directory was never
// synced.
func TestSyncDirAcrossARename(t *testing.T) {
	m := NewMem()
	mustDo(t, m.MkdirAll("/a"), m.MkdirAll("/b"))
	mustDo(t, memFileWith(t, m, "/a/f", []byte("x")).Sync(), m.Rename("/a/f", "/b/f"), m.SyncDir("/b"))
	memFileWith(t, m, "/a/later", nil)
	c := m.CrashClone(1, 0)
	if d := diff(map[string]string{"f": "x"}, snapshot(t, c, "/b")); d != "" {
		t.Error(d)
	}
	if d := diff(nil, snapshot(t, c, "/a")); d != "" {
		t.Error(d)
	}
}

func TestMkdirAllIsDurable(t *testing.T) {
	m := NewMem()
	mustDo(t, m.MkdirAll("/x/y/z"))
	if _, err := m.CrashClone(1, 0).Stat("/x/y/z"); err != nil {
		t.Error(err)
	}
	mustDo(t, m.RemoveAll("/x"))
	if _, err := m.CrashClone(1, 0).Stat("/x/y/z"); err != nil {
		t.Errorf("an unsynced removal happened: %v", err)
	}
	mustDo(t, m.SyncDir("/"))
	if _, err := m.CrashClone(1, 0).Stat("/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a synced removal did not: %v", err)
	}
}

// After a failed sync the bytes can still be read, and no later sync brings them to the disk.
func TestFailedSyncLosesBytes(t *testing.T) {
	m := NewMem()
	f := memFileWith(t, m, "/f", []byte("first"))
	mustDo(t, f.Sync(), m.SyncDir("/"))
	_, err := f.WriteAt([]byte("second"), 0)
	mustDo(t, err)
	f.(*memFile).FailSync()
	_, err = f.WriteAt([]byte("third"), 10_000)
	mustDo(t, err, f.Sync())
	got, err := ReadFile(m, "/f", 1<<20)
	mustDo(t, err)
	if !bytes.HasPrefix(got, []byte("second")) {
		t.Errorf("read %q", got[:6])
	}
	got, err = ReadFile(m.CrashClone(1, 100), "/f", 1<<20)
	mustDo(t, err)
	if !bytes.HasPrefix(got, []byte("first\x00")) || !bytes.HasSuffix(got, []byte("third")) {
		t.Errorf("after the crash: %q ... %q", got[:6], got[len(got)-5:])
	}
}

func TestCapacity(t *testing.T) {
	m := NewMem()
	m.SetCapacity(3 * memPage)
	f := memFileWith(t, m, "/f", make([]byte, memPage))
	n, err := f.WriteV([][]byte{make([]byte, memPage), make([]byte, 2*memPage)}, memPage)
	if n != 2*memPage || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("wrote %d, %v", n, err)
	}
	if u, err := m.Usage("/"); err != nil || u.Free != 0 || u.Total != 3*memPage {
		t.Errorf("usage %+v, %v", u, err)
	}
	if _, err := f.WriteAt([]byte("over"), 0); err != nil {
		t.Errorf("overwrite on a full disk: %v", err)
	}
	mustDo(t, f.Truncate(memPage))
	if u, _ := m.Usage("/"); u.Free != 2*memPage {
		t.Errorf("free %d after truncation", u.Free)
	}
	mustDo(t, m.Remove("/f"))
	if u, _ := m.Usage("/"); u.Free != 3*memPage {
		t.Errorf("free %d after removal", u.Free)
	}
}

// crashAt calls at before each change.
type crashAt struct {
	*Mem
	at func()
}

func (c crashAt) Create(name string) (File, error) {
	c.at()
	f, err := c.Mem.Create(name)
	return crashFile{f, c.at}, err
}
func (c crashAt) Remove(name string) error   { c.at(); return c.Mem.Remove(name) }
func (c crashAt) Rename(old, n string) error { c.at(); return c.Mem.Rename(old, n) }
func (c crashAt) SyncDir(dir string) error   { c.at(); return c.Mem.SyncDir(dir) }

type crashFile struct {
	File
	at func()
}

func (c crashFile) WriteAt(p []byte, off int64) (int, error) { c.at(); return c.File.WriteAt(p, off) }
func (c crashFile) Sync() error                              { c.at(); return c.File.Sync() }

func TestWriteAtomicSurvivesEveryCrash(t *testing.T) {
	before, after := bytes.Repeat([]byte("old "), 3000), bytes.Repeat([]byte("newer "), 4000)
	m := NewMem()
	mustDo(t, WriteAtomic(m, "/f", before))
	crashes := uint64(0)
	check := func(want ...[]byte) {
		for seed := range uint64(30) {
			crashes++
			got, err := ReadFile(m.CrashClone(seed, 50), "/f", 1<<20)
			if err != nil || !slices.ContainsFunc(want, func(w []byte) bool { return bytes.Equal(w, got) }) {
				t.Fatalf("crash %d, seed %d: %d bytes, %v", crashes, seed, len(got), err)
			}
		}
	}
	mustDo(t, WriteAtomic(crashAt{m, func() { check(before, after) }}, "/f", after))
	check(after)
	if crashes < 6*30 {
		t.Errorf("only %d crashes", crashes)
	}
}
