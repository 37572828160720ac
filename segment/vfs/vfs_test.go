package vfs_test

import (
	"testing"

	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
	"firn/segment/vfs/vfstest"
)

func TestOS(t *testing.T) {
	vfstest.Run(t, func(t *testing.T) (vfs.FS, string) { return vfs.OS(), t.TempDir() })
}

func TestMem(t *testing.T) {
	vfstest.Run(t, func(t *testing.T) (vfs.FS, string) { return memDir(t, vfs.NewMem()) })
}

func TestMemAfterACrash(t *testing.T) {
	vfstest.Run(t, func(t *testing.T) (vfs.FS, string) { return memDir(t, vfs.NewMem().CrashClone(1, 50)) })
}

func TestFaultfsWithoutRules(t *testing.T) {
	vfstest.Run(t, func(t *testing.T) (vfs.FS, string) {
		fsys, dir := memDir(t, vfs.NewMem())
		return faultfs.Wrap(fsys, new(faultfs.Injector)), dir
	})
}

func memDir(t *testing.T, mem *vfs.Mem) (vfs.FS, string) {
	t.Helper()
	if err := mem.MkdirAll("/some/dir"); err != nil {
		t.Fatal(err)
	}
	return mem, "/some/dir"
}
