package vfs

import "golang.org/x/sys/unix"

// WriteV writes buffer by buffer.
func (f *osFile) WriteV(bufs [][]byte, off int64) (done int64, err error) {
	if err := f.acquire("write"); err != nil {
		return 0, err
	}
	defer f.release()
	for _, p := range bufs {
		n, err := f.write(p, off+done)
		done += int64(n)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (f *osFile) WriteBack(off, n int64) {}

func (f *osFile) Reserve(off, n int64) {}

func (f *osFile) DropCache(off, n int64) {}

// Map is not offered where pages cannot be populated without the risk of a fault.
func (f *osFile) Map(size int64) (Mapping, error) { return nil, wrap("map", f.name, ErrNoMapping) }

// syncFile asks the drive to write its cache too, which fsync alone does not do here. File systems that
// cannot are given the plain call.
func syncFile(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_FULLFSYNC, 0)
	if err == nil || err == unix.EINTR || err == unix.EIO { //nolint:errorlint // an Errno, bare
		return err
	}
	return unix.Fsync(fd)
}
