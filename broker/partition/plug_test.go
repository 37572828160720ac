package partition

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"firn/metadata/topic"
	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

// A request appends to two partitions that a follower waits for. What the follower has got while the second one is being
// written, and what it gets in the end.
func TestFollowerIsAnsweredOncePerRequest(t *testing.T) {
	const wait = time.Minute
	for name, c := range map[string]struct {
		size   int
		hangs  time.Duration // the second partition's write
		early  bool          // the follower has its answer by then
		second bool          // it has what the second partition got
	}{
		"small":                       {size: 1000, second: true},
		"as large as an answer":       {size: 3 << 20, early: true},
		"the second one's disk hangs": {size: 1000, hangs: 2 * wait, early: true},
		"the second one takes longer": {size: 1000, hangs: 100 * time.Millisecond, early: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var faults faultfs.Injector
				g := newRig(t, faultfs.Wrap(vfs.NewMem(), &faults))
				defer g.close(false)
				conf := relaxedConfig()
				conf.MaxMessageBytes, conf.Flush.Ms = 4<<20, time.Hour.Milliseconds() // nobody is to wait for the log that is written to
				p := &Produce{Timeout: time.Hour, Done: func(*Produce) {}}
				f := &waitingFetch{done: make(chan struct{})}
				f.MinBytes, f.MaxBytes, f.MaxWait, f.Follower = 1, 50<<20, wait, &Follower{ID: 2, BrokerEpoch: 2}
				f.Done = func(*Fetch) { close(f.done) }
				for _, tp := range []topic.Partition{otherTP, testTP} {
					r := g.open(tp, conf)
					if err := r.BecomeLeader(State{Leader: 1, LeaderEpoch: 1, Replicas: []int32{1, 2}, ISR: []int32{1, 2}}); err != nil {
						t.Fatal(err)
					}
					at := part(r, 0)
					at.LeaderEpoch = 1
					f.Parts = append(f.Parts, at)
					p.Parts = append(p.Parts, ProducePart{Replica: r, Append: Append{Records: aged(t, nowMs(), c.size), Acks: AcksLeader}})
				}
				g.set.Fetch(context.Background(), &f.Fetch)
				answered := func() bool {
					synctest.Wait()
					select {
					case <-f.done:
						return true
					default:
						return false
					}
				}
				early := false
				rule := faults.Add(faultfs.Rule{Op: faultfs.WriteAt, Glob: "*.log", Nth: 2, Do: func(faultfs.Op, string) {
					time.Sleep(c.hangs)
					early = answered()
				}})
				g.set.Produce(p)
				if rule.Hits() == 0 {
					t.Fatal("the second partition's write was not seen")
				}
				if early != c.early {
					t.Errorf("answered while the second partition was written: %v", early)
				}
				if !answered() {
					t.Fatal("never answered")
				}
				if f.Parts[0].Bytes == 0 || f.Parts[1].Bytes > 0 != c.second {
					t.Errorf("brought %d and %d bytes", f.Parts[0].Bytes, f.Parts[1].Bytes)
				}
			})
		})
	}
}

// Partitions of a session may grow before the fetch that is to wait for them has begun.
func TestFetchHearsOfGrowthBeforeItBegins(t *testing.T) {
	g := newRig(t, vfs.NewMem())
	r := g.lead(relaxedConfig())
	appendOK(t, r, records(t, 1, "v"))
	f := &waitingFetch{done: make(chan struct{})}
	if f.Grown(1) {
		t.Error("it waits")
	}
	f.MinBytes, f.MaxBytes, f.MaxWait, f.Parts = 1, 1<<20, time.Hour, []FetchPart{part(r, 0)}
	f.Done = func(*Fetch) { close(f.done) }
	g.set.Fetch(context.Background(), &f.Fetch)
	f.wait(t)
}
