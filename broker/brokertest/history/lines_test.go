package history

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kerr"
)

func TestReadRefuses(t *testing.T) {
	const header = `{"history":1,"keys":["a","b"]}` + "\n"
	for name, c := range map[string]struct{ text, says string }{
		"another version":    {`{"history":2,"keys":[]}` + "\n", "version 2"},
		"no header":          {`{"i":0,"t":1,"p":1,"type":"invoke","f":"poll"}` + "\n", "version 0"},
		"no JSON":            {header + "poll\n", "line 2"},
		"unknown function":   {header + `{"type":"invoke","f":"push"}` + "\n", `"push"`},
		"unknown key":        {header + `{"type":"invoke","f":"send","w":[[2,-1,5]]}` + "\n", "none of 2"},
		"negative key":       {header + `{"type":"invoke","f":"tier","spans":[[-1,0,5]]}` + "\n", "none of 2"},
		"nothing invoked":    {header + `{"i":1,"type":"ok","f":"send","of":0}` + "\n", "not open"},
		"completed twice":    {header + `{"type":"invoke","f":"poll"}` + "\n" + strings.Repeat(`{"i":1,"type":"ok","f":"poll","of":0}`+"\n", 2), "line 4"},
		"unknown completion": {header + `{"type":"invoke","f":"poll"}` + "\n" + `{"i":1,"type":"done","f":"poll","of":0}` + "\n", "done"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Read(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}

// What a driver that was killed leaves is read up to the line that it was writing.
func TestReadHalfALine(t *testing.T) {
	var lines bytes.Buffer
	whole := script(t, "1 send a1@0\n2 poll a1@0")
	if err := whole.Write(&lines); err != nil {
		t.Fatal(err)
	}
	h, err := Read(bytes.NewReader(lines.Bytes()[:lines.Len()-3]))
	if err != nil {
		t.Fatal(err)
	}
	want := *whole
	want.Ops[1].Outcome, want.Ops[1].Completed, want.Ops[1].End, want.Ops[1].Reads = Info, Never, 0, nil
	if d := cmp.Diff(&want, h, cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
}

type brokenDisk struct{}

func (brokenDisk) Write([]byte) (int, error) { return 0, errors.New("no room") }

// The history in memory is whole even if its lines could not be written; and what completes after its end is unknown.
func TestRecorderEnds(t *testing.T) {
	r := NewRecorder([]string{"a"}, brokenDisk{})
	var running sync.WaitGroup
	for p := range int32(4) {
		running.Go(func() {
			for i := range 1000 {
				w := []Record{{0, Unknown, int64(p)*1000 + int64(i)}}
				r.Complete(r.Invoke(Op{Process: p, Func: Send, Writes: w}), Op{Outcome: OK})
			}
		})
	}
	running.Wait()
	late := r.Invoke(Op{Process: 9, Func: Poll})
	h, err := r.Close()
	if err == nil || err.Error() != "no room" {
		t.Errorf("closing: %v", err)
	}
	r.Complete(late, Op{Outcome: OK})
	r.Complete(r.Invoke(Op{Process: 9, Func: Poll}), Op{Outcome: OK})
	if len(h.Ops) != 4001 || h.Ops[4000].Outcome != Info || h.Ops[4000].Completed != Never {
		t.Errorf("%d operations, the last %+v", len(h.Ops), h.Ops[len(h.Ops)-1])
	}
	events := map[int64]bool{}
	for _, op := range h.Ops[:4000] {
		events[op.Invoked], events[op.Completed] = true, true
		if op.Outcome != OK || op.Completed <= op.Invoked || op.End < op.Start {
			t.Fatalf("%+v", op)
		}
	}
	if len(events) != 8000 {
		t.Errorf("%d events", len(events))
	}
}

// The table has names that Kafka has, and never calls what may have happened before a failure.
func TestVerdicts(t *testing.T) {
	names := map[string]bool{}
	for code := int16(-1); code < 200; code++ {
		var e *kerr.Error
		if errors.As(kerr.ErrorForCode(code), &e) {
			names[e.Message] = true
		}
	}
	for name, v := range verdicts {
		if strings.ToUpper(name) == name && !names[name] {
			t.Errorf("Kafka knows no %s", name)
		}
		if v.First == OK || v.Retried == OK || v.Retried == Fail && v.First != Fail {
			t.Errorf("%s: %+v", name, v)
		}
	}
	for name, want := range map[string][2]Outcome{
		"MESSAGE_TOO_LARGE": {Fail, Fail}, "ILLEGAL_GENERATION": {Fail, Info}, "NOT_LEADER_FOR_PARTITION": {Info, Info}, "who knows": {Info, Info},
	} {
		if v := Judge(name); v.Of(false) != want[0] || v.Of(true) != want[1] {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// A person sees what, where and who.
func TestReportIsReadable(t *testing.T) {
	r := Check(script(t, `
		1 send a1@0
		1 send a2@1
		1 send a3@2
		2 assign a@0
		2 poll a1@0 a3@2 via=tier
		2 send b9 info err=timeout`))
	got := r.String()
	for _, want := range []string{
		"history INVALID: 6 operations of 2 processes", "3 records acknowledged, 2 read, 3 violations", "error timeout: 1",
		"FAULT lost-write, 1 times: an acknowledged record below", "- a offsets [1] values [2] (read up to offset 2)",
		"#1 process 1 send ok, 3ms to 4ms, wrote a@1=2", "FAULT int-poll-skip", "#4 process 2 poll ok, 9ms to 10ms, by tier, read a@0=1 a@2=3",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// What a group gives again and how far a consumer is behind is told and no fault.
func TestBehindAndAgain(t *testing.T) {
	r := Check(script(t, `
		1 send a1@0
		1 send a2@1
		2 rebalance g=G a@-1
		2 poll a1@0 a2@1
		3 rebalance g=G a@-1
		3 poll a1@0
		3 crash info
		4 assign b@0
		1 send b9@0
		1 send b10@1
		4 poll b9@0
		4 poll
		4 poll b10@1`))
	if !r.Valid || r.Stats.Again != 1 {
		t.Errorf("%d records again in %v", r.Stats.Again, r)
	}
	// a2 was acknowledged at 4 ms, and process 3, which began to read at 11, did not get it.
	if want := (Behind{7 * time.Millisecond, "a", 5}); r.Stats.Behind != want {
		t.Errorf("behind: %+v, want %+v", r.Stats.Behind, want)
	}
}
