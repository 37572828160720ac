package sim

import (
	"testing"
	"time"

	"firn/broker/brokertest/history"
)

// Of a topic that may lose anything what is there in the end is what was sent to it: nothing else, and in its order.
func TestWhatRemainsWasSent(t *testing.T) {
	for name, c := range map[string]struct {
		found []history.Record
		shows history.Anomaly // nothing if that is right
	}{
		"all of it":            {[]history.Record{{Offset: 0, Value: 1}, {Offset: 1, Value: 2}, {Offset: 2, Value: 3}}, ""},
		"the middle is gone":   {[]history.Record{{Offset: 0, Value: 1}, {Offset: 1, Value: 3}}, ""},
		"nothing":              {nil, ""},
		"a record was changed": {[]history.Record{{Offset: 0, Value: 1}, {Offset: 1, Value: -7}}, history.PhantomRead},
		"two changed places":   {[]history.Record{{Offset: 0, Value: 2}, {Offset: 1, Value: 1}}, history.NonmonotonicSend},
	} {
		t.Run(name, func(t *testing.T) {
			before, found := history.NewRecorder([]string{"a"}, nil), history.NewRecorder([]string{"a"}, nil)
			for v := range int64(3) {
				sent := history.Op{Process: 1, Func: history.Send, Outcome: history.OK, Writes: []history.Record{{Offset: v, Value: v + 1}}}
				before.Complete(before.Invoke(sent), sent)
			}
			found.Complete(found.Invoke(history.Op{Process: 1, Func: history.Poll}), history.Op{Outcome: history.OK, Reads: c.found})
			was, _ := before.Close()
			is, _ := found.Close()
			r := history.Check(survivors(was, time.Second, is, map[history.Key][]*window{0: {always}}))
			if c.shows == "" && !r.Valid || c.shows != "" && r.Found(c.shows) == 0 {
				t.Errorf("want %q: %v", c.shows, r)
			}
		})
	}
}
