package history

import (
	"bytes"
	"runtime"
	"testing"
	"time"
)

// longHistory has n operations: producers with several sends under way, and readers in step with them.
func longHistory(n int) *History {
	const keys, producers, readers, inFlight, batch = 8, 16, 3, 5, 18
	names := make([]string, keys)
	for k := range names {
		names[k] = string(rune('a' + k))
	}
	r := NewRecorder(names, nil)
	clock := time.Duration(0)
	r.now = func() time.Duration { clock += time.Microsecond; return clock }
	type open struct {
		id  int
		rec Record
	}
	flying := make([][]open, producers)
	var logs [keys][]int64
	var at [readers][keys]int64
	next := int64(0)
	for len(r.mu.h.Ops) < n {
		for range readers * batch { // everybody reads as much as is written
			p := int(next) % producers
			if len(flying[p]) == inFlight {
				first := flying[p][0]
				flying[p] = flying[p][1:]
				r.Complete(first.id, Op{Outcome: OK, Writes: []Record{first.rec}})
			}
			k := Key(next % keys)
			rec := Record{k, int64(len(logs[k])), next}
			logs[k] = append(logs[k], next)
			flying[p] = append(flying[p], open{r.Invoke(Op{Process: int32(p), Func: Send, Writes: []Record{{k, Unknown, next}}}), rec})
			next++
		}
		for reader := range readers {
			for range readers {
				id := r.Invoke(Op{Process: int32(100 + reader), Func: Poll})
				var got []Record
				for k := range Key(keys) {
					for ; len(got) < batch && at[reader][k] < int64(len(logs[k])); at[reader][k]++ {
						got = append(got, Record{k, at[reader][k], logs[k][at[reader][k]]})
					}
				}
				r.Complete(id, Op{Outcome: OK, Reads: got})
			}
		}
	}
	for _, list := range flying {
		for _, o := range list {
			r.Complete(o.id, Op{Outcome: OK, Writes: []Record{o.rec}})
		}
	}
	h, _ := r.Close()
	return h
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// However long a history is, it is judged in memory in proportion to its operations: a million take seconds and under a GiB.
func TestLongHistory(t *testing.T) {
	n := fromEnv(t, "FIRN_TEST_HISTORY_OPS", 200_000)
	const perOp = 1500 // bytes, all told
	before := heap()
	began := time.Now()
	h := longHistory(int(n))
	made, held := time.Since(began), heap()-before
	began = time.Now()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	allocated := m.TotalAlloc
	report := Check(h)
	took := time.Since(began)
	runtime.ReadMemStats(&m)
	t.Logf("made in %v, %d MiB; judged in %v, with %d MiB allocated in all: %s", made, held>>20, took, (m.TotalAlloc-allocated)>>20, report.Summary())
	if !report.Valid {
		t.Error(report)
	}
	if held+m.TotalAlloc-allocated > perOp*n {
		t.Errorf("it took more than %d bytes an operation", perOp)
	}
}

func BenchmarkCheck(b *testing.B) {
	h := longHistory(100_000)
	b.ReportAllocs()
	for b.Loop() {
		if r := Check(h); !r.Valid {
			b.Fatal(r)
		}
	}
	b.ReportMetric(float64(b.N*len(h.Ops))/b.Elapsed().Seconds(), "ops/s")
}

func BenchmarkRead(b *testing.B) {
	var lines bytes.Buffer
	if err := longHistory(100_000).Write(&lines); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(lines.Len()))
	for b.Loop() {
		if _, err := Read(bytes.NewReader(lines.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
}
