package faultfs_test

import (
	"errors"
	"io"
	"io/fs"
	"testing"

	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

var errDisk = errors.New("disk")

func setUp(t *testing.T) (*vfs.Mem, *faultfs.Injector, vfs.FS) {
	t.Helper()
	mem, inject := vfs.NewMem(), new(faultfs.Injector)
	return mem, inject, faultfs.Wrap(mem, inject)
}

func create(t *testing.T, fsys vfs.FS, name string) vfs.File {
	t.Helper()
	f, err := fsys.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Every call can be made to fail, does not happen then, and names its file.
func TestEachOpBites(t *testing.T) {
	for op, call := range map[faultfs.Op]func(fsys vfs.FS, f vfs.File) error{
		faultfs.Create:    func(fsys vfs.FS, _ vfs.File) error { _, err := fsys.Create("/a2"); return err },
		faultfs.Open:      func(fsys vfs.FS, _ vfs.File) error { _, err := fsys.Open("/a"); return err },
		faultfs.OpenRW:    func(fsys vfs.FS, _ vfs.File) error { _, err := fsys.OpenRW("/a"); return err },
		faultfs.Remove:    func(fsys vfs.FS, _ vfs.File) error { return fsys.Remove("/a") },
		faultfs.RemoveAll: func(fsys vfs.FS, _ vfs.File) error { return fsys.RemoveAll("/a") },
		faultfs.Rename:    func(fsys vfs.FS, _ vfs.File) error { return fsys.Rename("/a", "/b") },
		faultfs.MkdirAll:  func(fsys vfs.FS, _ vfs.File) error { return fsys.MkdirAll("/adir") },
		faultfs.ReadDir:   func(fsys vfs.FS, _ vfs.File) error { _, err := fsys.ReadDir("/"); return err },
		faultfs.Stat:      func(fsys vfs.FS, _ vfs.File) error { _, err := fsys.Stat("/a"); return err },
		faultfs.SyncDir:   func(fsys vfs.FS, _ vfs.File) error { return fsys.SyncDir("/") },
		faultfs.Lock:      func(fsys vfs.FS, _ vfs.File) error { _, err := fsys.Lock("/alock"); return err },
		faultfs.Usage:     func(fsys vfs.FS, _ vfs.File) error { _, err := fsys.Usage("/"); return err },
		faultfs.ReadAt:    func(_ vfs.FS, f vfs.File) error { _, err := f.ReadAt(make([]byte, 1), 0); return err },
		faultfs.WriteAt:   func(_ vfs.FS, f vfs.File) error { _, err := f.WriteAt([]byte("y"), 0); return err },
		faultfs.WriteV:    func(_ vfs.FS, f vfs.File) error { _, err := f.WriteV([][]byte{{1}}, 0); return err },
		faultfs.Size:      func(_ vfs.FS, f vfs.File) error { _, err := f.Size(); return err },
		faultfs.Truncate:  func(_ vfs.FS, f vfs.File) error { return f.Truncate(0) },
		faultfs.Sync:      func(_ vfs.FS, f vfs.File) error { return f.Sync() },
		faultfs.Map:       func(_ vfs.FS, f vfs.File) error { _, err := f.Map(1); return err },
		faultfs.CopyAt: func(_ vfs.FS, f vfs.File) error {
			m, err := f.Map(1)
			if err != nil {
				return err
			}
			return m.CopyAt(make([]byte, 1), 0, true)
		},
		faultfs.Close: func(_ vfs.FS, f vfs.File) error { return f.Close() },
	} {
		t.Run(string(op), func(t *testing.T) {
			mem, inject, fsys := setUp(t)
			f := create(t, fsys, "/a")
			if _, err := f.WriteAt([]byte("x"), 0); err != nil {
				t.Fatal(err)
			}
			rule := inject.Add(faultfs.Rule{Op: op, Err: errDisk})
			err := call(fsys, f)
			var pe *fs.PathError
			if !errors.Is(err, errDisk) || !errors.As(err, &pe) || pe.Path == "" || rule.Hits() != 1 {
				t.Fatalf("got %v, %d hits", err, rule.Hits())
			}
			if got, err := vfs.ReadFile(mem, "/a", 10); err != nil || string(got) != "x" {
				t.Errorf("the call happened: %q, %v", got, err)
			}
			if list, _ := mem.ReadDir("/"); len(list) != 1 {
				t.Errorf("the call happened: %v", list)
			}
			if op != faultfs.Close {
				if err := call(fsys, f); err != nil {
					t.Errorf("the second call: %v", err)
				}
			}
		})
	}
}

func TestNthTimesAndGlob(t *testing.T) {
	_, inject, fsys := setUp(t)
	a, b := create(t, fsys, "/a.log"), create(t, fsys, "/b.idx")
	rule := inject.Add(faultfs.Rule{Op: faultfs.Sync, Glob: "*.log", Nth: 2, Times: 2, Err: errDisk})
	whole := inject.Add(faultfs.Rule{Op: faultfs.Sync, Glob: "/*.idx", Times: -1, Nth: 2, Err: errDisk})
	for i, want := range []bool{true, false, false, true, true} {
		if err := a.Sync(); (err == nil) != want {
			t.Errorf("sync %d of a: %v", i, err)
		}
		if err := b.Sync(); (err == nil) != (i == 0) {
			t.Errorf("sync %d of b: %v", i, err)
		}
	}
	if rule.Hits() != 2 || rule.Calls() != 5 || whole.Hits() != 4 {
		t.Errorf("%d hits in %d calls; %d", rule.Hits(), rule.Calls(), whole.Hits())
	}
	whole.Remove()
	if err := b.Sync(); err != nil {
		t.Errorf("removed rule: %v", err)
	}
	inject.Add(faultfs.Rule{Op: faultfs.Rename, Glob: "target", Err: errDisk})
	if err := fsys.Rename("/a.log", "/target"); !errors.Is(err, errDisk) {
		t.Errorf("rename by its new name: %v", err)
	}
}

func TestShortWrites(t *testing.T) {
	mem, inject, fsys := setUp(t)
	f := create(t, fsys, "/a")
	inject.Add(faultfs.Rule{Op: faultfs.WriteV, Err: errDisk, Short: 5})
	if n, err := f.WriteV([][]byte{[]byte("abc"), []byte("defg"), []byte("hi")}, 0); n != 5 || !errors.Is(err, errDisk) {
		t.Errorf("writev: %d, %v", n, err)
	}
	inject.Add(faultfs.Rule{Op: faultfs.WriteAt, Err: errDisk, Short: 2})
	if n, err := f.WriteAt([]byte("xyz"), 5); n != 2 || !errors.Is(err, errDisk) {
		t.Errorf("writeat: %d, %v", n, err)
	}
	if got, err := vfs.ReadFile(mem, "/a", 100); err != nil || string(got) != "abcdexy" {
		t.Errorf("file holds %q, %v", got, err)
	}
}

func TestFailedSyncIsLost(t *testing.T) {
	mem, inject, fsys := setUp(t)
	f := create(t, fsys, "/a")
	if _, err := f.WriteAt([]byte("lost"), 0); err != nil {
		t.Fatal(err)
	}
	if err := fsys.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	inject.Add(faultfs.Rule{Op: faultfs.Sync, Err: errDisk})
	if err := f.Sync(); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	after, err := mem.CrashClone(1, 100).Open("/a")
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 4)
	if _, err := after.ReadAt(p, 0); err != nil && err != io.EOF || string(p) == "lost" {
		t.Errorf("a sync after a failed one saved %q: %v", p, err)
	}
}

// Do runs without locks: it may use the file system, arm rules and wait.
func TestDo(t *testing.T) {
	mem, inject, fsys := setUp(t)
	var seen []string
	var clones []*vfs.Mem
	inject.Add(faultfs.Rule{Times: -1, Do: func(op faultfs.Op, name string) {
		if op.Changes() {
			seen = append(seen, string(op)+" "+name)
			clones = append(clones, mem.CrashClone(uint64(len(clones)), 0))
		}
	}})
	held, release := make(chan struct{}), make(chan struct{})
	inject.Add(faultfs.Rule{Op: faultfs.Sync, Do: func(faultfs.Op, string) { close(held); <-release }})

	f := create(t, fsys, "/a")
	if _, err := f.WriteAt([]byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- f.Sync() }()
	<-held
	if _, err := fsys.Stat("/a"); err != nil { // others go on meanwhile
		t.Error(err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(seen) != 3 || seen[0] != "create /a" || seen[2] != "sync /a" || len(clones) != 3 {
		t.Errorf("saw %q", seen)
	}
}
