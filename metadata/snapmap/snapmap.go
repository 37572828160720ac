// Package snapmap is an immutable hash map whose successors share what did not change.
//
// A Map is a power of two of small Go maps. An Editor copies only the small maps it touches, so a change to
// a map of 100,000 entries costs about as much as one to a map of fifty, and Diff skips every small map that
// two maps share. Here belongs nothing that knows what is in the maps.
package snapmap

import (
	"hash/maphash"
	"iter"
)

const (
	minShards = 8
	// maxLoad is the mean number of entries of a shard beyond which a map gets four times as many.
	maxLoad = 64
)

var seed = maphash.MakeSeed()

type shard[K, V comparable] struct{ m map[K]V }

// Map is an immutable map. The zero value is empty. Maps are safe for concurrent use.
type Map[K, V comparable] struct {
	shards []*shard[K, V] // nil entries are empty
	n      int
}

func slot[K comparable](k K, shards int) int {
	return int(maphash.Comparable(seed, k) & uint64(shards-1))
}

// Get returns the value of k.
func (m Map[K, V]) Get(k K) (v V, ok bool) {
	if m.n == 0 {
		return v, false
	}
	if s := m.shards[slot(k, len(m.shards))]; s != nil {
		v, ok = s.m[k]
	}
	return v, ok
}

// Len returns the number of entries.
func (m Map[K, V]) Len() int { return m.n }

// All iterates over the entries in no order.
func (m Map[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, s := range m.shards {
			if s == nil {
				continue
			}
			for k, v := range s.m {
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

// Edit returns an editor that begins with m's entries.
func (m Map[K, V]) Edit() *Editor[K, V] { return &Editor[K, V]{base: m, n: m.n} }

// Editor builds a successor of a Map. It is for one goroutine.
type Editor[K, V comparable] struct {
	base   Map[K, V]
	shards []*shard[K, V] // nil until the first change
	owned  []bool         // shards this editor may write to
	n      int
}

// Get returns the value of k as edited so far.
func (e *Editor[K, V]) Get(k K) (v V, ok bool) {
	if e.shards == nil {
		return e.base.Get(k)
	}
	if s := e.shards[slot(k, len(e.shards))]; s != nil {
		v, ok = s.m[k]
	}
	return v, ok
}

// Set gives k the value v.
func (e *Editor[K, V]) Set(k K, v V) {
	m := e.writable(k)
	if _, ok := m[k]; !ok {
		e.n++
	}
	m[k] = v
	if e.n > maxLoad*len(e.shards) {
		e.grow()
	}
}

// Delete removes k, if it is there.
func (e *Editor[K, V]) Delete(k K) {
	if _, ok := e.Get(k); !ok {
		return
	}
	delete(e.writable(k), k)
	e.n--
}

// Map returns the edited map. The editor must not be used afterwards.
func (e *Editor[K, V]) Map() Map[K, V] {
	if e.shards == nil {
		return e.base
	}
	return Map[K, V]{shards: e.shards, n: e.n}
}

func (e *Editor[K, V]) writable(k K) map[K]V {
	if e.shards == nil {
		e.shards = make([]*shard[K, V], max(minShards, len(e.base.shards)))
		copy(e.shards, e.base.shards)
		e.owned = make([]bool, len(e.shards))
	}
	i := slot(k, len(e.shards))
	if !e.owned[i] {
		fresh := &shard[K, V]{m: make(map[K]V)}
		if s := e.shards[i]; s != nil {
			for k, v := range s.m {
				fresh.m[k] = v
			}
		}
		e.shards[i], e.owned[i] = fresh, true
	}
	return e.shards[i].m
}

func (e *Editor[K, V]) grow() {
	shards := make([]*shard[K, V], 4*len(e.shards))
	owned := make([]bool, len(shards))
	for _, s := range e.shards {
		if s == nil {
			continue
		}
		for k, v := range s.m {
			i := slot(k, len(shards))
			if shards[i] == nil {
				shards[i], owned[i] = &shard[K, V]{m: make(map[K]V)}, true
			}
			shards[i].m[k] = v
		}
	}
	e.shards, e.owned = shards, owned
}

// Diff calls fn for each key whose value is not the same in both maps; had and has say in which of them it
// is. Its cost is that of the shards that differ if one map came from the other by few changes, and that of
// both maps otherwise.
func Diff[K, V comparable](before, after Map[K, V], fn func(k K, old V, had bool, now V, has bool)) {
	same := len(before.shards) == len(after.shards)
	for i, s := range after.shards {
		if s == nil || same && before.shards[i] == s {
			continue
		}
		for k, now := range s.m {
			old, had := before.Get(k)
			if !had || old != now {
				fn(k, old, had, now, true)
			}
		}
	}
	var none V
	for i, s := range before.shards {
		if s == nil || same && after.shards[i] == s {
			continue
		}
		for k, old := range s.m {
			if _, has := after.Get(k); !has {
				fn(k, old, true, none, false)
			}
		}
	}
}
