package history

import (
	"fmt"
	"slices"
)

// offsets finds offsets with several values and values with several offsets.
func (c *checker) offsets() {
	for k, p := range c.parts {
		key := Key(k)
		for i, e := range p.clash {
			if i > 0 && p.clash[i-1].offset == e.offset {
				continue
			}
			c.find(InconsistentOffsets, key, func(x *Example) {
				x.Offsets = []int64{e.offset}
				x.Values = append(x.Values, p.values[p.log[p.rank(e.offset)].value].value)
				for _, other := range p.clash[i:] {
					if other.offset == e.offset {
						x.Values = append(x.Values, p.values[other.value].value)
					}
				}
				x.Ops = c.witnesses(func(r Record) bool { return r.Key == key && r.Offset == e.offset })
			})
		}
		for _, v := range p.values {
			if v.places < 2 {
				continue
			}
			c.find(Duplicate, key, func(x *Example) {
				x.Values = []int64{v.value}
				for _, e := range slices.Concat(p.log, p.clash) {
					if p.values[e.value].value == v.value {
						x.Offsets = append(x.Offsets, e.offset)
					}
				}
				x.Ops = c.witnesses(func(r Record) bool { return r.Key == key && r.Value == v.value })
			})
		}
	}
}

// witnesses are operations that have a record that is asked for, those of different copies and outcomes first.
func (c *checker) witnesses(is func(Record) bool) []int {
	var first, rest []int
	type sort struct {
		r    Record
		f    Func
		via  string
		info bool
	}
	seen := map[sort]bool{}
	for i := range c.h.Ops {
		op := &c.h.Ops[i]
		for _, r := range slices.Concat(op.Writes, op.Reads) {
			if !is(r) {
				continue
			}
			s := sort{r, op.Func, op.Via, op.Outcome == Info}
			if !seen[s] {
				seen[s] = true
				first = append(first, i)
			} else if len(rest) < maxExampleOps {
				rest = append(rest, i)
			}
			break
		}
		if len(first) >= maxExampleOps {
			break
		}
	}
	list := append(first, rest[:min(len(rest), maxExampleOps-len(first))]...)
	slices.Sort(list)
	return list
}

// writes finds records that nobody read although they were acknowledged, or are of a transaction that happened.
func (c *checker) writes() {
	for k, p := range c.parts {
		bound := int64(Unknown) // the highest first offset of what was read
		for _, v := range p.values {
			if v.read {
				bound = max(bound, v.first)
			}
		}
		for _, v := range p.values {
			if v.read || v.writer == none {
				continue
			}
			op := &c.h.Ops[v.writer]
			example := func(text string) func(*Example) {
				return func(x *Example) {
					x.Text, x.Values, x.Ops = text, []int64{v.value}, []int{int(v.writer)}
					if v.first >= 0 {
						x.Offsets = []int64{v.first}
					}
				}
			}
			if v.last >= 0 && v.last <= bound && c.happened(op) {
				c.find(LostWrite, Key(k), example(fmt.Sprintf("read up to offset %d", bound)))
			}
			if op.Outcome == OK || op.Func == Txn && c.happened(op) {
				c.find(Unseen, Key(k), example(""))
			}
		}
	}
}

// reads finds what should not have been read at all.
func (c *checker) reads() {
	for i := range c.h.Ops {
		op := &c.h.Ops[i]
		for _, r := range op.Reads {
			p := c.parts[r.Key]
			writer := p.values[p.ids[r.Value]].writer
			example := func(x *Example) {
				x.Offsets, x.Values, x.Ops = []int64{r.Offset}, []int64{r.Value}, []int{i}
				if writer != none && int(writer) != i {
					x.Ops = []int{int(writer), i}
				}
			}
			switch {
			case writer == none || c.h.Ops[writer].Invoked > op.Completed:
				c.find(PhantomRead, r.Key, example)
			case int(writer) == i:
				c.find(PrecommittedRead, r.Key, example)
			case op.Outcome == OK && c.h.Ops[writer].Outcome == Fail:
				c.find(AbortedRead, r.Key, example)
			}
		}
	}
}
