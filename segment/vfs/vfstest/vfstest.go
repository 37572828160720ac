// Package vfstest is the exam that every vfs.FS passes.
//
// What belongs here: what callers may rely on, whatever the system. What does not: power cuts, which
// only vfs.Mem can make, and speed.
package vfstest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"testing"

	"firn/segment/vfs"
)

// Run examines file systems of one kind. open returns one and an empty directory in it, anew for each
// question.
func Run(t *testing.T, open func(t *testing.T) (fsys vfs.FS, dir string)) {
	for _, q := range []struct {
		name string
		ask  func(t *testing.T, fsys vfs.FS, dir string)
	}{
		{"create, open and their errors", names},
		{"bytes at positions", positions},
		{"many buffers in one write", vectors},
		{"truncation", truncation},
		{"closed files", closedFiles},
		{"files opened for reading", readOnly},
		{"renames", renames},
		{"removal", removal},
		{"directories", directories},
		{"locks", locks},
		{"usage", usage},
		{"mappings", mappings},
		{"mappings of files that shrink", mappingsShrink},
		{"syncs and hints", syncs},
		{"concurrent use of one file", concurrent},
		{"atomic replacement", atomicReplacement},
	} {
		t.Run(q.name, func(t *testing.T) {
			fsys, dir := open(t)
			q.ask(t, fsys, dir)
		})
	}
}

// want fails the test unless err is target and names the path.
func want(t *testing.T, what string, err, target error, path string) {
	t.Helper()
	var pe *fs.PathError
	if !errors.Is(err, target) {
		t.Errorf("%s: got error %v, want %v", what, err, target)
	} else if path != "" && (!errors.As(err, &pe) || pe.Path != path) {
		t.Errorf("%s: error %v does not name %s", what, err, path)
	}
}

func create(t *testing.T, fsys vfs.FS, name, content string) vfs.File {
	t.Helper()
	f, err := fsys.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if n, err := f.WriteAt([]byte(content), 0); err != nil || n != len(content) {
		t.Fatalf("write: %d, %v", n, err)
	}
	return f
}

func content(t *testing.T, fsys vfs.FS, name string) string {
	t.Helper()
	b, err := vfs.ReadFile(fsys, name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func names(t *testing.T, fsys vfs.FS, dir string) {
	a := filepath.Join(dir, "a")
	f := create(t, fsys, a, "hello")
	if f.Name() != a {
		t.Errorf("name %q", f.Name())
	}
	_, err := fsys.Create(a)
	want(t, "create what is there", err, fs.ErrExist, a)
	missing := filepath.Join(dir, "missing")
	_, err = fsys.Open(missing)
	want(t, "open what is not there", err, fs.ErrNotExist, missing)
	_, err = fsys.OpenRW(missing)
	want(t, "openrw what is not there", err, fs.ErrNotExist, missing)
	_, err = fsys.Create(filepath.Join(missing, "x"))
	want(t, "create in a missing directory", err, fs.ErrNotExist, "")
	_, err = fsys.Create(filepath.Join(a, "x"))
	if err == nil {
		t.Error("created a file in a file")
	}
	st, err := fsys.Stat(a)
	if err != nil || st.Name() != "a" || st.Size() != 5 || st.IsDir() {
		t.Errorf("stat: %+v, %v", st, err)
	}
	_, err = fsys.Stat(missing)
	want(t, "stat what is not there", err, fs.ErrNotExist, missing)
	if _, err := vfs.ReadFile(fsys, a, 4); err == nil {
		t.Error("read a file of 5 bytes under a limit of 4")
	}
	if got := content(t, fsys, a); got != "hello" {
		t.Errorf("content %q", got)
	}
}

func positions(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "a"), "0123456789")
	for _, w := range []struct {
		off  int64
		data string
	}{{3, "xyz"}, {20000, "far"}, {10, "ab"}, {4090, "over the edge"}} {
		if _, err := f.WriteAt([]byte(w.data), w.off); err != nil {
			t.Fatal(err)
		}
	}
	expect := make([]byte, 20003)
	copy(expect, "012xyz6789ab")
	copy(expect[4090:], "over the edge")
	copy(expect[20000:], "far")
	got := make([]byte, len(expect))
	if n, err := f.ReadAt(got, 0); n != len(got) || err != nil && err != io.EOF || !bytes.Equal(got, expect) {
		t.Fatalf("read %d, %v", n, err)
	}
	if size, err := f.Size(); err != nil || size != 20003 {
		t.Errorf("size %d, %v", size, err)
	}
	p := make([]byte, 10)
	if n, err := f.ReadAt(p, 20000); n != 3 || err != io.EOF || string(p[:3]) != "far" {
		t.Errorf("read over the end: %d, %v", n, err)
	}
	if n, err := f.ReadAt(p, 99999); n != 0 || err != io.EOF {
		t.Errorf("read beyond the end: %d, %v", n, err)
	}
	if n, err := f.ReadAt(nil, 0); n != 0 || err != nil {
		t.Errorf("read of nothing: %d, %v", n, err)
	}
	if _, err := f.ReadAt(p, -1); err == nil || err == io.EOF {
		t.Errorf("read before the start: %v", err)
	}
	if _, err := f.WriteAt(p, -1); err == nil {
		t.Error("wrote before the start")
	}
}

func vectors(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "a"), "head")
	var bufs [][]byte
	var expect []byte
	for i := range 3000 { // more than one system call takes
		p := bytes.Repeat([]byte{byte(i)}, i%7*11)
		bufs = append(bufs, p)
		expect = append(expect, p...)
	}
	n, err := f.WriteV(bufs, 4)
	if err != nil || n != int64(len(expect)) {
		t.Fatalf("wrote %d of %d: %v", n, len(expect), err)
	}
	for i, p := range bufs {
		if len(p) != i%7*11 {
			t.Fatalf("buffer %d was changed", i)
		}
	}
	got := make([]byte, len(expect))
	if _, err := f.ReadAt(got, 4); err != nil && err != io.EOF || !bytes.Equal(got, expect) {
		t.Errorf("read back: %v", err)
	}
	for _, none := range [][][]byte{nil, {}, {nil}, {{}, nil, {}}} {
		if n, err := f.WriteV(none, 0); n != 0 || err != nil {
			t.Errorf("write of nothing: %d, %v", n, err)
		}
	}
}

func truncation(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "a")
	f := create(t, fsys, name, "0123456789")
	for _, size := range []int64{4, 8, 9000, 5000, 5001, 0, 3} {
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		if got, err := f.Size(); err != nil || got != size {
			t.Fatalf("size %d, want %d: %v", got, size, err)
		}
		expect := make([]byte, size)
		if size > 3 {
			copy(expect, "0123")
		}
		if got := content(t, fsys, name); got != string(expect) {
			t.Fatalf("truncated to %d: %q...", size, got[:min(len(got), 20)])
		}
	}
	if err := f.Truncate(-1); err == nil {
		t.Error("truncated to -1")
	}
}

func closedFiles(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "a")
	f := create(t, fsys, name, "x")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	_, read := f.ReadAt(make([]byte, 1), 0)
	_, write := f.WriteAt([]byte("y"), 0)
	_, writev := f.WriteV([][]byte{{1}}, 0)
	_, size := f.Size()
	_, mapped := f.Map(10)
	for i, err := range []error{read, write, writev, size, mapped, f.Truncate(0), f.Sync(), f.Close()} {
		want(t, "call "+string(rune('0'+i)), err, fs.ErrClosed, name)
	}
	f.WriteBack(0, 1)
	f.Reserve(0, 1)
	f.DropCache(0, 0)
}

func readOnly(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "a")
	create(t, fsys, name, "abc")
	f, err := fsys.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("wrote")
	}
	if err := f.Truncate(0); err == nil {
		t.Error("truncated")
	}
	if err := f.Sync(); err != nil {
		t.Errorf("sync: %v", err)
	}
	w, err := fsys.OpenRW(name)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.WriteAt([]byte("X"), 1); err != nil {
		t.Fatal(err)
	}
	if got := content(t, fsys, name); got != "aXc" {
		t.Errorf("content %q", got)
	}
}

func concurrent(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "a"), "")
	done := make(chan error)
	const writers, rounds = 4, 50
	for i := range writers {
		go func() {
			var errs error
			p := bytes.Repeat([]byte{byte(i + 1)}, 1000)
			got := make([]byte, 1000)
			for r := range rounds {
				off := int64(r*writers+i) * 1000
				_, werr := f.WriteV([][]byte{p[:300], p[300:]}, off)
				_, rerr := f.ReadAt(got, off)
				if rerr == io.EOF {
					rerr = nil
				}
				if !bytes.Equal(p, got) {
					rerr = errors.Join(rerr, errors.New("read other bytes than written"))
				}
				errs = errors.Join(errs, werr, rerr)
				if r%10 == i {
					errs = errors.Join(errs, f.Sync())
				}
			}
			done <- errs
		}()
	}
	for range writers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if size, err := f.Size(); err != nil || size != writers*rounds*1000 {
		t.Errorf("size %d, %v", size, err)
	}
}
