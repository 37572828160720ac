package segment

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"sort"
	"testing"
	"time"

	"firn/segment/batch"
	"firn/segment/vfs"
)

// TestReadAgainstModel compares reads of all kinds with what the batches' positions say.
func TestReadAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	d := openDisk(t, vfs.NewMem())
	defer func() { _ = d.Close(true) }()
	const interval, maxBatch = 700, 2000
	l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 20 << 10, IndexInterval: interval, FlushInterval: time.Hour}})
	var bs []batch.Batch
	for l.Next() < 900 {
		var one []batch.Batch
		next := l.Next()
		for range 1 + rng.IntN(3) {
			b := makeBatch(t, next, 1+rng.IntN(5), rng.IntN(300), 0)
			one, next = append(one, b), b.NextOffset()
		}
		mustAppend(t, l, one...)
		bs = append(bs, one...)
	}
	at := func(offset int64) int { // the batch that holds offset
		return sort.Search(len(bs), func(i int) bool { return bs[i].LastOffset() >= offset })
	}
	segments := l.Segments()
	for range 20_000 {
		offset := rng.Int64N(l.Next())
		limit := min(l.Next(), offset+1+rng.Int64N(1+rng.Int64N(300)))
		maxBytes := rng.IntN(6000)
		atLeastOne := rng.IntN(2) == 0
		e, err := l.Read(offset, limit, maxBytes, atLeastOne)
		if err != nil {
			t.Fatal(err)
		}
		// The model: from the batch of offset to the end of its segment, limit, and maxBytes.
		first := at(offset)
		segment := sort.Search(len(segments), func(i int) bool { return segments[i].End > offset })
		size, n, allowed := 0, first, math.MaxInt
		for ; n < len(bs) && bs[n].NextOffset() <= min(limit, segments[segment].End); n++ {
			size += len(bs[n])
		}
		if size > maxBytes {
			allowed = maxBytes
			if atLeastOne {
				allowed = max(maxBytes, len(bs[first]))
			}
		}
		got, err := e.AppendTo(nil)
		if err != nil {
			t.Fatal(err)
		}
		least := min(size, maxBytes-interval-2*maxBatch)
		if size > 0 && atLeastOne {
			least = max(least, len(bs[first]))
		}
		if len(got) > min(size, allowed) || len(got) < least || allowed == math.MaxInt && len(got) != size {
			t.Fatalf("read [%d, %d) max %d atLeastOne %v: %d bytes, the model has %d", offset, limit, maxBytes, atLeastOne, len(got), size)
		}
		if e.Cut() != (size > maxBytes) {
			t.Fatalf("read [%d, %d) max %d: cut %v, the model has %d bytes", offset, limit, maxBytes, e.Cut(), size)
		}
		if len(got) == 0 {
			if e.NextOffset() > offset {
				t.Fatalf("an empty extent goes on to %d", e.NextOffset())
			}
			continue
		}
		if e.FirstOffset() != bs[first].BaseOffset() {
			t.Fatalf("read %d begins at %d, want %d", offset, e.FirstOffset(), bs[first].BaseOffset())
		}
		mustCheck(t, got, e.FirstOffset(), e.NextOffset())
		e.Release()
	}
}

// What is dropped here and kept elsewhere keeps its epochs; what is gone for good takes them along.
func TestDropKeepsEpochs(t *testing.T) {
	d := openDisk(t, vfs.NewMem())
	defer func() { _ = d.Close(true) }()
	l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 500}})
	for epoch := range int32(3) { // 0-29, 30-59, 60-89
		if err := l.AssignEpoch(epoch); err != nil {
			t.Fatal(err)
		}
		for range 6 {
			mustAppend(t, l, makeBatch(t, l.Next(), 5, 100, epoch))
		}
	}
	for _, c := range []struct {
		keep  int64
		first Epoch
	}{{0, Epoch{0, 0}}, {40, Epoch{1, 30}}} {
		if _, err := l.DropBefore(l.Start()+20, c.keep); err != nil {
			t.Fatal(err)
		}
		if got := l.Epochs(); got[0] != c.first || got[len(got)-1].Epoch != 2 {
			t.Errorf("start %d, kept from %d: %v, want %v first", l.Start(), c.keep, got, c.first)
		}
	}
}

func TestReadRange(t *testing.T) {
	d := openDisk(t, vfs.NewMem())
	defer func() { _ = d.Close(true) }()
	l := openLog(t, d, Options{Settings: Settings{SegmentBytes: 500}})
	if e, err := l.Read(0, 0, 10, true); err != nil || e.Len() != 0 || e.NextOffset() != 0 {
		t.Errorf("read of an empty log: %+v %v", e, err)
	}
	fill(t, l, 100, 5, 20)
	if _, err := l.DropBefore(50, 50); err != nil {
		t.Fatal(err)
	}
	if err := l.SetStart(57); err != nil {
		t.Fatal(err)
	}
	for offset, ok := range map[int64]bool{-1: false, 0: false, 56: false, 57: true, 99: true, 100: true, 101: false, math.MaxInt64: false} {
		e, err := l.Read(offset, 100, 1, true)
		var re *RangeError
		if ok != (err == nil) || !ok && (!errors.As(err, &re) || *re != RangeError{offset, 57, 100}) {
			t.Errorf("read %d: %v", offset, err)
		}
		if ok && offset == 100 != (e.Len() == 0) {
			t.Errorf("read %d: %d bytes", offset, e.Len())
		}
		e.Release()
		e.Release() // does nothing
	}
	if e, err := l.Read(60, 58, 100, true); err != nil || e.Len() != 0 || e.NextOffset() != 60 {
		t.Errorf("read above the limit: %+v %v", e, err)
	}
}

func TestExtent(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{"mem": vfs.NewMem(), "os": vfs.OS()} {
		t.Run(name, func(t *testing.T) {
			d, err := OpenDisk(DiskOptions{FS: fsys, Dir: filepath.Join(t.TempDir(), "data")})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = d.Close(true) }()
			l := openLog(t, d, Options{})
			fill(t, l, 30, 10, 20)
			e, err := l.Read(15, 30, 1<<20, true)
			if err != nil {
				t.Fatal(err)
			}
			all, err := e.AppendTo([]byte("x"))
			if err != nil || all[0] != 'x' || len(all) != 1+e.Len() {
				t.Fatal(len(all), err)
			}
			mustCheck(t, all[1:], 10, 30)
			fd, pos, ok := e.File()
			if ok != (name == "os") || ok && (fd == 0 || pos != int64(e.Len())/2) {
				t.Errorf("file %d at %d: %v", fd, pos, ok)
			}
			p := make([]byte, 20)
			if n, err := e.ReadAt(p, int64(e.Len())-7); n != 7 || !errors.Is(err, io.EOF) {
				t.Errorf("read across the end: %d %v", n, err)
			}
			if _, err := e.ReadAt(p, int64(e.Len())+1); !errors.Is(err, io.EOF) {
				t.Errorf("read behind the end: %v", err)
			}
			if err := l.TruncateTo(20); err != nil {
				t.Fatal(err)
			}
			if b, err := e.AppendTo(nil); !errors.Is(err, io.ErrUnexpectedEOF) || len(b) != e.Len()/2 {
				t.Errorf("read of an extent that was cut: %d %v", len(b), err)
			}
			if err := d.Remove(testID, 0); err != nil {
				t.Fatal(err)
			}
			if _, err := e.ReadAt(p, 0); err != nil {
				t.Errorf("read of a removed log: %v", err)
			}
			e.Release()
		})
	}
}

func TestRollByOffsets(t *testing.T) {
	d := openDisk(t, vfs.NewMem())
	defer func() { _ = d.Close(true) }()
	l := openLog(t, d, Options{})
	wide := func(base int64) batch.Batch { // as compaction leaves one
		b := makeBatch(t, base, 1, 10, 0)
		binary.BigEndian.PutUint32(b[23:], math.MaxInt32-1)
		b.SetLogAppendTime(1)
		return b
	}
	for range 3 {
		mustAppend(t, l, wide(l.Next()))
	}
	if g := l.Segments(); len(g) != 3 || g[2].Base != 2*math.MaxInt32 {
		t.Errorf("segments %+v", g)
	}
	if _, err := l.Append(batches(wide(l.Next()), wide(l.Next()+math.MaxInt32))); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too wide an append: %v", err)
	}
	for _, offset := range []int64{0, 5, math.MaxInt32 - 1, math.MaxInt32, 3*math.MaxInt32 - 1} {
		e, err := l.Read(offset, l.Next(), 1, true)
		if err != nil || e.FirstOffset() != offset/math.MaxInt32*math.MaxInt32 {
			t.Errorf("read %d: from %d, %v", offset, e.FirstOffset(), err)
		}
		e.Release()
	}
}

func TestRollByAge(t *testing.T) {
	d := openDisk(t, vfs.NewMem())
	defer func() { _ = d.Close(true) }()
	l := openLog(t, d, Options{Settings: Settings{SegmentAge: time.Hour}})
	now := time.Now()
	due := func(after time.Duration, want int) {
		t.Helper()
		if err := l.RollIfDue(now.Add(after)); err != nil || len(l.Segments()) != want {
			t.Errorf("after %v: %d segments, %v", after, len(l.Segments()), err)
		}
	}
	due(2*time.Hour, 1) // it is empty
	fill(t, l, 10, 5, 10)
	if _, size, since := l.Active(); size == 0 || since.Before(now.Add(-time.Second)) {
		t.Errorf("active since %v, %d bytes", since, size)
	}
	due(59*time.Minute, 1)
	due(61*time.Minute, 2)
	due(5*time.Hour, 2)
	if err := l.Roll(RollRetention); err != nil || len(l.Segments()) != 2 {
		t.Errorf("an empty segment was rolled: %v", err)
	}
}

// A clock that ran ahead when a segment got its first batch, and was put right since, does not keep the segment open for ever.
func TestSegmentRollsByAgeAfterTheClockWasSetBack(t *testing.T) {
	d := openDisk(t, vfs.NewMem())
	age := time.Hour
	l := openLog(t, d, Options{Settings: Settings{SegmentAge: age}})
	fill(t, l, 10, 5, 10)
	now := time.Now().Add(-20 * 365 * 24 * time.Hour)
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {age - time.Millisecond, 1}, {age, 2}} {
		if err := l.RollIfDue(now.Add(c.after)); err != nil || len(l.Segments()) != c.want {
			t.Errorf("%v after the clock was set back: %v, %d segments, want %d", c.after, err, len(l.Segments()), c.want)
		}
	}
}

// TestAppendDoesNotAllocate holds appends and reads at the tail to no garbage.
func TestAppendDoesNotAllocate(t *testing.T) {
	d, err := OpenDisk(DiskOptions{FS: vfs.OS(), Dir: filepath.Join(t.TempDir(), "data")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close(false) }()
	l := openLog(t, d, Options{Settings: Settings{FlushInterval: time.Hour}})
	b := makeBatch(t, 0, 10, 100, 0)
	bs := batches(b)
	if n := testing.AllocsPerRun(500, func() {
		b.SetBaseOffset(l.Next())
		if _, err := l.Append(bs); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("an append allocates %v times", n)
	}
	from := l.Next() - 50
	if n := testing.AllocsPerRun(500, func() {
		e, err := l.Read(from, l.Next(), 1<<20, true)
		if err != nil || e.Len() == 0 {
			t.Fatal(err)
		}
		e.Release()
	}); n != 0 {
		t.Errorf("a read at the tail allocates %v times", n)
	}
}
