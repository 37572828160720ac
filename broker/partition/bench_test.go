package partition

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"firn/metadata/topic"
	"firn/segment/batch"
	"firn/segment/vfs"
)

// counter is a completion that only counts.
type counter struct{ n atomic.Int64 }

func (c *counter) AppendDone(a *Append) {
	if a.Err != nil {
		panic(a.Err)
	}
	c.n.Add(1)
}

// BenchmarkAppend appends batches of 256 KiB to a relaxed partition on a real disk, as one connection does.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1 << 10, 256 << 10} {
		b.Run(map[int]string{1 << 10: "1KiB", 256 << 10: "256KiB"}[size], func(b *testing.B) {
			g := newRigIn(b, vfs.OS(), b.TempDir())
			c := relaxedConfig()
			c.Retention.Bytes = 256 << 20
			r := g.lead(c)
			recs := aged(b, nowMs(), size)
			set := &Produce{Parts: make([]ProducePart, 1), Done: func(*Produce) {}}
			b.ReportAllocs()
			b.SetBytes(int64(len(recs)))
			for b.Loop() {
				batch.Batch(recs).SetBaseOffset(0)
				set.Parts[0].Replica, set.Parts[0].Append.Records, set.Parts[0].Append.Acks = r, recs, AcksAll
				g.set.Produce(set)
				if err := set.Parts[0].Append.Err; err != nil {
					b.Fatal(err)
				}
				if r.appended.Load()%(512<<20) < uint64(len(recs)) {
					r.retain(time.Now())
				}
			}
		})
	}
}

// BenchmarkAppendIdempotent is the cost of the sequence check.
func BenchmarkAppendIdempotent(b *testing.B) {
	g := newRig(b, vfs.NewMem())
	c := relaxedConfig()
	c.Segment.Bytes, c.Retention.Bytes = 4<<20, 8<<20
	r := g.lead(c)
	var done counter
	a := &Append{Acks: AcksAll, Done: &done}
	var seq int32
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		a.Records = idempotent(b, 7, 0, seq, 1, "value")
		if seq++; seq%10000 == 0 {
			r.retain(time.Now())
		}
		b.StartTimer()
		r.Append(a)
	}
}

// BenchmarkFetchPlan plans and finishes a fetch of many partitions, one of which has something to say.
func BenchmarkFetchPlan(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(map[int]string{1: "1partition", 100: "100partitions"}[n], func(b *testing.B) {
			g := newRig(b, vfs.NewMem())
			f := &Fetch{MaxBytes: 1 << 20, MinBytes: 1, Done: func(*Fetch) {}}
			for i := range n {
				r := g.open(topic.Partition{ID: topic.ID{5}, Index: int32(i)}, relaxedConfig())
				if err := r.BecomeLeader(alone(1)); err != nil {
					b.Fatal(err)
				}
				f.Parts = append(f.Parts, part(r, 0))
			}
			for range 100 {
				appendOK(b, f.Parts[0].Replica, aged(b, nowMs(), 1000))
			}
			b.ReportAllocs()
			for b.Loop() {
				g.set.Fetch(context.Background(), f)
				f.release()
			}
		})
	}
}

// BenchmarkFetchWait begins a wait and ends it by an append.
func BenchmarkFetchWait(b *testing.B) {
	g := newRig(b, vfs.NewMem())
	c := relaxedConfig()
	c.Segment.Bytes, c.Retention.Bytes = 4<<20, 8<<20
	r := g.lead(c)
	done := make(chan struct{})
	f := &Fetch{MaxBytes: 1 << 20, MinBytes: 1, MaxWait: patience, Parts: []FetchPart{part(r, 0)}, Done: func(*Fetch) { done <- struct{}{} }}
	var n counter
	a := &Append{Acks: AcksAll, Done: &n}
	recs := records(b, 1, "value")
	b.ReportAllocs()
	for b.Loop() {
		f.Parts[0].Offset = r.log.Next()
		g.set.Fetch(context.Background(), f)
		batch.Batch(recs).SetBaseOffset(0)
		a.Records = recs
		r.Append(a)
		<-done
		f.release()
		if r.log.Next()%10000 == 0 {
			r.retain(time.Now())
		}
	}
}
