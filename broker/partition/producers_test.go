package partition

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"firn/segment/batch"
	"firn/segment/vfs"
)

func testProducers(clock *int64) *producers {
	return newProducers(func() int64 { return *clock }, new(atomic.Int64))
}

// header builds a batch of a producer at an offset.
func header(t testing.TB, id int64, epoch int16, seq int32, n int, offset int64) batch.Batch {
	t.Helper()
	b := batch.Batch(idempotent(t, id, epoch, seq, n, ""))
	b.SetBaseOffset(offset)
	return b
}

func TestProducerSequences(t *testing.T) {
	var clock int64
	p := testProducers(&clock)
	offset := int64(0)
	steps := []struct {
		name  string
		epoch int16
		seq   int32
		n     int
		dup   int64 // base offset of the original, -1 for none
		err   error
	}{
		{"an unknown producer may begin anywhere", 2, 100, 10, -1, nil},
		{"the next", 2, 110, 5, -1, nil},
		{"a gap", 2, 116, 1, -1, ErrOutOfOrderSequence},
		{"a step back", 2, 114, 1, -1, ErrOutOfOrderSequence},
		{"a retry", 2, 100, 10, 0, nil},
		{"a retry of another length", 2, 100, 9, -1, ErrOutOfOrderSequence},
		{"an old epoch", 1, 115, 1, -1, ErrProducerEpoch},
		{"a new epoch not from 0", 3, 115, 1, -1, ErrOutOfOrderSequence},
		{"a new epoch", 3, 0, 1, -1, nil},
		{"a retry of the old epoch", 2, 110, 5, -1, ErrProducerEpoch},
		{"batch 2", 3, 1, 1, -1, nil},
		{"batch 3", 3, 2, 1, -1, nil},
		{"batch 4", 3, 3, 1, -1, nil},
		{"batch 5", 3, 4, 1, -1, nil},
		{"the fifth from the end", 3, 0, 1, 15, nil},
		{"batch 6", 3, 5, 1, -1, nil},
		{"the sixth from the end is forgotten", 3, 0, 1, -1, ErrOutOfOrderSequence},
		{"a short epoch", 4, 0, 1, -1, nil},
		{"the second of it", 4, 1, 1, -1, nil},
		{"the newest epoch", 5, 0, 1, -1, nil},
		{"a sequence that the epoch before had too", 5, 1, 1, -1, nil},
		{"the first of the epoch again", 5, 0, 1, 23, nil},
	}
	for _, s := range steps {
		b := header(t, 7, s.epoch, s.seq, s.n, 0)
		dup, isDup, err := p.check(b, 10)
		if !errors.Is(err, s.err) || s.err == nil && err != nil {
			t.Fatalf("%s: %v, want %v", s.name, err, s.err)
		}
		if isDup != (s.dup >= 0) || isDup && dup.lastOffset-int64(dup.delta) != s.dup {
			t.Fatalf("%s: duplicate %v of %+v, want %d", s.name, isDup, dup, s.dup)
		}
		if err == nil && !isDup {
			b.SetBaseOffset(offset)
			p.Apply(b)
			offset = b.NextOffset()
		}
	}
}

func TestProducerSequencesWrap(t *testing.T) {
	var clock int64
	p := testProducers(&clock)
	p.Apply(header(t, 1, 0, math.MaxInt32-2, 3, 0)) // ends at 2^31-1
	if _, _, err := p.check(header(t, 1, 0, 0, 4, 0), 1); err != nil {
		t.Errorf("0 after 2^31-1: %v", err)
	}
	p.Apply(header(t, 1, 0, 0, 4, 3))
	if _, _, err := p.check(header(t, 1, 0, 4, 1, 0), 1); err != nil {
		t.Errorf("4 after 3: %v", err)
	}
	p = testProducers(&clock)
	p.Apply(header(t, 1, 0, math.MaxInt32, 3, 0)) // wraps within
	if _, _, err := p.check(header(t, 1, 0, 2, 1, 0), 1); err != nil {
		t.Errorf("2 after a batch of 2^31-1, 0 and 1: %v", err)
	}
	if dup, isDup, err := p.check(header(t, 1, 0, math.MaxInt32, 3, 0), 1); err != nil || !isDup || dup.lastSeq() != 1 {
		t.Errorf("retry of that: %+v %v %v", dup, isDup, err)
	}
}

func TestProducersExpireByTimeOnly(t *testing.T) {
	clock := int64(1000)
	p := testProducers(&clock)
	p.Apply(header(t, 1, 0, 0, 1, 0))
	clock = 2000
	p.Apply(header(t, 2, 0, 0, 1, 1))
	if n := p.expire(2000); n != 1 || p.total.Load() != 1 {
		t.Fatalf("%d expired, %d remain", n, p.total.Load())
	}
	if got := p.list(); len(got) != 1 || got[0].ID != 2 {
		t.Fatalf("%+v", got)
	}
	// At the bound a known producer goes on and a new one is refused.
	if _, _, err := p.check(header(t, 2, 0, 1, 1, 0), 1); err != nil {
		t.Error(err)
	}
	if _, _, err := p.check(header(t, 3, 0, 0, 1, 0), 1); !errors.Is(err, ErrTooManyProducers) {
		t.Error(err)
	}
	p.Apply(header(t, 4, 0, 0, 1, 2)) // takes the slot that was freed
	if len(p.slots) != 2 {
		t.Errorf("%d slots", len(p.slots))
	}
	p.Reset()
	if p.total.Load() != 0 {
		t.Errorf("%d remain after reset", p.total.Load())
	}
}

// Appends need the lock that a list of producers is made under: it is held for some of them at a time, however many there are.
func TestProducersAreListedAFewAtATime(t *testing.T) {
	const many = 3*listedAtOnce + 7
	clock := int64(1000)
	p := testProducers(&clock)
	for id := range int64(many) {
		p.Apply(header(t, id, 0, 0, 1, id))
	}
	part, more := p.listPart(nil, 0)
	if len(part) != listedAtOnce || !more {
		t.Fatalf("%d at a time, more to come: %v", len(part), more)
	}
	clock++
	for id := int64(1); id < many; id += 2 {
		p.Apply(header(t, id, 0, 1, 1, many+id))
	}
	if n := p.expire(clock); n != many/2+1 {
		t.Fatalf("%d expired", n)
	}
	got := p.list()
	if len(got) != many/2 {
		t.Fatalf("%d producers", len(got))
	}
	for i, l := range got {
		if l.ID != int64(2*i+1) || l.LastSequence != 1 {
			t.Fatalf("number %d is %+v", i, l)
		}
	}
	p.Reset()
	if part, more = p.listPart(nil, 2*listedAtOnce); len(part) > 0 || more {
		t.Errorf("%d producers after all are gone, more to come: %v", len(part), more)
	}
}

// A producer last seen by a clock that ran ahead is forgotten all the same, the expiry time after the clock was put right.
func TestProducersExpireAfterTheClockWasSetBack(t *testing.T) {
	const expiry = 500
	clock := int64(1_000_000)
	p := testProducers(&clock)
	p.Apply(header(t, 1, 0, 0, 1, 0))
	clock = 1000
	if n := p.expire(clock - expiry); n != 0 {
		t.Errorf("%d expired when the clock was set back", n)
	}
	clock += expiry
	if n := p.expire(clock - expiry); n != 0 {
		t.Errorf("%d expired within the expiry time", n)
	}
	clock++
	if n := p.expire(clock - expiry); n != 1 {
		t.Errorf("%d expired", n)
	}
}

func TestProducersSnapshotKeepsEverything(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	clock := int64(5)
	p := testProducers(&clock)
	offset := int64(0)
	for range 500 {
		id := rng.Int64N(40)
		n := 1 + rng.IntN(9)
		p.Apply(header(t, id, int16(rng.IntN(2)), rng.Int32(), n, offset))
		offset += int64(n)
		clock++
	}
	snap := p.Snapshot()
	q := testProducers(&clock)
	if err := q.Load(snap); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.list(), q.list()) || !bytes.Equal(snap, q.Snapshot()) || q.total.Load() != p.total.Load() {
		t.Error("what was loaded differs from what was saved")
	}
	for i := range snap {
		bad := slices.Clone(snap)
		bad[i] ^= 1 << rng.IntN(8)
		if err := q.Load(bad); err == nil {
			t.Fatalf("a flipped bit in byte %d was not found", i)
		}
		if len(q.list()) != 0 {
			t.Fatal("state left after a failed load")
		}
	}
}

func FuzzProducersSnapshot(f *testing.F) {
	var clock int64
	p := testProducers(&clock)
	f.Add(p.Snapshot())
	p.Apply(header(f, 3, 1, 5, 2, 10))
	p.Apply(header(f, 3, 1, 7, 2, 12))
	p.Apply(header(f, 9, 0, 0, 1, 14))
	f.Add(p.Snapshot())
	f.Add([]byte{1, 255, 255, 255, 255, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		q := testProducers(&clock)
		if len(b) >= snapshotCRC { // so that the fuzzer gets past the checksum
			b = slices.Clone(b)
			copy(b[len(b)-snapshotCRC:], crcBytes(b[:len(b)-snapshotCRC]))
		}
		if err := q.Load(b); err != nil {
			if !errors.Is(err, errSnapshot) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(q.Snapshot(), b) {
			t.Fatal("a snapshot that loads is not the one that is saved")
		}
	})
}

// A producer's retries are recognised after a clean stop, after a crash, and across segments.
func TestProducersSurviveRestart(t *testing.T) {
	mem := vfs.NewMem()
	g := newRig(t, mem)
	conf := durableConfig()
	conf.Segment.Bytes = 300
	r := g.lead(conf)
	for i := range 20 {
		appendOK(t, r, idempotent(t, int64(i%2), 0, int32(i/2), 1, name(i)))
	}
	for how, fs := range map[string]*vfs.Mem{"crash": mem.CrashClone(1, 0), "clean": mem} {
		t.Run(how, func(t *testing.T) {
			if how == "clean" {
				g.close(true)
			}
			g := newRig(t, fs)
			r := g.lead(conf)
			r.maintain(time.Now()) // which forgets those that were silent for long
			for i := 10; i < 20; i++ {
				if base := appendOK(t, r, idempotent(t, int64(i%2), 0, int32(i/2), 1, name(i))); base != int64(i) {
					t.Errorf("retry of %d was appended at %d", i, base)
				}
			}
			if a := start(r, AcksAll, idempotent(t, 0, 0, 12, 1, "")).wait(t); !errors.Is(a.Err, ErrOutOfOrderSequence) {
				t.Errorf("gap: %v", a.Err)
			}
			if base := appendOK(t, r, idempotent(t, 0, 0, 10, 1, name(20))); base != 20 {
				t.Errorf("next is at %d", base)
			}
			if got := values(t, g, r, 0); len(got) != 21 || got[20] != name(20) {
				t.Errorf("%v", got)
			}
		})
	}
}
