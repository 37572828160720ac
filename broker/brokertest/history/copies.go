package history

import (
	"fmt"
	"slices"
)

// replicas holds each copy of a partition against all that is known to be in its log: below a copy's high watermark
// it has all of that and nothing else.
func (c *checker) replicas() {
	for i := range c.h.Ops {
		op := &c.h.Ops[i]
		if op.Func != Replica || op.Outcome != OK {
			continue
		}
		has := map[Key][]Record{}
		for _, r := range op.Reads {
			has[r.Key] = append(has[r.Key], r)
		}
		for _, s := range op.Spans {
			c.replica(i, s, has[s.Key])
		}
	}
}

func (c *checker) replica(i int, s Span, has []Record) {
	p := c.parts[s.Key]
	differs := func(text string, offset, value int64) {
		c.find(ReplicaDivergence, s.Key, func(x *Example) {
			x.Text = fmt.Sprintf("%s has offsets %d to %d, %s", c.h.Ops[i].Via, s.Start, s.End, text)
			x.Offsets, x.Values = []int64{offset}, []int64{value}
			x.Ops = c.witnesses(func(r Record) bool { return r.Key == s.Key && r.Offset == offset })
			if !slices.Contains(x.Ops, i) {
				x.Ops = append(x.Ops, i)
			}
		})
	}
	at := map[int64]int64{}
	for _, r := range has {
		at[r.Offset] = r.Value
	}
	for _, e := range p.log[p.rank(s.Start):p.rank(s.End)] {
		want := p.values[e.value].value
		got, ok := at[e.offset]
		switch {
		case !ok:
			differs("but not this record", e.offset, want)
		case got != want:
			differs(fmt.Sprintf("but not this record: it has value %d", got), e.offset, want)
		}
	}
}

// tiers finds manifests whose entries do not abut and ends of the tier that go back.
func (c *checker) tiers() {
	type end struct {
		known, offset int64
		op            int
	}
	ends := map[Key][]end{} // by completion
	for _, n := range c.order {
		i, op := int(n), &c.h.Ops[n]
		if op.Func != Tier || op.Outcome != OK {
			continue
		}
		last := map[Key]int64{}
		for _, s := range op.Spans {
			example := func(x *Example) {
				x.Text, x.Offsets, x.Ops = "end of one entry, start and end of the next", []int64{last[s.Key], s.Start, s.End}, []int{i}
			}
			before, ok := last[s.Key]
			if ok && s.Start > before {
				c.find(TierGap, s.Key, example)
			} else if ok && s.Start < before || s.End <= s.Start {
				c.find(TierOverlap, s.Key, example)
			}
			last[s.Key] = s.End
		}
		for k, offset := range last {
			for _, e := range ends[k] {
				if e.known < op.Invoked && e.offset > offset {
					c.find(TierBack, k, func(x *Example) {
						x.Offsets, x.Ops = []int64{e.offset, offset}, []int{e.op, i}
					})
					break
				}
			}
			if list := ends[k]; len(list) == 0 || list[len(list)-1].offset < offset {
				ends[k] = append(list, end{op.Completed, offset, i})
			}
		}
	}
}
