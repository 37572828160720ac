package vfstest

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"

	"firn/segment/vfs"
)

func list(t *testing.T, fsys vfs.FS, dir string) []string {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() {
			name += "/"
		}
		names = append(names, name)
	}
	return names
}

func wantList(t *testing.T, fsys vfs.FS, dir string, names ...string) {
	t.Helper()
	if got := list(t, fsys, dir); !slices.Equal(got, names) {
		t.Errorf("%s holds %q, want %q", dir, got, names)
	}
}

func renames(t *testing.T, fsys vfs.FS, dir string) {
	a, b, sub := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "sub")
	f := create(t, fsys, a, "one")
	create(t, fsys, b, "two")
	if err := fsys.Rename(a, b); err != nil {
		t.Fatal(err)
	}
	wantList(t, fsys, dir, "b")
	if got := content(t, fsys, b); got != "one" {
		t.Errorf("content %q", got)
	}
	if _, err := f.WriteAt([]byte("ONE"), 0); err != nil { // an open file follows its bytes
		t.Fatal(err)
	}
	if got := content(t, fsys, b); got != "ONE" {
		t.Errorf("content %q", got)
	}
	if err := fsys.Rename(a, b); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("rename of what is not there: %v", err)
	}
	if err := fsys.Rename(b, b); err != nil {
		t.Errorf("rename onto itself: %v", err)
	}
	if err := fsys.MkdirAll(filepath.Join(sub, "deep")); err != nil {
		t.Fatal(err)
	}
	if err := fsys.Rename(b, filepath.Join(sub, "c")); err != nil {
		t.Fatal(err)
	}
	if err := fsys.Rename(sub, filepath.Join(dir, "moved")); err != nil {
		t.Fatal(err)
	}
	wantList(t, fsys, dir, "moved/")
	wantList(t, fsys, filepath.Join(dir, "moved"), "c", "deep/")
	create(t, fsys, a, "file")
	if err := fsys.Rename(a, filepath.Join(dir, "moved")); err == nil {
		t.Error("a file replaced a directory")
	}
}

func removal(t *testing.T, fsys vfs.FS, dir string) {
	a := filepath.Join(dir, "a")
	f := create(t, fsys, a, "still")
	if err := fsys.Remove(a); err != nil {
		t.Fatal(err)
	}
	want(t, "remove again", fsys.Remove(a), fs.ErrNotExist, a)
	p := make([]byte, 5)
	if _, err := f.ReadAt(p, 0); err != nil && err != io.EOF || string(p) != "still" {
		t.Errorf("an open file lost its bytes: %q, %v", p, err)
	}
	create(t, fsys, a, "new")
	if _, err := f.WriteAt([]byte("old"), 0); err != nil {
		t.Fatal(err)
	}
	if got := content(t, fsys, a); got != "new" {
		t.Errorf("a removed file's writes reached its successor: %q", got)
	}
	tree := filepath.Join(dir, "tree")
	if err := fsys.MkdirAll(filepath.Join(tree, "x", "y")); err != nil {
		t.Fatal(err)
	}
	create(t, fsys, filepath.Join(tree, "x", "f"), "")
	if err := fsys.Remove(tree); err == nil {
		t.Error("removed a directory that is not empty")
	}
	for range 2 {
		if err := fsys.RemoveAll(tree); err != nil {
			t.Errorf("removeall: %v", err)
		}
	}
	wantList(t, fsys, dir, "a")
}

func directories(t *testing.T, fsys vfs.FS, dir string) {
	deep := filepath.Join(dir, "x", "y", "z")
	for range 2 {
		if err := fsys.MkdirAll(deep); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []string{"b", "a", "c"} {
		create(t, fsys, filepath.Join(deep, n), "")
	}
	if err := fsys.MkdirAll(filepath.Join(deep, "b2")); err != nil {
		t.Fatal(err)
	}
	wantList(t, fsys, deep, "a", "b", "b2/", "c")
	if err := fsys.MkdirAll(filepath.Join(deep, "a")); err == nil {
		t.Error("made a directory of a file's name")
	}
	if err := fsys.MkdirAll(filepath.Join(deep, "a", "b")); err == nil {
		t.Error("made a directory in a file")
	}
	st, err := fsys.Stat(deep)
	if err != nil || !st.IsDir() {
		t.Errorf("stat: %v, %v", st, err)
	}
	missing := filepath.Join(dir, "missing")
	_, err = fsys.ReadDir(missing)
	want(t, "readdir", err, fs.ErrNotExist, missing)
	want(t, "syncdir", fsys.SyncDir(missing), fs.ErrNotExist, missing)
	if err := fsys.SyncDir(deep); err != nil {
		t.Error(err)
	}
	if err := fsys.SyncDir(filepath.Join(deep, "a")); err == nil {
		t.Error("synced a file as a directory")
	}
}

func locks(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "lock")
	l, err := fsys.Lock(name)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fsys.Lock(name)
	want(t, "second lock", err, vfs.ErrLocked, name)
	other, err := fsys.Lock(filepath.Join(dir, "other"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := fsys.Lock(name)
	if err != nil {
		t.Fatalf("lock after release: %v", err)
	}
	again.Close()
	wantList(t, fsys, dir, "lock", "other")
}

func usage(t *testing.T, fsys vfs.FS, dir string) {
	u, err := fsys.Usage(dir)
	if err != nil || u.Total <= 0 || u.Free < 0 || u.Free > u.Total {
		t.Errorf("usage %+v, %v", u, err)
	}
	missing := filepath.Join(dir, "missing")
	_, err = fsys.Usage(missing)
	want(t, "usage", err, fs.ErrNotExist, missing)
}

func atomicReplacement(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "a")
	create(t, fsys, name+".tmp", "left by a crash")
	for _, data := range []string{"first", "second, longer", ""} {
		if err := vfs.WriteAtomic(fsys, name, []byte(data)); err != nil {
			t.Fatal(err)
		}
		if got := content(t, fsys, name); got != data {
			t.Errorf("content %q, want %q", got, data)
		}
	}
	wantList(t, fsys, dir, "a")
	if err := vfs.WriteAtomic(fsys, filepath.Join(dir, "no", "a"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a missing directory: %v", err)
	}
}
