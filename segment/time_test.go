package segment

import (
	"math"
	"math/rand/v2"
	"testing"

	"firn/segment/batch"
	"firn/segment/vfs"
)

// stamped is a record with its timestamp, as a model of a log.
type stamped struct {
	offset, ts int64
	epoch      int32
}

// timedLog is a log whose records' times go up and down, in all codecs, some with log append time.
func timedLog(t *testing.T, seed uint64) (*Log, []stamped) {
	rng := rand.New(rand.NewPCG(seed, 3))
	d := openDisk(t, vfs.NewMem())
	t.Cleanup(func() { _ = d.Close(false) })
	l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 4 << 10, IndexInterval: 300}})
	var all []stamped
	for l.Next() < 600 {
		base, n := l.Next(), 1+rng.IntN(6)
		w := batch.Builder{BaseOffset: base, LeaderEpoch: int32(base / 200), Codec: batch.Codec(rng.IntN(5))}
		var recs []stamped
		for i := range n {
			ts := 1000 + base + rng.Int64N(60)
			w.Add(ts, nil, valueOf(base+int64(i), rng.IntN(100)))
			recs = append(recs, stamped{base + int64(i), ts, w.LeaderEpoch})
		}
		raw, err := w.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		b := batch.Batch(raw)
		if rng.IntN(4) == 0 {
			b.SetLogAppendTime(1000 + base)
			for i := range recs {
				recs[i].ts = 1000 + base
			}
		}
		mustAppend(t, l, b)
		all = append(all, recs...)
	}
	return l, all
}

func TestFindTime(t *testing.T) {
	for seed := range uint64(4) {
		l, all := timedLog(t, seed)
		rng := rand.New(rand.NewPCG(seed, 4))
		for range 3000 {
			ts, from := 900+rng.Int64N(900), rng.Int64N(601)
			limit := from + rng.Int64N(602-from)
			want, ok := Found{}, false
			for _, r := range all[from:min(limit, int64(len(all)))] {
				if r.ts >= ts {
					want, ok = Found{r.offset, r.ts, r.epoch}, true
					break
				}
			}
			got, gotOK, err := l.FindTime(ts, from, limit)
			if err != nil || gotOK != ok || ok && got != want {
				t.Fatalf("seed %d: time %d in [%d, %d): %+v %v %v, want %+v %v", seed, ts, from, limit, got, gotOK, err, want, ok)
			}
		}
	}
}

func TestMaxTime(t *testing.T) {
	for seed := range uint64(4) {
		l, all := timedLog(t, seed)
		for _, start := range []int64{0, 7, 300} {
			if err := l.SetStart(start); err != nil {
				t.Fatal(err)
			}
			for limit := start; limit <= l.Next(); limit++ {
				// Only whole batches below limit count, as readers see no others.
				e := endOfBatches(t, l, limit)
				want, ok := Found{Timestamp: math.MinInt64}, false
				for _, r := range all[start:max(e, start)] {
					if r.ts > want.Timestamp {
						want, ok = Found{r.offset, r.ts, r.epoch}, true
					}
				}
				got, gotOK, err := l.MaxTime(limit)
				if err != nil || gotOK != ok || ok && got != want {
					t.Fatalf("seed %d: max time in [%d, %d): %+v %v %v, want %+v %v", seed, start, limit, got, gotOK, err, want, ok)
				}
			}
		}
	}
}

// endOfBatches is the end of the last batch that lies wholly below limit.
func endOfBatches(t *testing.T, l *Log, limit int64) int64 {
	t.Helper()
	if limit >= l.Next() {
		return l.Next()
	}
	e, err := l.Read(limit, l.Next(), 1, true)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Release()
	return e.FirstOffset()
}

// TestFindTimeGarbage has a batch whose CRC holds but whose records do not decode, as a producer may
// send it.
func TestFindTimeGarbage(t *testing.T) {
	d := openDisk(t, vfs.NewMem())
	defer func() { _ = d.Close(false) }()
	l := openLog(t, d, Options{})
	b := makeBatch(t, 0, 3, 50, 0)
	b[22] |= byte(batch.LZ4)
	b.SetLogAppendTime(5000) // makes the CRC anew
	mustAppend(t, l, b)
	f, ok, err := l.FindTime(4000, 1, 3)
	if err != nil || !ok || f.Offset != 1 || f.Timestamp != 5000 {
		t.Errorf("found %+v %v %v", f, ok, err)
	}
}

// While a batch is being appended the latest record is the last one before it, or that batch's.
func TestMaxTimeDuringAppends(t *testing.T) {
	l := openLog(t, openDisk(t, vfs.NewMem()), Options{Settings: Settings{SegmentBytes: 100 << 10}})
	fill(t, l, 5, 5, 50)
	l.view.Load().active.maxTime.Store(timeOf(9)) // as the next append does, a moment before its batch can be seen
	if f, ok, err := l.MaxTime(5); f.Offset != 4 || !ok || err != nil {
		t.Errorf("before the batch can be seen the latest of 5 records is %+v %v %v", f, ok, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		fill(t, l, 20_000, 5, 50)
	}()
	for appending := true; appending; {
		select {
		case <-done:
			appending = false
		default:
		}
		end := l.Next()
		f, ok, err := l.MaxTime(end)
		if want := (Found{Offset: end - 1, Timestamp: timeOf(end - 1)}); f != want || !ok || err != nil {
			t.Fatalf("the latest of %d records is %+v %v %v, want %+v", end, f, ok, err, want)
		}
	}
}
