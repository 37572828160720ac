package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// stickyWriter remembers the first error, so that it need not be looked at after every line: run does at the
// end.
type stickyWriter struct {
	w   io.Writer
	err error
}

func (s *stickyWriter) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.w.Write(p)
	s.err = err
	return n, err
}

// printf writes a result.
func (a *app) printf(format string, args ...any) { _, _ = fmt.Fprintf(a.out, format, args...) }

// table writes rows with aligned columns, a heading first.
type table struct {
	w *tabwriter.Writer
}

func newTable(out io.Writer, heading ...string) *table {
	t := &table{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	t.row(toAny(heading)...)
	return t
}

func toAny(words []string) []any {
	out := make([]any, len(words))
	for i, w := range words {
		out[i] = w
	}
	return out
}

// oneCell puts the lines of an error beside each other.
var oneCell = strings.NewReplacer("\n", "; ", "\t", " ")

// row adds a row; empty cells show as '-', and a row is one line, so that columns can be counted by programs too.
func (t *table) row(cells ...any) {
	for i, c := range cells {
		s := oneCell.Replace(fmt.Sprint(c))
		if s == "" {
			s = "-"
		}
		end := "\t"
		if i == len(cells)-1 {
			end = "\n"
		}
		_, _ = fmt.Fprint(t.w, s, end)
	}
}

func (t *table) flush() error { return t.w.Flush() }

// writeJSON writes v for programs, indented for people who look.
func writeJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// brokerIDs is a list in JSON also where it holds none: programs go through it without asking.
type brokerIDs []int32

// MarshalJSON implements json.Marshaler.
func (b brokerIDs) MarshalJSON() ([]byte, error) {
	if b == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]int32(b))
}

// joinInts writes numbers with commas between.
func joinInts(list []int32) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ","), "[]")
}

// humanBytes writes a size for people.
func humanBytes(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 1024 && i < len(units)-1 {
		f /= 1024
		i++
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}

// plural writes a number of things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
