package gc_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"firn/gc"
	"firn/metadata/topic"
	"firn/tiering"
	"firn/tiering/manifest"
	"firn/tiering/objstore"
	"firn/tiering/objstore/faulty"
	"firn/tiering/objstore/mem"
	"firn/tiering/tiertest"
)

func TestPlan(t *testing.T) {
	now := time.UnixMilli(10_000)
	var segments []manifest.Segment
	for i := range int64(5) { // ten offsets, a hundred bytes, times 0-999, 1000-1999, ...
		segments = append(segments, manifest.Segment{Base: i * 10, End: i*10 + 9, RawBytes: 100, MinTime: i * 1000, MaxTime: i*1000 + 999})
	}
	late := append([]manifest.Segment(nil), segments...)
	late[1].MaxTime = 9_999
	timeless := append([]manifest.Segment(nil), segments...)
	timeless[1].MinTime, timeless[1].MaxTime = -1, -1
	head := manifest.Head{TierEnd: 50, RawBytes: 500}
	for name, c := range map[string]struct {
		segments []manifest.Segment
		start    int64
		untiered int64
		policy   gc.Policy
		want     int64
	}{
		"for ever":                       {segments, 0, 1000, gc.Policy{RetentionMs: -1, RetentionBytes: -1}, 0},
		"by time":                        {segments, 0, 0, gc.Policy{RetentionMs: 8000, RetentionBytes: -1}, 20},
		"by time, to the millisecond":    {segments, 0, 0, gc.Policy{RetentionMs: 9001, RetentionBytes: -1}, 0},
		"all, but not beyond the tier":   {segments, 0, 100, gc.Policy{RetentionMs: 0, RetentionBytes: -1}, 50},
		"a late record holds what is up": {late, 0, 0, gc.Policy{RetentionMs: 5000, RetentionBytes: -1}, 10},
		"records without times stay":     {timeless, 0, 0, gc.Policy{RetentionMs: 5000, RetentionBytes: -1}, 10},
		"but not beyond the bytes":       {timeless, 0, 0, gc.Policy{RetentionMs: 5000, RetentionBytes: 250}, 50},
		"by bytes":                       {segments, 0, 0, gc.Policy{RetentionMs: -1, RetentionBytes: 300}, 20},
		"by bytes, a part is too little": {segments, 0, 0, gc.Policy{RetentionMs: -1, RetentionBytes: 450}, 0},
		"local bytes count":              {segments, 0, 200, gc.Policy{RetentionMs: -1, RetentionBytes: 300}, 40},
		"whichever comes first":          {segments, 0, 0, gc.Policy{RetentionMs: 9000, RetentionBytes: 300}, 20},
		"never backward":                 {segments[2:], 25, 0, gc.Policy{RetentionMs: 8500, RetentionBytes: -1}, 25},
		"nothing there":                  {nil, 50, 0, gc.Policy{RetentionMs: 0, RetentionBytes: 0}, 50},
	} {
		h := head
		h.LogStart = c.start
		if got := gc.Plan(h, c.segments, c.untiered, c.policy, now); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// Whatever is said of the oldest segments, nothing expires that the head does not call uploaded.
func TestPlanStopsAtTheTiersEnd(t *testing.T) {
	segments := []manifest.Segment{{Base: 0, End: 9, RawBytes: 100, MaxTime: 5}, {Base: 10, End: 19, RawBytes: 100, MaxTime: 5}}
	head := manifest.Head{TierEnd: 15, RawBytes: 200}
	if got := gc.Plan(head, segments, 0, gc.Policy{RetentionMs: 0, RetentionBytes: 0}, time.UnixMilli(10_000)); got != 10 {
		t.Errorf("log start %d, want 10", got)
	}
}

// tier is a bucket with committed segments of ten offsets, a kilobyte and a second each.
type tier struct {
	t       *testing.T
	raw     *mem.Bucket
	faults  *faulty.Injector
	bucket  objstore.Bucket
	anchor  *tiertest.Anchor
	archive *tiering.Archive
}

func newTier(t *testing.T, tp topic.Partition, segments int) *tier {
	t.Helper()
	w := &tier{t: t, raw: mem.New(), faults: faulty.NewInjector(1), anchor: tiertest.NewAnchor(1)}
	w.bucket = faulty.Wrap(w.raw, w.faults)
	archives := tiering.NewArchives(tiering.ArchiveOptions{Bucket: w.bucket, Anchor: w.anchor, Cluster: cluster, Grace: grace})
	t.Cleanup(archives.Close)
	w.archive = archives.Archive(tp, 1)
	for i := range int64(segments) {
		w.commit(i)
	}
	return w
}

// lasting is a policy that nobody changes.
func lasting(p gc.Policy) func() gc.Policy { return func() gc.Policy { return p } }

// commit archives the segment with a number.
func (w *tier) commit(i int64) {
	w.t.Helper()
	s := manifest.Segment{
		Base: i * 10, End: i*10 + 9, LeaderEpoch: 1, LastEpoch: 1, BrokerEpoch: 3, Attempt: uint32(i), Size: 500, FooterLen: 100,
		RawBytes: 1000, MinTime: i * 1000, MaxTime: i*1000 + 999, MaxTimeBase: i * 10,
	}
	w.put(tiering.Keys{Cluster: cluster}.Segment(w.archive.Partition(), s))
	if err := w.archive.Commit(context.Background(), s); err != nil {
		w.t.Fatal(err)
	}
}

func (w *tier) put(key string) {
	w.t.Helper()
	if _, err := w.raw.Put(context.Background(), key, strings.NewReader("x"), objstore.Condition{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *tier) keys(prefix string) map[string]bool {
	w.t.Helper()
	keys := map[string]bool{}
	err := w.raw.List(context.Background(), prefix, "", func(i objstore.Info) error { keys[i.Key] = true; return nil })
	if err != nil {
		w.t.Fatal(err)
	}
	return keys
}

// More segments than a page holds expire bit by bit; nothing is read while nothing expires.
func TestCollectOverPages(t *testing.T) {
	const segments = manifest.PageSegments + 500
	w := newTier(t, tp, segments)
	ctx := context.Background()
	c := gc.NewCollector(gc.CollectorOptions{})
	begin := time.UnixMilli(segments * 1000)
	target := gc.Target{Archive: w.archive, Policy: lasting(gc.Policy{RetentionMs: segments * 1000, RetentionBytes: -1})}
	collect := func(now time.Time) gc.Report {
		t.Helper()
		r, err := c.Collect(ctx, target, now)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := collect(begin); r.Segments != 0 {
		t.Fatalf("%+v", r)
	}
	calls := func() int {
		return w.faults.Calls(faulty.Get) + w.faults.Calls(faulty.Put) + w.faults.Calls(faulty.List)
	}
	before := calls()
	for range 10 {
		collect(begin)
	}
	if n := calls() - before; n != 0 {
		t.Errorf("%d requests though nothing expired", n)
	}
	expired := int64(0)
	for _, age := range []int64{1, 100, 101, 4000, 4090, 4096, 4097, segments - 1} {
		r := collect(begin.Add(time.Duration(age) * time.Second))
		expired += r.Segments
		if expired != age || r.LogStart != age*10 {
			t.Fatalf("after %d s %d segments have expired, log starts at %d", age, expired, r.LogStart)
		}
	}
	collect(begin.Add(segments*time.Second + 2*grace))
	left := w.keys(tiering.Keys{Cluster: cluster}.Segments(tp))
	if len(left) != 1 { // the newest is not old enough
		t.Errorf("%d segments left", len(left))
	}
}

func TestCollectByBytesWithLocalData(t *testing.T) {
	w := newTier(t, tp, 40)
	c := gc.NewCollector(gc.CollectorOptions{})
	target := gc.Target{Archive: w.archive, Policy: lasting(gc.Policy{RetentionMs: -1, RetentionBytes: 30_000}), Untiered: func() int64 { return 5000 }}
	r, err := c.Collect(context.Background(), target, time.Now())
	if err != nil || r.LogStart != 150 || r.Segments != 15 || r.Bytes != 15_000 {
		t.Fatalf("%+v %v", r, err)
	}
}

// What is archived while others are looked after counts once, in the tier.
func TestCollectByBytesBesideAnUpload(t *testing.T) {
	w := newTier(t, tp, 30)
	local := int64(10_000)
	target := gc.Target{Archive: w.archive, Policy: lasting(gc.Policy{RetentionMs: -1, RetentionBytes: 40_000}), Untiered: func() int64 { return local }}
	for i := range int64(10) {
		w.commit(30 + i)
		local -= 1000
	}
	r, err := gc.NewCollector(gc.CollectorOptions{}).Collect(context.Background(), target, time.Now())
	if err != nil || r.LogStart != 0 {
		t.Fatalf("%+v %v", r, err)
	}
}

// While the trash is full and may not be deleted yet, nothing more expires: what is dead cannot leave the sums.
func TestCollectWithFullTrash(t *testing.T) {
	w := newTier(t, tp, 40)
	ctx := context.Background()
	h, err := w.archive.Refresh(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, rev, err := w.anchor.Load(ctx, tp)
	if err != nil {
		t.Fatal(err)
	}
	now := time.UnixMilli(1_000_000)
	k := tiering.Keys{Cluster: cluster}
	root := manifest.Root{Seq: h.Root.Seq + 1}
	for i := range int64(manifest.MaxTrash) {
		old := manifest.Segment{Base: i, End: i, Attempt: uint32(i), Size: 1}
		root.Trash = append(root.Trash, manifest.Trash{Kind: manifest.TrashSegment, Segment: old, DeleteAfter: now.UnixMilli() + 1000})
	}
	v, err := w.archive.View(ctx)
	if err != nil {
		t.Fatal(err)
	}
	root.Open = slices.Concat(v.Root.Open, h.Tail)
	object := root.Encode()
	h.Tail, h.LogStart = nil, 100 // ten segments are dead
	h.Root = manifest.RootRef{Seq: root.Seq, LeaderEpoch: 1, Rand: 1, Size: uint32(len(object)), CRC: manifest.Checksum(object)}
	if _, err := w.raw.Put(ctx, k.Root(tp, h.Root), strings.NewReader(string(object)), objstore.Condition{}); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := w.anchor.Swap(ctx, tp, rev, 1, h.Encode()); !ok || err != nil {
		t.Fatal(ok, err)
	}
	archives := tiering.NewArchives(tiering.ArchiveOptions{Bucket: w.bucket, Anchor: w.anchor, Cluster: cluster, Grace: grace})
	defer archives.Close()
	c := gc.NewCollector(gc.CollectorOptions{})
	target := gc.Target{Archive: archives.Archive(tp, 1), Policy: lasting(gc.Policy{RetentionMs: -1, RetentionBytes: 29_500})}
	r, err := c.Collect(ctx, target, now)
	if err != nil || r.LogStart != 100 || r.Segments != 0 || r.Folds > 1 {
		t.Fatalf("full trash: %+v %v", r, err)
	}
	r, err = c.Collect(ctx, target, now.Add(2*time.Second))
	if err != nil || r.LogStart != 100 || r.Segments != 10 {
		t.Fatalf("emptied trash: %+v %v", r, err)
	}
}

// What stays in the head for hours gets a root, so that the bucket can tell it alone.
func TestFoldAfterHours(t *testing.T) {
	w := newTier(t, tp, 3)
	c := gc.NewCollector(gc.CollectorOptions{FoldAfter: time.Hour})
	target := gc.Target{Archive: w.archive, Policy: lasting(gc.Policy{RetentionMs: -1, RetentionBytes: -1})}
	now := time.Now()
	for i, folds := range []int{0, 0, 1, 0} {
		r, err := c.Collect(context.Background(), target, now.Add(time.Duration(i)*31*time.Minute))
		if err != nil || r.Folds != folds {
			t.Errorf("after %d minutes: %+v %v", i*31, r, err)
		}
	}
	if len(w.keys(tiering.Keys{Cluster: cluster}.Head(tp))) != 1 {
		t.Error("no HEAD object")
	}
}

func TestScrubLeavesWhatMayStillBeNeeded(t *testing.T) {
	w := newTier(t, tp, 20)
	ctx := context.Background()
	k := tiering.Keys{Cluster: cluster}
	orphan := manifest.Segment{Base: 100, End: 120, LeaderEpoch: 1, BrokerEpoch: 3, Attempt: 77}
	newer := orphan
	newer.LeaderEpoch = 2 // of a leader that the head does not know yet
	strange := k.Segments(tp) + "notes.txt"
	lostRoot := k.Root(tp, manifest.RootRef{Seq: 9, LeaderEpoch: 1, Rand: 5})
	lostPage := k.Page(tp, manifest.PageRef{Base: 1, End: 2, Rand: 5})
	before := w.keys("")
	for _, key := range []string{k.Segment(tp, orphan), k.Segment(tp, newer), strange, lostRoot, lostPage} {
		w.put(key)
	}
	s := gc.NewScrubber(gc.ScrubberOptions{Bucket: w.bucket, Cluster: cluster, MinAge: time.Minute})
	if n, err := s.Scrub(ctx, gc.Target{Archive: w.archive}, time.Now().Add(23*time.Hour)); n != 0 || err != nil {
		t.Fatalf("young objects: %d %v", n, err)
	}
	if n, err := s.Scrub(ctx, gc.Target{Archive: w.archive}, time.Now().Add(25*time.Hour)); n != 3 || err != nil {
		t.Fatalf("old objects: %d %v", n, err)
	}
	want := maps.Clone(before)
	want[k.Segment(tp, newer)], want[strange] = true, true
	if d := cmp.Diff(want, w.keys("")); d != "" {
		t.Error(d)
	}
	swaps, _ := w.anchor.Counts()
	if err := w.raw.Delete(ctx, k.Segment(tp, newer), strange); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Scrub(ctx, gc.Target{Archive: w.archive}, time.Now().Add(25*time.Hour)); n != 0 || err != nil {
		t.Fatalf("clean partition: %d %v", n, err)
	}
	if after, _ := w.anchor.Counts(); after != swaps {
		t.Error("the head of a clean partition was written")
	}
}

// A key space that was restored from a backup knows less of the tier than there is. What the local log does not have any more is
// in objects then that no manifest names, and there alone.
func TestScrubSparesTheOnlyCopies(t *testing.T) {
	w := newTier(t, tp, 3)
	key := tiering.Keys{Cluster: cluster}.Segment(tp, manifest.Segment{Base: 30, End: 39, LeaderEpoch: 1, BrokerEpoch: 3, Attempt: 5})
	w.put(key)
	s := gc.NewScrubber(gc.ScrubberOptions{Bucket: w.bucket, Cluster: cluster})
	now := time.Now().Add(48 * time.Hour)
	behind := gc.Target{Archive: w.archive, LocalStart: func() int64 { return 40 }}
	if n, err := s.Scrub(t.Context(), behind, now); n != 0 || !errors.Is(err, tiering.ErrGap) || !w.keys("")[key] {
		t.Errorf("the tier ends at 30, the log begins at 40: %d deleted, %v", n, err)
	}
	empty := newTier(t, tp, 0)
	only := tiering.Keys{Cluster: cluster}.Segment(tp, manifest.Segment{Base: 0, End: 39, LeaderEpoch: 0, BrokerEpoch: 3, Attempt: 5})
	empty.put(only)
	none := gc.Target{Archive: empty.archive, LocalStart: func() int64 { return 40 }}
	if n, err := gc.NewScrubber(gc.ScrubberOptions{Bucket: empty.bucket, Cluster: cluster}).Scrub(t.Context(), none, now); n != 0 || !errors.Is(err, tiering.ErrGap) || !empty.keys("")[only] {
		t.Errorf("the tier is empty, the log begins at 40: %d deleted, %v", n, err)
	}
	abuts := gc.Target{Archive: w.archive, LocalStart: func() int64 { return 30 }}
	if n, err := s.Scrub(t.Context(), abuts, now); n != 1 || err != nil || w.keys("")[key] {
		t.Errorf("the log has it: %d deleted, %v", n, err)
	}
}

// A commit that happens between the scrubber's listing and its reading is no orphan.
func TestScrubBesideACommit(t *testing.T) {
	w := newTier(t, tp, 3)
	ctx := context.Background()
	seg := manifest.Segment{Base: 30, End: 39, LeaderEpoch: 1, LastEpoch: 1, BrokerEpoch: 3, Attempt: 5, Size: 500, FooterLen: 100, MaxTimeBase: 30}
	key := tiering.Keys{Cluster: cluster}.Segment(tp, seg)
	w.put(key)
	committed := false
	b := listHook{w.bucket, func() {
		if !committed {
			committed = true
			if err := w.archive.Commit(ctx, seg); err != nil {
				t.Error(err)
			}
		}
	}}
	s := gc.NewScrubber(gc.ScrubberOptions{Bucket: b, Cluster: cluster})
	if n, err := s.Scrub(ctx, gc.Target{Archive: w.archive}, time.Now().Add(48*time.Hour)); n != 0 || err != nil || !w.keys("")[key] {
		t.Errorf("%d deleted, %v", n, err)
	}
}

// What is archived and leaves the disk while the manifest is read is no gap.
func TestScrubBesideAnUpload(t *testing.T) {
	w := newTier(t, tp, 3)
	keys := tiering.Keys{Cluster: cluster}
	seg := manifest.Segment{Base: 30, End: 39, LeaderEpoch: 1, LastEpoch: 1, BrokerEpoch: 3, Attempt: 5, Size: 500, FooterLen: 100, MaxTimeBase: 30}
	orphan := seg
	orphan.Attempt = 6
	w.put(keys.Segment(tp, seg))
	w.put(keys.Segment(tp, orphan))
	target := gc.Target{Archive: w.archive, LocalStart: func() int64 {
		if err := w.archive.Commit(t.Context(), seg); err != nil {
			t.Error(err)
		}
		return seg.End + 1
	}}
	s := gc.NewScrubber(gc.ScrubberOptions{Bucket: w.bucket, Cluster: cluster})
	if n, err := s.Scrub(t.Context(), target, time.Now().Add(48*time.Hour)); n != 1 || err != nil || !w.keys("")[keys.Segment(tp, seg)] {
		t.Errorf("%d deleted, %v", n, err)
	}
}

// Orphans do not stay for ever where a broker is restarted more often than it is to scrub.
func TestScrubberRunsThoughBrokersAreRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTier(t, tp, 3)
		orphan := tiering.Keys{Cluster: cluster}.Segment(tp, manifest.Segment{Base: 30, End: 39, LeaderEpoch: 1, BrokerEpoch: 3, Attempt: 5})
		w.put(orphan)
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
			s := gc.NewScrubber(gc.ScrubberOptions{Bucket: w.bucket, Cluster: cluster, Targets: func() []gc.Target { return []gc.Target{{Archive: w.archive}} }})
			if err := s.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			cancel()
		}
		if w.keys("")[orphan] {
			t.Error("the orphan is still there")
		}
	})
}

// A commit that was sent, was not answered and arrives after the scrubber has looked finds that it is too late, not that
// its object is gone.
func TestScrubBesideACommitOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTier(t, tp, 3)
		seg := manifest.Segment{Base: 30, End: 39, LeaderEpoch: 1, LastEpoch: 1, BrokerEpoch: 3, Attempt: 5, Size: 500, FooterLen: 100, MaxTimeBase: 30}
		key := tiering.Keys{Cluster: cluster}.Segment(tp, seg)
		w.put(key)
		late := &lateAnchor{Anchor: w.anchor}
		archives := tiering.NewArchives(tiering.ArchiveOptions{Bucket: w.bucket, Anchor: late, Cluster: cluster})
		defer archives.Close()
		if err := archives.Archive(tp, 1).Commit(t.Context(), seg); err == nil || len(late.swaps) == 0 {
			t.Fatalf("committed: %v, %d swaps", err, len(late.swaps))
		}
		s := gc.NewScrubber(gc.ScrubberOptions{Bucket: w.bucket, Cluster: cluster})
		if n, err := s.Scrub(t.Context(), gc.Target{Archive: w.archive}, time.Now().Add(48*time.Hour)); n != 1 || err != nil {
			t.Errorf("%d deleted, %v", n, err)
		}
		for _, arrive := range late.swaps {
			arrive()
		}
		h, err := w.archive.Refresh(t.Context())
		if err != nil || h.TierEnd != 30 || w.keys("")[key] {
			t.Errorf("tier ends at %d, object is there: %v, %v", h.TierEnd, w.keys("")[key], err)
		}
	})
}

// lateAnchor answers no swap and keeps each for later.
type lateAnchor struct {
	tiering.Anchor
	swaps []func()
}

func (a *lateAnchor) Swap(_ context.Context, tp topic.Partition, rev int64, epoch int32, head []byte) (int64, bool, error) {
	a.swaps = append(a.swaps, func() { _, _, _ = a.Anchor.Swap(context.Background(), tp, rev, epoch, head) })
	return 0, false, errors.New("no answer")
}

type listHook struct {
	objstore.Bucket
	after func()
}

func (b listHook) List(ctx context.Context, prefix, after string, fn func(objstore.Info) error) error {
	err := b.Bucket.List(ctx, prefix, after, fn)
	b.after()
	return err
}

// A purge may be stopped at any request and made again; other topics are left alone.
func TestPurgeStoppedAnywhere(t *testing.T) {
	for stop := 0; ; stop++ {
		w := newTier(t, tp, 40)
		other := topic.Partition{ID: topic.ID{8}, Index: 2}
		w.put(tiering.Keys{Cluster: cluster}.Partition(other) + "s/x")
		w.put(tiering.Keys{Cluster: cluster}.Partition(topic.Partition{ID: tp.ID, Index: 0}) + "s/left-by-an-upload")
		cat := gc.NewCatalog(w.bucket, cluster)
		ctx := context.Background()
		if err := cat.Put(ctx, gc.Topic{Name: "t", ID: tp.ID, Partitions: 3, Revision: 4}); err != nil {
			t.Fatal(err)
		}
		job := gc.Job{ID: tp.ID, Name: "t", Partitions: 3, Confirm: func(context.Context) error { return nil }}
		p := &gc.Purger{Bucket: w.bucket, Anchor: w.anchor, Cluster: cluster, Catalog: cat}
		remove := w.faults.Add(faulty.Rule{Skip: stop, Fault: faulty.Fail(nil)})
		_, err := p.Purge(ctx, job)
		remove()
		marks, merr := cat.Marks(ctx)
		if merr != nil {
			t.Fatal(merr)
		}
		if err != nil && len(marks) > 0 && marks[0].State == gc.Purged && len(w.keys("_catalog/"+cluster+"/topics/")) == 0 {
			t.Fatalf("stopped at request %d: %v, but marked as purged", stop, err)
		}
		if _, err := p.Purge(ctx, job); err != nil {
			t.Fatalf("second purge after a stop at request %d: %v", stop, err)
		}
		for key := range w.keys("") {
			if strings.Contains(key, tp.ID.Hex()+"/") {
				t.Fatalf("stopped at request %d: %s is left", stop, key)
			}
		}
		if len(w.keys(tiering.Keys{Cluster: cluster}.Partition(other))) != 1 {
			t.Fatal("another topic's object is gone")
		}
		marks, merr = cat.Marks(ctx)
		if merr != nil || len(marks) != 1 || marks[0].State != gc.Purged || marks[0].Name != "t" {
			t.Fatalf("marks %+v %v", marks, merr)
		}
		if err == nil {
			if stop < 5 {
				t.Fatalf("only %d requests", stop)
			}
			return
		}
	}
}

// A purge that no attempt is long enough for goes on where the last one ended.
func TestPurgeGoesOn(t *testing.T) {
	w := newTier(t, tp, 40)
	errTime := errors.New("no time is left")
	asked := 0
	job := gc.Job{ID: tp.ID, Partitions: 500, Confirm: func(context.Context) error {
		if asked++; asked%100 == 0 {
			return errTime
		}
		return nil
	}}
	p := &gc.Purger{Bucket: w.bucket, Anchor: w.anchor, Cluster: cluster, Catalog: gc.NewCatalog(w.bucket, cluster)}
	for range 10 {
		r, err := p.Purge(t.Context(), job)
		if err == nil {
			if keys := w.keys(tiering.Keys{Cluster: cluster}.Partition(tp)); len(keys) != 0 {
				t.Errorf("left: %v", keys)
			}
			return
		}
		if !errors.Is(err, errTime) {
			t.Fatal(err)
		}
		job.Done = r.Purged
	}
	t.Errorf("after ten attempts %d of %d partitions are done", job.Done, job.Partitions)
}

func TestPurgeNeedsAProof(t *testing.T) {
	w := newTier(t, tp, 5)
	alive := errors.New("the topic is alive")
	p := &gc.Purger{Bucket: w.bucket, Anchor: w.anchor, Cluster: cluster, Catalog: gc.NewCatalog(w.bucket, cluster)}
	before := w.keys("")
	_, err := p.Purge(context.Background(), gc.Job{ID: tp.ID, Partitions: 3, Confirm: func(context.Context) error { return alive }})
	if !errors.Is(err, alive) || cmp.Diff(before, w.keys("")) != "" {
		t.Errorf("%v %s", err, cmp.Diff(before, w.keys("")))
	}
}

// An upload of a zombie arrives after the purge.
func TestUploadAfterPurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTier(t, tp, 5)
		ctx := context.Background()
		cat := gc.NewCatalog(w.bucket, cluster)
		p := &gc.Purger{Bucket: w.bucket, Anchor: w.anchor, Cluster: cluster, Catalog: cat}
		if _, err := p.Purge(ctx, gc.Job{ID: tp.ID, Partitions: 3, Confirm: func(context.Context) error { return nil }}); err != nil {
			t.Fatal(err)
		}
		late := tiering.Keys{Cluster: cluster}.Partition(tp) + "s/late"
		w.put(late)
		s := gc.NewScrubber(gc.ScrubberOptions{Bucket: w.bucket, Cluster: cluster, Catalog: cat})
		if n, err := s.Purged(ctx, time.Now()); n != 1 || err != nil {
			t.Fatalf("%d %v", n, err)
		}
		if marks, _ := cat.Marks(ctx); len(marks) != 1 {
			t.Fatal("the marker is gone too early")
		}
		time.Sleep(31 * 24 * time.Hour)
		if _, err := s.Purged(ctx, time.Now()); err != nil {
			t.Fatal(err)
		}
		if keys := w.keys(""); len(keys) != 0 {
			t.Errorf("left: %v", keys)
		}
	})
}

// A topic that is alive again, as one whose key space was restored from a backup, keeps what it archives, whatever a marker says.
func TestPurgedSparesATopicThatIsAlive(t *testing.T) {
	w := newTier(t, tp, 5)
	ctx := context.Background()
	cat := gc.NewCatalog(w.bucket, cluster)
	gone := topic.Partition{ID: topic.ID{14: 1}}
	for _, id := range []topic.ID{tp.ID, gone.ID} {
		if err := cat.Put(ctx, gc.Topic{Name: "t", ID: id, Partitions: 1, Revision: 1}); err != nil {
			t.Fatal(err)
		}
		if err := cat.Mark(ctx, gc.Lifecycle{ID: id, Partitions: tp.Index + 1, State: gc.Purged, At: time.Now().AddDate(0, 0, -31)}); err != nil {
			t.Fatal(err)
		}
	}
	before := w.keys("")
	w.put(tiering.Keys{Cluster: cluster}.Partition(gone) + "s/late")
	alive := errors.New("the topic is alive")
	s := gc.NewScrubber(gc.ScrubberOptions{Bucket: w.bucket, Cluster: cluster, Catalog: cat, Confirm: func(_ context.Context, id topic.ID) error {
		if id == tp.ID {
			return alive
		}
		return nil
	}})
	if n, err := s.Purged(ctx, time.Now()); n != 1 || !errors.Is(err, alive) {
		t.Errorf("%d %v", n, err)
	}
	maps.DeleteFunc(before, func(key string, _ bool) bool { return strings.Contains(key, gone.ID.Hex()) })
	if diff := cmp.Diff(before, w.keys("")); diff != "" {
		t.Error(diff)
	}
}

// One marker that is damaged, or dropped by another broker in between, keeps no other topic's left-overs.
func TestPurgedBesideADamagedMarker(t *testing.T) {
	w := newTier(t, tp, 0)
	ctx := context.Background()
	cat := gc.NewCatalog(w.bucket, cluster)
	gone := topic.ID{14: 1}
	for _, id := range []topic.ID{tp.ID, gone} {
		if err := cat.Mark(ctx, gc.Lifecycle{ID: id, Partitions: tp.Index + 1, State: gc.Purged, At: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	lifecycle := "_catalog/" + cluster + "/lifecycle/"
	w.put(lifecycle + topic.ID{15: 1}.Hex())
	w.faults.Add(faulty.Rule{Ops: faulty.Get, Match: func(key string) bool { return key == lifecycle+gone.Hex() }, Fault: faulty.Missing()})
	late := tiering.Keys{Cluster: cluster}.Partition(tp) + "s/late"
	w.put(late)
	s := gc.NewScrubber(gc.ScrubberOptions{Bucket: w.bucket, Cluster: cluster, Catalog: cat})
	n, err := s.Purged(ctx, time.Now())
	if n != 1 || !errors.Is(err, gc.ErrDamaged) || w.keys("")[late] {
		t.Errorf("%d %v", n, err)
	}
}

func TestCatalog(t *testing.T) {
	w := newTier(t, tp, 0)
	ctx := context.Background()
	a, b := gc.NewCatalog(w.bucket, cluster), gc.NewCatalog(w.bucket, cluster)
	one := gc.Topic{Name: "one", ID: topic.ID{1}, Partitions: 3, Settings: map[string]string{"retention.ms": "5"}, Revision: 7}
	two := gc.Topic{Name: "two", ID: topic.ID{2}, Partitions: 1, Revision: 8}
	for _, top := range []gc.Topic{one, two} {
		if err := a.Put(ctx, top); err != nil {
			t.Fatal(err)
		}
	}
	puts := w.faults.Calls(faulty.Put)
	if err := a.Put(ctx, one); err != nil || w.faults.Calls(faulty.Put) != puts {
		t.Errorf("the same state was written twice: %v", err)
	}
	changed := one
	changed.Partitions, changed.Revision = 5, 100
	if err := b.Put(ctx, changed); err != nil {
		t.Fatal(err)
	}
	if err := b.Put(ctx, two); err != nil { // another broker wrote it already
		t.Fatal(err)
	}
	late := gc.NewCatalog(w.bucket, cluster) // a broker that was asleep
	if err := late.Put(ctx, one); err != nil {
		t.Fatal(err)
	}
	w.put("_catalog/" + cluster + "/topics/strange")
	got, err := a.Topics(ctx)
	if err != nil || cmp.Diff([]gc.Topic{changed, two}, got) != "" {
		t.Errorf("%v %s", err, cmp.Diff([]gc.Topic{changed, two}, got))
	}
}

func TestCatalogOfOneTopic(t *testing.T) {
	w := newTier(t, tp, 0)
	ctx := context.Background()
	c := gc.NewCatalog(w.bucket, cluster)
	one := gc.Topic{Name: "one", ID: topic.ID{1}, Partitions: 3, Settings: map[string]string{"retention.ms": "5"}, Revision: 7}
	if _, ok, err := c.Topic(ctx, one.ID); ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := c.Put(ctx, one); err != nil {
		t.Fatal(err)
	}
	if err := c.Put(ctx, gc.Topic{Name: "two", ID: topic.ID{1, 1}, Partitions: 1, Revision: 8}); err != nil {
		t.Fatal(err)
	}
	if got, ok, err := c.Topic(ctx, one.ID); !ok || err != nil || cmp.Diff(one, got) != "" {
		t.Errorf("%v %v %s", ok, err, cmp.Diff(one, got))
	}
	// A damaged entry is told from one of a newer version, which must not be overwritten.
	for body, damaged := range map[string]bool{`{`: true, `{"version":2,"id":"` + one.ID.String() + `"}`: false} {
		key := "_catalog/" + cluster + "/topics/" + one.ID.Hex() + "/00000000000000000009.json"
		if _, err := w.raw.Put(ctx, key, strings.NewReader(body), objstore.Condition{}); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := c.Topic(ctx, one.ID); ok || err == nil || errors.Is(err, gc.ErrDamaged) != damaged {
			t.Errorf("%s: %v %v", body, ok, err)
		}
	}
}

func TestCatalogRefusesWhatItDoesNotUnderstand(t *testing.T) {
	id := topic.ID{1}
	for name, body := range map[string]string{
		"newer":         `{"version":2,"id":"` + id.String() + `","topic":{}}`,
		"another topic": `{"version":1,"id":"` + topic.ID{2}.String() + `","topic":{}}`,
		"no json":       `{`,
	} {
		w := newTier(t, tp, 0)
		key := "_catalog/" + cluster + "/topics/" + id.Hex() + "/00000000000000000001.json"
		if _, err := w.raw.Put(context.Background(), key, strings.NewReader(body), objstore.Condition{}); err != nil {
			t.Fatal(err)
		}
		if _, err := gc.NewCatalog(w.raw, cluster).Topics(context.Background()); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCollectorRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTier(t, tp, 40)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		c := gc.NewCollector(gc.CollectorOptions{Targets: func() []gc.Target {
			return []gc.Target{{Archive: w.archive, Policy: lasting(gc.Policy{RetentionMs: 1, RetentionBytes: -1})}}
		}})
		go func() { done <- c.Run(ctx) }()
		synctest.Wait()
		if h, _ := w.archive.Known(); h.LogStart != 400 || h.Segments != 0 {
			t.Errorf("head %+v", h)
		}
		time.Sleep(grace + 2*time.Minute)
		synctest.Wait()
		if keys := w.keys(tiering.Keys{Cluster: cluster}.Segments(tp)); len(keys) != 0 {
			t.Errorf("left: %v", keys)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// A bucket that gives no answer about one partition keeps no other from what its retention says, and the one not for
// longer than it lasts.
func TestCollectorRunsBesideAPartitionThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tiers []*tier
		var targets []gc.Target
		for i := range int32(2) {
			w := newTier(t, topic.Partition{ID: tp.ID, Index: i}, 40)
			tiers = append(tiers, w)
			targets = append(targets, gc.Target{Archive: w.archive, Policy: lasting(gc.Policy{RetentionMs: 1, RetentionBytes: -1})})
		}
		release := tiers[0].faults.Add(faulty.Rule{Ops: faulty.Delete, Fault: faulty.Hold(nil, nil)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		c := gc.NewCollector(gc.CollectorOptions{Targets: func() []gc.Target { return targets }})
		go func() { done <- c.Run(ctx) }()
		time.Sleep(grace + 15*time.Minute)
		synctest.Wait()
		left := func(w *tier) int { return len(w.keys(tiering.Keys{Cluster: cluster}.Segments(w.archive.Partition()))) }
		if n := left(tiers[1]); n != 0 {
			t.Errorf("%d segments are left of the partition beside it", n)
		}
		release()
		time.Sleep(grace + 15*time.Minute)
		synctest.Wait()
		if n := left(tiers[0]); n != 0 {
			t.Errorf("%d segments are left where the bucket answers again", n)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// Retention that is made longer while the bucket is waited for counts for what was found before.
func TestRetentionIsRaisedDuringAPass(t *testing.T) {
	w := newTier(t, tp, 40)
	reached, release := make(chan struct{}), make(chan struct{})
	w.faults.Add(faulty.Rule{Ops: faulty.Get, Times: 1, Fault: faulty.Hold(reached, release)})
	var keep atomic.Int64
	keep.Store(1000)
	target := gc.Target{Archive: w.archive, Policy: func() gc.Policy { return gc.Policy{RetentionMs: -1, RetentionBytes: keep.Load()} }}
	done := make(chan error)
	go func() {
		_, err := gc.NewCollector(gc.CollectorOptions{}).Collect(context.Background(), target, time.Now())
		done <- err
	}()
	<-reached
	keep.Store(-1)
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if h, _ := w.archive.Known(); h.LogStart != 0 {
		t.Errorf("the log starts at %d", h.LogStart)
	}
}

// Nor does what a fold that came to nothing has left in the bucket hold up the partition.
func TestOrphansOfAFoldThatFailedDelayNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTier(t, tp, 40)
		w.faults.Add(faulty.Rule{Ops: faulty.Delete, Fault: faulty.Hold(nil, nil)})
		w.faults.Add(faulty.Rule{Ops: faulty.Put, Times: 1, Fault: faulty.Fail(nil)})
		done := make(chan error)
		go func() { done <- w.archive.Fold(t.Context(), time.Now()) }()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		if _, err := w.archive.SetLogStart(ctx, 101); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, faulty.ErrInjected) {
			t.Error(err)
		}
	})
}

// Nobody who edits the manifest waits for trash to be deleted.
func TestTrashIsEmptiedBesideEdits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTier(t, tp, 40)
		if _, err := w.archive.SetLogStart(t.Context(), 101); err != nil {
			t.Fatal(err)
		}
		if err := w.archive.Fold(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(grace)
		reached, release := make(chan struct{}), make(chan struct{})
		remove := w.faults.Add(faulty.Rule{Ops: faulty.Delete, Fault: faulty.Hold(reached, release)})
		done := make(chan error)
		go func() {
			_, err := w.archive.EmptyTrash(t.Context(), time.Now())
			done <- err
		}()
		<-reached
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := w.archive.SetLogStart(ctx, 201); err != nil {
			t.Error(err)
		}
		if err := w.archive.Fold(ctx, time.Now().Add(-grace)); err != nil { // by a clock that is behind: its trash is due, too
			t.Error(err)
		}
		remove()
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := len(w.keys(tiering.Keys{Cluster: cluster}.Segments(tp))); n != 30 {
			t.Errorf("%d segments are there", n)
		}
		if _, err := w.archive.EmptyTrash(t.Context(), time.Now()); err != nil {
			t.Error(err)
		}
		refs, h, err := w.archive.References(t.Context())
		if err != nil || h.LogStart != 201 || h.Segments != 20 {
			t.Errorf("%+v, %v", h, err)
		}
		segments := tiering.Keys{Cluster: cluster}.Segments(tp)
		maps.DeleteFunc(refs, func(key string, _ bool) bool { return !strings.HasPrefix(key, segments) })
		if diff := cmp.Diff(refs, w.keys(segments)); diff != "" {
			t.Errorf("named and there: %s", diff)
		}
	})
}

// Nor while retention has more expire, and what has expired before is due.
func TestWhatExpiresIsFoldedWithTrashDeletedBesideEdits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTier(t, tp, 40)
		c := gc.NewCollector(gc.CollectorOptions{})
		collect := func(keep int64) error {
			_, err := c.Collect(t.Context(), gc.Target{Archive: w.archive, Policy: lasting(gc.Policy{RetentionMs: -1, RetentionBytes: keep})}, time.Now())
			return err
		}
		if err := collect(30_000); err != nil {
			t.Fatal(err)
		}
		time.Sleep(grace)
		reached, release := make(chan struct{}), make(chan struct{})
		remove := w.faults.Add(faulty.Rule{Ops: faulty.Delete, Fault: faulty.Hold(reached, release)})
		done := make(chan error)
		go func() { done <- collect(20_000) }()
		<-reached
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := w.archive.SetLogStart(ctx, 301); err != nil {
			t.Error(err)
		}
		remove()
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if h, _ := w.archive.Known(); h.LogStart != 301 || h.Segments != 10 {
			t.Errorf("%+v", h)
		}
		if n := len(w.keys(tiering.Keys{Cluster: cluster}.Segments(tp))); n != 30 {
			t.Errorf("%d segments are there", n)
		}
	})
}

// Nor does a segment that makes the head full, and has it folded, wait for trash to be deleted.
func TestCommitWaitsForNoDeletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTier(t, tp, 40)
		if _, err := w.archive.SetLogStart(t.Context(), 101); err != nil {
			t.Fatal(err)
		}
		if err := w.archive.Fold(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(grace)
		w.faults.Add(faulty.Rule{Ops: faulty.Delete, Fault: faulty.Hold(nil, nil)})
		began := time.Now()
		for i := range int64(manifest.MaxTail + 1) {
			w.commit(40 + i)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("the commits took %v", took)
		}
	})
}

// The roots that were replaced go, though nothing ever expires and many segments are archived.
func TestOldRootsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTier(t, tp, 0)
		c := gc.NewCollector(gc.CollectorOptions{})
		target := gc.Target{Archive: w.archive, Policy: lasting(gc.Policy{RetentionMs: -1, RetentionBytes: -1})}
		for i := range int64(2000) {
			w.commit(i)
			if time.Sleep(5 * time.Second); i%12 > 0 {
				continue
			}
			if _, err := c.Collect(t.Context(), target, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(w.keys(tiering.Keys{Cluster: cluster}.Manifests(tp))); n > 100 {
			t.Errorf("%d objects of the manifest", n)
		}
	})
}

// Deletions that the bucket gives no answer about keep neither what expires from leaving the manifest, nor others from the
// partition for long.
func TestDeletionsThatHangDelayNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTier(t, tp, 40)
		release := w.faults.Add(faulty.Rule{Ops: faulty.Delete, Fault: faulty.Hold(nil, nil)})
		var keep atomic.Int64
		keep.Store(30_000)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		c := gc.NewCollector(gc.CollectorOptions{Targets: func() []gc.Target {
			return []gc.Target{{Archive: w.archive, Policy: lasting(gc.Policy{RetentionMs: -1, RetentionBytes: keep.Load()})}}
		}})
		go func() { done <- c.Run(ctx) }()
		time.Sleep(grace + 90*time.Second)
		keep.Store(20_000)
		began := time.Now()
		if _, err := w.archive.SetLogStart(ctx, 101); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 2*time.Minute {
			t.Errorf("the log start was moved after %v", took)
		}
		time.Sleep(6 * time.Minute)
		if h, _ := w.archive.Known(); h.Segments != 20 {
			t.Errorf("%d segments are left in the manifest", h.Segments)
		}
		release()
		time.Sleep(grace + 10*time.Minute)
		if n := len(w.keys(tiering.Keys{Cluster: cluster}.Segments(tp))); n != 20 {
			t.Errorf("%d objects are left", n)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
