package tiering_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"firn/metadata/topic"
	"firn/segment/batch"
	"firn/tiering"
	"firn/tiering/manifest"
	"firn/tiering/objstore"
	"firn/tiering/objstore/faulty"
	"firn/tiering/tiertest"
)

// bubble runs a test in a synctest bubble with a world; everything of the world ends before the bubble does.
func bubble(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { fn(t, newWorld(t)) })
}

func TestUploadWaitsForTheHighWatermark(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		tp := partition(0)
		log := tiertest.NewLog(1, 0)
		log.Append(10, 2, 100)
		_ = log.Roll()
		p := w.uploader().Register(tp, 1, log, tiering.Limits{})
		defer p.Close()
		synctest.Wait()
		time.Sleep(time.Hour)
		if h := w.head(tp); h.TierEnd != 0 {
			t.Fatalf("uploaded above the high watermark: %+v", h)
		}
		log.SetHighWatermark(19)
		p.HighWatermark(19)
		synctest.Wait()
		if h := w.head(tp); h.TierEnd != 0 {
			t.Fatalf("uploaded above the high watermark: %+v", h)
		}
		p.HighWatermark(log.Commit())
		synctest.Wait()
		if h := w.head(tp); h.TierEnd != 20 || p.Archive().ProvenTierEnd() != 20 {
			t.Fatalf("head %+v", h)
		}
	})
}

func TestActiveSegmentIsSealedByAge(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		tp := partition(0)
		log := tiertest.NewLog(1, 0)
		p := w.uploader().Register(tp, 1, log, tiering.Limits{MaxLag: 10 * time.Minute, MinBytes: 5000})
		defer p.Close()
		log.OnRoll(p.Sealed)
		synctest.Wait()
		time.Sleep(time.Hour) // nothing there, nothing happens
		log.Append(40, 2, 100)
		p.HighWatermark(log.Commit())
		time.Sleep(9 * time.Minute)
		synctest.Wait()
		if h := w.head(tp); h.TierEnd != 0 {
			t.Fatalf("sealed too early: %+v", h)
		}
		if s := p.Status(); s.Lag != 9*time.Minute || s.LagBytes < 5000 {
			t.Errorf("status %+v", s)
		}
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		if h := w.head(tp); h.TierEnd != 80 {
			t.Fatalf("not sealed after ten minutes: %+v", h)
		}
		if s := p.Status(); s.Lag != 0 || s.LagBytes != 0 || s.TierEnd != 80 || s.Segments != 1 {
			t.Errorf("status %+v", s)
		}
		// Less than tier.min.bytes waits for a day, or until there is more.
		log.Append(1, 1, 10)
		p.HighWatermark(log.Commit())
		time.Sleep(time.Hour)
		synctest.Wait()
		if h := w.head(tp); h.TierEnd != 80 {
			t.Fatalf("a small segment was sealed after an hour: %+v", h)
		}
		time.Sleep(23*time.Hour + time.Minute)
		synctest.Wait()
		if h := w.head(tp); h.TierEnd != 81 {
			t.Fatalf("a small segment was not sealed after a day: %+v", h)
		}
		log.Append(1, 1, 10)
		p.HighWatermark(log.Commit())
		time.Sleep(30 * time.Minute)
		log.Append(40, 2, 100)
		p.HighWatermark(log.Commit())
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		if h := w.head(tp); h.TierEnd != log.Next() {
			t.Fatalf("grown beyond tier.min.bytes and not sealed: %+v", h)
		}
	})
}

// A segment that was begun while the clock was far ahead is archived no later than others.
func TestActiveSegmentOfAClockThatWasAhead(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		log := ahead{tiertest.NewLog(1, 0)}
		log.Append(2, 1, 100)
		end := log.Commit()
		p := w.uploader().Register(partition(0), 1, log, tiering.Limits{MaxLag: 10 * time.Minute})
		defer p.Close()
		log.OnRoll(p.Sealed)
		time.Sleep(21 * time.Minute)
		synctest.Wait()
		if h := w.head(partition(0)); h.TierEnd != end {
			t.Errorf("tier ends at %d, want %d", h.TierEnd, end)
		}
	})
}

// ahead is a log whose records came a year before the clock was set right.
type ahead struct{ *tiertest.Log }

func (l ahead) Active() (base, size int64, since time.Time) {
	if base, size, since = l.Log.Active(); !since.IsZero() {
		since = since.Round(0).AddDate(1, 0, 0)
	}
	return base, size, since
}

// The bucket is away for an hour: the lag shows, the pauses grow, and then everything goes up.
func TestBucketAway(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		tp := partition(0)
		log := tiertest.NewLog(1, 0)
		u := w.uploader()
		p := u.Register(tp, 1, log, tiering.Limits{})
		defer p.Close()
		log.OnRoll(p.Sealed)
		remove := w.faults.Add(faulty.Rule{Fault: faulty.Fail(nil)})
		for range 5 {
			log.AppendSegment(2000, 5, 100)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		s := p.Status()
		if s.Failures < 10 || s.Failures > 120 || !errors.Is(s.Err, faulty.ErrInjected) || s.LagBytes != log.Bytes(0) {
			t.Errorf("status %+v", s)
		}
		if puts := w.faults.Calls(faulty.Put); puts != 1 {
			t.Errorf("%d segments were encoded for a bucket that is away", puts)
		}
		if all := u.Status(); len(all) != 1 || all[0].LagBytes != s.LagBytes {
			t.Errorf("status of all: %+v", all)
		}
		remove()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if h := w.head(tp); h.TierEnd != log.Next() {
			t.Fatalf("head %+v", h)
		}
		if s := p.Status(); s.Failures != 0 || s.Err != nil || s.LagBytes != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

// slowLink is a bucket to which only so many bytes go in a second.
type slowLink struct {
	objstore.Bucket
	perSecond int64
}

func (b slowLink) Put(ctx context.Context, key string, src objstore.Source, cond objstore.Condition) (objstore.Info, error) {
	select {
	case <-time.After(time.Duration(src.Size()) * time.Second / time.Duration(b.perSecond)):
		return b.Bucket.Put(ctx, key, src, cond)
	case <-ctx.Done():
		return objstore.Info{}, ctx.Err()
	}
}

// Over a link of two megabits a large segment takes its time, but it gets through.
func TestLargeSegmentOverASlowLink(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bucket = slowLink{w.bucket, 250_000}
		log := tiertest.NewLog(1, 0)
		log.Random, log.Forget = true, true
		log.AppendSegment(24<<20, 100, 10_000)
		p := w.uploader().Register(partition(0), 1, log, tiering.Limits{})
		defer p.Close()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if h := w.head(partition(0)); h.TierEnd != log.Next() {
			t.Errorf("head %+v, status %+v", h, p.Status())
		}
	})
}

// A store that asks for less is asked less, for all partitions together.
func TestThrottledStore(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.faults.Add(faulty.Rule{Ops: faulty.Put, Times: 6, Fault: faulty.Throttle()})
		u := w.uploader()
		var logs []*tiertest.Log
		for n := range int32(8) {
			log := tiertest.NewLog(uint64(n), 0)
			log.AppendSegment(2000, 5, 100)
			logs = append(logs, log)
			p := u.Register(partition(n), 1, log, tiering.Limits{})
			defer p.Close()
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if puts := w.faults.Calls(faulty.Put); puts > 8 {
			t.Errorf("%d puts within two seconds of being throttled", puts)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		for n, log := range logs {
			if h := w.head(partition(int32(n))); h.TierEnd != log.Next() {
				t.Errorf("partition %d: %+v", n, h)
			}
		}
	})
}

// A lost reply to a put makes an orphan at most, never a second object under one key; a client's own retry
// that meets its own object is a success.
func TestPutWithLostReply(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		tp := partition(0)
		log := tiertest.NewLog(1, 0)
		log.AppendSegment(2000, 5, 100)
		w.faults.Add(faulty.Rule{Ops: faulty.Put, Times: 1, Fault: faulty.LoseReply()})
		p := w.uploader().Register(tp, 1, log, tiering.Limits{})
		defer p.Close()
		time.Sleep(time.Minute)
		synctest.Wait()
		if h := w.head(tp); h.TierEnd != log.Next() {
			t.Fatalf("head %+v", h)
		}
		if n := len(w.keys()); n != 1 {
			t.Errorf("%d objects", n)
		}
	})
	bubble(t, func(t *testing.T, w *world) {
		tp := partition(0)
		log := tiertest.NewLog(1, 0)
		log.AppendSegment(2000, 5, 100)
		u := w.uploader(func(o *tiering.UploaderOptions) { o.Bucket = twice{o.Bucket} })
		p := u.Register(tp, 1, log, tiering.Limits{})
		defer p.Close()
		synctest.Wait()
		if h := w.head(tp); h.TierEnd != log.Next() || p.Status().Failures != 0 {
			t.Fatalf("head %+v, %+v", h, p.Status())
		}
	})
}

// twice does each put twice, as a client library that retries does.
type twice struct{ objstore.Bucket }

func (b twice) Put(ctx context.Context, key string, src objstore.Source, cond objstore.Condition) (objstore.Info, error) {
	if _, err := b.Bucket.Put(ctx, key, src, cond); err != nil {
		return objstore.Info{}, err
	}
	return b.Bucket.Put(ctx, key, src, cond)
}

func TestUploadStopsWhenFenced(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		tp := partition(0)
		log := tiertest.NewLog(1, 0)
		log.AppendSegment(2000, 5, 100)
		p := w.uploader().Register(tp, 3, log, tiering.Limits{})
		defer p.Close()
		log.OnRoll(p.Sealed)
		synctest.Wait()
		// An election without quorum writes its epoch into the head.
		h := *w.head(tp)
		h.WriterEpoch = 4
		w.anchor.Set(tp, h.Encode())
		log.AppendSegment(2000, 5, 100)
		time.Sleep(time.Hour)
		synctest.Wait()
		if s := p.Status(); !s.Fenced {
			t.Errorf("status %+v", s)
		}
		if got := w.head(tp); got.TierEnd != h.TierEnd || len(w.keys()) != 1 {
			t.Errorf("head %+v, objects %v", got, w.keys())
		}
		puts := w.faults.Calls(faulty.Put)
		log.AppendSegment(2000, 5, 100)
		time.Sleep(time.Hour)
		synctest.Wait()
		if w.faults.Calls(faulty.Put) != puts {
			t.Error("a fenced leader goes on uploading")
		}
	})
}

// The object of a leader that was fenced is deleted, but a bucket that gives no answer about that keeps no other partition from
// being uploaded.
func TestOrphansThatAreNotDeletedHoldUpNoUpload(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.faults.Add(faulty.Rule{Ops: faulty.Delete, Fault: faulty.Hold(nil, nil)})
		u := w.uploader()
		for n := range int32(2) { // as many as go up at a time
			log := tiertest.NewLog(1, 0)
			log.AppendSegment(2000, 5, 100)
			p := u.Register(partition(n), 3, log, tiering.Limits{})
			defer p.Close()
			log.OnRoll(p.Sealed)
			synctest.Wait()
			h := *w.head(partition(n))
			h.WriterEpoch = 4
			w.anchor.Set(partition(n), h.Encode())
			log.AppendSegment(2000, 5, 100)
		}
		synctest.Wait()
		log := tiertest.NewLog(1, 0)
		log.AppendSegment(2000, 5, 100)
		p := u.Register(partition(2), 3, log, tiering.Limits{})
		defer p.Close()
		time.Sleep(time.Minute)
		synctest.Wait()
		if h := w.head(partition(2)); h.TierEnd != log.Next() {
			t.Errorf("another partition was uploaded up to %d of %d", h.TierEnd, log.Next())
		}
	})
}

// Nor does a catalog that gives no answer about a topic keep any other from being uploaded.
func TestTopicsThatAreNotDescribedHoldUpNoUpload(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		u := w.uploader(func(o *tiering.UploaderOptions) {
			o.Describe = func(ctx context.Context, id topic.ID) error {
				if id == partition(0).ID {
					return nil
				}
				<-ctx.Done()
				return ctx.Err()
			}
		})
		for n := range byte(2) { // as many as go up at a time
			log := tiertest.NewLog(1, 0)
			log.AppendSegment(2000, 5, 100)
			p := u.Register(topic.Partition{ID: topic.ID{n + 1}}, 1, log, tiering.Limits{})
			defer p.Close()
		}
		synctest.Wait()
		log := tiertest.NewLog(1, 0)
		log.AppendSegment(2000, 5, 100)
		p := u.Register(partition(0), 1, log, tiering.Limits{})
		defer p.Close()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if h := w.head(partition(0)); h.TierEnd != log.Next() {
			t.Errorf("another topic was uploaded up to %d of %d", h.TierEnd, log.Next())
		}
	})
}

// However many partitions a bucket gives no answer about, those that it takes go up as soon as they can.
func TestPartitionsThatHangLeaveAPlaceToOthers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		u := w.uploader()
		keys := tiering.Keys{Cluster: cluster}
		hangs := map[string]bool{}
		for n := range int32(12) {
			hangs[keys.Segments(partition(n))] = true
		}
		w.faults.Add(faulty.Rule{Ops: faulty.Put, Fault: faulty.Hold(nil, nil), Match: func(key string) bool {
			return hangs[key[:strings.LastIndexByte(key, '/')+1]]
		}})
		for n := range int32(12) {
			log := tiertest.NewLog(1, 0)
			log.AppendSegment(2000, 5, 100)
			p := u.Register(partition(n), 1, log, tiering.Limits{})
			defer p.Close()
		}
		time.Sleep(20 * time.Minute)
		log := tiertest.NewLog(1, 0)
		for range 20 {
			log.AppendSegment(2000, 5, 100)
		}
		p := u.Register(partition(12), 1, log, tiering.Limits{})
		defer p.Close()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if h := w.head(partition(12)); h.TierEnd != log.Next() {
			t.Errorf("another partition was uploaded up to %d of %d", h.TierEnd, log.Next())
		}
	})
}

// The new leader's log may begin its next segment elsewhere than the tier ends.
func TestNewLeaderGoesOnWithinASegment(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		tp := partition(0)
		a := tiertest.NewLog(1, 0)
		a.Append(10, 4, 100)
		u := w.uploader()
		a.Commit()
		_ = a.Roll()
		p := u.Register(tp, 1, a, tiering.Limits{})
		synctest.Wait()
		p.Close()
		b := tiertest.NewLog(1, 0) // the same batches, sealed elsewhere
		b.Append(15, 4, 100)
		b.Commit()
		_ = b.Roll()
		p = u.Register(tp, 2, b, tiering.Limits{})
		defer p.Close()
		synctest.Wait()
		h := w.head(tp)
		if h.TierEnd != 60 || len(h.Tail) != 2 || h.Tail[1].Base != 40 || h.Tail[1].LeaderEpoch != 2 {
			t.Fatalf("head %+v", h)
		}
		r := w.reader()
		defer r.Close()
		same(t, replay(t, r, tp, h, 0, 60, 1000), b.Want(0, 60))
	})
}

// A log that was not tiered so far begins where it begins; a hole behind what is in the tier stops everything.
func TestGaps(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		tp := partition(0)
		log := tiertest.NewLog(1, 500)
		log.AppendSegment(2000, 5, 100)
		u := w.uploader()
		p := u.Register(tp, 1, log, tiering.Limits{})
		synctest.Wait()
		p.Close()
		if h := w.head(tp); h.LogStart != 500 || h.TierEnd != log.Next() {
			t.Fatalf("head %+v", h)
		}
		lost := tiertest.NewLog(2, log.Next()+100)
		lost.AppendSegment(2000, 5, 100)
		p = u.Register(tp, 2, lost, tiering.Limits{})
		defer p.Close()
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := p.Status(); !errors.Is(s.Err, tiering.ErrGap) {
			t.Errorf("status %+v", s)
		}
	})
}

// A head that knows of nothing may be of a backup, older than what the bucket has and the local log has not: that is a gap, and not a log
// that was never archived.
func TestEmptyTierOfABackupIsAGap(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.anchor.SetFaults(0, 0, 0, 0)
		tp := partition(0)
		log := tiertest.NewLog(1, 0)
		log.AppendSegment(2000, 5, 100)
		w.archive(tp, log)
		end := log.Next()
		w.anchor.Set(tp, nil)
		log.Drop(end)
		log.AppendSegment(2000, 5, 100)
		p := w.uploader().Register(tp, 2, log, tiering.Limits{})
		defer p.Close()
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := p.Status(); !errors.Is(s.Err, tiering.ErrGap) {
			t.Errorf("%+v", s)
		}
		if h := w.head(tp); h.LogStart != 0 || h.TierEnd != 0 {
			t.Errorf("%+v", h)
		}
	})
}

// What a leader of the past still had on its way moves the tier's end behind the new leader's back, and with it the begin of the local log.
// That is no gap, and nothing of it is below the log start.
func TestTierEndThatALeaderOfThePastHasMoved(t *testing.T) {
	for _, archived := range []bool{false, true} {
		bubble(t, func(t *testing.T, w *world) {
			w.anchor.SetFaults(0, 0, 0, 0)
			tp := partition(0)
			log := tiertest.NewLog(1, 0)
			if archived {
				log.AppendSegment(2000, 5, 100)
				w.archive(tp, log)
			}
			base := log.Next()
			log.AppendSegment(2000, 5, 100)
			end := log.Next()
			log.Epoch(6)
			away := true
			u := w.uploader(func(o *tiering.UploaderOptions) {
				o.Describe = func(context.Context, topic.ID) error {
					if away {
						return errors.New("no catalog")
					}
					return nil
				}
			})
			p := u.Register(tp, 6, log, tiering.Limits{})
			defer p.Close()
			synctest.Wait()
			if err := w.archives().Archive(tp, 5).Commit(t.Context(), segmentAt(base, end-1, 5, 1)); err != nil {
				t.Fatal(err)
			}
			log.Drop(end)
			log.AppendSegment(2000, 5, 100)
			away = false
			p.Sealed()
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			if s := p.Status(); s.Err != nil {
				t.Errorf("archived before %v: %v", archived, s.Err)
			}
			if h := w.head(tp); h.LogStart != 0 || h.TierEnd != log.Next() {
				t.Errorf("archived before %v: the log is [%d, %d), the tier [%d, %d)", archived, 0, log.Next(), h.LogStart, h.TierEnd)
			}
		})
	}
}

// DeleteRecords beyond the tier and into a batch.
func TestUploadAfterDeleteRecords(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		tp := partition(0)
		log := tiertest.NewLog(1, 0)
		log.AppendSegment(2000, 5, 100)
		p := w.uploader().Register(tp, 1, log, tiering.Limits{})
		defer p.Close()
		log.OnRoll(p.Sealed)
		synctest.Wait()
		log.Append(10, 10, 100)
		start := log.Next() - 33 // within a batch
		if h, err := p.Archive().SetLogStart(context.Background(), start); err != nil || h.TierEnd != start {
			t.Fatal(h, err)
		}
		log.AppendSegment(2000, 5, 100)
		synctest.Wait()
		h := w.head(tp)
		if h.TierEnd != log.Next() || h.LogStart != start {
			t.Fatalf("head %+v", h)
		}
		r := w.reader()
		defer r.Close()
		same(t, replay(t, r, tp, h, start, h.TierEnd, 1000), log.Want(start, h.TierEnd))
	})
}

func TestPausedAndDescribed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		tp := partition(0)
		log := tiertest.NewLog(1, 0)
		log.AppendSegment(2000, 5, 100)
		away, described := true, 0
		u := w.uploader(func(o *tiering.UploaderOptions) {
			o.Describe = func(context.Context, topic.ID) error {
				if away {
					return errors.New("no catalog")
				}
				described++
				return nil
			}
		})
		p := u.Register(tp, 1, log, tiering.Limits{Paused: true})
		defer p.Close()
		time.Sleep(time.Minute)
		p.SetLimits(tiering.Limits{})
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := w.faults.Calls(faulty.Put); n != 0 {
			t.Fatalf("%d puts of a topic that the catalog does not know", n)
		}
		away = false
		log.AppendSegment(2000, 5, 100)
		p.Sealed()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if h := w.head(tp); h.TierEnd != log.Next() || described != 1 {
			t.Errorf("described %d times, head %+v", described, h)
		}
	})
}

// A partition whose uploads are turned off remembers nothing of what its local retention has dropped.
func TestPausedForgetsWhatIsGone(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		log := tiertest.NewLog(1, 0)
		p := w.uploader().Register(partition(0), 1, log, tiering.Limits{Paused: true})
		defer p.Close()
		for range 100 {
			log.Append(1, 5, 100)
			log.Commit()
			if s := p.Status(); s.LagBytes == 0 {
				t.Fatalf("%+v", s)
			}
			if err := log.Roll(); err != nil {
				t.Fatal(err)
			}
			log.Drop(log.Next())
			p.Sealed()
			synctest.Wait()
		}
		if n := p.Marks(); n > 2 {
			t.Errorf("%d marks", n)
		}
	})
}

// Pacing holds to the rate on the whole, and a full disk lifts it.
func TestPace(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		tp := partition(0)
		log := tiertest.NewLog(1, 0)
		log.Random = true
		for range 4 {
			log.AppendSegment(8<<20, 10, 20_000)
		}
		u := w.uploader(func(o *tiering.UploaderOptions) { o.BytesPerSecond = 1 << 20 })
		begun := time.Now()
		p := u.Register(tp, 1, log, tiering.Limits{})
		defer p.Close()
		w.waitTierEndIn(time.Hour, log.Sealed(0)[1].End())
		if d := time.Since(begun); d < 28*time.Second || d > 40*time.Second {
			t.Errorf("16 MiB, read and sent, at 1 MiB/s each took %s", d)
		}
		u.SetUrgent(true)
		begun = time.Now()
		w.waitTierEndIn(time.Hour, log.Next())
		if d := time.Since(begun); d > 3*time.Second {
			t.Errorf("unpaced it took %s", d)
		}
		for _, s := range log.Sealed(0) { // held once more by Sealed above
			s.Release()
		}
	})
}

func (w *world) waitTierEndIn(limit time.Duration, end int64) {
	w.t.Helper()
	deadline := time.Now().Add(limit)
	for w.lastCommit().TierEnd < end {
		if time.Now().After(deadline) {
			w.t.Fatalf("tier does not reach %d", end)
		}
		<-w.changed
	}
}

func (w *world) lastCommit() manifest.Head {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.commits) == 0 {
		return manifest.Head{}
	}
	return w.commits[len(w.commits)-1]
}

// Close ends an upload that hangs in the store, and waits for it.
func TestCloseCancelsAnUpload(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		log := tiertest.NewLog(1, 0)
		log.AppendSegment(2000, 5, 100)
		reached := make(chan struct{}, 1)
		w.faults.Add(faulty.Rule{Ops: faulty.Put, Fault: faulty.Hold(reached, make(chan struct{}))})
		p := w.uploader().Register(partition(0), 1, log, tiering.Limits{})
		<-reached
		p.Close()
		if n := log.Held(); n != 0 {
			t.Errorf("%d segments still held", n)
		}
	})
}

// A segment whose commit stays open is committed later, not uploaded again.
func TestOpenCommitIsSettledLater(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		tp := partition(0)
		log := tiertest.NewLog(1, 0)
		p := w.uploader().Register(tp, 1, log, tiering.Limits{})
		defer p.Close()
		log.OnRoll(p.Sealed)
		synctest.Wait()
		w.anchor.SetFaults(100, 0, 0, 0)
		log.AppendSegment(2000, 5, 100)
		time.Sleep(10 * time.Minute)
		w.anchor.SetFaults(0, 0, 0, 0)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if h := w.head(tp); h.TierEnd != log.Next() {
			t.Fatalf("head %+v", h)
		}
		if puts := w.faults.Calls(faulty.Put); puts != 1 {
			t.Errorf("%d puts", puts)
		}
		// After half a day it is given up: the scrubber may take it for an orphan from then on.
		w.anchor.SetFaults(100, 0, 0, 0)
		log.AppendSegment(2000, 5, 100)
		time.Sleep(tiering.MaxCommitAge + time.Hour)
		w.anchor.SetFaults(0, 0, 0, 0)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if h := w.head(tp); h.TierEnd != log.Next() {
			t.Fatalf("head %+v", h)
		}
		if puts := w.faults.Calls(faulty.Put); puts != 3 {
			t.Errorf("%d puts", puts)
		}
	})
}

func TestDamagedLocalSegmentIsNotUploaded(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		log := tiertest.NewLog(1, 0)
		log.AppendSegment(2000, 5, 100)
		log.Corrupt(0)
		p := w.uploader().Register(partition(0), 1, log, tiering.Limits{})
		defer p.Close()
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := p.Status(); s.Err == nil || len(w.keys()) != 0 {
			t.Errorf("status %+v", s)
		}
		if log.Rotten.Load() != 1 {
			t.Errorf("whoever could put it right is not told of %v", p.Status().Err)
		}
	})
}

// No checksum covers a batch's epoch, but the log knows it. In the tier another one would have the next leader take its own log for one
// that parts from the tier, and throw away what is in it alone.
func TestRottenEpochIsNotUploaded(t *testing.T) {
	for _, rotten := range []int32{2, 5, 3 + 1<<30} { // of the log's 1, 3 and 5, or none of them
		t.Run(fmt.Sprint(rotten), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				log := tiertest.NewLog(1, 0)
				log.Epoch(1)
				log.AppendSegment(2000, 5, 100)
				good := log.Next()
				log.Epoch(3)
				log.Change = func(b batch.Batch) { b.SetLeaderEpoch(rotten) }
				log.Append(1, 5, 100)
				log.Commit()
				_ = log.Roll()
				log.Change = nil
				log.Epoch(5)
				p := w.uploader().Register(partition(0), 5, log, tiering.Limits{})
				defer p.Close()
				time.Sleep(time.Minute)
				synctest.Wait()
				if h := w.head(partition(0)); h.TierEnd != good || log.Rotten.Load() != good+1 {
					t.Errorf("the tier ends at %d, want %d; called damaged: %d, %v", h.TierEnd, good, log.Rotten.Load()-1, p.Status().Err)
				}
			})
		})
	}
}

// An election without quorum: the deposed leader A has data that the new leader C never saw. Whatever A had
// under way, the tier holds only C's, and every read of the tier is what C has.
func TestUncleanElectionWhileTheOldLeaderUploads(t *testing.T) {
	const segmentRecords = 20
	for _, step := range []string{"before the put", "during the put", "before the commit", "during the commit"} {
		t.Run(step, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				tp := partition(0)
				a, c := tiertest.NewLog(1, 0), tiertest.NewLog(1, 0)
				for _, l := range []*tiertest.Log{a, c} { // what both have
					l.Epoch(5)
					l.Append(segmentRecords/2, 2, 100)
					l.Commit()
					_ = l.Roll()
				}
				u := w.uploader()
				old := u.Register(tp, 5, a, tiering.Limits{})
				synctest.Wait()
				reached, release := make(chan struct{}, 1), make(chan struct{})
				switch step {
				case "before the put":
					w.faults.Add(faulty.Rule{Ops: faulty.Put, Times: 1, Fault: faulty.Hold(reached, release)})
				case "during the put":
					w.faults.Add(faulty.Rule{Ops: faulty.Put, Times: 1, Fault: faulty.HoldReply(reached, release)})
				default:
					reached <- struct{}{}
				}
				switch step {
				case "before the commit":
					w.anchor.SetFaults(100, 0, 0, 0)
				case "during the commit":
					w.anchor.SetFaults(0, 0, 100, 0)
				}
				a.Append(segmentRecords/2, 2, 100) // only A's
				a.Commit()
				_ = a.Roll()
				old.Sealed()
				<-reached
				synctest.Wait()
				// The unclean election is one transaction: it writes the new epoch into the head as well.
				h := w.headAsIs(tp)
				if h.TierEnd != segmentRecords {
					t.Fatalf("head %+v", h)
				}
				h.WriterEpoch = 6
				w.anchor.Set(tp, h.Encode())
				w.anchor.SetFaults(0, 0, 0, 0)
				c.Epoch(6)
				c.Append(segmentRecords, 2, 90)
				c.Commit()
				_ = c.Roll()
				next := u.Register(tp, 6, c, tiering.Limits{})
				close(release)
				w.anchor.Land()
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				head := w.head(tp)
				if head.TierEnd != c.Next() || !old.Status().Fenced {
					t.Fatalf("head %+v, old leader %+v, new %+v", head, old.Status(), next.Status())
				}
				r := w.reader()
				defer r.Close()
				same(t, replay(t, r, tp, head, 0, head.TierEnd, 1000), c.Want(0, head.TierEnd))
				old.Close()
				next.Close()
			})
		})
	}
}

// headAsIs reads the head without touching the anchor's faults.
func (w *world) headAsIs(tp topic.Partition) manifest.Head {
	w.t.Helper()
	raw, _, err := w.anchor.Load(context.Background(), tp)
	if err != nil {
		w.t.Fatal(err)
	}
	h, err := manifest.DecodeHead(raw)
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}
