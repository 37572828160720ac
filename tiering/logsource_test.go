package tiering_test

import (
	"bytes"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"firn/metadata/topic"
	"firn/segment"
	"firn/segment/batch"
	"firn/segment/vfs"
	"firn/tiering"
	"firn/tiering/manifest"
)

// producers counts batches: enough of a producer state to be told from another.
type producers struct{ n int }

func (p *producers) Reset()              { p.n = 0 }
func (p *producers) Load(b []byte) error { _, err := fmt.Sscan(string(b), &p.n); return err }
func (p *producers) Apply(batch.Batch)   { p.n++ }
func (p *producers) Snapshot() []byte    { return fmt.Append(nil, p.n) }

// A real log goes up, its local copies are dropped as far as a read has proven them, and every byte is still
// there, from the one tier or the other.
func TestRealLogGoesUpAndIsDropped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	disk, err := segment.OpenDisk(segment.DiskOptions{FS: vfs.NewMem(), Dir: "/data", BrokerID: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close(true)
	state := &producers{}
	log, err := disk.Open(topic.ID{1}, 0, segment.Options{Settings: segment.Settings{SegmentBytes: 64 << 10}, Producers: state})
	if err != nil {
		t.Fatal(err)
	}
	var hw atomic.Int64
	var want []byte
	appendSome := func(n int, epoch int32) {
		for range n {
			b := batch.Builder{BaseOffset: log.Next(), LeaderEpoch: epoch}
			for i := range 20 {
				b.Add(log.Next()+int64(i), nil, fmt.Appendf(nil, "record %d of epoch %d, the same text again and again", log.Next()+int64(i), epoch))
			}
			enc, err := b.Build(nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := log.Append([]batch.Batch{enc}); err != nil {
				t.Fatal(err)
			}
			state.Apply(enc)
			want = append(want, enc...)
		}
		hw.Store(log.Next())
	}
	if err := log.AssignEpoch(2); err != nil {
		t.Fatal(err)
	}
	appendSome(150, 2)
	if err := log.AssignEpoch(3); err != nil {
		t.Fatal(err)
	}
	appendSome(150, 3)

	tp := partition(0)
	p := w.uploader().Register(tp, 3, tiering.NewLogSource(log, hw.Load), tiering.Limits{})
	defer p.Close()
	sealedEnd := log.Segments()[len(log.Segments())-1].Base
	w.waitTierEnd(sealedEnd)
	if s := p.Status(); s.LagBytes <= 0 || s.LagBytes > 64<<10 || s.Lag < 0 || s.Lag > time.Minute {
		t.Errorf("status %+v", s)
	}

	view := tiering.LocalView{Tiered: true, TierEnd: p.Archive().ProvenTierEnd(), RetentionMs: -1, RetentionBytes: 0}
	for _, s := range log.Segments() {
		if s.Sealed {
			view.Sealed = append(view.Sealed, tiering.LocalSegment{Base: s.Base, End: s.End - 1, Size: s.Size, MaxTime: s.MaxTime})
		}
	}
	floor := tiering.LocalFloor(view, time.Now())
	if floor != sealedEnd {
		t.Fatalf("floor %d, want %d", floor, sealedEnd)
	}
	if _, err := log.DropBefore(floor, floor); err != nil {
		t.Fatal(err)
	}
	if log.Start() != floor {
		t.Fatalf("local log starts at %d", log.Start())
	}
	head := w.head(tp)
	r := w.reader()
	got := replay(t, r, tp, head, 0, head.TierEnd, 100_000)
	for offset := log.Start(); offset < log.Next(); {
		e, err := log.Read(offset, math.MaxInt64, 1<<20, true)
		if err != nil {
			t.Fatal(err)
		}
		if got, err = e.AppendTo(got); err != nil {
			t.Fatal(err)
		}
		offset = e.NextOffset()
		e.Release()
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, want %d", len(got), len(want))
	}
	checkTail(t, r, tp, head)
}

// checkTail looks at what a replica would begin with at the end of the tier.
func checkTail(t *testing.T, r *tiering.Reader, tp topic.Partition, head *manifest.Head) {
	t.Helper()
	tail, err := r.Tail(t.Context(), tp, head)
	if err != nil {
		t.Fatal(err)
	}
	if len(tail.Epochs) != 2 || tail.Epochs[0] != (tiering.EpochStart{Epoch: 2, Start: 0}) || tail.Epochs[1] != (tiering.EpochStart{Epoch: 3, Start: 3000}) {
		t.Errorf("epochs %+v", tail.Epochs)
	}
	if got, want := string(tail.ProducerSnapshot), fmt.Sprint(head.TierEnd/20); got != want {
		t.Errorf("producer snapshot %q, want %q", got, want)
	}
}
