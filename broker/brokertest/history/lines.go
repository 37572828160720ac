package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"
)

// A history in lines of JSON: first {"history":1,"keys":["logs-0",...]}, then one line an event in their order.
//
//	{"i":12,"t":834021,"p":3,"type":"invoke","f":"send","w":[[0,-1,3000017]]}
//	{"i":15,"t":991000,"p":3,"type":"ok","f":"send","of":12,"w":[[0,55,3000017]]}
//
// i is the place among all events, t nanoseconds since the beginning, p the process, of the i of the invocation; w and r are
// records [key, offset, value], pos positions [key, offset], spans [key, start, end]. A file that ends within a
// line, as that of a driver that was killed does, is read up to there.

// maxLine bounds a line: a poll of a million records.
const maxLine = 64 << 20

const version = 1

func appendHeader(b []byte, keys []string) []byte {
	names, _ := json.Marshal(keys) //nolint:errchkjson // strings always encode
	b = append(b, `{"history":`...)
	b = strconv.AppendInt(b, version, 10)
	b = append(b, `,"keys":`...)
	return append(append(b, names...), "}\n"...)
}

// appendEvent writes by hand what encoding/json would take several times as long for, under the recorder's lock.
func appendEvent(b []byte, op *Op, completed bool) []byte {
	at, when, kind := op.Invoked, op.Start, "invoke"
	if completed {
		at, when, kind = op.Completed, op.End, op.Outcome.String()
	}
	b = strconv.AppendInt(append(b, `{"i":`...), at, 10)
	b = strconv.AppendInt(append(b, `,"t":`...), int64(when), 10)
	b = strconv.AppendInt(append(b, `,"p":`...), int64(op.Process), 10)
	b = append(append(append(b, `,"type":"`...), kind...), '"')
	b = append(append(append(b, `,"f":"`...), op.Func.String()...), '"')
	if completed {
		b = strconv.AppendInt(append(b, `,"of":`...), op.Invoked, 10)
	}
	b = appendTuples(b, "w", op.Writes, func(r Record) []int64 { return []int64{int64(r.Key), r.Offset, r.Value} })
	if completed {
		b = appendTuples(b, "r", op.Reads, func(r Record) []int64 { return []int64{int64(r.Key), r.Offset, r.Value} })
	}
	b = appendTuples(b, "pos", op.Positions, func(p Position) []int64 { return []int64{int64(p.Key), p.Offset} })
	b = appendTuples(b, "spans", op.Spans, func(s Span) []int64 { return []int64{int64(s.Key), s.Start, s.End} })
	b = appendText(b, "group", op.Group)
	b = appendText(b, "via", op.Via)
	if completed {
		b = appendText(b, "err", op.Err)
	}
	if completed && op.Lingers {
		b = append(b, `,"lingers":true`...)
	}
	return append(b, "}\n"...)
}

func appendTuples[T any](b []byte, name string, list []T, tuple func(T) []int64) []byte {
	if len(list) == 0 {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":[`...)
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '[')
		for j, n := range tuple(v) {
			if j > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendInt(b, n, 10)
		}
		b = append(b, ']')
	}
	return append(b, ']')
}

func appendText(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	quoted, _ := json.Marshal(text) //nolint:errchkjson // strings always encode
	return append(append(append(append(b, `,"`...), name...), `":`...), quoted...)
}

// line is any line, as it is read.
type line struct {
	History int      `json:"history"`
	Keys    []string `json:"keys"`

	I       int64      `json:"i"`
	T       int64      `json:"t"`
	P       int32      `json:"p"`
	Type    string     `json:"type"`
	F       string     `json:"f"`
	Of      int64      `json:"of"`
	W       [][3]int64 `json:"w"`
	R       [][3]int64 `json:"r"`
	Pos     [][2]int64 `json:"pos"`
	Spans   [][3]int64 `json:"spans"`
	Group   string     `json:"group"`
	Via     string     `json:"via"`
	Err     string     `json:"err"`
	Lingers bool       `json:"lingers"`
}

// Write writes a history as lines.
func (h *History) Write(w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<16)
	if _, err := out.Write(appendHeader(nil, h.Keys)); err != nil {
		return err
	}
	type event struct {
		at        int64
		op        *Op
		completed bool
	}
	events := make([]event, 0, 2*len(h.Ops))
	for i := range h.Ops {
		op := &h.Ops[i]
		events = append(events, event{op.Invoked, op, false})
		if op.Completed != Never {
			events = append(events, event{op.Completed, op, true})
		}
	}
	slices.SortFunc(events, func(a, b event) int { return int(a.at - b.at) })
	var b []byte
	for _, e := range events {
		b = appendEvent(b[:0], e.op, e.completed)
		if _, err := out.Write(b); err != nil {
			return err
		}
	}
	return out.Flush()
}

// Read reads what a Recorder or Write has written.
func Read(r io.Reader) (*History, error) {
	in := bufio.NewReaderSize(r, 1<<20)
	h := &History{}
	open := map[int64]int{} // i of an invocation to its place in h.Ops
	for n := 1; ; n++ {
		text, err := readLine(in)
		if errors.Is(err, io.EOF) {
			return h, nil
		}
		if err != nil {
			return nil, fmt.Errorf("history, line %d: %w", n, err)
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return nil, fmt.Errorf("history, line %d: %w", n, err)
		}
		if n == 1 {
			if l.History != version {
				return nil, fmt.Errorf("history of version %d, this reads %d", l.History, version)
			}
			h.Keys = l.Keys
			continue
		}
		if err := h.add(&l, open); err != nil {
			return nil, fmt.Errorf("history, line %d: %w", n, err)
		}
	}
}

// readLine returns a whole line, or io.EOF.
func readLine(in *bufio.Reader) ([]byte, error) {
	part, err := in.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return part, err
	}
	long := bytes.Clone(part)
	for errors.Is(err, bufio.ErrBufferFull) && len(long) <= maxLine {
		part, err = in.ReadSlice('\n')
		long = append(long, part...)
	}
	if len(long) > maxLine {
		return nil, fmt.Errorf("longer than %d bytes", maxLine)
	}
	return long, err
}

func (h *History) add(l *line, open map[int64]int) error {
	f := slices.Index(funcNames[:], l.F)
	if f < 0 {
		return fmt.Errorf("unknown function %q", l.F)
	}
	op, err := l.op(Key(len(h.Keys)))
	if err != nil {
		return err
	}
	op.Func = Func(f)
	if l.Type == "invoke" {
		op.Invoked, op.Completed, op.Start = l.I, Never, time.Duration(l.T)
		open[l.I] = len(h.Ops)
		h.Ops = append(h.Ops, op)
		return nil
	}
	outcome := slices.Index(outcomeNames[:], l.Type)
	at, ok := open[l.Of]
	if outcome < 0 || !ok {
		return fmt.Errorf("%s of %s %d, which is not open", l.Type, l.F, l.Of)
	}
	delete(open, l.Of)
	had := &h.Ops[at]
	had.Outcome, had.Completed, had.End = Outcome(outcome), l.I, time.Duration(l.T)
	had.Err, had.Lingers = op.Err, op.Lingers
	had.take(&op)
	return nil
}

// op is what a line says of an operation, its function and its times aside.
func (l *line) op(keys Key) (Op, error) {
	op := Op{Process: l.P, Group: l.Group, Via: l.Via, Err: l.Err, Lingers: l.Lingers}
	bad := false
	key := func(n int64) Key {
		bad = bad || n < 0 || n >= int64(keys)
		return Key(n)
	}
	records := func(list [][3]int64) (out []Record) {
		for _, t := range list {
			out = append(out, Record{key(t[0]), t[1], t[2]})
		}
		return out
	}
	op.Writes, op.Reads = records(l.W), records(l.R)
	for _, t := range l.Pos {
		op.Positions = append(op.Positions, Position{key(t[0]), t[1]})
	}
	for _, t := range l.Spans {
		op.Spans = append(op.Spans, Span{key(t[0]), t[1], t[2]})
	}
	if bad {
		return op, fmt.Errorf("a key that is none of %d", keys)
	}
	return op, nil
}
