package history

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

const (
	maxExamples   = 5  // of an anomaly; all are counted
	maxExampleOps = 6  // of an example
	maxRecords    = 12 // of an operation, as it is shown
)

// Example is one place where an anomaly shows.
type Example struct {
	Key     string
	Text    string // what the offsets are, if that is not plain
	Offsets []int64
	Values  []int64
	Ops     []int // places in History.Ops
}

// Finding is one anomaly, as often as it was found.
type Finding struct {
	Anomaly  Anomaly
	Allowed  bool // no fault
	Count    int
	Examples []Example // the first
}

// Report is the verdict on a history.
type Report struct {
	Valid    bool
	Findings []Finding // faults first
	Stats    Stats

	h       *History
	allowed map[Anomaly]bool
	found   map[Anomaly]*Finding
}

// Stats says what a history consists of, so that a verdict on nothing is not taken for a good one.
type Stats struct {
	Processes int
	Events    [funcs][outcomes]int // operations by function and outcome
	Acked     int                  // records whose sends are OK
	Read      int                  // records, as often as an operation that is OK read them
	Again     int                  // records that a group gave to members more than once, which it may
	Behind    Behind
	Errors    map[string]int
	Span      time.Duration
}

func newReport(h *History, also []Anomaly) *Report {
	r := &Report{h: h, allowed: allowed(h, also), found: map[Anomaly]*Finding{}}
	r.Stats.Errors = map[string]int{}
	processes := map[int32]bool{}
	for i := range h.Ops {
		op := &h.Ops[i]
		processes[op.Process] = true
		r.Stats.Events[op.Func][op.Outcome]++
		if op.Outcome == OK {
			r.Stats.Acked += len(op.Writes)
			r.Stats.Read += len(op.Reads)
		}
		if op.Err != "" {
			r.Stats.Errors[op.Err]++
		}
		r.Stats.Span = max(r.Stats.Span, op.Start, op.End)
	}
	r.Stats.Processes = len(processes)
	return r
}

// find counts an anomaly, and lets fill make an example of it if few are there.
func (c *checker) find(a Anomaly, k Key, fill func(*Example)) {
	f := c.report.found[a]
	if f == nil {
		f = &Finding{Anomaly: a, Allowed: c.report.allowed[a]}
		c.report.found[a] = f
	}
	f.Count++
	if len(f.Examples) < maxExamples {
		x := Example{}
		if k != none {
			x.Key = c.h.name(k)
		}
		fill(&x)
		f.Examples = append(f.Examples, x)
	}
}

// close orders what was found.
func (r *Report) close() {
	r.Valid = true
	for _, f := range r.found {
		r.Valid = r.Valid && f.Allowed
		r.Findings = append(r.Findings, *f)
	}
	slices.SortFunc(r.Findings, func(a, b Finding) int {
		if a.Allowed != b.Allowed {
			if a.Allowed {
				return 1
			}
			return -1
		}
		return strings.Compare(string(a.Anomaly), string(b.Anomaly))
	})
}

// Faults counts what makes a history invalid.
func (r *Report) Faults() int {
	n := 0
	for _, f := range r.Findings {
		if !f.Allowed {
			n += f.Count
		}
	}
	return n
}

// Found says how often an anomaly was found.
func (r *Report) Found(a Anomaly) int {
	if f := r.found[a]; f != nil {
		return f.Count
	}
	return 0
}

// Write tells a person what was found: the line of Summary, then each anomaly with its meaning and its first examples.
func (r *Report) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintln(&b, r.Summary())
	for f := range funcs {
		if n := r.Stats.Events[f]; n != [outcomes]int{} {
			fmt.Fprintf(&b, "  %-10s %8d ok %8d fail %8d unknown\n", f, n[OK], n[Fail], n[Info])
		}
	}
	if s := r.Stats; s.Behind.Time > 0 {
		fmt.Fprintf(&b, "  a consumer was %v behind at most, at %s in #%d; groups gave %d records again\n", s.Behind.Time.Round(time.Millisecond), s.Behind.Key, s.Behind.Op, s.Again)
	}
	for _, name := range sorted(r.Stats.Errors) {
		fmt.Fprintf(&b, "  error %s: %d\n", name, r.Stats.Errors[name])
	}
	for _, f := range r.Findings {
		word := "FAULT"
		if f.Allowed {
			word = "allowed"
		}
		fmt.Fprintf(&b, "%s %s, %d times: %s\n", word, f.Anomaly, f.Count, Meaning[f.Anomaly])
		for _, x := range f.Examples {
			r.example(&b, x)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// String is what Write writes.
func (r *Report) String() string {
	var b strings.Builder
	_ = r.Write(&b) // never fails
	return b.String()
}

// Summary is the verdict in a line.
func (r *Report) Summary() string {
	word := "valid"
	if !r.Valid {
		word = "INVALID"
	}
	return fmt.Sprintf("history %s: %d operations of %d processes in %v, %d records acknowledged, %d read, %d violations",
		word, len(r.h.Ops), r.Stats.Processes, r.Stats.Span.Round(time.Millisecond), r.Stats.Acked, r.Stats.Read, r.Faults())
}

func (r *Report) example(b *strings.Builder, x Example) {
	b.WriteString("  -")
	if x.Key != "" {
		fmt.Fprintf(b, " %s", x.Key)
	}
	if len(x.Offsets) > 0 {
		fmt.Fprintf(b, " offsets %v", x.Offsets)
	}
	if len(x.Values) > 0 {
		fmt.Fprintf(b, " values %v", x.Values)
	}
	if x.Text != "" {
		fmt.Fprintf(b, " (%s)", x.Text)
	}
	b.WriteByte('\n')
	for _, i := range x.Ops {
		fmt.Fprintf(b, "      %s\n", r.h.describe(i, x))
	}
}

// describe is an operation in a line; of a long one, what an example is about.
func (h *History) describe(i int, x Example) string {
	op := &h.Ops[i]
	var b strings.Builder
	fmt.Fprintf(&b, "#%d process %d %s %s, %v to ", i, op.Process, op.Func, op.Outcome, op.Start.Round(time.Microsecond))
	if op.Completed == Never {
		b.WriteString("never")
	} else {
		b.WriteString(op.End.Round(time.Microsecond).String())
	}
	for _, text := range []struct{ name, value string }{{"by", op.Via}, {"group", op.Group}, {"error", op.Err}} {
		if text.value != "" {
			fmt.Fprintf(&b, ", %s %s", text.name, text.value)
		}
	}
	h.records(&b, "wrote", op.Writes, x)
	h.records(&b, "read", op.Reads, x)
	for j, p := range op.Positions {
		if len(op.Positions) <= maxRecords || h.name(p.Key) == x.Key {
			fmt.Fprintf(&b, "%s %s@%d", list(j, ", at"), h.name(p.Key), p.Offset)
		}
	}
	for j, s := range op.Spans {
		if len(op.Spans) <= maxRecords || h.name(s.Key) == x.Key && slices.Contains(x.Offsets, s.Start) {
			fmt.Fprintf(&b, "%s %s[%d,%d)", list(j, ", has"), h.name(s.Key), s.Start, s.End)
		}
	}
	return b.String()
}

func (h *History) records(b *strings.Builder, verb string, recs []Record, x Example) {
	shown := 0
	for _, r := range recs {
		about := h.name(r.Key) == x.Key && (slices.Contains(x.Offsets, r.Offset) || slices.Contains(x.Values, r.Value))
		if len(recs) > maxRecords && !about || shown > maxRecords {
			continue
		}
		fmt.Fprintf(b, "%s %s@%d=%d", list(shown, ", "+verb), h.name(r.Key), r.Offset, r.Value)
		shown++
	}
	if shown < len(recs) {
		fmt.Fprintf(b, " of %d records", len(recs))
	}
}

// list is the word before a list and nothing before its later members.
func list(i int, word string) string {
	if i == 0 {
		return word
	}
	return ""
}

func sorted(m map[string]int) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
