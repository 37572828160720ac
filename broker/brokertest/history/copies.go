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

// tierEnd is where a partition's tier ended, as an operation knew when it completed.
type tierEnd struct {
	known, offset int64
	op            int
}

// tiers finds manifests whose entries do not abut, or do not go as far as they are said to, and ends of the tier that go
// back.
func (c *checker) tiers() {
	ends := map[Key][]tierEnd{} // by completion
	for _, n := range c.order {
		i, op := int(n), &c.h.Ops[n]
		if op.Func != Tier || op.Outcome != OK {
			continue
		}
		last := map[Key]int64{}
		abuts := func(k Key, start, end, least int64) {
			example := func(x *Example) {
				x.Text, x.Offsets, x.Ops = "end of one entry, start and end of the next", []int64{last[k], start, end}, []int{i}
			}
			before, ok := last[k]
			if ok && start > before {
				c.find(TierGap, k, example)
			} else if ok && start < before || end-start < least {
				c.find(TierOverlap, k, example)
			}
		}
		for _, s := range op.Spans {
			abuts(s.Key, s.Start, s.End, 1)
			last[s.Key] = s.End
		}
		for _, p := range op.Positions { // as an entry of nothing that comes last
			abuts(p.Key, p.Offset, p.Offset, 0)
			last[p.Key] = p.Offset
		}
		for k, offset := range last {
			ends[k] = c.tierEnds(ends[k], tierEnd{op.Completed, offset, i}, k)
		}
	}
}

// tierEnds judges where a tier ends now, after those ends that were known before.
func (c *checker) tierEnds(before []tierEnd, now tierEnd, k Key) []tierEnd {
	for _, e := range before {
		if e.known < c.h.Ops[now.op].Invoked && e.offset > now.offset {
			c.find(TierBack, k, func(x *Example) {
				x.Offsets, x.Ops = []int64{e.offset, now.offset}, []int{e.op, now.op}
			})
			break
		}
	}
	if n := len(before); n == 0 || before[n-1].offset < now.offset {
		return append(before, now)
	}
	return before
}
