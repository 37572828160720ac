package history

import (
	"cmp"
	"slices"
)

// edge says why an operation must have happened before another.
type edge uint8

const (
	ww       edge = 1 << iota // it wrote the record before the other's
	wr                        // it wrote what the other read
	process                   // it completed before the same process invoked the other
	realtime                  // it completed before the other was invoked
)

// graph has some operations as its first nodes. Those after them are moments: a completed operation leads to a moment,
// and that to the operations invoked later, so that the order of time takes edges in proportion to operations, not pairs.
type graph struct {
	ops   []int32 // of the first nodes
	nodes int32
	from  []int32 // edges, until index
	to    []int32
	kind  []edge
	start []int32 // of each node's edges
}

func (g *graph) add(from, to int32, kind edge) {
	if from != to {
		g.from, g.to, g.kind = append(g.from, from), append(g.to, to), append(g.kind, kind)
	}
}

// index makes the edges of each node stand together.
func (g *graph) index() {
	g.start = make([]int32, g.nodes+1)
	for _, n := range g.from {
		g.start[n+1]++
	}
	for n := range g.nodes {
		g.start[n+1] += g.start[n]
	}
	to, kind := make([]int32, len(g.to)), make([]edge, len(g.kind))
	next := slices.Clone(g.start)
	for i, n := range g.from {
		to[next[n]], kind[next[n]] = g.to[i], g.kind[i]
		next[n]++
	}
	g.to, g.kind, g.from = to, kind, nil
}

// graph says what had to happen before what among operations, which are in the order of their invocation. The order of
// each process's operations is part of the order of time, so it is there only on request, to name a circle by.
func (c *checker) graph(ops []int32, processes bool) *graph {
	g := &graph{ops: ops, nodes: int32(len(ops))}
	node := make([]int32, len(c.h.Ops))
	for i := range node {
		node[i] = none
	}
	for n, i := range ops {
		node[i] = int32(n)
	}
	writer := func(v value) int32 {
		if v.writer == none {
			return none
		}
		return node[v.writer]
	}
	for _, p := range c.parts {
		last := int32(none)
		for _, e := range p.log {
			v := p.values[e.value]
			if v.first != e.offset {
				continue // a copy
			}
			now := writer(v)
			if last != none && now != none {
				g.add(last, now, ww)
			}
			last = now
		}
	}
	for n, i := range ops {
		for _, r := range c.h.Ops[i].Reads {
			p := c.parts[r.Key]
			if w := writer(p.values[p.ids[r.Value]]); w != none {
				g.add(w, int32(n), wr)
			}
		}
	}
	c.time(g, node, ops, realtime)
	if processes {
		by := map[int32][]int32{}
		for _, i := range ops {
			by[c.h.Ops[i].Process] = append(by[c.h.Ops[i].Process], i)
		}
		for _, list := range by {
			c.time(g, node, list, process)
		}
	}
	g.index()
	return g
}

// time adds the order of time between operations. One with an unknown outcome may happen at any time after its
// invocation, so nothing is known to come after it.
func (c *checker) time(g *graph, node, ops []int32, kind edge) {
	var done []int32
	for _, i := range ops {
		if op := &c.h.Ops[i]; op.Completed != Never && op.Outcome != Info {
			done = append(done, i)
		}
	}
	slices.SortFunc(done, func(a, b int32) int { return cmp.Compare(c.h.Ops[a].Completed, c.h.Ops[b].Completed) })
	moment := int32(none)
	for _, i := range ops {
		fresh := false
		for len(done) > 0 && c.h.Ops[done[0]].Completed < c.h.Ops[i].Invoked {
			if !fresh {
				if moment != none {
					g.add(moment, g.nodes, kind)
				}
				moment, fresh = g.nodes, true
				g.nodes++
			}
			g.add(node[done[0]], moment, kind)
			done = done[1:]
		}
		if moment != none {
			g.add(moment, node[i], kind)
		}
	}
}

// knots lists the sets of more than one node of which each can be reached from each by edges of some kinds: Tarjan's
// algorithm, with a stack of its own in place of recursion, since paths are as long as histories.
func (g *graph) knots(kinds edge) [][]int32 {
	var (
		out    [][]int32
		number = make([]int32, g.nodes) // in the order of discovery, from 1
		low    = make([]int32, g.nodes) // the lowest number reached; of finished nodes, done
		next   = slices.Clone(g.start)
		path   []int32 // from the root to the node at hand
		open   []int32 // discovered and in no set yet
		count  int32
	)
	const done = int32(1<<31 - 1)
	for root := range g.nodes {
		if number[root] != 0 {
			continue
		}
		path = append(path, root)
		for len(path) > 0 {
			n := path[len(path)-1]
			if number[n] == 0 {
				count++
				number[n], low[n] = count, count
				open = append(open, n)
			}
			if next[n] < g.start[n+1] {
				e := next[n]
				next[n]++
				if m := g.to[e]; g.kind[e]&kinds == 0 {
					continue
				} else if number[m] == 0 {
					path = append(path, m)
				} else if low[m] != done {
					low[n] = min(low[n], number[m])
				}
				continue
			}
			path = path[:len(path)-1]
			if len(path) > 0 {
				up := path[len(path)-1]
				low[up] = min(low[up], low[n])
			}
			if low[n] != number[n] {
				continue
			}
			first := len(open) - 1
			for open[first] != n {
				first--
			}
			for _, m := range open[first:] {
				low[m] = done
			}
			if len(open)-first > 1 {
				out = append(out, slices.Clone(open[first:]))
			}
			open = open[:first]
		}
	}
	return out
}
