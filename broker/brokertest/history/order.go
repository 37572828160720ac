package history

import "maps"

// client is one process and one partition.
type client struct {
	process int32
	key     Key
}

// sent is the last of a client's records whose place is known.
type sent struct {
	offset int64
	op     int32
}

// sends finds producers whose records lie in another order than they were sent in. Operations of a producer that
// overlap in time are in the order of their invocation: that is the one in which it wrote them.
func (c *checker) sends() {
	last := map[client]sent{}
	for i := range c.h.Ops {
		op := &c.h.Ops[i]
		if op.Func != Send && op.Func != Txn {
			continue
		}
		within := map[Key]sent{}
		for _, w := range op.Writes {
			p := c.parts[w.Key]
			offset := w.Offset
			if v := p.values[p.ids[w.Value]]; offset < 0 {
				offset = v.first // as readers know it
			}
			if offset < 0 {
				continue
			}
			now := sent{offset, int32(i)}
			if before, ok := within[w.Key]; ok {
				c.adjacent(w, before, now)
			} else if before, ok := last[client{op.Process, w.Key}]; ok && op.Outcome != Fail && offset <= before.offset {
				c.find(NonmonotonicSend, w.Key, func(x *Example) {
					x.Offsets, x.Values, x.Ops = []int64{before.offset, offset}, []int64{w.Value}, []int{int(before.op), i}
				})
			}
			if len(op.Writes) > 1 {
				within[w.Key] = now
			}
			if op.Outcome != Fail {
				last[client{op.Process, w.Key}] = now
			}
		}
	}
}

// adjacent judges two records that one operation sent to one partition one after the other.
func (c *checker) adjacent(w Record, before, now sent) {
	example := func(x *Example) {
		x.Offsets, x.Values, x.Ops = []int64{before.offset, now.offset}, []int64{w.Value}, []int{int(now.op)}
	}
	p := c.parts[w.Key]
	if now.offset <= before.offset {
		c.find(IntNonmonotonicSend, w.Key, example)
	} else if p.rank(now.offset)-p.rank(before.offset+1) > 0 {
		c.find(IntSendSkip, w.Key, example)
	}
}

// position is what a process is to read next of a partition.
type position struct {
	next  int64
	op    int32 // which brought it there
	known bool
	there bool // no higher than the end that was known when the process came there

	assigned int64     // when the assignment completed that it began with
	before   *position // what it was until then, if there was one
}

// polls finds consumers that leave records out or go back. A position is known from an assignment, which says where to
// begin, and from then on by what was read.
func (c *checker) polls() {
	at := map[int32]map[Key]position{} // by process
	ends := map[Key]int64{}            // as they are known so far
	for _, i := range c.order {
		op := &c.h.Ops[i]
		keys := at[op.Process]
		if keys == nil {
			keys = map[Key]position{}
			at[op.Process] = keys
		}
		switch op.Func {
		case Assign, Rebalance:
			if op.Outcome != Fail {
				place(op, i, keys, ends)
			}
		case Poll, Txn:
			if op.Err == outOfRange {
				c.strays(i, keys)
			}
			c.poll(op, i, keys)
		case Crash:
			delete(at, op.Process)
		default:
		}
		for _, r := range op.Reads {
			ends[r.Key] = max(ends[r.Key], r.Offset+1)
		}
		for _, w := range op.Writes {
			if op.Outcome == OK {
				ends[w.Key] = max(ends[w.Key], w.Offset+1)
			}
		}
	}
}

// outOfRange is what a broker says of a position below the start of a partition or above its end.
const outOfRange = "OFFSET_OUT_OF_RANGE"

// strays judges a process that was told that a position of its is out of range. Nothing is ever deleted, so none is that was there.
func (c *checker) strays(i int32, keys map[Key]position) {
	x := Example{Text: "its positions", Ops: []int{int(i)}}
	for k := range Key(len(c.parts)) {
		at, ok := keys[k]
		if ok && !(at.known && at.there) {
			return
		}
		if ok {
			x.Offsets = append(x.Offsets, at.next)
		}
	}
	if len(x.Offsets) > 0 {
		c.find(OutOfRange, none, func(e *Example) { *e = x })
	}
}

// place moves a process to where an assignment says.
func place(op *Op, i int32, keys map[Key]position, ends map[Key]int64) {
	was := maps.Clone(keys)
	if op.Func == Assign {
		clear(keys)
	}
	for _, pos := range op.Positions {
		now := position{next: max(pos.Offset, 0), op: i, assigned: op.Completed}
		now.known = op.Outcome == OK && (pos.Offset >= 0 || op.Func == Rebalance)
		now.there = now.next <= ends[pos.Key]
		if before, ok := was[pos.Key]; ok {
			before.before = nil
			now.before = &before
		}
		keys[pos.Key] = now
	}
}

// poll judges one read, and moves the positions if it is OK.
func (c *checker) poll(op *Op, i int32, keys map[Key]position) {
	within := map[Key]position{}
	for _, r := range op.Reads {
		at, inside := within[r.Key]
		skip, back := IntPollSkip, IntNonmonotonicPoll
		if !inside {
			at = keys[r.Key]
			skip, back = PollSkip, NonmonotonicPoll
			if at.assigned > op.Invoked && at.before != nil && c.continues(r, *at.before) {
				at.known = false // read before it was assigned anew; inside the read it may jump
			}
		}
		next := position{next: r.Offset + 1, op: i, known: keys[r.Key].assigned <= op.Invoked}
		within[r.Key] = next
		if !at.known || r.Offset == at.next {
			continue
		}
		example := func(x *Example) {
			x.Offsets, x.Values, x.Ops = []int64{at.next, r.Offset}, []int64{r.Value}, []int{int(at.op), int(i)}
			x.Text = "position, then the offset read"
		}
		if r.Offset < at.next {
			c.find(back, r.Key, example)
		} else if p := c.parts[r.Key]; p.rank(r.Offset) > p.rank(at.next) {
			c.find(skip, r.Key, example)
		}
	}
	if op.Outcome == OK {
		for k, now := range within {
			now.known, now.there = true, true
			keys[k] = now
		}
	}
}

// continues says whether a record can be the first that is read from a position on.
func (c *checker) continues(r Record, at position) bool {
	p := c.parts[r.Key]
	return !at.known || r.Offset >= at.next && p.rank(r.Offset) == p.rank(at.next)
}
