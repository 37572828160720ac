package segment

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"

	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

func TestStateRoundTrip(t *testing.T) {
	states := []*state{
		{},
		{
			start: 7, active: 30, epochs: []Epoch{{1, 0}, {4, 12}},
			sealed: []Info{
				{Base: 0, End: 10, Size: 100, MaxTime: 5, Sealed: true},
				{Base: 10, End: 30, Size: 1, MaxTime: math.MinInt64, Sealed: true},
			},
			pending: pendingTruncate, pendingAt: 30,
		},
		{start: 9, active: 9, pending: pendingReset, pendingAt: 9, producers: []byte("p")},
	}
	for _, s := range states {
		got, err := decodeState(s.encode())
		if err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%+v became %+v: %v", s, got, err)
		}
	}
	bad := []*state{
		{start: -1},
		{active: 10, sealed: []Info{{Base: 0, End: 9, Size: 1}}},
		{active: 10, sealed: []Info{{Base: 0, End: 10, Size: 0}}},
		{active: 10, sealed: []Info{{Base: 0, End: 5, Size: 1}, {Base: 6, End: 10, Size: 1}}},
		{epochs: []Epoch{{2, 0}, {2, 5}}},
		{epochs: []Epoch{{2, 5}, {3, 5}}},
		{pending: 9},
	}
	for _, s := range bad {
		if _, err := decodeState(s.encode()); !errors.Is(err, errPayload) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

func FuzzState(f *testing.F) {
	f.Add((&state{}).encode())
	f.Add((&state{active: 10, epochs: []Epoch{{1, 0}}, sealed: []Info{{Base: 0, End: 10, Size: 1, Sealed: true}}, producers: []byte{1}}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeState(b)
		if err != nil {
			return
		}
		if again := s.encode(); !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	entries := map[Ref]entry{
		{ID: testID, Index: 3}: {synced: position{5, 100, 9}, indexed: 2, start: 1, hw: 8, since: 77},
		{Index: 1}:             {},
	}
	payload, _ := unwrap(kindCheckpoint, encodeCheckpoint(3, entries))
	f.Add(payload)
	f.Fuzz(func(t *testing.T, b []byte) {
		generation, entries, err := decodeCheckpoint(b)
		if err != nil {
			return
		}
		again, err := unwrap(kindCheckpoint, encodeCheckpoint(generation, entries))
		if err != nil {
			t.Fatal(err)
		}
		g2, e2, err := decodeCheckpoint(again)
		if err != nil || g2 != generation || !reflect.DeepEqual(e2, entries) {
			t.Errorf("%v became %v: %v", entries, e2, err)
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	f.Add(wrap(kindMeta, meta{cluster: "c", broker: 1}.encode()))
	f.Add(wrap(kindSnapshot, []byte("snapshot")))
	f.Fuzz(func(t *testing.T, b []byte) {
		for k := kindMeta; k <= kindSnapshot; k++ {
			p, err := unwrap(k, b)
			if err == nil && !bytes.HasPrefix(b, wrap(k, p)) {
				t.Errorf("kind %d: %x has payload %x", k, b, p)
			}
		}
		_, _ = decodeMeta(b)
	})
}

func TestVersionOfTheFuture(t *testing.T) {
	mem := vfs.NewMem()
	d := openDisk(t, mem)
	fill(t, openLog(t, d, Options{}), 10, 5, 10)
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	f, err := mem.OpenRW(testDir + "/" + dirName(Ref{ID: testID}) + "/" + stateName)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{envelopeVersion + 1}, 5); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	d = openDisk(t, mem)
	defer func() { _ = d.Close(false) }()
	if _, err := d.Open(testID, 0, Options{}); !errors.Is(err, ErrForeign) {
		t.Errorf("open: %v, want %v", err, ErrForeign)
	}
}

func TestEpochs(t *testing.T) {
	mem := vfs.NewMem()
	d := openDisk(t, mem)
	l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 1000}})
	if e, end := l.EndOffsetFor(0); e != -1 || end != -1 {
		t.Errorf("no epoch: %d %d", e, end)
	}
	appendEpoch := func(epoch int32, n int) {
		t.Helper()
		mustAppend(t, l, makeBatch(t, l.Next(), n, 50, epoch))
	}
	appendEpoch(2, 10)
	appendEpoch(2, 10)
	if err := l.AssignEpoch(4); err != nil {
		t.Fatal(err)
	}
	if err := l.AssignEpoch(5); err != nil { // nothing was appended in 4
		t.Fatal(err)
	}
	appendEpoch(5, 10)
	appendEpoch(9, 10)
	if err := l.AssignEpoch(8); !errors.Is(err, ErrSequence) {
		t.Errorf("lower epoch: %v", err)
	}
	if _, err := l.Append(batches(makeBatch(t, l.Next(), 1, 1, 8))); !errors.Is(err, ErrSequence) {
		t.Errorf("batch of a lower epoch: %v", err)
	}
	if _, err := l.Append(batches(makeBatch(t, l.Next()+1, 1, 1, 9))); !errors.Is(err, ErrSequence) {
		t.Errorf("batch after a gap: %v", err)
	}
	want := []Epoch{{2, 0}, {5, 20}, {9, 30}}
	if got := l.Epochs(); !reflect.DeepEqual(got, want) {
		t.Errorf("epochs %v, want %v", got, want)
	}
	for _, c := range []struct {
		epoch, found int32
		end          int64
	}{{-1, -1, -1}, {0, 0, 0}, {1, 1, 0}, {2, 2, 20}, {3, 2, 20}, {4, 2, 20}, {5, 5, 30}, {8, 5, 30}, {9, 9, 40}, {10, -1, -1}} {
		if found, end := l.EndOffsetFor(c.epoch); found != c.found || end != c.end {
			t.Errorf("end of epoch %d: %d %d, want %d %d", c.epoch, found, end, c.found, c.end)
		}
	}
	if got := l.Sealed(0)[1].Epochs(); !reflect.DeepEqual(got, want[:1]) {
		t.Errorf("epochs of the second segment: %v", got)
	}
	// Only an epoch that has a batch outlives a restart.
	if err := l.AssignEpoch(11); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	d = openDisk(t, mem.CrashClone(1, 0))
	l = openLog(t, d, Options{})
	if got := l.Epochs(); !reflect.DeepEqual(got, want) {
		t.Errorf("epochs after a restart: %v", got)
	}
	if err := l.TruncateTo(25); err != nil {
		t.Fatal(err)
	}
	if got := l.Epochs(); !reflect.DeepEqual(got, want[:1]) || l.Next() != 20 {
		t.Errorf("epochs after truncation to %d: %v", l.Next(), got)
	}
	if err := l.Reset(1000, []Epoch{{3, 100}, {7, 900}}, nil); err != nil {
		t.Fatal(err)
	}
	if found, end := l.EndOffsetFor(7); found != 7 || end != 1000 || l.Start() != 1000 || l.Next() != 1000 || l.Durable() != 1000 {
		t.Errorf("after reset: epoch 7 ends at %d, log [%d, %d)", end, l.Start(), l.Next())
	}
	if err := l.Reset(10, []Epoch{{3, 100}}, nil); !errors.Is(err, ErrSequence) {
		t.Errorf("reset below its epochs: %v", err)
	}
	_ = d.Close(true)
}

// The batches past the checkpoint tell of the epochs that the state file does not have yet; a checkpoint does not pass them.
func TestEpochsAreAsDurableAsTheirBatches(t *testing.T) {
	want := []Epoch{{2, 0}, {5, 10}, {9, 20}}
	for name, then := range map[string]func(*testing.T, *Disk, *Log){
		"killed": func(*testing.T, *Disk, *Log) {},
		"checkpoint of another log": func(t *testing.T, d *Disk, _ *Log) {
			if err := d.writeCheckpoint(); err != nil {
				t.Fatal(err)
			}
		},
		"checkpoint": func(_ *testing.T, d *Disk, _ *Log) { d.timedCheckpoint() },
		"segment rolled": func(t *testing.T, _ *Disk, l *Log) {
			if err := l.Roll(RollTier); err != nil {
				t.Fatal(err)
			}
		},
		"stopped": func(t *testing.T, d *Disk, _ *Log) {
			if err := d.Close(true); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewMem()
			d := openDisk(t, mem)
			l := openLog(t, d, Options{})
			mustAppend(t, l, makeBatch(t, 0, 10, 50, 2))
			d.timedCheckpoint()
			mustAppend(t, l, makeBatch(t, 10, 10, 50, 5))
			mustAppend(t, l, makeBatch(t, 20, 10, 50, 9))
			if err := l.sync(); err != nil {
				t.Fatal(err)
			}
			then(t, d, l)
			d2 := openDisk(t, mem.CrashClone(1, 0))
			l2 := openLog(t, d2, Options{})
			if got := l2.Epochs(); !reflect.DeepEqual(got, want) || l2.Next() != 30 {
				t.Errorf("epochs %v to %d, want %v to 30", got, l2.Next(), want)
			}
			_ = d2.Close(false)
			_ = d.Close(false)
		})
	}
}

// A leader that is deposed before it has written anything may be sent batches of an epoch older than its own.
func TestBatchOfAnOlderEpochThanOneThatWasAssigned(t *testing.T) {
	mem := vfs.NewMem()
	d := openDisk(t, mem)
	l := openLog(t, d, Options{})
	mustAppend(t, l, makeBatch(t, 0, 10, 50, 2))
	if err := l.AssignEpoch(5); err != nil {
		t.Fatal(err)
	}
	if got := l.LastEpoch(); got != 2 {
		t.Errorf("last epoch is %d, want that of the last batch", got)
	}
	if err := l.Roll(RollTier); err != nil { // which writes the state, the empty epoch with it
		t.Fatal(err)
	}
	if err := l.TruncateTo(l.Next()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(batches(makeBatch(t, 10, 1, 50, 3))); err != nil {
		t.Fatalf("append of epoch 3: %v", err)
	}
	want := []Epoch{{2, 0}, {3, 10}}
	if got := l.Epochs(); !reflect.DeepEqual(got, want) {
		t.Errorf("epochs %v, want %v", got, want)
	}
	if err := l.sync(); err != nil {
		t.Fatal(err)
	}
	d2 := openDisk(t, mem.CrashClone(1, 0))
	if got := openLog(t, d2, Options{}).Epochs(); !reflect.DeepEqual(got, want) {
		t.Errorf("epochs %v after a crash, want %v", got, want)
	}
	_ = d2.Close(false)
	_ = d.Close(true)
}

// Thousands of leaders that have written nothing may have to follow at once.
func TestEpochThatNothingWasWrittenInCostsNoIO(t *testing.T) {
	var inject faultfs.Injector
	mem := vfs.NewMem()
	d := openDisk(t, faultfs.Wrap(mem, &inject))
	l := openLog(t, d, Options{})
	mustAppend(t, l, makeBatch(t, 0, 10, 50, 2))
	if err := l.sync(); err != nil {
		t.Fatal(err)
	}
	state := inject.Add(faultfs.Rule{Glob: "state*", Times: -1, Do: func(faultfs.Op, string) {}})
	for epoch := range int32(3) {
		if err := l.AssignEpoch(5 + epoch); err != nil {
			t.Fatal(err)
		}
		if err := l.TruncateTo(l.Next()); err != nil {
			t.Fatal(err)
		}
	}
	if state.Hits() > 0 {
		t.Errorf("%d calls on the state file", state.Hits())
	}
	want := []Epoch{{2, 0}, {3, 10}}
	mustAppend(t, l, makeBatch(t, 10, 1, 50, 3))
	if err := l.sync(); err != nil {
		t.Fatal(err)
	}
	d2 := openDisk(t, mem.CrashClone(1, 0))
	if got := openLog(t, d2, Options{}).Epochs(); !reflect.DeepEqual(got, want) {
		t.Errorf("epochs %v after a crash, want %v", got, want)
	}
	_ = d2.Close(false)
	_ = d.Close(true)
}
