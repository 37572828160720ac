package segment

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"firn/segment/vfs"
)

// TestReadersInAStorm has readers verify every byte while the log is appended to, rolled, dropped,
// truncated at its end and reopened behind them, with room for few open segments.
func TestReadersInAStorm(t *testing.T) {
	for _, c := range []struct {
		name  string
		fs    vfs.FS
		steps int
	}{{"mem", vfs.NewMem(), 600}, {"os", vfs.OS(), 100}} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			d, err := OpenDisk(DiskOptions{FS: c.fs, Dir: dir, Files: filesPerLog + filesPerSealed*minSealedOpen})
			if err != nil {
				t.Fatal(err)
			}
			s := &storm{t: t, done: make(chan struct{})}
			s.log = openLog(t, d, Options{Settings: Settings{SegmentBytes: 20 << 10, IndexInterval: 700, FlushMessages: 50}})
			s.limit = s.log.Next
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() { s.read(rand.New(rand.NewPCG(uint64(i), 1))) })
			}
			wg.Go(s.uploads)
			s.change(rand.New(rand.NewPCG(9, 9)), c.steps)
			close(s.done)
			wg.Wait()
			if n := d.sealed.count(); n > minSealedOpen {
				t.Errorf("%d sealed segments are open", n)
			}
			if s.extents == 0 || s.uploaded == 0 {
				t.Errorf("%d extents, %d uploads", s.extents, s.uploaded)
			}
			t.Logf("%d extents, %d sealed segments read", s.extents, s.uploaded)
			if err := d.Close(true); err != nil {
				t.Fatal(err)
			}
			if err := Check(c.fs, dir, func(f Finding) { t.Error(f) }); err != nil {
				t.Error(err)
			}
		})
	}
}

type storm struct {
	t     *testing.T
	log   *Log
	limit func() int64
	done  chan struct{}

	mu       sync.Mutex
	extents  int
	uploaded int
}

func (s *storm) over() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// change makes the weather. Batches hold what their offsets say, so that readers need no other truth.
func (s *storm) change(rng *rand.Rand, steps int) {
	l := s.log
	for step := range steps {
		bs := makeBatch(s.t, l.Next(), 1+rng.IntN(8), rng.IntN(900), 0)
		mustAppend(s.t, l, bs)
		var err error
		switch rng.IntN(40) {
		case 0:
			err = l.Roll(RollTier)
		case 1:
			_, err = l.DropBefore(l.Next()-int64(rng.IntN(4000)), 0)
		case 2:
			err = l.RollIfDue(time.Now().Add(30 * 24 * time.Hour))
		case 3:
			l.Commit()
		case 4:
			s.log.disk.timedCheckpoint()
		}
		if err != nil {
			s.t.Errorf("step %d: %v", step, err)
			return
		}
	}
}

func (s *storm) read(rng *rand.Rand) {
	n := 0
	for !s.over() || n == 0 {
		start, limit := s.log.Start(), s.limit()
		if limit == start {
			continue
		}
		from := start + rng.Int64N(limit-start)
		if rng.IntN(3) == 0 {
			from = max(start, limit-int64(rng.IntN(50))-1)
		}
		e, err := s.log.Read(from, limit, 1+rng.IntN(64<<10), true)
		if errors.Is(err, ErrOutOfRange) && from < s.log.Start() {
			continue
		}
		if err != nil {
			s.t.Errorf("read %d: %v", from, err)
			return
		}
		b, err := e.AppendTo(nil)
		first, next := e.FirstOffset(), e.NextOffset()
		e.Release()
		if err != nil || first > from || next <= from || next > limit {
			s.t.Errorf("read %d below %d: [%d, %d): %v", from, limit, first, next, err)
			return
		}
		if end, err := checkBatches(b, first); err != nil || end != next {
			s.t.Errorf("read %d: bytes end at %d, extent at %d: %v", from, end, next, err)
			return
		}
		n++
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.extents += n
}

// uploads reads whole sealed segments, which may be dropped meanwhile.
func (s *storm) uploads() {
	for !s.over() || s.uploaded == 0 {
		for _, g := range s.log.Sealed(0) {
			b := make([]byte, g.Size())
			_, err := g.ReadAt(b, 0)
			if err == nil {
				if end, err := checkBatches(b, g.Base()); err != nil || end != g.End() {
					s.t.Errorf("sealed [%d, %d) ends at %d: %v", g.Base(), g.End(), end, err)
				}
				mid := (g.Base() + g.End()) / 2
				if pos, err := g.Position(mid); err != nil {
					s.t.Error(err)
				} else if end, err := checkBatches(b[pos:], -1); end != g.End() && err == nil {
					s.t.Errorf("from position %d of %d the batches end at %d", pos, mid, end)
				}
				s.uploaded++
			} else if !errors.Is(err, ErrClosed) {
				s.t.Error(err)
			}
			g.Release()
		}
		if len(s.log.Sealed(0)) == 0 && s.over() {
			return
		}
	}
}
