package history

import (
	"fmt"
	"slices"
	"strings"
)

// maxTries bounds the edges of one knot from which a short circle is sought.
const maxTries = 200

// cycles finds operations of which each must have happened before the next, and the last before the first. Reads do not
// order later writes here: a consumer may be late as long as it likes.
func (c *checker) cycles() {
	var all []int32
	for i := range c.h.Ops {
		switch c.h.Ops[i].Func {
		case Send, Poll, Txn:
			all = append(all, int32(i))
		default:
		}
	}
	g := c.graph(all, false)
	for _, knot := range g.knots(ww | wr | realtime) {
		var ops []int32
		for _, n := range knot {
			if int(n) < len(all) {
				ops = append(ops, all[n])
			}
		}
		slices.Sort(ops)
		c.circles(c.graph(ops, true))
	}
}

// circles finds what kinds of circles a knot of operations holds, and a short one of each. It looks among edges of one kind
// after the other, from edges that such a circle must have: in a knot there is always a way back.
func (c *checker) circles(g *graph) {
	seen := map[Anomaly]bool{}
	for _, kind := range []struct{ edges, must edge }{
		{wr | realtime, wr},
		{ww, ww},
		{ww | wr, wr},
		{ww | process, process},
		{ww | wr | process, wr},
		{ww | realtime, realtime},
		{ww | wr | realtime, wr},
	} {
		for _, knot := range g.knots(kind.edges) {
			circle := g.shortest(knot, kind.edges, kind.must)
			if circle == nil {
				continue
			}
			a := circle.label()
			if kind.edges&ww == 0 {
				a = EarlyRead
			}
			if !seen[a] {
				seen[a] = true
				c.find(a, none, func(x *Example) { x.Text, x.Ops = circle.describe(g) })
			}
		}
	}
}

// step is an edge on a circle.
type step struct {
	from int32
	kind edge
}

type circle []step

// shortest finds a circle within a knot that has an edge of the kind that it must have, or nil.
func (g *graph) shortest(knot []int32, kinds, must edge) circle {
	inside := map[int32]bool{}
	for _, n := range knot {
		inside[n] = true
	}
	var best circle
	tries := 0
	for _, n := range knot {
		for e := g.start[n]; e < g.start[n+1] && tries < maxTries; e++ {
			if g.kind[e]&must == 0 || !inside[g.to[e]] {
				continue
			}
			tries++
			if back := g.path(g.to[e], n, inside, kinds); best == nil || len(back)+1 < len(best) {
				best = append(circle{{n, g.kind[e]}}, back...)
			}
		}
	}
	return best
}

// path is the shortest way from one node to another inside a knot.
func (g *graph) path(from, to int32, inside map[int32]bool, kinds edge) []step {
	came := map[int32]step{from: {none, 0}}
	queue := []int32{from}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		if n == to {
			break
		}
		for e := g.start[n]; e < g.start[n+1]; e++ {
			m := g.to[e]
			if _, been := came[m]; !been && g.kind[e]&kinds != 0 && inside[m] {
				came[m] = step{n, g.kind[e]}
				queue = append(queue, m)
			}
		}
	}
	var way []step
	for n := to; n != from; {
		s := came[n]
		way = append(way, s)
		n = s.from
	}
	slices.Reverse(way)
	return way
}

// label names a circle by its edges.
func (c circle) label() Anomaly {
	var kinds edge
	for _, s := range c {
		kinds |= s.kind
	}
	names := [...]Anomaly{G0, G0Process, G0Realtime}
	if kinds&wr != 0 {
		names = [...]Anomaly{G1c, G1cProcess, G1cReal}
	}
	switch {
	case kinds&realtime != 0:
		return names[2]
	case kinds&process != 0:
		return names[1]
	}
	return names[0]
}

// describe lists the operations of a circle and why each comes before the next.
func (c circle) describe(g *graph) (string, []int) {
	why := map[edge]string{ww: "wrote before", wr: "wrote what was read by", process: "completed before", realtime: "completed before"}
	var text strings.Builder
	var ops []int
	for _, s := range c {
		if int(s.from) >= len(g.ops) {
			continue // a moment, between two operations
		}
		op := int(g.ops[s.from])
		fmt.Fprintf(&text, "#%d %s ", op, why[s.kind])
		if len(ops) < maxExampleOps {
			ops = append(ops, op)
		}
	}
	if len(ops) > 0 {
		fmt.Fprintf(&text, "#%d", ops[0])
	}
	return text.String(), ops
}
