package tiering_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"firn/metadata/topic"
	"firn/segment/batch"
	"firn/tiering"
	"firn/tiering/manifest"
	"firn/tiering/objstore"
	"firn/tiering/objstore/faulty"
	"firn/tiering/tiertest"
)

// Timestamps that jump about, over segments and blocks: every answer is the one that reading all records gives.
func TestFindTimeAgainstAllRecords(t *testing.T) {
	t.Parallel()
	tp := partition(0)
	ctx := context.Background()
	for name, codec := range map[string]batch.Codec{"plain": batch.None, "lz4": batch.LZ4} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			rng := rand.New(rand.NewPCG(4, 4))
			log := tiertest.NewLog(21, 0)
			log.Codec = codec
			times := map[int64]int64{}
			log.Now = func(offset int64) int64 {
				times[offset] = offset/3 + rng.Int64N(40)
				return times[offset]
			}
			for range 20 {
				log.AppendSegment(2000, 7, 20)
			}
			head := w.archive(tp, log)
			end := head.TierEnd
			archives := w.archives()
			for _, start := range []int64{0, end / 3, end - 20, end} {
				if _, err := archives.Archive(tp, 1).SetLogStart(ctx, start); err != nil {
					t.Fatal(err)
				}
				head := w.head(tp)
				r := w.reader()
				for range 200 {
					ts, from := rng.Int64N(end/3+60), rng.Int64N(end+1)
					want := int64(-1)
					for o := max(from, start); o < end; o++ {
						if times[o] >= ts {
							want = o
							break
						}
					}
					got, ok, err := r.FindTime(ctx, tp, head, ts, from)
					if err != nil || ok != (want >= 0) || ok && (got.Offset != want || got.Timestamp != times[want]) {
						t.Fatalf("time %d from %d, log start %d: %+v %v %v, want %d", ts, from, start, got, ok, err, want)
					}
				}
				best := int64(-1)
				for o := start; o < end; o++ {
					if best < 0 || times[o] > times[best] {
						best = o
					}
				}
				got, ok, err := r.MaxTime(ctx, tp, head)
				if err != nil || ok != (best >= 0) || ok && (got.Offset != best || got.Timestamp != times[best]) {
					t.Fatalf("max time, log start %d: %+v %v %v, want %d at %d", start, got, ok, err, best, times[best])
				}
			}
		})
	}
}

// The greatest timestamp of the first segment belongs to a record below the log start.
func TestMaxTimeWhenTheNewestRecordsAreDeleted(t *testing.T) {
	t.Parallel()
	tp := partition(0)
	ctx := context.Background()
	for name, later := range map[string]int64{"rest is older": 1, "rest is newer": 700} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			log := tiertest.NewLog(21, 0)
			log.Now = func(offset int64) int64 {
				switch {
				case offset < 10:
					return 1000 - offset
				case offset < 200:
					return 500 + offset%50
				default:
					return later
				}
			}
			log.Append(20, 10, 100)
			log.Commit()
			_ = log.Roll()
			log.AppendSegment(1000, 10, 100)
			w.archive(tp, log)
			if _, err := w.archives().Archive(tp, 1).SetLogStart(ctx, 10); err != nil {
				t.Fatal(err)
			}
			want := int64(49) // 549
			if later > 549 {
				want = 200
			}
			got, ok, err := w.reader().MaxTime(ctx, tp, w.head(tp))
			if err != nil || !ok || got.Offset != want {
				t.Errorf("%+v %v %v, want %d", got, ok, err, want)
			}
		})
	}
}

// What a batch claims and its records do not hold hides nothing that stands behind it.
func TestMaxTimeBehindABatchThatClaimsTooMuch(t *testing.T) {
	t.Parallel()
	tp := partition(0)
	w := newWorld(t)
	log := tiertest.NewLog(23, 0)
	add := func() {
		log.Append(2, 10, 100)
		log.Commit()
		_ = log.Roll()
	}
	add()
	log.Change = func(b batch.Batch) { claim(b, 5000) }
	add()
	log.Change = nil
	add()
	head := w.archive(tp, log)
	got, ok, err := w.reader().MaxTime(context.Background(), tp, head)
	if err != nil || !ok || got.Offset != 59 || got.Timestamp != 59 {
		t.Errorf("%+v %v %v, want 59", got, ok, err)
	}
}

// Where a batch claims too much, not all that stands beside it is read.
func TestMaxTimeReadsLittleOfALargeObject(t *testing.T) {
	t.Parallel()
	tp := partition(0)
	w := newWorld(t)
	log := tiertest.NewLog(25, 0)
	log.Random = true
	log.Append(10, 10, 10_000)
	log.Change = func(b batch.Batch) { claim(b, 1<<40) }
	log.Append(1, 10, 10_000)
	log.Change = nil
	end := log.Append(60, 10, 10_000) // 6 MB
	log.Commit()
	_ = log.Roll()
	head := w.archive(tp, log)
	before := w.faults.Calls(faulty.Get)
	got, ok, err := w.reader().MaxTime(context.Background(), tp, head)
	if err != nil || !ok || got.Offset != end-1 {
		t.Errorf("%+v %v %v, want %d", got, ok, err, end-1)
	}
	if n := w.faults.Calls(faulty.Get) - before; n > 3 { // the footer, the batch and the last block
		t.Errorf("%d requests", n)
	}
}

// claim makes a batch say that its greatest timestamp is ts.
func claim(b batch.Batch, ts int64) {
	binary.BigEndian.PutUint64(b[35:], uint64(ts))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
}

// A page tells the greatest timestamp of all its segments, those below the log start too.
func TestMaxTimeOfAPageThatIsPartlyDeleted(t *testing.T) {
	t.Parallel()
	tp := partition(0)
	ctx := context.Background()
	w := newWorld(t)
	log := tiertest.NewLog(24, 0)
	log.Now = func(offset int64) int64 {
		if offset == 0 {
			return 1 << 40
		}
		return offset
	}
	for range 6 {
		log.Append(1, 1, 10)
		log.Commit()
		_ = log.Roll()
	}
	w.archive(tp, log)
	w.asOnePage(tp)
	if _, err := w.archives().Archive(tp, 1).SetLogStart(ctx, 2); err != nil {
		t.Fatal(err)
	}
	got, ok, err := w.reader().MaxTime(ctx, tp, w.head(tp))
	if err != nil || !ok || got.Offset != 5 {
		t.Errorf("%+v %v %v, want 5", got, ok, err)
	}
}

// asOnePage puts the segments of a head that has no root yet into a page, though they do not fill it.
func (w *world) asOnePage(tp topic.Partition) {
	w.t.Helper()
	ctx := context.Background()
	keys := tiering.Keys{Cluster: cluster}
	raw, rev, err := w.anchor.Load(ctx, tp)
	if err != nil {
		w.t.Fatal(err)
	}
	h, err := manifest.DecodeHead(raw)
	if err != nil {
		w.t.Fatal(err)
	}
	page := manifest.Page{Segments: h.Tail}
	object := page.Encode()
	root := manifest.Root{Seq: 1}
	root.AddPage(page, 1, object)
	top := root.Encode()
	h.Tail, h.Root = nil, manifest.RootRef{Seq: 1, LeaderEpoch: 1, Rand: 1, Size: uint32(len(top)), CRC: manifest.Checksum(top)}
	for key, b := range map[string][]byte{keys.Page(tp, root.Pages[0]): object, keys.Root(tp, h.Root): top} {
		if _, err := w.raw.Put(ctx, key, bytes.NewReader(b), objstore.Condition{}); err != nil {
			w.t.Fatal(err)
		}
	}
	if _, ok, err := w.anchor.Swap(ctx, tp, rev, 1, h.Encode()); err != nil || !ok {
		w.t.Fatal(ok, err)
	}
}

// What a producer sent with a good CRC and records that do not decode is found by its header, as it was before it was
// archived: it is no damage, and what stands behind it can still be found.
func TestFindTimeOfRecordsThatDoNotDecode(t *testing.T) {
	t.Parallel()
	tp := partition(0)
	ctx := context.Background()
	w := newWorld(t)
	log := tiertest.NewLog(22, 0)
	log.Append(3, 10, 100)
	log.Change = func(b batch.Batch) {
		b[22] |= byte(batch.LZ4)
		b.SetLogAppendTime(500) // makes the CRC anew
	}
	log.Append(1, 10, 100)
	log.Change, log.Now = nil, func(int64) int64 { return 400 }
	log.Append(3, 10, 100)
	log.Commit()
	_ = log.Roll()
	head := w.archive(tp, log)
	r := w.reader()
	for _, c := range []struct{ ts, from, want int64 }{{20, 0, 20}, {30, 0, 30}, {450, 0, 30}, {450, 33, 33}, {400, 40, 40}} {
		if got, ok, err := r.FindTime(ctx, tp, head, c.ts, c.from); err != nil || !ok || got.Offset != c.want {
			t.Errorf("time %d from %d: %+v %v %v, want %d", c.ts, c.from, got, ok, err, c.want)
		}
	}
	if got, ok, err := r.MaxTime(ctx, tp, head); err != nil || !ok || got.Offset != 30 || got.Timestamp != 500 {
		t.Errorf("largest time: %+v %v %v", got, ok, err)
	}
}
