package segment

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"firn/segment/vfs"
)

// A log sets blocks aside for what it is appended, a share of what it has, and holds none that it does not need once the
// segment is sealed, cut or closed.
func TestBlocksAreSetAsideForAppends(t *testing.T) {
	if !reservable(t) {
		t.Skip("the file system of the temporary directory cannot set blocks aside")
	}
	d, err := OpenDisk(DiskOptions{FS: vfs.OS(), Dir: filepath.Join(t.TempDir(), "data"), BrokerID: 1})
	if err != nil {
		t.Fatal(err)
	}
	l := openLog(t, d, Options{})
	active := func() string { return l.view.Load().active.path(logSuffix) }
	fill(t, l, 8300, 64, 1024)
	first := active()
	if size, extra := blocks(t, first); extra < minReserve/4 || extra > size/reserveShare+minReserve {
		t.Errorf("%d bytes more than its %d are set aside for the active segment", extra, size)
	}
	if err := l.Roll(RollTier); err != nil {
		t.Fatal(err)
	}
	unneeded(t, "sealed", first)
	fill(t, l, 24_000, 64, 1024)
	if err := l.TruncateTo(20_000); err != nil {
		t.Fatal(err)
	}
	unneeded(t, "cut", active())
	fill(t, l, 36_000, 64, 1024)
	mustCheck(t, readAll(t, l, 0, l.Next(), 64<<20), 0, 36_000)
	last := active()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	unneeded(t, "closed", last)
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
}

// unneeded fails the test if a file has more blocks than it needs.
func unneeded(t *testing.T, what, name string) {
	t.Helper()
	if size, extra := blocks(t, name); extra > 64<<10 {
		t.Errorf("%s segment of %d bytes has %d more", what, size, extra)
	}
}

// blocks is a file's size, and how much more of the disk it has, once nothing of it is only in memory.
func blocks(t *testing.T, name string) (size, extra int64) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st.Size, st.Blocks*512 - st.Size
}

func reservable(t *testing.T) bool {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, 1<<20); err != nil {
		return false
	}
	_, extra := blocks(t, f.Name())
	return extra > 0
}
