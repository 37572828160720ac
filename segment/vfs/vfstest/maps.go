package vfstest

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"firn/segment/vfs"
)

// mapFile maps a file, or skips the question where there are no mappings.
func mapFile(t *testing.T, f vfs.File, size int64) vfs.Mapping {
	t.Helper()
	m, err := f.Map(size)
	if errors.Is(err, vfs.ErrNoMapping) {
		t.Skip("this system maps no files; callers read instead")
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mappings(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "a"), "start")
	m := mapFile(t, f, 100_000) // beyond the end of the file
	for _, off := range []int64{0, 4090, 50_000} {
		if _, err := f.WriteAt([]byte("0123456789"), off); err != nil {
			t.Fatal(err)
		}
		for _, cold := range []bool{false, true} {
			p := make([]byte, 10)
			if err := m.CopyAt(p, off, cold); err != nil || string(p) != "0123456789" {
				t.Errorf("at %d, cold %v: %q, %v", off, cold, p, err)
			}
		}
	}
	p := make([]byte, 20_000)
	if err := m.CopyAt(p, 10_000, true); err != nil || !bytes.Equal(p, make([]byte, len(p))) {
		t.Errorf("a hole is not zeros: %v", err)
	}
	if err := m.CopyAt(nil, 0, true); err != nil {
		t.Errorf("copy of nothing: %v", err)
	}
	for _, off := range []int64{-1, 99_999, 100_000, 1 << 40} {
		if err := m.CopyAt(make([]byte, 2), off, false); err == nil {
			t.Errorf("copied from %d of a mapping of 100000 bytes", off)
		}
	}
	if err := f.Close(); err != nil { // a mapping outlives its file
		t.Fatal(err)
	}
	if err := m.CopyAt(p[:5], 4090, true); err != nil || string(p[:5]) != "01234" {
		t.Errorf("after close: %q, %v", p[:5], err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if err := m.Close(); err == nil {
		t.Error("closed twice")
	}
	if err := m.CopyAt(p[:5], 0, true); err == nil {
		t.Error("copied from a closed mapping")
	}
}

func mappingsShrink(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "a"), "")
	if err := f.Truncate(100_000); err != nil {
		t.Fatal(err)
	}
	m := mapFile(t, f, 200_000)
	defer m.Close()
	p := make([]byte, 100)
	if err := m.CopyAt(p, 90_000, false); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	for _, cold := range []bool{false, true} {
		for _, off := range []int64{90_000, 150_000} {
			if err := m.CopyAt(p, off, cold); err == nil {
				t.Errorf("copied bytes that are gone, cold %v", cold)
			}
		}
	}
}

func syncs(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "a"), "x")
	for range 3 {
		if err := f.Sync(); err != nil {
			t.Error(err)
		}
		f.WriteBack(0, 100)
		f.DropCache(0, 0)
	}
	if got := content(t, fsys, f.Name()); got != "x" {
		t.Errorf("content %q", got)
	}
}
