package history

import (
	"fmt"
	"sort"
)

// register is a group's committed offset of a partition.
type register struct {
	group string
	key   Key
}

// commits is what is known of a register.
type commits struct {
	tried  map[int64]int64 // offsets to the first invocation of a commit that did not fail
	late   map[int64]int64 // the same of commits that may arrive late
	floors []floor         // in the order of events
}

// floor is the least that a register holds from an event on. Floors rise, but where the register was found below.
type floor struct {
	from   int64 // the event
	offset int64
	op     int32
}

// committed finds committed offsets that go back.
//
// A group commits by the member that has the partition, which began at what was committed before, and a coordinator
// refuses members of an older generation. So whoever commits or looks finds at least what was known to be committed when
// he began. One thing is beyond a coordinator: of two commits of one member, the first may be late on the wire, its
// client having given it up, and arrive last. So to find what such a commit tried is no fault, and all starts from
// there again.
func (c *checker) committed() {
	regs := map[register]*commits{}
	for i := range c.h.Ops {
		op := &c.h.Ops[i]
		for _, pos := range op.Positions {
			if op.Group != "" {
				tryCommit(regs, op, pos)
			}
		}
	}
	for _, i := range c.order {
		op := &c.h.Ops[i]
		if op.Group == "" || op.Outcome != OK {
			continue
		}
		for _, pos := range op.Positions {
			c.look(regs[register{op.Group, pos.Key}], op, i, pos)
		}
	}
}

func tryCommit(regs map[register]*commits, op *Op, pos Position) {
	at := register{op.Group, pos.Key}
	reg := regs[at]
	if reg == nil {
		reg = &commits{tried: map[int64]int64{}, late: map[int64]int64{}}
		regs[at] = reg
	}
	if op.Func != Commit || op.Outcome == Fail && !op.Lingers {
		return
	}
	note := func(m map[int64]int64) {
		if _, ok := m[pos.Offset]; !ok { // operations are in the order of invocation
			m[pos.Offset] = op.Invoked
		}
	}
	note(reg.tried)
	if op.Outcome == Info || op.Lingers {
		note(reg.late)
	}
}

// floor is what an operation invoked at an event has to find at least when it completes now.
func (r *commits) floor(invoked int64) floor {
	i := sort.Search(len(r.floors), func(i int) bool { return r.floors[i].from > invoked })
	if i == 0 {
		return floor{offset: Unknown, op: none}
	}
	least := r.floors[i-1]
	for _, later := range r.floors[i:] {
		if later.offset < least.offset {
			least = later
		}
	}
	return least
}

// look judges what operation i, which is OK, found in a register or put there.
func (c *checker) look(reg *commits, op *Op, i int32, pos Position) {
	least := reg.floor(op.Invoked)
	example := func(x *Example) {
		x.Offsets, x.Ops = []int64{least.offset, pos.Offset}, []int{int(i)}
		x.Text = fmt.Sprintf("group %s, what is known to be committed, then what was found or put there", op.Group)
		if least.op != none {
			x.Ops = []int{int(least.op), int(i)}
		}
	}
	before := func(m map[int64]int64) bool {
		at, ok := m[pos.Offset]
		return ok && at < op.Completed
	}
	found := op.Func != Commit
	switch fell := pos.Offset < least.offset; {
	case fell && found && before(reg.late):
	case fell && found && pos.Offset <= 0:
		c.find(CommittedReset, pos.Key, example)
	case fell:
		c.find(CommittedBack, pos.Key, example)
	case found && pos.Offset >= 0 && !before(reg.tried):
		c.find(CommittedPhantom, pos.Key, example)
	}
	now := floor{op.Completed, pos.Offset, i}
	if n := len(reg.floors); n > 0 && pos.Offset >= least.offset && pos.Offset <= reg.floors[n-1].offset {
		return // what others know is more
	}
	reg.floors = append(reg.floors, now)
}
