package history

import "time"

// Behind is where a consumer was furthest behind what was known to be there. That is no fault, but something to look at.
type Behind struct {
	Time time.Duration // how long before the read was invoked the first record that the consumer had not seen was known
	Key  string
	Op   int // the read
}

// behind finds the read that was furthest behind, and counts what groups gave to their members more than once.
func (c *checker) behind() {
	known := c.known()
	at := map[int32]map[Key]int64{} // what a process reads next
	groups := map[int32]string{}
	given := map[register][]bool{} // by rank in the log
	for _, i := range c.order {
		op := &c.h.Ops[i]
		keys := at[op.Process]
		if keys == nil || op.Func == Assign {
			keys = map[Key]int64{}
			at[op.Process] = keys
		}
		if op.Func == Rebalance {
			groups[op.Process] = op.Group
		}
		if op.Func == Assign || op.Func == Rebalance {
			for _, pos := range op.Positions {
				keys[pos.Key] = max(pos.Offset, 0)
			}
		}
		if op.Func != Poll || op.Outcome != OK {
			continue
		}
		group := groups[op.Process]
		for _, r := range op.Reads {
			keys[r.Key] = r.Offset + 1
			if group != "" && c.again(given, register{group, r.Key}, r.Offset) {
				c.report.Stats.Again++
			}
		}
		for k, next := range keys {
			rank := c.parts[k].rank(next)
			if rank == len(known[k]) || known[k][rank] >= op.Start {
				continue
			}
			if late := op.Start - known[k][rank]; late > c.report.Stats.Behind.Time {
				c.report.Stats.Behind = Behind{late, c.h.name(k), int(i)}
			}
		}
	}
}

// again notes that a group was given a record and says whether it had been before.
func (c *checker) again(given map[register][]bool, group register, offset int64) bool {
	p := c.parts[group.key]
	if given[group] == nil {
		given[group] = make([]bool, len(p.log))
	}
	rank := p.rank(offset)
	was := given[group][rank]
	given[group][rank] = true
	return was
}

// known says of each record of each log when somebody first knew that it was there: its producer or a reader.
func (c *checker) known() [][]time.Duration {
	known := make([][]time.Duration, len(c.parts))
	for k, p := range c.parts {
		known[k] = make([]time.Duration, len(p.log))
		for i := range known[k] {
			known[k][i] = 1<<63 - 1
		}
	}
	for _, i := range c.order {
		op := &c.h.Ops[i]
		if op.Outcome != OK {
			continue
		}
		for _, list := range [][]Record{op.Writes, op.Reads} {
			for _, r := range list {
				if r.Offset >= 0 {
					rank := c.parts[r.Key].rank(r.Offset)
					known[r.Key][rank] = min(known[r.Key][rank], op.End)
				}
			}
		}
	}
	return known
}
