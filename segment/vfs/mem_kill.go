package vfs

import (
	"maps"
	"slices"
)

// KillClone returns a copy of the file system as a process that is killed at this moment leaves it:
// everything is there as it was, and what was not synced is not any more durable for that. A
// CrashClone of the copy is a power cut that follows before anybody synced it. Locks are free in the
// copy; m goes on as if nothing had happened.
func (m *Mem) KillClone() *Mem {
	m.mu.RLock()
	defer m.mu.RUnlock()
	k := kill{nodes: map[*memNode]*memNode{}}
	clone := NewMem()
	clone.root = k.node(m.root)
	clone.capacity, clone.pages = m.capacity, m.pages
	for _, op := range m.pending {
		op.dir, op.node, op.toDir = k.node(op.dir), k.node(op.node), k.node(op.toDir)
		clone.pending = append(clone.pending, op)
	}
	return clone
}

// kill copies nodes, each once whatever refers to it.
type kill struct {
	nodes map[*memNode]*memNode
}

func (k *kill) node(n *memNode) *memNode {
	if n == nil || k.nodes[n] != nil {
		return k.nodes[n]
	}
	to := &memNode{dir: n.dir, data: n.data.copy()}
	k.nodes[n] = to
	if n.dir {
		to.entries, to.durable = k.names(n.entries), k.names(n.durable)
	}
	return to
}

func (k *kill) names(entries map[string]*memNode) map[string]*memNode {
	to := make(map[string]*memNode, len(entries))
	for name, n := range entries {
		to[name] = k.node(n)
	}
	return to
}

// copy shares the pages that are on the disk, which nobody writes to, and copies the others.
func (d *memData) copy() memData {
	to := *d
	to.pages, to.disk, to.dirty = slices.Clone(d.pages), slices.Clone(d.disk), maps.Clone(d.dirty)
	for i := range d.dirty {
		if p := pageAt(d.pages, i); p != nil && p != pageAt(d.disk, i) {
			kept := *p
			to.pages[i] = &kept
		}
	}
	return to
}
