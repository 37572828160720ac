package partition

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"firn/broker/quota"
	"firn/metadata/topic"
	"firn/segment/vfs"
)

const throttledRate = 10_000

// throttledRig is a Set that may send throttledRate bytes a second of throttled replicas.
func throttledRig(t *testing.T) *rig {
	rate := &quota.Rate{}
	rate.Set(throttledRate, time.Now())
	return newRig(t, vfs.NewMem(), func(o *Options) { o.Throttle = rate })
}

// copied has broker 1 lead tp with 2 in sync and 3 not, and writes bytes there. It returns how many it were.
func copied(t *testing.T, g *rig, tp topic.Partition, throttled topic.ThrottledReplicas, batches int) (*Replica, int) {
	t.Helper()
	c := durableConfig()
	c.ThrottledLeaders = throttled
	r := g.open(tp, c)
	if err := r.BecomeLeader(State{Leader: 1, LeaderEpoch: 1, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2}}); err != nil {
		t.Fatal(err)
	}
	total := 0
	for range batches {
		b := aged(t, nowMs(), 1000)
		total += len(b)
		if a := start(r, AcksLeader, b).wait(t); a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	return r, total
}

// fetchAs begins a follower's fetch of at most 3000 bytes from each partition, which waits for an hour.
func fetchAs(g *rig, id int32, parts ...FetchPart) *waitingFetch {
	f := &waitingFetch{done: make(chan struct{})}
	f.MinBytes, f.MaxBytes, f.MaxWait, f.Follower, f.Parts = 1, 1<<20, time.Hour, &Follower{ID: id, BrokerEpoch: int64(id)}, parts
	for i := range f.Parts {
		f.Parts[i].MaxBytes, f.Parts[i].LeaderEpoch = 3000, 1
	}
	f.Done = func(*Fetch) { close(f.done) }
	g.set.Fetch(context.Background(), &f.Fetch)
	return f
}

// copyAll fetches all of r as a follower does and returns how many bytes that were; seen is told after each fetch.
func copyAll(t *testing.T, g *rig, id int32, r *Replica, seen func(bytes int)) {
	t.Helper()
	bytes := 0
	for at := int64(0); at < r.Offsets().LogEnd; {
		f := fetchAs(g, id, part(r, at))
		<-f.done
		if f.Parts[0].Err != nil || f.Parts[0].Bytes == 0 {
			t.Fatalf("at %d: %d bytes, %v", at, f.Parts[0].Bytes, f.Parts[0].Err)
		}
		bytes += f.Parts[0].Bytes
		b := f.batches(t, 0)
		at = b[len(b)-1].NextOffset()
		seen(bytes)
	}
}

// A follower that is not in sync gets no more than the rate, and no less: it is woken as soon as there is room.
func TestThrottleHoldsWhoIsNotInSync(t *testing.T) {
	for _, replicas := range []topic.ThrottledReplicas{"*", "2:1,3:1"} {
		synctest.Test(t, func(t *testing.T) {
			g := throttledRig(t)
			defer g.close(false)
			r, total := copied(t, g, testTP, replicas, 100)
			begun := time.Now()
			copyAll(t, g, 3, r, func(bytes int) {
				// A second's worth is there to begin with, and one answer may go beyond.
				if most := throttledRate*(1+time.Since(begun).Seconds()) + 3000; float64(bytes) > most {
					t.Fatalf("%s: %d bytes in %v", replicas, bytes, time.Since(begun))
				}
			})
			took, want := time.Since(begun).Seconds(), float64(total)/throttledRate-1
			if took > want*1.1 {
				t.Errorf("%s: %d bytes took %.1f s, want %.1f", replicas, total, took, want)
			}
		})
	}
}

func TestThrottleHoldsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := throttledRig(t)
		defer g.close(false)
		r, _ := copied(t, g, testTP, "*", 100)
		other, _ := copied(t, g, otherTP, "1:1,0:2", 5) // other replicas than this one
		begun := time.Now()
		at := int64(0)
		for r.set.opts.Throttle.Wait(time.Now()) == 0 {
			f := fetchAs(g, 3, part(r, at))
			<-f.done
			b := f.batches(t, 0)
			at = b[len(b)-1].NextOffset()
		}
		inSync := 0
		copyAll(t, g, 2, r, func(bytes int) { inSync = bytes })
		if took := time.Since(begun); took > 0 || inSync < 100_000 {
			t.Errorf("who is in sync got %d bytes in %v", inSync, took)
		}
		// What is held does not keep others of the same fetch.
		f := fetchAs(g, 3, part(r, at), part(other, 0))
		<-f.done
		if f.Parts[0].Bytes != 0 || f.Parts[1].Bytes == 0 || time.Since(begun) > 0 {
			t.Errorf("%d and %d bytes after %v", f.Parts[0].Bytes, f.Parts[1].Bytes, time.Since(begun))
		}
		f.batches(t, 1)
		// Nor one for which the high watermark waits, because it is about to be in sync.
		end := r.Offsets().LogEnd
		f = fetchAs(g, 3, part(r, end))
		if synctest.Wait(); !f.pending() {
			t.Fatal("there is nothing to be had")
		}
		start(r, AcksLeader, aged(t, nowMs(), 1000)).wait(t)
		<-f.done
		if f.Parts[0].Bytes == 0 || time.Since(begun) > 0 {
			t.Errorf("who has caught up got %d bytes after %v", f.Parts[0].Bytes, time.Since(begun))
		}
		f.batches(t, 0)
	})
}

// A throttle that is lifted lets go of who is held, soon.
func TestThrottleIsLifted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := throttledRig(t)
		defer g.close(false)
		r, _ := copied(t, g, testTP, "*", 5)
		rate := r.set.opts.Throttle
		rate.Set(0, time.Now())
		f := fetchAs(g, 3, part(r, 0))
		time.Sleep(time.Minute)
		if synctest.Wait(); !f.pending() {
			t.Fatalf("%d bytes at a rate of 0", f.Parts[0].Bytes)
		}
		begun := time.Now()
		rate.Set(quota.Unlimited, begun)
		<-f.done
		if took := time.Since(begun); f.Parts[0].Bytes == 0 || took > 2*time.Second {
			t.Errorf("%d bytes %v after the throttle was lifted", f.Parts[0].Bytes, took)
		}
		f.batches(t, 0)
	})
}
