package history

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// garden is a correct history in which a fault is to be planted.
type garden struct {
	*History
	rng *rand.Rand
}

// pick returns an operation that fits, at random, or nil.
func (g *garden) pick(fits func(*Op) bool) *Op {
	from := g.rng.IntN(len(g.Ops))
	for i := range g.Ops {
		if op := &g.Ops[(from+i)%len(g.Ops)]; fits(op) {
			return op
		}
	}
	return nil
}

// edit changes what every reader got: keep says what of a record is left, and whether anything.
func (g *garden) edit(keep func(*Op, Record) (Record, bool)) {
	for i := range g.Ops {
		op := &g.Ops[i]
		var left []Record
		for _, r := range op.Reads {
			if r, ok := keep(op, r); ok {
				left = append(left, r)
			}
		}
		op.Reads = left
	}
}

// acked picks a send that was acknowledged and, as everything is in the end, read.
func (g *garden) acked() *Op {
	return g.pick(func(op *Op) bool { return op.Func == Send && op.Outcome == OK })
}

// last is the final read of the record at the highest offset of a partition.
func (g *garden) last(k Key) (op *Op, r Record) {
	for i := range g.Ops {
		for _, got := range g.Ops[i].Reads {
			if got.Key == k && got.Offset >= r.Offset && g.Ops[i].Via == "cold" {
				op, r = &g.Ops[i], got
			}
		}
	}
	return op, r
}

// swap lets two records change places, for everybody.
func (g *garden) swap(a, b *Record) {
	va, vb := a.Value, b.Value
	a.Offset, b.Offset = b.Offset, a.Offset
	k := a.Key
	g.edit(func(_ *Op, r Record) (Record, bool) {
		if r.Key == k && r.Value == va {
			r.Value = vb
		} else if r.Key == k && r.Value == vb {
			r.Value = va
		}
		return r, true
	})
}

// pair picks two acknowledged sends to one partition.
func (g *garden) pair(fit func(a, b *Op) bool) (a, b *Record) {
	first := g.pick(func(op *Op) bool {
		if op.Func != Send || op.Outcome != OK {
			return false
		}
		other := g.pick(func(o *Op) bool {
			return o.Func == Send && o.Outcome == OK && o.Writes[0].Key == op.Writes[0].Key && fit(op, o)
		})
		if other != nil {
			b = &other.Writes[0]
		}
		return other != nil
	})
	if first == nil {
		return nil, nil
	}
	return &first.Writes[0], b
}

// neighbours picks an operation that read two records of one partition one after the other, and where.
func (g *garden) neighbours(fits func(*Op) bool) (op *Op, i int) {
	op = g.pick(func(op *Op) bool {
		for j := 1; j < len(op.Reads); j++ {
			if op.Func == Poll && op.Reads[j].Key == op.Reads[j-1].Key && fits(op) {
				i = j
				return true
			}
		}
		return false
	})
	return op, i
}

// found picks a look at a group's offset of which more than 1 was known to be committed, by a commit that was not late.
func (g *garden) found() (pos *Position, least int64) {
	op := g.pick(func(op *Op) bool {
		if op.Func != Committed {
			return false
		}
		for i := range op.Positions {
			for j := range g.Ops {
				c := &g.Ops[j]
				if c.Func != Commit || c.Outcome != OK || c.Completed > op.Invoked {
					continue
				}
				for _, p := range c.Positions {
					if p.Key == op.Positions[i].Key && p.Offset > 1 && p.Offset <= op.Positions[i].Offset {
						pos, least = &op.Positions[i], p.Offset
					}
				}
			}
		}
		return pos != nil
	})
	if op == nil {
		return nil, 0
	}
	return pos, least
}

// faults plants each anomaly, and says whether the history had a place for it.
var faults = []struct {
	name   string
	shows  Anomaly
	plant  func(g *garden) bool
	seldom bool // few histories have a place
}{
	{"an acknowledged record vanishes", Unseen, func(g *garden) bool {
		w := g.acked().Writes[0]
		g.edit(func(_ *Op, r Record) (Record, bool) { return r, r.Key != w.Key || r.Value != w.Value })
		return true
	}, false},
	{"one in the middle vanishes", LostWrite, func(g *garden) bool {
		op := g.acked()
		w := op.Writes[0]
		if _, r := g.last(w.Key); r.Value == w.Value {
			return false
		}
		g.edit(func(_ *Op, r Record) (Record, bool) { return r, r.Key != w.Key || r.Value != w.Value })
		return true
	}, false},
	{"a record lies at the end once more", Duplicate, func(g *garden) bool {
		w := g.acked().Writes[0]
		op, r := g.last(w.Key)
		op.Reads = append(op.Reads, Record{w.Key, r.Offset + 1, w.Value})
		return true
	}, false},
	{"the tier has another record", InconsistentOffsets, func(g *garden) bool {
		w := g.acked().Writes[0]
		g.edit(func(op *Op, r Record) (Record, bool) {
			if op.Via == "cold" && r.Offset == w.Offset && r.Key == w.Key {
				r.Value = w.Value + 1
			}
			return r, true
		})
		return true
	}, false},
	{"a failed record is there", AbortedRead, func(g *garden) bool {
		g.acked().Outcome = Fail
		return true
	}, false},
	{"a transaction reads its own", PrecommittedRead, func(g *garden) bool {
		op := g.pick(func(op *Op) bool { return op.Func == Txn && op.Outcome == OK })
		if op == nil {
			return false
		}
		op.Reads = append(op.Reads, op.Writes[0])
		return true
	}, true},
	{"a record is changed", PhantomRead, func(g *garden) bool {
		w := g.acked().Writes[0]
		g.edit(func(_ *Op, r Record) (Record, bool) {
			if r.Key == w.Key && r.Value == w.Value {
				r.Value += 1_000_000
			}
			return r, true
		})
		return true
	}, false},
	{"a consumer is not given its first record", PollSkip, func(g *garden) bool {
		op := g.pick(func(op *Op) bool {
			return op.Func == Poll && op.Via != "" && len(op.Reads) > 1 && op.Reads[0].Key == op.Reads[1].Key
		})
		if op == nil {
			return false
		}
		op.Reads = op.Reads[1:]
		return true
	}, false},
	{"a consumer is given a record twice", NonmonotonicPoll, func(g *garden) bool {
		before := -1
		for i := range g.Ops {
			if op := &g.Ops[i]; op.Via == "hot" && len(op.Reads) > 0 {
				if before >= 0 && g.rng.IntN(3) == 0 {
					op.Reads = append([]Record{g.Ops[before].Reads[0]}, op.Reads...)
					return true
				}
				before = i
			}
		}
		return false
	}, true},
	{"a fetch leaves one out", IntPollSkip, func(g *garden) bool {
		op, i := g.neighbours(func(op *Op) bool { return len(op.Reads) > 2 })
		if op == nil || i+1 >= len(op.Reads) || op.Reads[i+1].Key != op.Reads[i].Key {
			return false
		}
		op.Reads = slices.Delete(op.Reads, i, i+1)
		return true
	}, false},
	{"a fetch is out of order", IntNonmonotonicPoll, func(g *garden) bool {
		op, i := g.neighbours(func(*Op) bool { return true })
		if op == nil {
			return false
		}
		op.Reads[i], op.Reads[i-1] = op.Reads[i-1], op.Reads[i]
		return true
	}, false},
	{"a producer's records change places", NonmonotonicSend, func(g *garden) bool {
		a, b := g.pair(func(a, b *Op) bool { return a.Process == b.Process && a.Invoked < b.Invoked })
		if a == nil {
			return false
		}
		g.swap(a, b)
		return true
	}, false},
	{"producers' records change places", G0Realtime, func(g *garden) bool {
		a, b := g.pair(func(a, b *Op) bool { return a.Process != b.Process && a.Completed < b.Invoked })
		if a == nil {
			return false
		}
		g.swap(a, b)
		return true
	}, false},
	{"transactions read each other's records", G1c, func(g *garden) bool {
		var other *Op
		op := g.pick(func(a *Op) bool {
			other = g.pick(func(b *Op) bool {
				return b.Func == Send && b.Outcome == OK && b.Invoked < a.Invoked && b.Completed > a.Invoked
			})
			return a.Func == Txn && a.Outcome == OK && other != nil
		})
		if op == nil {
			return false
		}
		op.Reads, other.Reads = append(op.Reads, other.Writes[0]), append(other.Reads, op.Writes[0])
		return true
	}, true},
	{"transactions read early what others write", EarlyRead, func(g *garden) bool {
		var other *Op
		op := g.pick(func(a *Op) bool {
			other = g.pick(func(b *Op) bool {
				return b.Func == Send && b.Outcome == OK && b.Invoked < a.Invoked && b.Completed > a.Invoked
			})
			return a.Func == Txn && a.Outcome == OK && other != nil
		})
		if op == nil {
			return false
		}
		op.Reads, other.Reads = append(op.Reads, other.Writes[0]), append(other.Reads, op.Writes[0])
		return true
	}, true},
	{"a committed offset goes back", CommittedBack, func(g *garden) bool {
		pos, least := g.found()
		if pos == nil {
			return false
		}
		for i := range g.Ops { // a late commit of just that is no fault
			if op := &g.Ops[i]; op.Func == Commit && (op.Outcome == Info || op.Lingers) && slices.Contains(op.Positions, Position{pos.Key, least - 1}) {
				return false
			}
		}
		pos.Offset = least - 1
		return true
	}, true},
	{"a committed offset is gone", CommittedReset, func(g *garden) bool {
		pos, _ := g.found()
		if pos == nil {
			return false
		}
		pos.Offset = int64(-g.rng.IntN(2))
		return true
	}, true},
	{"a committed offset appears", CommittedPhantom, func(g *garden) bool {
		op := g.pick(func(op *Op) bool { return op.Func == Committed && op.Outcome == OK && len(op.Positions) > 0 })
		if op == nil {
			return false
		}
		op.Positions[0].Offset += 1000
		return true
	}, true},
	{"a copy lacks a record", ReplicaDivergence, func(g *garden) bool {
		op := g.pick(func(op *Op) bool { return op.Func == Replica && len(op.Reads) > 0 })
		if op == nil {
			return false
		}
		i := g.rng.IntN(len(op.Reads))
		op.Reads = slices.Delete(op.Reads, i, i+1)
		return true
	}, true},
	{"a copy has another record", ReplicaDivergence, func(g *garden) bool {
		op := g.pick(func(op *Op) bool { return op.Func == Replica && len(op.Reads) > 0 })
		if op == nil {
			return false
		}
		op.Reads[g.rng.IntN(len(op.Reads))].Value++
		return true
	}, true},
	{"the tier has a gap", TierGap, tierFault(func(op *Op, i int) { op.Spans[i].Start++; op.Spans[i].End++ }), true},
	{"the tier has a record twice", TierOverlap, tierFault(func(op *Op, i int) { op.Spans[i].Start-- }), true},
	{"the tier ends before it did", TierBack, tierFault(func(op *Op, _ int) {
		for i := range op.Spans {
			op.Spans[i].Start, op.Spans[i].End = op.Spans[i].Start-1000, op.Spans[i].End-1000
		}
		op.Positions[0].Offset -= 1000
	}), true},
	{"the tier is empty all at once", TierBack, func(g *garden) bool {
		last := map[Key]*Op{}
		for i := range g.Ops {
			if op := &g.Ops[i]; op.Func == Tier {
				k := op.Positions[0].Key
				if last[k] != nil && len(last[k].Spans) > 0 {
					op.Spans, op.Positions[0].Offset = nil, 0
					return true
				}
				last[k] = op
			}
		}
		return false
	}, true},
	{"the tier lacks its last entry", TierGap, func(g *garden) bool {
		op := g.pick(func(op *Op) bool { return op.Func == Tier && len(op.Spans) > 1 })
		if op == nil {
			return false
		}
		op.Spans = op.Spans[:len(op.Spans)-1]
		return true
	}, true},
}

// tierFault changes the entries of a manifest of several that is not the first.
func tierFault(change func(op *Op, i int)) func(*garden) bool {
	return func(g *garden) bool {
		first := map[Key]bool{}
		for i := range g.Ops {
			op := &g.Ops[i]
			if op.Func != Tier || len(op.Spans) < 2 {
				continue
			}
			if k := op.Spans[0].Key; !first[k] {
				first[k] = true
				continue
			}
			change(op, 1+g.rng.IntN(len(op.Spans)-1))
			return true
		}
		return false
	}
}

// Each fault is found wherever it is planted in a correct history.
func TestPlantedFaults(t *testing.T) {
	first := fromEnv(t, "FIRN_SEED", uint64(time.Now().UnixNano()))
	t.Logf("seeds from %d (FIRN_SEED)", first)
	seeds := fromEnv(t, "FIRN_TEST_HISTORIES", 40)
	for _, f := range faults {
		planted := 0
		for seed := first; seed < first+seeds; seed++ {
			h := newModel(seed, 1+int(seed%4), nil).run(300 + int(seed%900))
			g := &garden{h, rand.New(rand.NewPCG(seed, 2))}
			if !f.plant(g) {
				continue
			}
			planted++
			if r := Check(h); r.Found(f.shows) == 0 {
				t.Fatalf("seed %d: %s and %s is not reported: %v", seed, f.name, f.shows, r)
			}
		}
		t.Logf("%s: planted in %d histories of %d and found", f.name, planted, seeds)
		if planted == 0 || !f.seldom && planted < int(seeds)/2 {
			t.Errorf("%s: there was a place for it in %d histories of %d", f.name, planted, seeds)
		}
	}
}
