package history

import (
	"cmp"
	"slices"
)

// checker judges one history.
type checker struct {
	h      *History
	parts  []*partition
	order  []int32 // operations that have completed, in that order
	report *Report
}

// Check judges a history. Anomalies in also are reported, and no fault.
//
// It takes time in proportion to the number of records read and written, but for sorting, and some 500 bytes for each
// operation beside the history.
func Check(h *History, also ...Anomaly) *Report {
	c := &checker{h: h, report: newReport(h, also)}
	c.derive()
	c.order = completions(h)
	c.offsets()
	c.writes()
	c.reads()
	c.sends()
	c.polls()
	c.committed()
	c.replicas()
	c.tiers()
	c.cycles()
	c.behind()
	c.report.close()
	return c.report
}

// completions lists the operations that have completed in the order in which they did.
func completions(h *History) []int32 {
	order := make([]int32, 0, len(h.Ops))
	for i := range h.Ops {
		if h.Ops[i].Completed != Never {
			order = append(order, int32(i))
		}
	}
	slices.SortFunc(order, func(a, b int32) int { return cmp.Compare(h.Ops[a].Completed, h.Ops[b].Completed) })
	return order
}
