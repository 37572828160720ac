package history

import (
	"slices"
	"testing"
)

// product calls f with every list of n numbers below base.
func product(n, base int, f func([]int)) {
	list := make([]int, n)
	for {
		f(list)
		i := 0
		for ; i < n; i++ {
			if list[i]++; list[i] < base {
				break
			}
			list[i] = 0
		}
		if i == n {
			return
		}
	}
}

// Every way in which a consumer's two reads can go of a log with a hole: reported exactly if they are not what comes next.
func TestAllPolls(t *testing.T) {
	log := []Record{{0, 0, 10}, {0, 1, 11}, {0, 3, 13}}
	var reads [][]Record
	for n := range 3 {
		product(n, len(log), func(at []int) {
			var list []Record
			for _, i := range at {
				list = append(list, log[i])
			}
			reads = append(reads, list)
		})
	}
	total := 0
	for start := range int64(5) {
		product(2, len(reads), func(which []int) {
			total++
			r := NewRecorder([]string{"a"}, nil)
			do := func(op Op) { op.Outcome = OK; r.Complete(r.Invoke(op), op) }
			for _, rec := range log {
				do(Op{Process: 1, Func: Send, Writes: []Record{rec}})
			}
			do(Op{Process: 2, Func: Poll, Reads: log})
			do(Op{Process: 3, Func: Assign, Positions: []Position{{0, start}}})
			var all []Record
			for _, i := range which {
				do(Op{Process: 3, Func: Poll, Reads: reads[i]})
				all = append(all, reads[i]...)
			}
			h, _ := r.Close()
			due := log[min(len(log), slices.IndexFunc(append(log, Record{Offset: 99}), func(r Record) bool { return r.Offset >= start })):]
			right := len(all) <= len(due) && slices.Equal(all, due[:len(all)])
			if report := Check(h); report.Valid != right {
				t.Fatalf("from %d: read %v, right: %v, but %v", start, all, right, report)
			}
		})
	}
	t.Logf("%d histories", total)
}

// Everything that two readers can find at two offsets where two producers wrote.
func TestAllLogs(t *testing.T) {
	product(4, 3, func(got []int) {
		r := NewRecorder([]string{"a"}, nil)
		for v := range int64(2) {
			r.Invoke(Op{Process: int32(v), Func: Send, Writes: []Record{{0, Unknown, v + 1}}})
		}
		places := map[int]map[int]bool{1: {}, 2: {}} // by value
		clash := false
		for reader := range 2 {
			op := Op{Process: int32(2 + reader), Func: Poll, Outcome: OK}
			for offset := range 2 {
				if v := got[2*reader+offset]; v > 0 {
					op.Reads = append(op.Reads, Record{0, int64(offset), int64(v)})
					places[v][offset] = true
				}
			}
			r.Complete(r.Invoke(op), op)
		}
		for offset := range 2 {
			clash = clash || got[offset] > 0 && got[2+offset] > 0 && got[offset] != got[2+offset]
		}
		h, _ := r.Close()
		report := Check(h)
		if twice := len(places[1]) > 1 || len(places[2]) > 1; twice != (report.Found(Duplicate) > 0) {
			t.Errorf("%v: a record at two offsets: %v, but %v", got, twice, report)
		}
		if clash != (report.Found(InconsistentOffsets) > 0) {
			t.Errorf("%v: an offset with two records: %v, but %v", got, clash, report)
		}
		if !clash && len(places[1]) < 2 && len(places[2]) < 2 && !report.Valid {
			t.Errorf("%v: %v", got, report)
		}
	})
}

// Every history of three commits or looks, in every order of their events: what some order of effects explains is not
// reported, and where no commit's outcome is unknown, everything else is.
func TestAllCommits(t *testing.T) {
	kinds := []Op{
		{Func: Commit, Outcome: OK, Positions: []Position{{0, 1}}},
		{Func: Commit, Outcome: OK, Positions: []Position{{0, 2}}},
		{Func: Commit, Outcome: Info, Positions: []Position{{0, 1}}},
		{Func: Commit, Outcome: Info, Positions: []Position{{0, 2}}},
		{Func: Commit, Outcome: Fail, Positions: []Position{{0, 2}}},
		{Func: Committed, Outcome: OK, Positions: []Position{{0, Unknown}}},
		{Func: Committed, Outcome: OK, Positions: []Position{{0, 1}}},
		{Func: Committed, Outcome: OK, Positions: []Position{{0, 2}}},
	}
	const n = 3
	total, bad := 0, 0
	product(2*n, n, func(events []int) { // the first time an operation is named it is invoked, the second completed
		if count := [n]int{}; !slices.ContainsFunc(events, func(e int) bool { count[e]++; return count[e] > 2 }) {
			product(n, len(kinds), func(which []int) {
				total++
				r := NewRecorder([]string{"a"}, nil)
				ids := [n]int{-1, -1, -1}
				for _, e := range events {
					op := kinds[which[e]]
					op.Group, op.Process = "g", int32(e)
					if ids[e] < 0 {
						ids[e] = r.Invoke(op)
					} else {
						r.Complete(ids[e], op)
					}
				}
				h, _ := r.Close()
				report, right := Check(h), explained(h.Ops, 0, Unknown, Unknown)
				unknown := slices.ContainsFunc(h.Ops, func(op Op) bool { return op.Outcome == Info })
				if right && !report.Valid || !right && report.Valid && !unknown {
					t.Fatalf("events %v of %v: explained: %v, but %v", events, h.Ops, right, report)
				}
				if !right {
					bad++
				}
			})
		}
	})
	t.Logf("%d histories, %d with a fault", total, bad)
}

// explained says whether the operations that are not in done can take effect one after the other, each between its
// invocation and its completion, from a committed offset on. What somebody knows to have been committed is a floor for
// those who commit, since they looked where to begin.
func explained(ops []Op, done int, now, floor int64) bool {
	rest := false
	for i := range ops {
		op := &ops[i]
		if done&(1<<i) != 0 {
			continue
		}
		rest = rest || op.Outcome == OK
		if !first(ops, done, op) {
			continue
		}
		next, least, fits := op.Positions[0].Offset, floor, true
		switch {
		case op.Func == Committed:
			fits, least = next == now, next
		case op.Outcome == OK:
			fits, least = next >= floor, next
		case op.Outcome == Fail:
			next = now
		}
		if fits && explained(ops, done|1<<i, next, least) {
			return true
		}
	}
	return !rest
}

// first says whether an operation may take effect before all others that are left.
func first(ops []Op, done int, op *Op) bool {
	for j := range ops {
		if o := &ops[j]; done&(1<<j) == 0 && o.Outcome == OK && o.Completed < op.Invoked {
			return false
		}
	}
	return true
}
