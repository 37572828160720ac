package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// dirOp is one change of a directory.
type dirOp struct {
	kind   opKind
	dir    *memNode
	name   string
	node   *memNode
	toDir  *memNode // of a rename
	toName string
}

type opKind uint8

const (
	opLink opKind = iota
	opUnlink
	opRename
)

// change applies op now and remembers it until a SyncDir.
func (m *Mem) change(op dirOp) {
	op.apply(func(dir *memNode) map[string]*memNode { return dir.entries })
	if op.kind == opUnlink || op.kind == opRename {
		m.countPages()
	}
	m.pending = append(m.pending, op)
}

// apply changes the directories that entries returns. What rests on a change that did not happen does
// not happen either.
func (op dirOp) apply(entries func(*memNode) map[string]*memNode) {
	from := entries(op.dir)
	switch {
	case op.kind == opLink:
		from[op.name] = op.node
	case from[op.name] != op.node:
	case op.kind == opUnlink:
		delete(from, op.name)
	default:
		delete(from, op.name)
		entries(op.toDir)[op.toName] = op.node
	}
}

// syncDir makes the changes of dir durable, with those of other directories that they came after by
// way of renames between the two.
func (m *Mem) syncDir(dir *memNode) {
	dirs := map[*memNode]bool{dir: true}
	var take, leave []dirOp
	for _, op := range slices.Backward(m.pending) {
		if !dirs[op.dir] && (op.toDir == nil || !dirs[op.toDir]) {
			leave = append(leave, op)
			continue
		}
		take = append(take, op)
		dirs[op.dir] = true
		if op.toDir != nil {
			dirs[op.toDir] = true
		}
	}
	for _, op := range slices.Backward(take) {
		op.apply(func(dir *memNode) map[string]*memNode { return dir.durable })
	}
	slices.Reverse(leave)
	m.pending = leave
}

// countPages counts what is still reachable by name; files that are only open are taken for gone.
func (m *Mem) countPages() {
	m.pages = 0
	var visit func(n *memNode)
	visit = func(n *memNode) {
		for _, p := range n.data.pages {
			if p != nil {
				m.pages++
			}
		}
		for _, child := range n.entries {
			visit(child)
		}
	}
	visit(m.root)
}

// CrashClone returns a copy of the file system as a power cut at this moment could leave it. What was
// synced is kept. Of the rest, each change of a directory and each 4 KiB page of each file is kept
// with the given probability and else lost, one by one; the size of a file that changed it is the new
// one, the old one or any between. So there are holes, zeros, files that are longer than what was
// written of them, and files without a name. The outcome is a function of seed and history. Locks are
// free in the copy; m goes on as if nothing had happened.
func (m *Mem) CrashClone(seed uint64, percentOfUnsyncedKept int) *Mem {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c := crash{rng: rand.New(rand.NewPCG(seed, 0)), percent: percentOfUnsyncedKept, dirs: map[*memNode]map[string]*memNode{}}
	for _, op := range m.pending {
		if c.keep() {
			op.apply(c.entries)
		}
	}
	clone := NewMem()
	clone.root = c.clone(m.root)
	clone.capacity = m.capacity
	clone.countPages()
	return clone
}

// crash decides what survives.
type crash struct {
	rng     *rand.Rand
	percent int
	dirs    map[*memNode]map[string]*memNode // directories with changes kept
}

func (c *crash) keep() bool { return c.rng.IntN(100) < c.percent }

func (c *crash) entries(dir *memNode) map[string]*memNode {
	if c.dirs[dir] == nil {
		c.dirs[dir] = maps.Clone(dir.durable)
	}
	return c.dirs[dir]
}

func (c *crash) clone(n *memNode) *memNode {
	if !n.dir {
		return &memNode{data: c.file(&n.data)}
	}
	to := newMemDir()
	entries := c.entries(n)
	for _, name := range sortedNames(entries) {
		child := c.clone(entries[name])
		to.entries[name], to.durable[name] = child, child
	}
	return to
}

// file returns what is left of d, all of it durable.
func (c *crash) file(d *memData) memData {
	size := c.size(d.diskSize, d.size)
	pages := make([]*page, pagesFor(size))
	for i := range pages {
		pages[i] = pageAt(d.disk, i) // shared: nobody writes to a page that is on a disk
	}
	for _, i := range slices.Sorted(maps.Keys(d.dirty)) {
		if !c.keep() || i >= len(pages) {
			continue
		}
		pages[i] = nil
		if p := pageAt(d.pages, i); p != nil {
			kept := *p
			pages[i] = &kept
		}
	}
	if tail := int(size % memPage); tail > 0 && pages[len(pages)-1] != nil {
		last := *pages[len(pages)-1]
		clear(last[tail:])
		pages[len(pages)-1] = &last
	}
	return memData{pages: pages, size: size, disk: slices.Clone(pages), diskSize: size}
}

func (c *crash) size(was, is int64) int64 {
	low, high := min(was, is), max(was, is)
	switch {
	case was == is || c.percent <= 0:
		return was
	case c.keep():
		return is
	case c.rng.IntN(2) == 0:
		return was
	default:
		return low + c.rng.Int64N(high-low+1)
	}
}
