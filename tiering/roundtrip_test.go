package tiering_test

import (
	"context"
	"errors"
	"testing"

	"firn/segment/batch"
	"firn/tiering"
	"firn/tiering/objstore"
	"firn/tiering/tiertest"
)

func TestWhatGoesUpComesBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		codec             batch.Codec
		random            bool
		records, valueLen int
	}{
		"json":               {batch.None, false, 20, 300},
		"incompressible":     {batch.None, true, 20, 300},
		"producer's lz4":     {batch.LZ4, false, 50, 300},
		"batches over 256KB": {batch.None, false, 3, 150_000},
		"tiny":               {batch.None, false, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			log := tiertest.NewLog(3, 100)
			log.Codec, log.Random = c.codec, c.random
			for range 3 {
				log.AppendSegment(1<<20, c.records, c.valueLen)
			}
			log.Append(2, c.records, c.valueLen)
			tp := partition(0)
			head := w.archive(tp, log)
			if head.LogStart != 100 || head.TierEnd != log.Next() || head.Segments != 4 || head.RawBytes != int64(len(log.Want(0, log.Next()))) {
				t.Fatalf("head %+v", head)
			}
			r := w.reader()
			for _, maxBytes := range []int{1, 70_000, 1 << 20, 64 << 20} {
				same(t, replay(t, r, tp, head, 100, head.TierEnd, maxBytes), log.Want(100, head.TierEnd))
			}
			middle := (100 + head.TierEnd) / 2
			same(t, replay(t, r, tp, head, middle, head.TierEnd, 1<<20), log.Want(middle, head.TierEnd))
			compressed := head.StoredBytes < head.RawBytes*9/10
			if want := !c.random && c.codec == batch.None; compressed != want {
				t.Errorf("%d bytes stored in %d", head.RawBytes, head.StoredBytes)
			}
		})
	}
}

func TestReadOutsideOfTheTier(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := tiertest.NewLog(3, 100)
	log.AppendSegment(1000, 5, 100)
	tp := partition(0)
	head := w.archive(tp, log)
	r := w.reader()
	for _, offset := range []int64{-1, 0, 99, head.TierEnd, head.TierEnd + 1} {
		var out *tiering.OutOfRangeError
		if _, err := r.Read(context.Background(), tp, head, offset, 1000); !errors.As(err, &out) || out.Start != 100 || out.End != head.TierEnd {
			t.Errorf("offset %d: %v", offset, err)
		}
	}
	if _, _, err := w.anchor.Load(context.Background(), partition(1)); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := r.MaxTime(context.Background(), partition(1), w.head(partition(1))); ok || err != nil {
		t.Errorf("max time of nothing: %v %v", ok, err)
	}
	if s, err := r.Tail(context.Background(), partition(1), w.head(partition(1))); s.End != 0 || err != nil {
		t.Errorf("tail of nothing: %+v %v", s, err)
	}
}

func TestTailAndEpochs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := tiertest.NewLog(3, 0)
	log.Epoch(0)
	log.AppendSegment(1000, 5, 100)
	log.Epoch(4)
	log.Append(3, 5, 100)
	log.Epoch(7)
	start7 := log.Next()
	log.AppendSegment(1000, 5, 100)
	tp := partition(0)
	u := w.uploader()
	p := u.Register(tp, 7, log, tiering.Limits{})
	w.waitTierEnd(log.Next())
	p.Close()
	head := w.head(tp)
	r := w.reader()
	tail, err := r.Tail(context.Background(), tp, head)
	if err != nil {
		t.Fatal(err)
	}
	if tail.End != head.TierEnd || len(tail.Epochs) != 3 || tail.Epochs[2] != (tiering.EpochStart{Epoch: 7, Start: start7}) {
		t.Errorf("tail %+v", tail)
	}
	if got := string(tail.ProducerSnapshot); got == "" || got != string(lastSnapshot(log)) {
		t.Errorf("snapshot %q", got)
	}
	for epoch, want := range map[int32][2]int64{0: {0, tail.Epochs[1].Start}, 3: {0, tail.Epochs[1].Start}, 4: {4, start7}, 6: {4, start7}, 7: {7, head.TierEnd}, 9: {7, head.TierEnd}} {
		found, end, ok, err := r.EpochEnd(context.Background(), tp, head, epoch)
		if err != nil || !ok || int64(found) != want[0] || end != want[1] {
			t.Errorf("epoch %d: %d ends at %d %v %v, want %v", epoch, found, end, ok, err, want)
		}
	}
	if _, _, ok, err := r.EpochEnd(context.Background(), tp, head, -1); ok || err != nil {
		t.Errorf("epoch -1: %v %v", ok, err)
	}
}

func lastSnapshot(log *tiertest.Log) []byte {
	sealed := log.Sealed(0)
	b, _ := sealed[len(sealed)-1].ProducerSnapshot()
	for _, s := range sealed {
		s.Release()
	}
	return b
}

// Keys are what the documentation says, so that other programs can find the objects.
func TestKeys(t *testing.T) {
	w := newWorld(t)
	log := tiertest.NewLog(3, 5)
	log.AppendSegment(1000, 5, 100)
	tp := partition(3)
	head := w.archive(tp, log)
	var keys []string
	if err := w.raw.List(context.Background(), "", "", func(i objstore.Info) error { keys = append(keys, i.Key); return nil }); err != nil {
		t.Fatal(err)
	}
	k := tiering.Keys{Cluster: cluster}
	want := k.Segment(tp, head.Tail[0])
	if len(keys) != 1 || keys[0] != want {
		t.Fatalf("keys %q, want %q", keys, want)
	}
	if got, ok := k.ParseSegment(tp, want); !ok || got.Base != head.Tail[0].Base || got.End != head.Tail[0].End || got.BrokerEpoch != 42 || got.LeaderEpoch != 1 || got.Attempt != head.Tail[0].Attempt {
		t.Errorf("parsed %+v %v", got, ok)
	}
	for _, bad := range []string{"", want + "x", "x" + want, k.Partition(tp) + "s/1-2-3-4-5.seg", k.Segments(partition(4)) + want[len(k.Segments(tp)):]} {
		if _, ok := k.ParseSegment(tp, bad); ok {
			t.Errorf("%q parsed", bad)
		}
	}
}
