package history

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A history as text, an operation a line, for tests:
//
//	1 send a5@0          process 1 sent value 5 to partition a; it is at offset 0
//	1 send a6 info       no offset is known
//	2 poll a5@0 a6@1     process 2 read both
//	2 assign a@0         2 rebalance g=G a@5          2 commit g=G a@5          2 committed g=G a@5
//	9 replica via=b1 a[0,2) a5@0 a6@1                 9 tier a[0,5) a[5,9)
//	1 txn w.a1@0 r.b2@7 fail
//
// "x< ..." is the invocation alone, and "x> ..." the completion, with what only that knows.

var (
	recordToken   = regexp.MustCompile(`^([wr]\.)?([a-d])(-?\d+)(?:@(-?\d+))?$`)
	positionToken = regexp.MustCompile(`^([a-d])@(-?\d+)$`)
	spanToken     = regexp.MustCompile(`^([a-d])\[(-?\d+),(-?\d+)\)$`)
)

func script(t *testing.T, text string) *History {
	t.Helper()
	r := NewRecorder([]string{"a", "b", "c", "d"}, nil)
	clock := time.Duration(0)
	r.now = func() time.Duration { clock += time.Millisecond; return clock }
	labels := map[string]int{}
	begun := map[string]Op{}
	for l := range strings.Lines(text) {
		words := strings.Fields(l)
		if len(words) == 0 {
			continue
		}
		first := words[0]
		switch {
		case strings.HasSuffix(first, "<"):
			op, label := parseOp(t, words[1:]), strings.TrimSuffix(first, "<")
			labels[label], begun[label] = r.Invoke(op), op
		case strings.HasSuffix(first, ">"):
			label := strings.TrimSuffix(first, ">")
			was := begun[label]
			done := parseOp(t, append([]string{strconv.Itoa(int(was.Process)), was.Func.String()}, words[1:]...))
			if done.Reads == nil {
				done.Reads = was.Reads
			}
			r.Complete(labels[label], done)
		default:
			op := parseOp(t, words)
			r.Complete(r.Invoke(op), op)
		}
	}
	h, err := r.Close()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func parseOp(t *testing.T, words []string) Op {
	t.Helper()
	num := func(s string) int64 {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatalf("%q: %v", words, err)
		}
		return n
	}
	op := Op{Process: int32(num(words[0])), Func: Func(slices.Index(funcNames[:], words[1])), Outcome: OK}
	for _, w := range words[2:] {
		if m := recordToken.FindStringSubmatch(w); m != nil {
			rec := Record{Key: Key(m[2][0] - 'a'), Value: num(m[3]), Offset: Unknown}
			if m[4] != "" {
				rec.Offset = num(m[4])
			}
			if op.Func == Send || m[1] == "w." {
				op.Writes = append(op.Writes, rec)
			} else {
				op.Reads = append(op.Reads, rec)
			}
		} else if m := positionToken.FindStringSubmatch(w); m != nil {
			op.Positions = append(op.Positions, Position{Key(m[1][0] - 'a'), num(m[2])})
		} else if m := spanToken.FindStringSubmatch(w); m != nil {
			op.Spans = append(op.Spans, Span{Key(m[1][0] - 'a'), num(m[2]), num(m[3])})
		} else if name, value, ok := strings.Cut(w, "="); ok {
			switch name {
			case "g":
				op.Group = value
			case "via":
				op.Via = value
			case "err":
				op.Err = value
			}
		} else if w == "lingers" {
			op.Lingers = true
		} else if o := slices.Index(outcomeNames[:], w); o >= 0 {
			op.Outcome = Outcome(o)
		} else {
			t.Fatalf("%q: what is %q?", words, w)
		}
	}
	return op
}

// anomalies lists what a report holds against a history, and what it only mentions.
func anomalies(r *Report) string {
	var list []string
	for _, f := range r.Findings {
		list = append(list, fmt.Sprintf("%s:%d", f.Anomaly, f.Count))
	}
	return strings.Join(list, " ")
}
