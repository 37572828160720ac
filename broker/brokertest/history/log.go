package history

import (
	"cmp"
	"slices"
)

// none stands for an operation or a value where there is none.
const none = -1

// value is what is known of one value of a partition.
type value struct {
	value       int64
	writer      int32 // the operation that sent it, or none
	read        bool  // by an operation that is OK
	places      int32 // offsets it lies at
	first, last int64 // of those
}

// entry is one offset of a log.
type entry struct {
	offset int64
	value  int32 // place in partition.values
}

// partition is what the operations on it amount to.
type partition struct {
	ids    map[int64]int32 // values to their places
	values []value
	log    []entry // by offset; the first value that was seen where there are several
	clash  []entry // the others
}

func (p *partition) id(v int64) int32 {
	id, ok := p.ids[v]
	if !ok {
		id = int32(len(p.values))
		p.ids[v] = id
		p.values = append(p.values, value{value: v, writer: none, first: Unknown, last: Unknown})
	}
	return id
}

// rank is the number of known records below an offset.
func (p *partition) rank(offset int64) int {
	i, _ := slices.BinarySearchFunc(p.log, offset, func(e entry, o int64) int { return cmp.Compare(e.offset, o) })
	return i
}

// happened says whether an operation's sends are in the log for certain: it says so, or some of them were read.
func (c *checker) happened(op *Op) bool {
	if op.Outcome != Info {
		return op.Outcome == OK
	}
	for _, w := range op.Writes {
		if p := c.parts[w.Key]; p.values[p.ids[w.Value]].read {
			return true
		}
	}
	return false
}

// derive builds the partitions' logs.
func (c *checker) derive() {
	c.parts = make([]*partition, len(c.h.Keys))
	for k := range c.parts {
		c.parts[k] = &partition{ids: map[int64]int32{}}
	}
	for i := range c.h.Ops {
		op := &c.h.Ops[i]
		for _, w := range op.Writes {
			p := c.parts[w.Key]
			v := &p.values[p.id(w.Value)]
			v.writer = int32(i)
		}
		for _, r := range op.Reads {
			p := c.parts[r.Key]
			v := &p.values[p.id(r.Value)]
			v.read = v.read || op.Outcome == OK && op.Func != Replica
		}
	}
	seen := make([]map[int64]int32, len(c.parts)) // offsets to values
	for k := range seen {
		seen[k] = make(map[int64]int32, len(c.parts[k].values))
	}
	for _, copies := range []bool{false, true} { // what clients saw first, so that copies are held against that
		for i := range c.h.Ops {
			op := &c.h.Ops[i]
			if copies != (op.Func == Replica) {
				continue
			}
			if c.happened(op) {
				for _, w := range op.Writes {
					c.parts[w.Key].put(seen[w.Key], w)
				}
			}
			for _, r := range op.Reads {
				c.parts[r.Key].put(seen[r.Key], r)
			}
		}
	}
	for k, p := range c.parts {
		p.order(seen[k])
	}
}

// put notes that a record lies at its offset.
func (p *partition) put(seen map[int64]int32, r Record) {
	if r.Offset < 0 {
		return
	}
	id := p.ids[r.Value]
	had, ok := seen[r.Offset]
	switch {
	case !ok:
		seen[r.Offset] = id
	case had != id && !slices.Contains(p.clash, entry{r.Offset, id}):
		p.clash = append(p.clash, entry{r.Offset, id})
	}
}

// order makes the log of what was seen.
func (p *partition) order(seen map[int64]int32) {
	p.log = make([]entry, 0, len(seen))
	for o, id := range seen {
		p.log = append(p.log, entry{o, id})
	}
	byOffset := func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.value, b.value))
	}
	slices.SortFunc(p.log, byOffset)
	slices.SortFunc(p.clash, byOffset)
	place := func(e entry) {
		v := &p.values[e.value]
		v.places++
		if v.first < 0 || e.offset < v.first {
			v.first = e.offset
		}
		v.last = max(v.last, e.offset)
	}
	for _, e := range p.log {
		place(e)
	}
	for _, e := range p.clash {
		place(e)
	}
}
