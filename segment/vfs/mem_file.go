package vfs

import (
	"io"
	"io/fs"
	"sync/atomic"
	"syscall"
	"time"
)

// memPage is the unit in which written bytes reach the disk or do not.
const memPage = 4096

type page = [memPage]byte

// memData is a file's content, as it is and as it is on the disk. A page that both share is never
// written to again.
type memData struct {
	pages    []*page // nil is a hole
	size     int64
	disk     []*page
	diskSize int64
	dirty    map[int]struct{} // pages that may differ from disk
}

func pagesFor(size int64) int { return int((size + memPage - 1) / memPage) }

func pageAt(pages []*page, i int) *page {
	if i >= len(pages) {
		return nil
	}
	return pages[i]
}

// writable returns page i to be written to, and whether it is new.
func (d *memData) writable(i int) (p *page, fresh bool) {
	for len(d.pages) <= i {
		d.pages = append(d.pages, nil)
	}
	p = d.pages[i]
	switch {
	case p == nil:
		p, fresh = new(page), true
	case p == pageAt(d.disk, i):
		c := *p
		p = &c
	}
	d.pages[i] = p
	d.mark(i)
	return p, fresh
}

func (d *memData) mark(i int) {
	if d.dirty == nil {
		d.dirty = map[int]struct{}{}
	}
	d.dirty[i] = struct{}{}
}

// truncate sets the size and returns how many pages were freed.
func (d *memData) truncate(size int64) (freed int64) {
	n := pagesFor(size)
	for i := n; i < len(d.pages); i++ {
		if d.pages[i] != nil {
			freed++
			d.mark(i)
		}
	}
	d.pages = d.pages[:min(n, len(d.pages))]
	if tail := int(size % memPage); tail > 0 && size < d.size && pageAt(d.pages, n-1) != nil {
		p, _ := d.writable(n - 1)
		clear(p[tail:])
	}
	d.size = size
	return freed
}

// sync makes the disk's content that of the file.
func (d *memData) sync() {
	n := pagesFor(d.size)
	for i := range d.dirty {
		for len(d.disk) <= i {
			d.disk = append(d.disk, nil)
		}
		d.disk[i] = pageAt(d.pages, i)
	}
	d.disk = d.disk[:min(n, len(d.disk))]
	d.diskSize = d.size
	clear(d.dirty)
}

// memFile is an open file of a Mem.
type memFile struct {
	m        *Mem
	node     *memNode
	name     string
	writable bool
	closed   atomic.Bool
}

var _ File = (*memFile)(nil)

func (f *memFile) Name() string { return f.name }

func (f *memFile) Fd() (uintptr, bool) { return 0, false }

func (f *memFile) Close() error {
	if f.closed.Swap(true) {
		return memError("close", f.name, fs.ErrClosed)
	}
	return nil
}

// usable is nil if the file is open, and for write open for writing.
func (f *memFile) usable(op string, write bool) error {
	switch {
	case f.closed.Load():
		return memError(op, f.name, fs.ErrClosed)
	case write && !f.writable:
		return memError(op, f.name, syscall.EBADF)
	}
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.usable("read", false); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, memError("read", f.name, syscall.EINVAL)
	}
	f.m.mu.RLock()
	defer f.m.mu.RUnlock()
	n := f.node.data.read(p, off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (d *memData) read(p []byte, off int64) int {
	if off >= d.size {
		return 0
	}
	p = p[:min(int64(len(p)), d.size-off)]
	for n := 0; n < len(p); {
		at := off + int64(n)
		in := int(at % memPage)
		chunk := p[n:min(len(p), n+memPage-in)]
		if pg := pageAt(d.pages, int(at/memPage)); pg != nil {
			copy(chunk, pg[in:])
		} else {
			clear(chunk)
		}
		n += len(chunk)
	}
	return len(p)
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.WriteV([][]byte{p}, off)
	return int(n), err
}

func (f *memFile) WriteV(bufs [][]byte, off int64) (done int64, err error) {
	if err := f.usable("write", true); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, memError("write", f.name, syscall.EINVAL)
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	for _, p := range bufs {
		n, err := f.write(p, off+done)
		done += int64(n)
		if err != nil {
			return done, memError("write", f.name, err)
		}
	}
	return done, nil
}

func (f *memFile) write(p []byte, off int64) (n int, err error) {
	m, d := f.m, &f.node.data
	for n < len(p) {
		at := off + int64(n)
		i, in := int(at/memPage), int(at%memPage)
		if m.capacity > 0 && pageAt(d.pages, i) == nil && (m.pages+1)*memPage > m.capacity {
			return n, syscall.ENOSPC
		}
		pg, fresh := d.writable(i)
		if fresh {
			m.pages++
		}
		n += copy(pg[in:], p[n:])
		d.size = max(d.size, off+int64(n))
	}
	return n, nil
}

func (f *memFile) Size() (int64, error) {
	if err := f.usable("stat", false); err != nil {
		return 0, err
	}
	f.m.mu.RLock()
	defer f.m.mu.RUnlock()
	return f.node.data.size, nil
}

func (f *memFile) Truncate(size int64) error {
	if err := f.usable("truncate", true); err != nil {
		return err
	}
	if size < 0 {
		return memError("truncate", f.name, syscall.EINVAL)
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.m.pages -= f.node.data.truncate(size)
	return nil
}

func (f *memFile) Sync() error {
	if err := f.usable("sync", false); err != nil {
		return err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.node.data.sync()
	return nil
}

// FailSync does what a failed sync does to a file: the unsynced bytes stay readable, but the system
// takes them for written, so that no later sync writes them.
func (f *memFile) FailSync() {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	clear(f.node.data.dirty)
}

func (f *memFile) WriteBack(off, n int64) {}

func (f *memFile) Reserve(off, n int64) {}

// DropCache shows what is on the disk again, where a failed sync has taken pages for written.
func (f *memFile) DropCache(off, n int64) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	d, end := &f.node.data, len(f.node.data.pages)
	if n > 0 {
		end = min(end, int((off+n)/memPage))
	}
	for i := pagesFor(off); i < end; i++ {
		if _, dirty := d.dirty[i]; !dirty {
			d.pages[i] = pageAt(d.disk, i)
		}
	}
}

func (f *memFile) Map(size int64) (Mapping, error) {
	if err := f.usable("map", false); err != nil {
		return nil, err
	}
	return &memMapping{m: f.m, node: f.node, name: f.name, size: size}, nil
}

// memMapping reads the file as it is at the time of the call.
type memMapping struct {
	m      *Mem
	node   *memNode
	name   string
	size   int64
	closed atomic.Bool
}

func (v *memMapping) CopyAt(p []byte, off int64, _ bool) error {
	if v.closed.Load() {
		return memError("map read", v.name, fs.ErrClosed)
	}
	v.m.mu.RLock()
	defer v.m.mu.RUnlock()
	if off < 0 || off > v.size || int64(len(p)) > min(v.size, v.node.data.size)-off {
		return memError("map read", v.name, io.ErrUnexpectedEOF)
	}
	v.node.data.read(p, off)
	return nil
}

func (v *memMapping) Close() error {
	if v.closed.Swap(true) {
		return memError("unmap", v.name, fs.ErrClosed)
	}
	return nil
}

type memInfo struct {
	name string
	size int64
	dir  bool
}

func infoOf(name string, n *memNode) fs.FileInfo {
	return memInfo{name: name, size: n.data.size, dir: n.dir}
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) IsDir() bool        { return i.dir }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) Sys() any           { return nil }
func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o750
	}
	return 0o640
}
