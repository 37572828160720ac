package vfs

import (
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// memTotal is what a Mem without a capacity claims to be large, in bytes.
const memTotal = 1 << 40

// Mem is a file system in memory that knows what a power cut would leave of it. It is safe for
// concurrent use.
type Mem struct {
	mu       sync.RWMutex
	root     *memNode
	pending  []dirOp // changes of directories that no SyncDir has made durable, oldest first
	locked   map[string]bool
	capacity int64 // 0 is no limit
	pages    int64 // pages that files hold
}

var _ FS = (*Mem)(nil)

// memNode is a file or a directory. It outlives its name while it is open.
type memNode struct {
	dir     bool
	entries map[string]*memNode // of a directory, as it is
	durable map[string]*memNode // of a directory, as a power cut leaves it at the least
	data    memData             // of a file
}

// NewMem returns an empty Mem that holds the directory "/" alone.
func NewMem() *Mem { return &Mem{root: newMemDir(), locked: map[string]bool{}} }

func newMemDir() *memNode {
	return &memNode{dir: true, entries: map[string]*memNode{}, durable: map[string]*memNode{}}
}

// SetCapacity makes writes fail with ENOSPC once files hold n bytes, counted in pages of 4 KiB; 0 is
// no limit.
func (m *Mem) SetCapacity(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = n
}

// walk returns the node at name, or nil.
func (m *Mem) walk(name string) *memNode {
	n := m.root
	for part := range strings.SplitSeq(filepath.Clean(name), string(filepath.Separator)) {
		if part == "" || part == "." {
			continue
		}
		if n == nil || !n.dir {
			return nil
		}
		n = n.entries[part]
	}
	return n
}

// parent returns the directory that name is in and name's last element.
func (m *Mem) parent(op, name string) (*memNode, string, error) {
	name = filepath.Clean(name)
	dir := m.walk(filepath.Dir(name))
	switch {
	case dir == nil:
		return nil, "", memError(op, name, fs.ErrNotExist)
	case !dir.dir:
		return nil, "", memError(op, name, syscall.ENOTDIR)
	}
	return dir, filepath.Base(name), nil
}

func memError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("create", name)
	if err != nil {
		return nil, err
	}
	if dir.entries[base] != nil {
		return nil, memError("create", name, fs.ErrExist)
	}
	n := new(memNode)
	m.change(dirOp{dir: dir, name: base, node: n, kind: opLink})
	return &memFile{m: m, node: n, name: name, writable: true}, nil
}

// Open implements FS.
func (m *Mem) Open(name string) (File, error) { return m.open(name, false) }

// OpenRW implements FS.
func (m *Mem) OpenRW(name string) (File, error) { return m.open(name, true) }

func (m *Mem) open(name string, writable bool) (File, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	n := m.walk(name)
	switch {
	case n == nil:
		return nil, memError("open", name, fs.ErrNotExist)
	case n.dir:
		return nil, memError("open", name, syscall.EISDIR)
	}
	return &memFile{m: m, node: n, name: name, writable: writable}, nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("remove", name)
	if err != nil {
		return err
	}
	n := dir.entries[base]
	switch {
	case n == nil:
		return memError("remove", name, fs.ErrNotExist)
	case n.dir && len(n.entries) > 0:
		return memError("remove", name, syscall.ENOTEMPTY)
	}
	m.change(dirOp{dir: dir, name: base, node: n, kind: opUnlink})
	return nil
}

// RemoveAll implements FS.
func (m *Mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("remove", name)
	if err != nil || dir.entries[base] == nil {
		return nil //nolint:nilerr // what is not there is removed
	}
	m.removeTree(dir, base)
	return nil
}

func (m *Mem) removeTree(dir *memNode, base string) {
	n := dir.entries[base]
	for _, child := range sortedNames(n.entries) {
		m.removeTree(n, child)
	}
	m.change(dirOp{dir: dir, name: base, node: n, kind: opUnlink})
}

// Rename implements FS.
func (m *Mem) Rename(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("rename", oldName)
	if err != nil {
		return err
	}
	toDir, toBase, err := m.parent("rename", newName)
	if err != nil {
		return err
	}
	n, there := dir.entries[base], toDir.entries[toBase]
	switch {
	case n == nil:
		return memError("rename", oldName, fs.ErrNotExist)
	case there == n:
		return nil
	case there != nil && there.dir != n.dir:
		return memError("rename", newName, syscall.EISDIR)
	case there != nil && len(there.entries) > 0:
		return memError("rename", newName, syscall.ENOTEMPTY)
	}
	m.change(dirOp{dir: dir, name: base, toDir: toDir, toName: toBase, node: n, kind: opRename})
	return nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.root
	for part := range strings.SplitSeq(filepath.Clean(dir), string(filepath.Separator)) {
		if part == "" || part == "." {
			continue
		}
		if !n.dir {
			return memError("mkdir", dir, syscall.ENOTDIR)
		}
		if n.entries[part] == nil {
			m.change(dirOp{dir: n, name: part, node: newMemDir(), kind: opLink})
		}
		m.syncDir(n)
		n = n.entries[part]
	}
	if !n.dir {
		return memError("mkdir", dir, fs.ErrExist)
	}
	return nil
}

// ReadDir implements FS.
func (m *Mem) ReadDir(dir string) ([]fs.DirEntry, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	n := m.walk(dir)
	switch {
	case n == nil:
		return nil, memError("readdir", dir, fs.ErrNotExist)
	case !n.dir:
		return nil, memError("readdir", dir, syscall.ENOTDIR)
	}
	list := make([]fs.DirEntry, 0, len(n.entries))
	for _, name := range sortedNames(n.entries) {
		list = append(list, fs.FileInfoToDirEntry(infoOf(name, n.entries[name])))
	}
	return list, nil
}

// Stat implements FS. Times of modification are not kept.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	n := m.walk(name)
	if n == nil {
		return nil, memError("stat", name, fs.ErrNotExist)
	}
	return infoOf(filepath.Base(name), n), nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.walk(dir)
	switch {
	case n == nil:
		return memError("syncdir", dir, fs.ErrNotExist)
	case !n.dir:
		return memError("syncdir", dir, syscall.ENOTDIR)
	}
	m.syncDir(n)
	return nil
}

// Lock implements FS.
func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = filepath.Clean(name)
	dir, base, err := m.parent("lock", name)
	if err != nil {
		return nil, err
	}
	if m.locked[name] {
		return nil, memError("lock", name, ErrLocked)
	}
	if dir.entries[base] == nil {
		m.change(dirOp{dir: dir, name: base, node: new(memNode), kind: opLink})
	}
	m.locked[name] = true
	return &memLock{m: m, name: name}, nil
}

type memLock struct {
	m    *Mem
	name string
	once sync.Once
}

func (l *memLock) Close() error {
	l.once.Do(func() {
		l.m.mu.Lock()
		defer l.m.mu.Unlock()
		delete(l.m.locked, l.name)
	})
	return nil
}

// Usage implements FS.
func (m *Mem) Usage(dir string) (Usage, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.walk(dir) == nil {
		return Usage{}, memError("statfs", dir, fs.ErrNotExist)
	}
	total := m.capacity
	if total == 0 {
		total = memTotal
	}
	return Usage{Total: total, Free: max(0, total-m.pages*memPage)}, nil
}

func sortedNames(entries map[string]*memNode) []string {
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
