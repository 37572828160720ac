//go:build linux || darwin

package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	filePerm = 0o640
	dirPerm  = 0o750
)

// OS is the host's file system.
func OS() FS { return osFS{} }

type osFS struct{}

var (
	_ FS   = osFS{}
	_ File = (*osFile)(nil)
)

func (osFS) Create(name string) (File, error) {
	return openFile("create", name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
}

func (osFS) Open(name string) (File, error) { return openFile("open", name, unix.O_RDONLY) }

func (osFS) OpenRW(name string) (File, error) { return openFile("open", name, unix.O_RDWR) }

func (osFS) Remove(name string) error { return os.Remove(name) }

func (osFS) RemoveAll(name string) error { return os.RemoveAll(name) }

func (osFS) Rename(oldName, newName string) error { return os.Rename(oldName, newName) }

func (osFS) ReadDir(dir string) ([]fs.DirEntry, error) { return os.ReadDir(dir) }

func (osFS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

func (o osFS) MkdirAll(dir string) error {
	dir = filepath.Clean(dir)
	parent := filepath.Dir(dir)
	if parent == dir {
		return nil
	}
	if err := os.Mkdir(dir, dirPerm); err != nil {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if err := o.MkdirAll(parent); err != nil {
				return err
			}
			if err := os.Mkdir(dir, dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		case errors.Is(err, fs.ErrExist):
			if st, serr := os.Stat(dir); serr != nil || !st.IsDir() {
				return err
			}
		default:
			return err
		}
	}
	return o.SyncDir(parent)
}

func (osFS) SyncDir(dir string) error {
	fd, err := open("open", dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	err = wrap("syncdir", dir, ignoringEINTR(func() error { return unix.Fsync(fd) }))
	return errors.Join(err, wrap("close", dir, unix.Close(fd)))
}

func (osFS) Lock(name string) (io.Closer, error) {
	f, err := openFile("lock", name, unix.O_RDWR|unix.O_CREAT)
	if err != nil {
		return nil, err
	}
	err = ignoringEINTR(func() error { return unix.Flock(f.fd, unix.LOCK_EX|unix.LOCK_NB) })
	if err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, errors.Join(wrap("lock", name, err), f.Close())
	}
	return f, nil
}

func (osFS) Usage(dir string) (Usage, error) {
	var st unix.Statfs_t
	if err := ignoringEINTR(func() error { return unix.Statfs(dir, &st) }); err != nil {
		return Usage{}, wrap("statfs", dir, err)
	}
	block := int64(st.Bsize)
	return Usage{Total: int64(st.Blocks) * block, Free: int64(st.Bavail) * block}, nil
}

// closed is set in osFile.users by Close; the bits below count the calls under way.
const closed = 1 << 30

// osFile holds a bare descriptor. Calls under way keep it open, so that a Close beside them can never
// make one write to whatever file is opened next under the same number.
type osFile struct {
	name  string
	fd    int
	users atomic.Int32
}

func open(op, name string, flags int) (int, error) {
	for {
		fd, err := unix.Open(name, flags|unix.O_CLOEXEC, filePerm)
		if err != unix.EINTR {
			return fd, wrap(op, name, err)
		}
	}
}

func openFile(op, name string, flags int) (*osFile, error) {
	fd, err := open(op, name, flags)
	if err != nil {
		return nil, err
	}
	return &osFile{name: name, fd: fd}, nil
}

func (f *osFile) acquire(op string) error {
	for {
		n := f.users.Load()
		if n&closed != 0 {
			return wrap(op, f.name, fs.ErrClosed)
		}
		if f.users.CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

func (f *osFile) release() {
	if f.users.Add(-1) == closed {
		_ = unix.Close(f.fd) // nobody is left to be told; what matters was synced
	}
}

func (f *osFile) Close() error {
	for {
		n := f.users.Load()
		if n&closed != 0 {
			return wrap("close", f.name, fs.ErrClosed)
		}
		if f.users.CompareAndSwap(n, n|closed) {
			if n == 0 {
				return wrap("close", f.name, unix.Close(f.fd))
			}
			return nil
		}
	}
}

func (f *osFile) Name() string { return f.name }

func (f *osFile) Fd() (uintptr, bool) { return uintptr(f.fd), true }

func (f *osFile) ReadAt(p []byte, off int64) (n int, err error) {
	if err := f.acquire("read"); err != nil {
		return 0, err
	}
	defer f.release()
	for n < len(p) {
		m, err := unix.Pread(f.fd, p[n:], off+int64(n))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return n, wrap("read", f.name, err)
		case m == 0:
			return n, io.EOF
		default:
			n += m
		}
	}
	return n, nil
}

func (f *osFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.acquire("write"); err != nil {
		return 0, err
	}
	defer f.release()
	return f.write(p, off)
}

func (f *osFile) write(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		m, err := unix.Pwrite(f.fd, p[n:], off+int64(n))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return n, wrap("write", f.name, err)
		case m == 0:
			return n, wrap("write", f.name, io.ErrShortWrite)
		default:
			n += m
		}
	}
	return n, nil
}

func (f *osFile) Size() (int64, error) {
	if err := f.acquire("stat"); err != nil {
		return 0, err
	}
	defer f.release()
	var st unix.Stat_t
	if err := ignoringEINTR(func() error { return unix.Fstat(f.fd, &st) }); err != nil {
		return 0, wrap("stat", f.name, err)
	}
	return st.Size, nil
}

func (f *osFile) Truncate(size int64) error {
	if err := f.acquire("truncate"); err != nil {
		return err
	}
	defer f.release()
	return wrap("truncate", f.name, ignoringEINTR(func() error { return unix.Ftruncate(f.fd, size) }))
}

func (f *osFile) Sync() error {
	if err := f.acquire("sync"); err != nil {
		return err
	}
	defer f.release()
	return wrap("sync", f.name, ignoringEINTR(func() error { return syncFile(f.fd) }))
}

// ignoringEINTR repeats call while a signal interrupts it. The runtime's own preemption signals ask
// for it.
func ignoringEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR { //nolint:errorlint // an Errno, bare
			return err
		}
	}
}

func wrap(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}
