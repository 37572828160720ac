package fs_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"firn/segment/vfs"
	"firn/tiering/objstore"
	"firn/tiering/objstore/fs"
	"firn/tiering/objstore/objtest"
)

func open(tb testing.TB, fsys vfs.FS, dir string) *fs.Bucket {
	tb.Helper()
	b, err := fs.Open(fsys, dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { b.Close() })
	return b
}

func TestBucket(t *testing.T) {
	objtest.Run(t, func(t *testing.T) objstore.Bucket { return open(t, vfs.OS(), t.TempDir()) })
}

// An object's file holds its bytes and nothing else, under a name that people can read.
func TestFilesArePlain(t *testing.T) {
	dir := t.TempDir()
	b := open(t, vfs.OS(), dir)
	for key, file := range map[string]string{
		"a/b-c_1.seg": "a/b-c_1.seg",
		"a b/.x/%":    "a%20b/%2Ex/%25",
	} {
		if _, err := b.Put(t.Context(), key, strings.NewReader(key), objstore.Condition{}); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(got) != key {
			t.Errorf("%s: %q, %v", file, got, err)
		}
	}
	if got := b.String(); got != "file://"+dir {
		t.Errorf("String = %q", got)
	}
}

// What others put into the directory is no object and does no harm.
func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	b := open(t, vfs.OS(), dir)
	for _, name := range []string{".hidden", "with space", "lost+found/x", "%2", "%zz", "%2e", "%61", "ümläut", "ok/.DS_Store"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(t.Context(), "ok/k", strings.NewReader("x"), objstore.Condition{}); err != nil {
		t.Fatal(err)
	}
	var keys []string
	err := b.List(t.Context(), "", "", func(info objstore.Info) error {
		keys = append(keys, info.Key)
		return nil
	})
	if err != nil || !slices.Equal(keys, []string{"ok/k"}) {
		t.Errorf("list: %q, %v", keys, err)
	}
	if err := b.Delete(t.Context(), "ok/k"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "ok", ".DS_Store")); err != nil {
		t.Errorf("a foreign file is gone: %v", err)
	}
}

// Deleting the last object of a directory removes the directory, and no other.
func TestEmptyDirectoriesGo(t *testing.T) {
	dir := t.TempDir()
	b := open(t, vfs.OS(), dir)
	for _, key := range []string{"a/b/c/1", "a/x"} {
		if _, err := b.Put(t.Context(), key, strings.NewReader("x"), objstore.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Delete(t.Context(), "a/b/c/1"); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "a"))
	if err != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v", entries, err)
	}
	if err := b.Delete(t.Context(), "a/x"); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 || entries[0].Name() != ".firn" {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// Opening removes what crashed writers left, but nothing of those that live.
func TestCleanUp(t *testing.T) {
	dir := t.TempDir()
	first := open(t, vfs.OS(), dir)
	temps := filepath.Join(dir, ".firn", "tmp")
	crashed := filepath.Join(temps, "CRASHED")
	if err := os.Mkdir(crashed, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lock", "1", "2"} {
		if err := os.WriteFile(filepath.Join(crashed, name), make([]byte, 1000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	second := open(t, vfs.OS(), dir)
	if _, err := os.Stat(crashed); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a crashed writer's files are still there: %v", err)
	}
	for _, b := range []objstore.Bucket{first, second} {
		if _, err := b.Put(t.Context(), "k", strings.NewReader("x"), objstore.Condition{}); err != nil {
			t.Error(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(temps); err != nil || len(left) != 0 {
		t.Errorf("left after close: %v, %v", left, err)
	}
	if _, err := first.Put(t.Context(), "k", strings.NewReader("y"), objstore.Condition{}); err == nil {
		t.Error("put into a closed bucket succeeded")
	}
}

func TestOpenManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			b, err := fs.Open(vfs.OS(), dir)
			if err != nil {
				t.Error(err)
				return
			}
			defer b.Close()
			if _, err := b.Put(t.Context(), strconv.Itoa(i), strings.NewReader("x"), objstore.Condition{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// Conditions hold between processes: several buckets on one directory count up together.
func TestConditionsBetweenProcesses(t *testing.T) {
	dir := t.TempDir()
	first := open(t, vfs.OS(), dir)
	if _, err := first.Put(t.Context(), "n", strings.NewReader("0"), objstore.Condition{}); err != nil {
		t.Fatal(err)
	}
	const processes, steps = 4, 10
	var wg sync.WaitGroup
	for range processes {
		b := open(t, vfs.OS(), dir)
		wg.Go(func() {
			for done := 0; done < steps; {
				head, err := b.Head(t.Context(), "n")
				if err != nil {
					t.Error(err)
					return
				}
				data, err := read(b, "n")
				if err != nil {
					t.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(data))
				_, err = b.Put(t.Context(), "n", bytes.NewReader([]byte(strconv.Itoa(n+1))), objstore.Condition{IfMatch: head.ETag})
				switch {
				case err == nil:
					done++
				case !errors.Is(err, objstore.ErrPrecondition):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got, err := read(first, "n"); err != nil || string(got) != strconv.Itoa(processes*steps) {
		t.Errorf("counted to %s, %v, want %d", got, err, processes*steps)
	}
}

// A file that is cut under a reader is an error, not an early end.
func TestCutFile(t *testing.T) {
	dir := t.TempDir()
	b := open(t, vfs.OS(), dir)
	if _, err := b.Put(t.Context(), "k", bytes.NewReader(make([]byte, 100_000)), objstore.Condition{}); err != nil {
		t.Fatal(err)
	}
	body, err := b.Get(t.Context(), "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if err := os.Truncate(filepath.Join(dir, "k"), 50_000); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := got.ReadFrom(body); err == nil || got.Len() != 50_000 {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
}
