package vfs

import (
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"

	"golang.org/x/sys/unix"
)

// osMapping is the only holder of mapped bytes in the program.
type osMapping struct {
	name string
	data []byte
}

// canPopulate says whether the kernel has MADV_POPULATE_READ (Linux 5.14). Without it there is no way
// to bring a page in that cannot fault, so there are no mappings.
var canPopulate = sync.OnceValue(func() bool {
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Munmap(page) }()
	return unix.Madvise(page, unix.MADV_POPULATE_READ) == nil
})

func (f *osFile) Map(size int64) (Mapping, error) {
	if err := f.acquire("map"); err != nil {
		return nil, err
	}
	defer f.release()
	if !canPopulate() {
		return nil, wrap("map", f.name, ErrNoMapping)
	}
	data, err := unix.Mmap(f.fd, 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, wrap("map", f.name, fmt.Errorf("%w: %w", ErrNoMapping, err))
	}
	// A lookup wants one page; without this a cold one would read its neighbours too. A hint.
	_ = unix.Madvise(data, unix.MADV_RANDOM)
	return &osMapping{name: f.name, data: data}, nil
}

func (m *osMapping) CopyAt(p []byte, off int64, cold bool) error {
	if off < 0 || off > int64(len(m.data)) || int64(len(p)) > int64(len(m.data))-off {
		return wrap("map read", m.name, fmt.Errorf("%w: [%d, +%d) of %d mapped bytes", io.ErrUnexpectedEOF, off, len(p), len(m.data)))
	}
	if len(p) == 0 {
		return nil
	}
	if cold {
		if err := m.populate(off, off+int64(len(p))); err != nil {
			return wrap("map read", m.name, err)
		}
	}
	return m.copyGuarded(p, m.data[off:])
}

// populate brings in the pages of [from, to); it fails with EFAULT where a load would raise SIGBUS.
func (m *osMapping) populate(from, to int64) error {
	from -= from % int64(os.Getpagesize())
	return ignoringEINTR(func() error { return unix.Madvise(m.data[from:to], unix.MADV_POPULATE_READ) })
}

// copyGuarded turns the SIGBUS of a page that went away, by truncation or a disk error, into an error.
func (m *osMapping) copyGuarded(dst, src []byte) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			if _, isFault := r.(interface{ Addr() uintptr }); !isFault {
				panic(r)
			}
			err = wrap("map read", m.name, fmt.Errorf("%w: page is gone", unix.EFAULT))
		}
	}()
	copy(dst, src)
	return nil
}

func (m *osMapping) Close() error {
	data := m.data
	m.data = nil
	if data == nil {
		return wrap("unmap", m.name, os.ErrClosed)
	}
	return wrap("unmap", m.name, unix.Munmap(data))
}
