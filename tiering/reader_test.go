package tiering_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"firn/segment/vfs"
	"firn/tiering"
	"firn/tiering/chunkcache"
	"firn/tiering/manifest"
	"firn/tiering/objstore"
	"firn/tiering/objstore/faulty"
	"firn/tiering/tiertest"
)

// archived makes a world with a log of so many segments of so many bytes in the tier.
func archived(t *testing.T, segments, size int, change ...func(*tiertest.Log)) (*world, *tiertest.Log, *manifest.Head) {
	t.Helper()
	w := newWorld(t)
	log := tiertest.NewLog(21, 0)
	for _, c := range change {
		c(log)
	}
	for range segments {
		log.AppendSegment(size, 10, 1000)
	}
	head := w.archive(partition(0), log)
	return w, log, head
}

// gets counts the GETs that fn makes, of anything.
func (w *world) gets(fn func()) int {
	before := w.faults.Calls(faulty.Get)
	fn()
	return w.faults.Calls(faulty.Get) - before
}

func TestTimeSeekCostsTwoGets(t *testing.T) {
	t.Parallel()
	w, log, head := archived(t, 3, 6<<20)
	tp := partition(0)
	r := w.reader()
	ts := head.Tail[1].MinTime + 777
	var stamp tiering.Stamp
	n := w.gets(func() {
		var ok bool
		var err error
		stamp, ok, err = r.FindTime(context.Background(), tp, head, ts, 0)
		if err != nil || !ok || stamp.Timestamp != ts || stamp.Offset != ts {
			t.Fatalf("%+v %v %v", stamp, ok, err)
		}
	})
	if n != 2 {
		t.Errorf("time seek took %d GETs", n)
	}
	n = w.gets(func() {
		d, err := r.Read(context.Background(), tp, head, stamp.Offset, 100_000)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Release()
		same(t, d.Slabs[0].Bytes(), log.Want(stamp.Offset, d.Next))
	})
	if n != 0 {
		t.Errorf("the read behind a time seek took %d more GETs", n)
	}
}

// A seek to the end of a segment does not look at the next one: its reader may not go on.
func TestTimeSeekToTheEndOfASegmentCostsTwoGets(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		tp := partition(0)
		log := tiertest.NewLog(21, 0)
		for range 3 {
			log.AppendSegment(2<<20, 10, 1000)
		}
		head := w.archive(tp, log)
		r := w.reader()
		defer r.Close()
		n := w.gets(func() {
			stamp, ok, err := r.FindTime(t.Context(), tp, head, head.Tail[1].MaxTime-5, 0)
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
			d, err := r.Read(t.Context(), tp, head, stamp.Offset, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			same(t, d.Slabs[0].Bytes(), log.Want(stamp.Offset, head.Tail[1].Next()))
			d.Release()
			synctest.Wait() // for what goes on behind the answer
		})
		if n != 2 {
			t.Errorf("%d GETs", n)
		}
	})
}

func TestManyReadersOneGet(t *testing.T) {
	t.Parallel()
	w, log, head := archived(t, 1, 2<<20)
	tp := partition(0)
	r := w.reader()
	n := w.gets(func() {
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				d, err := r.Read(context.Background(), tp, head, 15, 300_000)
				if err != nil {
					t.Error(err)
					return
				}
				defer d.Release()
				if !bytes.Equal(d.Slabs[0].Bytes(), log.Want(15, d.Next)) {
					t.Error("wrong bytes")
				}
			})
		}
		wg.Wait()
	})
	if n != 2 {
		t.Errorf("%d GETs", n)
	}
}

// Readers that go through a log in step have it read ahead for all of them, once.
func TestReadersInStepReadAheadOnce(t *testing.T) {
	t.Parallel()
	w, _, head := archived(t, 1, 32<<20) // all of it fits into the memory
	together := func(readers int) int {
		r := w.reader()
		return w.gets(func() {
			offsets := make([]int64, readers)
			for offsets[0] < head.TierEnd && !t.Failed() {
				var wg sync.WaitGroup
				for i := range readers {
					if offsets[i] == head.TierEnd {
						continue
					}
					wg.Go(func() {
						d, err := r.Read(context.Background(), partition(0), head, offsets[i], 300_000)
						if err != nil {
							t.Error(err)
							return
						}
						offsets[i] = d.Next
						d.Release()
					})
				}
				wg.Wait()
			}
		})
	}
	alone := together(1)
	for range 12 {
		if n := together(16); n > alone {
			t.Fatalf("16 readers take %d GETs, one takes %d", n, alone)
		}
	}
}

// Who does not wait for the bytes finds them when he comes back.
func TestReadGoesOnWhenItsReaderHasGone(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		tp := partition(0)
		log := tiertest.NewLog(21, 0)
		log.AppendSegment(1<<20, 10, 1000)
		head := w.archive(tp, log)
		r := w.reader()
		defer r.Close()
		w.faults.Add(faulty.Rule{Ops: faulty.Get, Fault: faulty.Delay(2 * time.Second)})
		n := w.gets(func() {
			for try := 1; ; try++ {
				ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
				d, err := r.Read(ctx, tp, head, 0, 100_000)
				cancel()
				if err == nil {
					if try < 8 || try > 10 {
						t.Errorf("after %d tries", try)
					}
					d.Release()
					return
				}
				if !errors.Is(err, tiering.ErrNotReady) || !errors.Is(err, context.DeadlineExceeded) {
					t.Fatal(err)
				}
			}
		})
		if n != 2 {
			t.Errorf("%d GETs", n)
		}
	})
}

// slowBody gives a body in pieces, each of which waits for a word.
type slowBucket struct {
	objstore.Bucket
	step chan struct{}
}

func (b slowBucket) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	rc, err := b.Bucket.Get(ctx, key, off, n)
	if err != nil || n < 1<<20 {
		return rc, err
	}
	return slowBody{rc, b.step, ctx}, nil
}

type slowBody struct {
	io.ReadCloser
	step chan struct{}
	ctx  context.Context
}

func (b slowBody) Read(p []byte) (int, error) {
	select {
	case <-b.step:
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	}
	return b.ReadCloser.Read(p[:min(len(p), 100<<10)])
}

// Partitions that the bucket gives no answer about keep no other from being read, and go on when it does.
func TestPartitionsThatHangHoldUpNoOther(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		const segments = 4
		var heads []*manifest.Head
		for n := range int32(3) {
			log := tiertest.NewLog(21, 0)
			for range segments {
				log.AppendSegment(2000, 10, 1000)
			}
			w.commits = nil
			heads = append(heads, w.archive(partition(n), log))
		}
		hangs := faulty.NewInjector(1)
		for n := range int32(2) {
			prefix := tiering.Keys{Cluster: cluster}.Segments(partition(n))
			hangs.Add(faulty.Rule{Ops: faulty.Get, Match: func(key string) bool { return strings.HasPrefix(key, prefix) }, Fault: faulty.Hold(nil, nil)})
		}
		r := w.reader(func(o *tiering.ReaderOptions) {
			o.Bucket, o.Gets = blocksBucket{w.bucket, faulty.Wrap(w.bucket, hangs)}, segments
			o.Memory = segments * 128 << 10 // as many of the smallest slabs
		})
		defer r.Close()
		var wg sync.WaitGroup
		for n := range int32(2) {
			for i := range segments {
				wg.Go(func() {
					d, err := r.Read(context.Background(), partition(n), heads[n], heads[n].Tail[i].Base, 1000)
					if err != nil {
						t.Error(err)
					}
					d.Release()
				})
			}
			synctest.Wait()
		}
		began := time.Now()
		replay(t, r, partition(2), heads[2], 0, heads[2].TierEnd, 1000)
		if took := time.Since(began); took > time.Second {
			t.Errorf("a partition beside them was read in %v", took)
		}
		hangs.Clear()
		wg.Wait()
		if took := time.Since(began); took > 2*time.Minute {
			t.Errorf("they went on after %v", took)
		}
	})
}

// What the disk cache has is read while the bucket gives no answer, whoever else waits for one.
func TestCachedChunksDoNotWaitForTheBucket(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var heads []*manifest.Head
		for n := range int32(2) {
			log := tiertest.NewLog(21, 0)
			log.AppendSegment(2000, 10, 1000)
			w.commits = nil
			heads = append(heads, w.archive(partition(n), log))
		}
		cache, err := chunkcache.Open(chunkcache.Options{FS: vfs.NewMem(), Dir: "/cache", MaxBytes: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		defer cache.Close()
		read := func(r *tiering.Reader, n int32) {
			d, err := r.Read(context.Background(), partition(n), heads[n], 0, 1000)
			if err != nil {
				t.Error(err)
			}
			d.Release()
		}
		r := w.reader(withCache(cache))
		read(r, 1)
		read(r, 1)
		_ = r.Close()
		if s := cache.Stats(); s.Writes != 1 {
			t.Fatalf("stats %+v", s)
		}
		hangs := faulty.NewInjector(1)
		hangs.Add(faulty.Rule{Ops: faulty.Get, Fault: faulty.Hold(nil, nil)})
		r = w.reader(withCache(cache), func(o *tiering.ReaderOptions) {
			o.Bucket, o.Gets = blocksBucket{w.bucket, faulty.Wrap(w.bucket, hangs)}, 1
		})
		defer r.Close()
		var wg sync.WaitGroup
		wg.Go(func() { read(r, 0) })
		synctest.Wait()
		began := time.Now()
		read(r, 1)
		if took := time.Since(began); took > time.Second {
			t.Errorf("what the cache has was read in %v", took)
		}
		hangs.Clear()
		wg.Wait()
	})
}

// blocksBucket sends the GETs of blocks, which begin at the front of an object here, another way than those of footers.
type blocksBucket struct {
	objstore.Bucket
	blocks objstore.Bucket
}

func (b blocksBucket) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if off == 0 {
		return b.blocks.Get(ctx, key, off, n)
	}
	return b.Bucket.Get(ctx, key, off, n)
}

// What has arrived of a chunk is answered soon, however much longer its reader could wait.
func TestAnswersWithWhatIsReady(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		tp := partition(0)
		log := tiertest.NewLog(21, 0)
		log.Random = true
		log.AppendSegment(4<<20, 10, 1000)
		head := w.archive(tp, log)
		slow := slowBucket{w.bucket, make(chan struct{})}
		r := w.reader(func(o *tiering.ReaderOptions) { o.Bucket = slow })
		defer r.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		var d tiering.Data
		var err error
		done := make(chan struct{})
		go func() {
			defer close(done)
			d, err = r.Read(ctx, tp, head, 0, 8<<20)
		}()
		for range 6 { // 600 KiB: two blocks
			slow.step <- struct{}{}
		}
		began := time.Now()
		<-done
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 200*time.Millisecond {
			t.Errorf("answered after %s", took)
		}
		if n := d.Len(); n < 400_000 || n > 2*tiering.BlockBytes {
			t.Errorf("answered with %d bytes", n)
		}
		same(t, d.Slabs[0].Bytes(), log.Want(0, d.Next))
		d.Release()
		close(slow.step)
		same(t, replay(t, r, tp, head, 0, head.TierEnd, 1<<20), log.Want(0, head.TierEnd))
	})
}

// A replay reads every byte once, and many chunks at a time, over the ends of segments.
func TestSequentialReplay(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"large segments": 6 << 20, "small segments": 300 << 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, log, head := archived(t, 16<<20/size, size, func(l *tiertest.Log) { l.Random = true })
			reg := prometheus.NewRegistry()
			r := w.reader(func(o *tiering.ReaderOptions) { o.Registerer = reg })
			same(t, replay(t, r, partition(0), head, 0, head.TierEnd, 1<<20), log.Want(0, head.TierEnd))
			fetched := metric(t, reg, "firn_tiering_fetched_bytes_total")
			if fetched != float64(head.RawBytes) {
				t.Errorf("fetched %v bytes of %d", fetched, head.RawBytes)
			}
			if ahead, all := metric(t, reg, "firn_tiering_read_ahead_chunks_total"), metric(t, reg, "firn_tiering_gets_total"); ahead < all/3 {
				t.Errorf("%v of %v chunks read ahead", ahead, all)
			}
			if n := r.Streams(); n != 0 {
				t.Errorf("%d streams are left at the end", n)
			}
		})
	}
}

func metric(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// The window grows for who goes on reading; whoever jumps about gets none.
func TestReadAheadWindow(t *testing.T) {
	t.Parallel()
	w, _, head := archived(t, 1, 40<<20, func(l *tiertest.Log) { l.Random = true })
	tp := partition(0)
	r := w.reader(func(o *tiering.ReaderOptions) { o.Memory = 128 << 20 })
	ctx := context.Background()
	var grown []int64
	for offset := int64(0); offset < head.TierEnd; {
		d, err := r.Read(ctx, tp, head, offset, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		offset = d.Next
		d.Release()
		for _, v := range r.Windows() {
			if len(grown) == 0 || grown[len(grown)-1] != v {
				grown = append(grown, v)
			}
		}
	}
	if want := []int64{0, 4 << 20, 8 << 20, 16 << 20, 32 << 20}; fmt.Sprint(grown) != fmt.Sprint(want) {
		t.Errorf("window %v, want %v", grown, want)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		d, err := r.Read(ctx, tp, head, rng.Int64N(head.TierEnd), 10_000)
		if err != nil {
			t.Fatal(err)
		}
		d.Release()
	}
	for _, v := range r.Windows() {
		if v != 0 {
			t.Errorf("a reader that jumps has a window of %d", v)
		}
	}
}

// Who uses only a part of each answer is a stream all the same, and so are two readers in step.
func TestStreamsOfPartialAnswers(t *testing.T) {
	t.Parallel()
	w, log, head := archived(t, 1, 12<<20, func(l *tiertest.Log) { l.Random = true })
	tp := partition(0)
	reg := prometheus.NewRegistry()
	r := w.reader(func(o *tiering.ReaderOptions) { o.Registerer = reg })
	for offset := int64(0); offset < head.TierEnd; {
		next := int64(0)
		for range 2 {
			d, err := r.Read(t.Context(), tp, head, offset, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			same(t, d.Slabs[0].Bytes()[:100], log.Want(d.First, d.First+1)[:100])
			next = d.Next
			d.Release()
		}
		offset = min(offset+300, next) // of about a thousand
		if n := r.Streams(); n > 1 {
			t.Fatalf("%d streams", n)
		}
	}
	if fetched := metric(t, reg, "firn_tiering_fetched_bytes_total"); fetched != float64(head.RawBytes) {
		t.Errorf("fetched %v bytes of %d", fetched, head.RawBytes)
	}
	if n := metric(t, reg, "firn_tiering_read_ahead_chunks_total"); n < 1 {
		t.Error("nothing was read ahead")
	}
}

// damage changes one object in the bucket.
func (w *world) damage(key string, change func([]byte) []byte) {
	w.t.Helper()
	ctx := context.Background()
	rc, err := w.raw.Get(ctx, key, 0, -1)
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := io.ReadAll(rc)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.raw.Put(ctx, key, source(change(b)), objstore.Condition{}); err != nil {
		w.t.Fatal(err)
	}
}

func TestDamageHasAnAddress(t *testing.T) {
	t.Parallel()
	tp := partition(0)
	flip := func(pos int) func([]byte) []byte {
		return func(b []byte) []byte { b[(pos+len(b))%len(b)] ^= 1; return b }
	}
	for name, c := range map[string]struct {
		change func([]byte) []byte
		block  int // -1: none
	}{
		"bit in the first block":  {flip(1000), 0},
		"bit in the second block": {flip(tiering.BlockBytes + 10_000), 1},
		"bit in the block index":  {flip(-400), -1},
		"bit in the trailer":      {flip(-20), -1},
		"cut short":               {func(b []byte) []byte { return b[:len(b)-10] }, -1},
		"empty":                   {func([]byte) []byte { return nil }, -1},
		"another object": {func(b []byte) []byte {
			other, _ := encodeSample(t, sampleLog(), 0, nil)
			return append(make([]byte, len(b)-len(other)), other...)
		}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, log, head := archived(t, 1, 1<<20, func(l *tiertest.Log) { l.Random = true })
			key := tiering.Keys{Cluster: cluster}.Segment(tp, head.Tail[0])
			w.damage(key, c.change)
			r := w.reader()
			offset := int64(0)
			if c.block == 1 { // what is before the damage is good
				d, err := r.Read(context.Background(), tp, head, 0, tiering.BlockBytes)
				if err != nil {
					t.Fatal(err)
				}
				same(t, d.Slabs[0].Bytes(), log.Want(0, d.Next))
				offset = d.Next
				d.Release()
			}
			for range 2 {
				_, err := r.Read(context.Background(), tp, head, offset, 100_000)
				var damaged *tiering.CorruptionError
				if !errors.As(err, &damaged) {
					t.Fatalf("read: %v", err)
				}
				if damaged.Key != key || damaged.Block != c.block || c.block >= 0 && damaged.Offset > offset || !strings.Contains(err.Error(), key) {
					t.Errorf("damage at %+v", damaged)
				}
			}
		})
	}
}

// What goes wrong on the way is read again, from where it went wrong.
func TestFaultsOnTheWay(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]faulty.Fault{
		"flipped bit": faulty.FlipBit(),
		"cut body":    faulty.CutBody(400_000),
		"error":       faulty.Fail(nil),
		"throttled":   faulty.Throttle(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, log, head := archived(t, 1, 2<<20, func(l *tiertest.Log) { l.Random = true })
			w.faults.Add(faulty.Rule{Ops: faulty.Get, Skip: 1, Times: 1, Fault: fault}) // after the footer
			same(t, replay(t, w.reader(), partition(0), head, 0, head.TierEnd, 1<<20), log.Want(0, head.TierEnd))
		})
	}
}

func TestMissingObject(t *testing.T) {
	t.Parallel()
	tp := partition(0)
	w, _, head := archived(t, 3, 100_000)
	reg := prometheus.NewRegistry()
	var log strings.Builder
	r := w.reader(func(o *tiering.ReaderOptions) { o.Registerer, o.Logger = reg, slog.New(slog.NewTextHandler(&log, nil)) })
	ctx := context.Background()
	k := tiering.Keys{Cluster: cluster}
	if err := w.raw.Delete(ctx, k.Segment(tp, head.Tail[1])); err != nil {
		t.Fatal(err)
	}
	lost := head.Tail[1].Base + 5
	_, err := r.Read(ctx, tp, head, lost, 1000)
	var out *tiering.OutOfRangeError
	if !errors.Is(err, tiering.ErrMissing) || errors.As(err, &out) {
		t.Fatalf("read of a lost object: %v", err)
	}
	if n := metric(t, reg, "firn_tiering_missing_objects_total"); n != 1 {
		t.Errorf("alarm %v", n)
	}
	if _, _, err := r.FindTime(ctx, tp, head, head.Tail[1].MaxTime, 0); !errors.Is(err, tiering.ErrMissing) {
		t.Errorf("time in a lost object: %v", err)
	}
	// Clients come back to it over and over. Who gets the error knows what has been told of it.
	if log.Len() > 0 {
		t.Errorf("the reader says %s", &log)
	}
	// It was deleted rightly: the reader's head is old.
	archives := w.archives()
	if _, err := archives.Archive(tp, 1).SetLogStart(ctx, head.Tail[2].Base); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(ctx, tp, head, lost, 1000); !errors.As(err, &out) || out.Start != head.Tail[2].Base {
		t.Errorf("read below the newer log start: %v", err)
	}
}

// A time is looked for from where the log begins now, though the reader's head is from before a deletion.
func TestTimeSeekBesideADeletion(t *testing.T) {
	t.Parallel()
	tp := partition(0)
	w, _, old := archived(t, 3, 100_000)
	r := w.reader()
	ctx := context.Background()
	if _, err := w.archives().Archive(tp, 1).SetLogStart(ctx, old.Tail[1].Base+5); err != nil {
		t.Fatal(err)
	}
	k := tiering.Keys{Cluster: cluster}
	if err := w.raw.Delete(ctx, k.Segment(tp, old.Tail[0])); err != nil {
		t.Fatal(err)
	}
	s, ok, err := r.FindTime(ctx, tp, old, old.Tail[0].MaxTime, 0)
	if err != nil || !ok || s.Offset != old.Tail[1].Base+5 {
		t.Errorf("time: %+v %v %v", s, ok, err)
	}
	if err := w.raw.Delete(ctx, k.Segment(tp, old.Tail[2])); err != nil {
		t.Fatal(err)
	}
	if _, err := w.archives().Archive(tp, 1).SetLogStart(ctx, old.TierEnd); err != nil {
		t.Fatal(err)
	}
	if s, ok, err := r.MaxTime(ctx, tp, old); err != nil || ok {
		t.Errorf("greatest time: %+v %v %v", s, ok, err)
	}
}

// Slow readers hold their answers; the budget holds, and whoever waits goes on when they let go.
func TestMemoryBudget(t *testing.T) {
	t.Parallel()
	const budget = 8 << 20
	tp := partition(0)
	w, log, head := archived(t, 3, 8<<20, func(l *tiertest.Log) { l.Random = true })
	r := w.reader(func(o *tiering.ReaderOptions) { o.Memory = budget })
	check := func() {
		if used, idle := r.Memory(); used+idle > budget {
			t.Errorf("%d bytes in use and %d idle", used, idle)
		}
	}
	ctx := context.Background()
	var held []tiering.Data
	for offset := int64(0); ; {
		ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		d, err := r.Read(ctx, tp, head, offset, 1<<20)
		cancel()
		check()
		if errors.Is(err, tiering.ErrNotReady) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		offset = d.Next
		held = append(held, d)
		if offset >= head.TierEnd {
			t.Fatal("all of it fits into the budget")
		}
	}
	next := held[len(held)-1].Next
	done := make(chan struct{})
	go func() {
		defer close(done)
		d, err := r.Read(ctx, tp, head, next, 1<<20)
		if err != nil {
			t.Error(err)
			return
		}
		d.Release()
	}()
	for !r.Wanted() { // or the test's time ends
		runtime.Gosched()
	}
	for i := range held {
		var got []byte
		for _, s := range held[i].Slabs {
			got = append(got, s.Bytes()...)
		}
		same(t, got, log.Want(held[i].First, held[i].Next))
		held[i].Release()
	}
	<-done
	check()
	if r.Wanted() {
		t.Error("memory is wanted that nobody waits for")
	}
	var wg sync.WaitGroup
	for i := range int64(8) {
		wg.Go(func() {
			from := head.TierEnd * i / 8 / 10 * 10
			to := from + head.TierEnd/10/10*10
			same(t, replay(t, r, tp, head, from, to, 10_000), log.Want(from, to))
		})
	}
	wg.Wait()
	check()
}

// The disk cache takes a chunk at its second reading, but nothing of a replay.
func TestDiskCache(t *testing.T) {
	t.Parallel()
	tp := partition(0)
	w, log, head := archived(t, 2, 8<<20, func(l *tiertest.Log) { l.Random = true })
	fs := vfs.NewMem()
	open := func() *chunkcache.Cache {
		c, err := chunkcache.Open(chunkcache.Options{FS: fs, Dir: "/cache", MaxBytes: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	cache := open()
	r := w.reader(withCache(cache))
	same(t, replay(t, r, tp, head, 0, head.TierEnd, 1<<20), log.Want(0, head.TierEnd))
	if s := cache.Stats(); s.Writes != 0 {
		t.Fatalf("a replay was cached: %+v", s)
	}
	_ = r.Close()
	at := func(r *tiering.Reader, offset int64) {
		d, err := r.Read(context.Background(), tp, head, offset, 50_000)
		if err != nil {
			t.Fatal(err)
		}
		same(t, d.Slabs[0].Bytes(), log.Want(offset, d.Next))
		d.Release()
	}
	offset := head.TierEnd / 3
	r = w.reader(withCache(cache))
	at(r, offset)
	at(r, 5)
	if s := cache.Stats(); s.Writes != 0 {
		t.Fatalf("cached at the first reading: %+v", s)
	}
	at(r, 5)
	for deadline := time.Now().Add(time.Minute); cache.Stats().Writes == 0 && time.Now().Before(deadline); {
		runtime.Gosched() // what was asked for is answered before all of the chunk is there
	}
	_ = r.Close()
	if s := cache.Stats(); s.Writes != 1 {
		t.Fatalf("stats %+v", s)
	}
	_ = cache.Close()
	cache = open()
	defer cache.Close()
	r = w.reader(withCache(cache))
	if n := w.gets(func() { at(r, 5) }); n != 1 {
		t.Errorf("%d GETs for a footer and a cached chunk", n)
	}
	if s := cache.Stats(); s.Hits != 1 {
		t.Errorf("stats %+v", s)
	}
}

// Memory goes back when nobody reads.
func TestMemoryGoesBackWhenIdle(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		tp := partition(0)
		log := tiertest.NewLog(21, 0)
		log.AppendSegment(2<<20, 10, 1000)
		head := w.archive(tp, log)
		r := w.reader()
		defer r.Close()
		replay(t, r, tp, head, 0, head.TierEnd, 1<<20)
		if used, idle := r.Memory(); used+idle == 0 {
			t.Error("nothing is kept")
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if used, idle := r.Memory(); used+idle != 0 {
			t.Errorf("%d bytes in use and %d idle after three minutes", used, idle)
		}
	})
}

func TestCloseWhileReading(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		tp := partition(0)
		log := tiertest.NewLog(21, 0)
		log.AppendSegment(1<<20, 10, 1000)
		head := w.archive(tp, log)
		reached := make(chan struct{}, 10)
		w.faults.Add(faulty.Rule{Ops: faulty.Get, Skip: 1, Fault: faulty.Hold(reached, make(chan struct{}))})
		r := w.reader()
		done := make(chan error)
		go func() {
			_, err := r.Read(context.Background(), tp, head, 0, 1000)
			done <- err
		}()
		<-reached
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, tiering.ErrClosed) {
			t.Errorf("read: %v", err)
		}
		if _, err := r.Read(context.Background(), tp, head, 0, 1000); !errors.Is(err, tiering.ErrClosed) {
			t.Errorf("read after close: %v", err)
		}
	})
}
