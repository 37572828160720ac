package tiering_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"firn/metadata/topic"
	"firn/tiering"
	"firn/tiering/manifest"
	"firn/tiering/objstore"
	"firn/tiering/objstore/faulty"
)

func (w *world) archives() *tiering.Archives {
	s := tiering.NewArchives(tiering.ArchiveOptions{Bucket: w.bucket, Anchor: w.anchor, Cluster: cluster, Grace: w.grace})
	w.t.Cleanup(s.Close)
	return s
}

func segmentAt(base, end int64, epoch int32, attempt uint32) manifest.Segment {
	return manifest.Segment{
		Base: base, End: end, LeaderEpoch: epoch, LastEpoch: epoch, BrokerEpoch: 7, Attempt: attempt, Size: 1000, FooterLen: 300,
		RawBytes: 900, MinTime: base, MaxTime: end, MaxTimeBase: base,
	}
}

func (w *world) keys() map[string]bool {
	keys := map[string]bool{}
	err := w.raw.List(context.Background(), "", "", func(i objstore.Info) error { keys[i.Key] = true; return nil })
	if err != nil {
		w.t.Fatal(err)
	}
	return keys
}

func TestCommitWithUnknownOutcome(t *testing.T) {
	tp := partition(0)
	for name, faults := range map[string][4]int{
		"lost request":          {100, 0, 0, 0},
		"lost reply":            {0, 100, 0, 0},
		"delayed":               {0, 0, 100, 0},
		"everything, sometimes": {30, 30, 30, 30},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				a := w.archives().Archive(tp, 1)
				w.anchor.SetFaults(faults[0], faults[1], faults[2], faults[3])
				committed := make(chan error)
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				s := segmentAt(0, 9, 1, 1)
				go func() {
					for {
						err := a.Commit(ctx, s)
						if err == nil || errors.Is(err, tiering.ErrOrphan) || ctx.Err() != nil {
							committed <- err
							return
						}
					}
				}()
				time.Sleep(time.Minute) // of the bubble's time: many swaps
				w.anchor.SetFaults(0, 0, 0, 0)
				if err := <-committed; err != nil {
					t.Fatal(err)
				}
				if h := w.head(tp); len(h.Tail) != 1 || h.Tail[0] != s {
					t.Fatalf("head %+v", h)
				}
				if a.ProvenTierEnd() != 10 {
					t.Errorf("proven end %d", a.ProvenTierEnd())
				}
			})
		})
	}
}

// A swap that was answered with an error and happens much later must not find its object deleted.
func TestAnOpenCommitIsNoOrphan(t *testing.T) {
	tp := partition(0)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.archives().Archive(tp, 1)
		if _, err := a.Head(context.Background()); err != nil {
			t.Fatal(err)
		}
		w.anchor.SetFaults(0, 0, 100, 100) // delayed, and nothing to be read
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err := a.Commit(ctx, segmentAt(0, 9, 1, 1))
		if err == nil || errors.Is(err, tiering.ErrOrphan) {
			t.Fatalf("commit: %v", err)
		}
		if a.ProvenTierEnd() != 0 {
			t.Errorf("proven end %d", a.ProvenTierEnd())
		}
		w.anchor.SetFaults(0, 0, 0, 0)
		w.anchor.Land()
		if err := a.Commit(context.Background(), segmentAt(0, 9, 1, 1)); err != nil {
			t.Fatal(err)
		}
		if h := w.head(tp); len(h.Tail) != 1 || a.ProvenTierEnd() != 10 {
			t.Errorf("head %+v, proven %d", h, a.ProvenTierEnd())
		}
	})
}

func TestNewerLeaderFences(t *testing.T) {
	w := newWorld(t)
	tp := partition(0)
	ctx := context.Background()
	s := w.archives()
	a, b := s.Archive(tp, 5), s.Archive(tp, 6)
	if err := a.Commit(ctx, segmentAt(0, 9, 5, 1)); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(ctx, segmentAt(10, 19, 6, 2)); err != nil {
		t.Fatal(err)
	}
	// The old leader wakes up with what it uploaded meanwhile, for the same range and for the next.
	for _, seg := range []manifest.Segment{segmentAt(10, 14, 5, 3), segmentAt(20, 29, 5, 4)} {
		err := a.Commit(ctx, seg)
		if !errors.Is(err, tiering.ErrFenced) || !errors.Is(err, tiering.ErrOrphan) && !a.Fenced() {
			t.Errorf("old leader: %v", err)
		}
	}
	if _, err := a.SetLogStart(ctx, 5); !errors.Is(err, tiering.ErrFenced) {
		t.Errorf("old leader moves the log start: %v", err)
	}
	if h := w.head(tp); h.TierEnd != 20 || h.LogStart != 0 || h.WriterEpoch != 6 {
		t.Errorf("head %+v", h)
	}
}

// A former leader whose epoch nobody has written over yet may still commit what every replica has; what the
// next one then finds is committed.
func TestCommitAfterAnotherWriterOfTheSameEpoch(t *testing.T) {
	w := newWorld(t)
	tp := partition(0)
	ctx := context.Background()
	a, b := w.archives().Archive(tp, 5), w.archives().Archive(tp, 5)
	for _, x := range []*tiering.Archive{a, b} {
		if _, err := x.Head(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Commit(ctx, segmentAt(0, 9, 5, 1)); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(ctx, segmentAt(0, 19, 5, 2)); !errors.Is(err, tiering.ErrOrphan) {
		t.Errorf("second segment for the same range: %v", err)
	}
	if err := b.Commit(ctx, segmentAt(10, 19, 5, 3)); err != nil {
		t.Errorf("segment behind it: %v", err)
	}
	if err := b.Commit(ctx, segmentAt(0, 9, 5, 1)); err != nil {
		t.Errorf("commit of what is committed: %v", err)
	}
}

func TestRefusedIsNotFenced(t *testing.T) {
	w := newWorld(t)
	tp := partition(0)
	ctx := context.Background()
	a := w.archives().Archive(tp, 5)
	w.anchor.Refuse(func(topic.Partition, int32) bool { return true })
	err := a.Commit(ctx, segmentAt(0, 9, 5, 1))
	if !errors.Is(err, tiering.ErrRefused) || errors.Is(err, tiering.ErrOrphan) || a.Fenced() {
		t.Fatalf("refused: %v", err)
	}
	w.anchor.Refuse(nil)
	if err := a.Commit(ctx, segmentAt(0, 9, 5, 1)); err != nil {
		t.Fatal(err)
	}
}

// Many commits fold; what a fold replaces goes after the grace, never before.
func TestFoldAndTrash(t *testing.T) {
	w := newWorld(t)
	w.grace = time.Hour
	tp := partition(0)
	ctx := context.Background()
	a := w.archives().Archive(tp, 1)
	k := tiering.Keys{Cluster: cluster}
	var all []manifest.Segment
	for i := range int64(100) {
		s := segmentAt(i*10, i*10+9, 1, uint32(i))
		all = append(all, s)
		if _, err := w.raw.Put(ctx, k.Segment(tp, s), source("x"), objstore.Condition{}); err != nil {
			t.Fatal(err)
		}
		if err := a.Commit(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	h, err := a.SetLogStart(ctx, 505)
	if err != nil || h.LogStart != 505 {
		t.Fatal(err, h)
	}
	now := time.Now()
	if err := a.Fold(ctx, now); err != nil {
		t.Fatal(err)
	}
	view, err := a.View(ctx)
	if err != nil || view.Dead || view.Oldest[0].Base != 500 || view.Head.Segments != 50 {
		t.Fatalf("%v %+v", err, view)
	}
	if n, err := a.EmptyTrash(ctx, now.Add(time.Hour-time.Minute)); n != 0 || err != nil {
		t.Fatalf("deleted %d before the grace was over: %v", n, err)
	}
	refs, _, err := a.References(ctx)
	if err != nil {
		t.Fatal(err)
	}
	present := w.keys()
	for key := range refs {
		if !present[key] {
			t.Errorf("%s is named and missing", key)
		}
	}
	for _, s := range all {
		if !present[k.Segment(tp, s)] {
			t.Errorf("segment %d deleted within its grace", s.Base)
		}
	}
	if n, err := a.EmptyTrash(ctx, now.Add(2*time.Hour)); n < 50 || err != nil {
		t.Fatalf("deleted %d: %v", n, err)
	}
	present = w.keys()
	for _, s := range all {
		if present[k.Segment(tp, s)] != (s.End >= 505) {
			t.Errorf("segment %d: present %v", s.Base, present[k.Segment(tp, s)])
		}
	}
	// What is left in the bucket is what the manifest names, and HEAD.
	refs, _, err = a.References(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for key := range present {
		if !refs[key] && key != k.Head(tp) {
			t.Errorf("%s is left over", key)
		}
	}
	if n, err := a.EmptyTrash(ctx, now.Add(9*time.Hour)); n != 0 || err != nil {
		t.Errorf("the old root alone was worth a fold: %d %v", n, err)
	}
}

func TestSetLogStartNeedsNoBucket(t *testing.T) {
	w := newWorld(t)
	tp := partition(0)
	ctx := context.Background()
	if got, err := tiering.AdvanceLogStart(ctx, w.anchor, tp, 3, 77); got != 77 || err != nil {
		t.Fatal(got, err)
	}
	if got, err := tiering.AdvanceLogStart(ctx, w.anchor, tp, 3, 70); got != 77 || err != nil {
		t.Fatal(got, err)
	}
	if h := w.head(tp); h.LogStart != 77 || h.TierEnd != 77 {
		t.Errorf("head %+v", h)
	}
}

// With the bucket away nothing folds, nothing is lost, and it goes on when it is back.
func TestFoldWithTheBucketAway(t *testing.T) {
	w := newWorld(t)
	tp := partition(0)
	ctx := context.Background()
	a := w.archives().Archive(tp, 1)
	for i := range int64(manifest.MaxTail) {
		if err := a.Commit(ctx, segmentAt(i*10, i*10+9, 1, uint32(i))); err != nil {
			t.Fatal(err)
		}
	}
	remove := w.faults.Add(faulty.Rule{Ops: faulty.Put, Fault: faulty.Fail(nil)})
	next := segmentAt(160, 169, 1, 16)
	if err := a.Commit(ctx, next); !errors.Is(err, faulty.ErrInjected) || errors.Is(err, tiering.ErrOrphan) {
		t.Fatalf("commit: %v", err)
	}
	remove()
	if err := a.Commit(ctx, next); err != nil {
		t.Fatal(err)
	}
	if h := w.head(tp); h.Root.Seq != 1 || len(h.Tail) != 1 || h.TierEnd != 170 {
		t.Errorf("head %+v", h)
	}
}

// A store that answers nothing keeps no edit for longer than a minute, and whoever waits for a root neither.
func TestManifestRequestsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		tp := partition(0)
		archives := w.archives()
		a := archives.Archive(tp, 1)
		if err := a.Commit(t.Context(), segmentAt(0, 9, 1, 1)); err != nil {
			t.Fatal(err)
		}
		remove := w.faults.Add(faulty.Rule{Ops: faulty.Put, Fault: faulty.Delay(time.Hour)})
		began := time.Now()
		if err := a.Fold(t.Context(), began); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*time.Minute {
			t.Errorf("fold: %v after %s", err, time.Since(began))
		}
		remove()
		if err := a.Fold(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		remove = w.faults.Add(faulty.Rule{Ops: faulty.Get, Fault: faulty.Delay(time.Hour)})
		defer remove()
		began = time.Now()
		if _, err := archives.Archive(tp, 2).View(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*time.Minute {
			t.Errorf("view: %v after %s", err, time.Since(began))
		}
	})
}

// Trash that could not be deleted stays in the manifest until it can be.
func TestTrashThatIsNotDeletedStays(t *testing.T) {
	w := newWorld(t)
	tp, ctx, now := partition(0), context.Background(), time.Now()
	a := w.archives().Archive(tp, 1)
	for i := range int64(3) {
		s := segmentAt(i*10, i*10+9, 1, uint32(i))
		if _, err := w.raw.Put(ctx, tiering.Keys{Cluster: cluster}.Segment(tp, s), source("x"), objstore.Condition{}); err != nil {
			t.Fatal(err)
		}
		if err := a.Commit(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.SetLogStart(ctx, 20); err != nil {
		t.Fatal(err)
	}
	if err := a.Fold(ctx, now); err != nil {
		t.Fatal(err)
	}
	remove := w.faults.Add(faulty.Rule{Ops: faulty.Delete, Fault: faulty.Fail(nil)})
	later := now.Add(2 * tiering.DefaultGrace)
	if err := a.Fold(ctx, later); err != nil {
		t.Fatal(err)
	}
	if _, err := a.EmptyTrash(ctx, later); !errors.Is(err, faulty.ErrInjected) {
		t.Errorf("emptied: %v", err)
	}
	remove()
	if n, err := a.EmptyTrash(ctx, later); err != nil || n != 2 {
		t.Errorf("%d deleted, %v", n, err)
	}
}

// A fold whose head write may still happen keeps the objects that this head would name.
func TestAnOpenFoldKeepsItsObjects(t *testing.T) {
	tp := partition(0)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.archives().Archive(tp, 1)
		for i := range int64(3) {
			if err := a.Commit(t.Context(), segmentAt(i*10, i*10+9, 1, uint32(i))); err != nil {
				t.Fatal(err)
			}
		}
		w.anchor.SetFaults(0, 0, 100, 0) // every write is late, what is read is from before
		if err := a.Fold(t.Context(), time.Now()); err == nil {
			t.Fatal("folded though no write arrived")
		}
		w.anchor.Land()
		h := w.head(tp)
		if h.Root.Seq != 1 || len(h.Tail) != 0 {
			t.Fatalf("head %+v", h)
		}
		names, _, err := w.archives().Archive(tp, 2).References(t.Context())
		if err != nil || len(names) != 4 { // three segments and the root
			t.Errorf("%v %v", names, err)
		}
	})
}

// An edit that was left open is decided before a segment is called an orphan.
func TestOpenEditBeforeAnOrphan(t *testing.T) {
	tp := partition(0)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.archives().Archive(tp, 1)
		if err := a.Commit(t.Context(), segmentAt(0, 9, 1, 1)); err != nil {
			t.Fatal(err)
		}
		w.anchor.SetFaults(100, 0, 0, 0)
		if _, err := a.SetLogStart(t.Context(), 5); err == nil {
			t.Fatal("written though every swap was lost")
		}
		w.anchor.SetFaults(0, 0, 0, 0)
		if err := a.Commit(t.Context(), segmentAt(7, 19, 1, 2)); !errors.Is(err, tiering.ErrOrphan) {
			t.Errorf("commit: %v", err)
		}
		if err := a.Commit(t.Context(), segmentAt(10, 19, 1, 3)); err != nil {
			t.Errorf("commit: %v", err)
		}
	})
}
