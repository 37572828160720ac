package vfs

import (
	"io"

	"golang.org/x/sys/unix"
)

// maxIovecs is Linux's IOV_MAX: more buffers in one call are refused.
const maxIovecs = 1024

func (f *osFile) WriteV(bufs [][]byte, off int64) (done int64, err error) {
	if err := f.acquire("write"); err != nil {
		return 0, err
	}
	defer f.release()
	for len(bufs) > 0 {
		n, err := unix.Pwritev(f.fd, bufs[:min(len(bufs), maxIovecs)], off+done)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, wrap("write", f.name, err)
		}
		done += int64(n)
		whole := 0
		for whole < len(bufs) && n >= len(bufs[whole]) {
			n -= len(bufs[whole])
			whole++
		}
		bufs = bufs[whole:]
		switch {
		case n > 0: // cut within a buffer: finish that one alone, the caller's slice is not ours to change
			m, err := f.write(bufs[0][n:], off+done)
			done += int64(m)
			if err != nil {
				return done, err
			}
			bufs = bufs[1:]
		case whole == 0:
			return done, wrap("write", f.name, io.ErrShortWrite)
		}
	}
	return done, nil
}

func (f *osFile) WriteBack(off, n int64) {
	if f.acquire("") != nil {
		return
	}
	defer f.release()
	_ = unix.SyncFileRange(f.fd, off, n, unix.SYNC_FILE_RANGE_WRITE)
}

func (f *osFile) Reserve(off, n int64) {
	if f.acquire("") != nil {
		return
	}
	defer f.release()
	_ = unix.Fallocate(f.fd, unix.FALLOC_FL_KEEP_SIZE, off, n)
}

func (f *osFile) DropCache(off, n int64) {
	if f.acquire("") != nil {
		return
	}
	defer f.release()
	_ = unix.Fadvise(f.fd, off, n, unix.FADV_DONTNEED)
}

func syncFile(fd int) error { return unix.Fdatasync(fd) }
