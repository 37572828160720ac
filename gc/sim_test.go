package gc_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"firn/gc"
	"firn/metadata/topic"
	"firn/segment/vfs"
	"firn/tiering"
	"firn/tiering/manifest"
	"firn/tiering/objstore"
	"firn/tiering/objstore/mem"
	"firn/tiering/tiertest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m)
}

const (
	cluster = "sim"
	grace   = 15 * time.Minute
	// staleness is how old the head of a reader may be.
	staleness = 5 * time.Minute
)

var tp = topic.Partition{ID: topic.ID{7, 15: 1}, Index: 2}

// sim is one partition that lives through leaders, crashes, retention and readers.
type sim struct {
	t      *testing.T
	seed   uint64
	rng    *rand.Rand
	bucket *mem.Bucket
	anchor *tiertest.Anchor
	log    *tiertest.Log
	reader *tiering.Reader
	epoch  int32
	lives  []*broker
	heads  []datedHead
	swaps  int
	reads  int

	immortal bool // leaders do not die any more
}

type datedHead struct {
	at   time.Time
	head manifest.Head
}

// broker is one process under one leadership.
type broker struct {
	life      *life
	cancel    context.CancelFunc
	done      chan struct{}
	upload    *tiering.Upload
	collector *gc.Collector
	bucket    objstore.Bucket
}

func newSim(t *testing.T, seed uint64) *sim {
	s := &sim{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), bucket: mem.New(), anchor: tiertest.NewAnchor(seed), log: tiertest.NewLog(seed, 0)}
	s.log.Now = func(int64) int64 { return time.Now().UnixMilli() }
	s.anchor.OnSwap(s.checkSwap)
	var err error
	s.reader, err = tiering.NewReader(tiering.ReaderOptions{Bucket: s.bucket, Anchor: s.anchor, Cluster: cluster})
	if err != nil {
		t.Fatal(err)
	}
	s.lead()
	return s
}

func (s *sim) fatalf(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("seed %d: %s", s.seed, fmt.Sprintf(format, args...))
}

// checkSwap looks at every head at the moment when it is written: it never goes back, and what it names is
// in the bucket.
func (s *sim) checkSwap(_ topic.Partition, oldRaw, newRaw []byte) {
	s.swaps++
	old, err1 := manifest.DecodeHead(oldRaw)
	h, err2 := manifest.DecodeHead(newRaw)
	if err1 != nil || err2 != nil {
		s.fatalf("head: %v %v", err1, err2)
	}
	if h.LogStart < old.LogStart || h.TierEnd < old.TierEnd || h.WriterEpoch < old.WriterEpoch || h.TierEndEpoch < old.TierEndEpoch || h.Root.Seq < old.Root.Seq {
		s.fatalf("head goes back from %+v to %+v", old, h)
	}
	k := tiering.Keys{Cluster: cluster}
	for _, seg := range h.Tail {
		if seg.End >= h.LogStart {
			s.mustExist(k.Segment(tp, seg))
		}
	}
	if !h.Root.IsZero() {
		s.mustExist(k.Root(tp, h.Root))
	}
	s.heads = append(s.heads, datedHead{time.Now(), h})
}

func (s *sim) mustExist(key string) {
	if _, err := s.bucket.Head(context.Background(), key); err != nil {
		s.fatalf("named by the head: %v", err)
	}
}

// lead makes a new leader, which dies after some operations, or never.
func (s *sim) lead() {
	s.epoch++
	s.log.Epoch(s.epoch)
	operations := 0
	if !s.immortal && s.rng.IntN(3) > 0 {
		operations = 1 + s.rng.IntN(60)
	}
	l := newLife(s.seed+uint64(s.epoch), operations)
	b := &broker{life: l, bucket: &mortalBucket{s.bucket, l}, done: make(chan struct{})}
	u, err := tiering.NewUploader(tiering.UploaderOptions{
		Bucket: b.bucket, Anchor: &mortalAnchor{s.anchor, l}, Cluster: cluster, Grace: grace,
		BrokerEpoch: func() int64 { return 1000 }, FS: vfs.NewMem(), SpoolDir: "/spool",
	})
	if err != nil {
		s.t.Fatal(err)
	}
	var ctx context.Context
	ctx, b.cancel = context.WithCancel(context.Background())
	go func() {
		defer close(b.done)
		_ = u.Run(ctx)
	}()
	b.upload = u.Register(tp, s.epoch, s.log, tiering.Limits{})
	s.log.OnRoll(b.upload.Sealed)
	b.collector = gc.NewCollector(gc.CollectorOptions{FoldAfter: time.Hour})
	s.lives = append(s.lives, b)
}

func (b *broker) stop() {
	b.cancel()
	b.upload.Close()
	<-b.done
}

// bury ends all processes but the newest, so many of them.
func (s *sim) bury(keep int) {
	for len(s.lives) > keep {
		s.lives[0].stop()
		s.lives = s.lives[1:]
	}
}

func (s *sim) newest() *broker { return s.lives[len(s.lives)-1] }

// step does one thing.
func (s *sim) step() {
	switch k := s.rng.IntN(100); {
	case k < 45:
		s.log.AppendSegment(500+s.rng.IntN(8000), 1+s.rng.IntN(10), 20+s.rng.IntN(200))
	case k < 60:
		time.Sleep(time.Duration(s.rng.Int64N(int64(10 * time.Minute))))
	case k < 70: // a new leader; the old one may go on without knowing
		s.lead()
		s.bury(1 + s.rng.IntN(3))
	case k < 80:
		s.collect(s.lives[s.rng.IntN(len(s.lives))])
	case k < 85:
		s.anchor.SetFaults(s.rng.IntN(30), s.rng.IntN(30), s.rng.IntN(30), s.rng.IntN(30))
	case k < 88:
		s.deleteRecords()
	case k < 92:
		s.dropLocal()
	default:
		s.read()
	}
	if s.newest().life.isDead() {
		s.lead()
		s.bury(1 + s.rng.IntN(2))
	}
	synctest.Wait()
}

func (s *sim) collect(b *broker) {
	p := gc.Policy{RetentionMs: -1, RetentionBytes: -1}
	switch s.rng.IntN(3) {
	case 0:
		p.RetentionMs = s.rng.Int64N(int64(2 * time.Hour / time.Millisecond))
	case 1:
		p.RetentionBytes = s.rng.Int64N(200_000)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, _ = b.collector.Collect(ctx, gc.Target{Archive: b.upload.Archive(), Policy: lasting(p)}, time.Now())
}

func (s *sim) deleteRecords() {
	start := s.log.Start()
	if n := s.log.HighWatermark() - start; n > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, _ = s.newest().upload.Archive().SetLogStart(ctx, start+s.rng.Int64N(n))
	}
}

// dropLocal drops local bytes as far as the leader holds them for safe, or has heard that they are, by a head that others may have written.
func (s *sim) dropLocal() {
	proven, heard := s.newest().upload.Archive().ProvenTierEnd(), s.head().TierEnd
	if proven > heard {
		s.fatalf("leader takes %d for proven, tier ends at %d", proven, heard)
	}
	if s.rng.IntN(2) == 0 {
		proven = heard
	}
	s.log.Drop(proven)
}

func (s *sim) head() manifest.Head {
	s.anchor.SetFaults(0, 0, 0, 0)
	raw, _, err := s.anchor.Load(context.Background(), tp)
	if err != nil {
		s.t.Fatal(err)
	}
	h, err := manifest.DecodeHead(raw)
	if err != nil {
		s.t.Fatal(err)
	}
	return h
}

// read reads with a head that may be some minutes old. What it finds is right, or the offset is out of
// range by the newest head. It never finds an object missing.
func (s *sim) read() {
	for len(s.heads) > 1 && time.Since(s.heads[1].at) > staleness {
		s.heads = s.heads[1:]
	}
	if len(s.heads) == 0 {
		return
	}
	h := s.heads[s.rng.IntN(len(s.heads))].head
	if h.TierEnd == h.LogStart {
		return
	}
	// Nothing that it names has been deleted: its readers have the grace.
	k := tiering.Keys{Cluster: cluster}
	for _, seg := range h.Tail {
		s.mustExist(k.Segment(tp, seg))
	}
	if !h.Root.IsZero() {
		s.mustExist(k.Root(tp, h.Root))
	}
	offset := h.LogStart + s.rng.Int64N(h.TierEnd-h.LogStart)
	s.readAt(&h, offset)
}

func (s *sim) readAt(h *manifest.Head, offset int64) (next int64) {
	newest := s.head()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	d, err := s.reader.Read(ctx, tp, h, offset, 1+s.rng.IntN(20_000))
	var out *tiering.OutOfRangeError
	if errors.As(err, &out) && offset < newest.LogStart {
		return newest.LogStart
	}
	if err != nil {
		s.fatalf("read %d with head [%d, %d), newest [%d, %d): %v", offset, h.LogStart, h.TierEnd, newest.LogStart, newest.TierEnd, err)
	}
	defer d.Release()
	var got []byte
	for _, slab := range d.Slabs {
		got = append(got, slab.Bytes()...)
	}
	if want := s.log.Want(offset, d.Next); !bytes.Equal(got, want) {
		s.fatalf("read [%d, %d) gives %d bytes, want %d", offset, d.Next, len(got), len(want))
	}
	s.reads++
	return d.Next
}

// heal lets everything end well and looks at what is left.
func (s *sim) heal() {
	s.anchor.SetFaults(0, 0, 0, 0)
	s.anchor.Land()
	s.bury(0)
	time.Sleep(3 * time.Hour) // late puts arrive
	s.immortal = true
	s.lead()
	s.log.AppendSegment(100, 1, 10)
	time.Sleep(10 * time.Minute)
	synctest.Wait()
	h := s.head()
	if h.TierEnd != s.log.Next() {
		s.fatalf("tier ends at %d, log at %d: %+v", h.TierEnd, s.log.Next(), s.newest().upload.Status())
	}
	for offset := h.LogStart; offset < h.TierEnd; {
		offset = s.readAt(&h, offset)
	}
	s.sweep()
	s.bury(0)
	if err := s.reader.Close(); err != nil {
		s.t.Fatal(err)
	}
}

// sweep empties the trash and scrubs: what is left in the bucket is what the manifest names.
func (s *sim) sweep() {
	time.Sleep(25 * time.Hour)
	ctx := context.Background()
	b := s.newest()
	target := gc.Target{Archive: b.upload.Archive(), Policy: lasting(gc.Policy{RetentionMs: -1, RetentionBytes: -1})}
	for range 2 {
		if _, err := b.collector.Collect(ctx, target, time.Now()); err != nil {
			s.fatalf("collect: %v", err)
		}
		time.Sleep(time.Hour)
	}
	scrub := gc.NewScrubber(gc.ScrubberOptions{Bucket: s.bucket, Cluster: cluster})
	if _, err := scrub.Scrub(ctx, gc.Target{Archive: b.upload.Archive()}, time.Now()); err != nil {
		s.fatalf("scrub: %v", err)
	}
	refs, h, err := b.upload.Archive().References(ctx)
	if err != nil {
		s.fatalf("references: %v", err)
	}
	k := tiering.Keys{Cluster: cluster}
	err = s.bucket.List(ctx, "", "", func(i objstore.Info) error {
		if !refs[i.Key] && i.Key != k.Head(tp) && time.Since(i.Modified) > 24*time.Hour {
			return fmt.Errorf("%s is left over", i.Key)
		}
		return nil
	})
	if err != nil {
		s.fatalf("%v", err)
	}
	for offset := h.LogStart; offset < h.TierEnd; {
		offset = s.readAt(&h, offset)
	}
}

// Leaders come and go, die between any two operations, go on without knowing that they are deposed, lose
// replies; retention and DeleteRecords run beside; readers use old heads. FIRN_SIM_SEEDS runs more of it,
// FIRN_SIM_SEED one.
func TestSimulation(t *testing.T) {
	first, n := uint64(time.Now().UnixNano()), uint64(25)
	if v, err := strconv.ParseUint(os.Getenv("FIRN_SIM_SEEDS"), 10, 64); err == nil {
		n = v
	}
	if v, err := strconv.ParseUint(os.Getenv("FIRN_SIM_SEED"), 10, 64); err == nil {
		first, n = v, 1
	}
	swaps, reads := 0, 0
	for seed := first; seed < first+n; seed++ {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, seed)
			for range 150 {
				s.step()
			}
			swaps, reads = swaps+s.swaps, reads+s.reads
			s.heal()
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("seeds %d to %d: %d swaps, %d reads checked", first, first+n-1, swaps, reads)
}
