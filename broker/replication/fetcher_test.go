package replication

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"firn/broker/partition"
	"firn/metadata/topic"
	"firn/segment/batch"
	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

func TestFollowerBringsAboutAcknowledgements(t *testing.T) {
	g := newRig(t)
	for i := range int32(8) {
		ahead, behind := g.follow(i, 3)
		for range 20 {
			await(t, produce(t, ahead, 2))
		}
		if o := behind.Offsets(); o.LogEnd != 40 || o.Durable != 40 {
			t.Errorf("partition %d: %+v", i, o)
		}
	}
	if g.leader.dials != 2 {
		t.Errorf("%d connections, want one for each fetcher", g.leader.dials)
	}
}

// A partition whose leader changes its epoch, or that is added, does not wait until the leader has something to say.
func TestNewsEndTheWaitOfAFetch(t *testing.T) {
	g := newRig(t, func(o *Options) { o.Fetchers = 1 })
	one, _ := g.follow(0, 3)
	await(t, produce(t, one, 1))
	two, _ := g.follow(1, 3)
	await(t, produce(t, two, 1))
	one, _ = g.follow(0, 4)
	await(t, produce(t, one, 1))
}

// Until the first fetch of a session is answered nothing else can be said: partitions that come meanwhile must not wait for
// records of those it names.
func TestFirstFetchOfASessionIsNotKept(t *testing.T) {
	g := newRig(t, func(o *Options) { o.Fetchers = 1 })
	g.follow(0, 3)
	until(t, "the first fetch", func() bool {
		g.leader.mu.Lock()
		defer g.leader.mu.Unlock()
		return g.leader.fetches > 0
	})
	two, _ := g.follow(1, 3)
	await(t, produce(t, two, 1))
}

func TestFollowerConnectsAgain(t *testing.T) {
	g := newRig(t)
	ahead, _ := g.follow(0, 3)
	await(t, produce(t, ahead, 1))
	for range 3 {
		g.leader.cut(true)
		done := produce(t, ahead, 1)
		g.leader.mu.Lock()
		dials := g.leader.dials
		g.leader.mu.Unlock()
		until(t, "it tries again", func() bool {
			g.leader.mu.Lock()
			defer g.leader.mu.Unlock()
			return g.leader.dials > dials
		})
		g.leader.cut(false)
		await(t, done)
	}
}

// The brokers hear of a new leader at different times.
func TestFollowerThatIsAheadOfItsLeader(t *testing.T) {
	g := newRig(t)
	ahead, behind := open(t, g.ahead, 0), open(t, g.behind, 0)
	if err := behind.BecomeFollower(led(1, 5)); err != nil {
		t.Fatal(err)
	}
	g.fetchers.Follow(behind)
	until(t, "it asks more than once", func() bool {
		g.leader.mu.Lock()
		defer g.leader.mu.Unlock()
		return g.leader.fetches > 3
	})
	if err := ahead.BecomeLeader(led(1, 5)); err != nil {
		t.Fatal(err)
	}
	await(t, produce(t, ahead, 1))
}

func TestFollowerCutsItsLog(t *testing.T) {
	g := newRig(t)
	ahead, behind := g.follow(0, 1)
	await(t, produce(t, ahead, 5))
	g.fetchers.Forget(behind.Partition())
	if err := behind.BecomeLeader(led(2, 2)); err != nil {
		t.Fatal(err)
	}
	produce(t, behind, 3) // which nobody gets to know of
	g.follow(0, 3)
	await(t, produce(t, ahead, 2))
	if o := behind.Offsets(); o.LogEnd != 7 {
		t.Errorf("%+v", o)
	}
	if n := behind.Log().LastEpoch(); n != 3 {
		t.Errorf("last epoch is %d", n)
	}
}

// A log is cut with some syncs, and after the death of a leader many may have to be.
func TestPartitionsDoNotWaitForOthersToBeCut(t *testing.T) {
	var inject faultfs.Injector
	g := newRigOn(t, []vfs.FS{faultfs.Wrap(vfs.NewMem(), &inject), vfs.NewMem()}, func(o *Options) { o.Fetchers = 1 })
	cut, behind := g.follow(0, 1) // each goes to the disk that has fewer
	other, _ := g.follow(1, 1)
	await(t, produce(t, cut, 5))
	await(t, produce(t, other, 5))
	g.fetchers.Forget(behind.Partition())
	if err := behind.BecomeLeader(led(2, 2)); err != nil {
		t.Fatal(err)
	}
	produce(t, behind, 3) // which nobody gets to know of
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release)
	rule := inject.Add(faultfs.Rule{Op: faultfs.Sync, Glob: "state*", Times: -1, Do: func(faultfs.Op, string) { <-hold }})
	g.follow(0, 3)
	until(t, "it is being cut", func() bool { return rule.Hits() > 0 })
	for range 20 {
		await(t, produce(t, other, 1))
	}
	held := produce(t, cut, 2)
	release()
	await(t, held)
}

func TestForgottenPartitionIsNotFetched(t *testing.T) {
	g := newRig(t, func(o *Options) { o.Fetchers = 1 })
	one, behind := g.follow(0, 3)
	two, _ := g.follow(1, 3)
	await(t, produce(t, one, 1))
	await(t, produce(t, two, 1))
	g.fetchers.Forget(behind.Partition())
	pending := produce(t, one, 1)
	for range 5 {
		await(t, produce(t, two, 1))
	}
	if o := behind.Offsets(); o.LogEnd != 1 {
		t.Errorf("%+v", o)
	}
	g.fetchers.Follow(behind)
	await(t, pending)
	g.fetchers.Forget(tpOf(0))
	g.fetchers.Forget(tpOf(1))
	g.fetchers.mu.Lock()
	defer g.fetchers.mu.Unlock()
	if len(g.fetchers.mu.fetchers) != 0 {
		t.Error("a fetcher without partitions")
	}
}

// While one disk is at work, partitions on others go on; what is not on the disk is not reported.
func TestPartitionsDoNotWaitForEachOthersDisks(t *testing.T) {
	var inject faultfs.Injector
	slow := faultfs.Wrap(vfs.NewMem(), &inject)
	g := newRigOn(t, []vfs.FS{slow, vfs.NewMem()}, func(o *Options) { o.Fetchers = 1 })
	var ahead [2]*partition.Replica
	for i := range int32(2) {
		ahead[i], _ = g.follow(i, 3) // each goes to the disk that has fewer
	}
	await(t, produce(t, ahead[0], 1))
	await(t, produce(t, ahead[1], 1))
	release := make(chan struct{})
	rule := inject.Add(faultfs.Rule{Op: faultfs.Sync, Glob: "*.log", Times: -1, Do: func(faultfs.Op, string) { <-release }})
	held := produce(t, ahead[0], 1)
	until(t, "the disk is at work", func() bool { return rule.Hits() > 0 })
	for range 20 {
		await(t, produce(t, ahead[1], 1))
	}
	select {
	case err := <-held:
		t.Errorf("acknowledged before it was on the follower's disk: %v", err)
	default:
	}
	close(release)
	await(t, held)
}

// A leader may say in the answer to a fetch that waits what the next one, of a newer leader epoch, asks for. It says the high
// watermark once: a follower that cannot tell, and passes over it, asks again.
func TestHighWatermarkThatWasPassedOverIsAskedForAgain(t *testing.T) {
	r := open(t, newSet(t, 2, time.Hour, vfs.NewMem()), 0)
	near, far := net.Pipe()
	o := Options{
		BrokerID: 2, BrokerEpoch: func() int64 { return 22 }, Fetchers: 1, MaxWait: time.Hour,
		Dial: func(context.Context, int32) (net.Conn, error) { return near, nil },
	}
	fetchers, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = far.Close()
		_ = fetchers.Close()
	})
	follow := func(epoch int32) {
		if err := r.BecomeFollower(led(1, epoch)); err != nil {
			t.Fatal(err)
		}
		fetchers.Follow(r)
	}
	asked := func(epoch int32, offset int64) (correlation int32) {
		t.Helper()
		if err := far.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		req, correlation, err := readRequest(far)
		if err != nil {
			t.Fatal(err)
		}
		if len(req.Topics) != 1 || req.Topics[0].Partitions[0].CurrentLeaderEpoch != epoch || req.Topics[0].Partitions[0].FetchOffset != offset {
			t.Fatalf("asked for %+v, want offset %d at epoch %d", req.Topics, offset, epoch)
		}
		return correlation
	}
	tell := func(correlation int32, hw int64, records []byte) {
		f := &partition.Fetch{Parts: []partition.FetchPart{{HighWatermark: hw, Diverging: partition.EpochEnd{Epoch: -1, End: -1}}}}
		if records != nil {
			f.Parts[0].Extents = []partition.Extent{memory(records)}
		}
		if _, err := far.Write(encode(f, []topic.Partition{tpOf(0)}, nil, correlation)); err != nil {
			t.Fatal(err)
		}
	}
	var w batch.Builder
	w.Add(time.Now().UnixMilli(), nil, []byte("value"))
	one, err := w.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	follow(1)
	tell(asked(1, 0), 0, one)
	waits := asked(1, 1)
	follow(2)
	next := asked(2, 1)
	tell(waits, 1, nil)
	asked(2, 1)
	tell(next, 1, nil)
	until(t, "the high watermark is what the leader said", func() bool { return r.Offsets().HighWatermark == 1 })
}

// memory is records that a leader sends.
type memory []byte

func (m memory) Len() int                                { return len(m) }
func (m memory) File() (fd uintptr, pos int64, ok bool)  { return 0, 0, false }
func (m memory) ReadAt(p []byte, off int64) (int, error) { return copy(p, m[off:]), nil }
func (m memory) Release()                                {}

// A follower that has nothing to fetch is known to follow all the same, however long its fetches wait: a leader that is not sure of
// that tells no consumer that its offset is out of range.
func TestIdleFollowerIsKnownToFollow(t *testing.T) {
	for _, wait := range []time.Duration{500 * time.Millisecond, 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			g := newRig(t, func(o *Options) { o.Fetchers, o.MaxWait = 1, wait })
			ahead, _ := g.follow(0, 1)
			await(t, produce(t, ahead, 1))
			time.Sleep(time.Minute)
			for i := range 600 {
				time.Sleep(97 * time.Millisecond)
				f := &partition.Fetch{MinBytes: 1, MaxBytes: 1 << 20}
				f.Parts = []partition.FetchPart{{Replica: ahead, Offset: 7, MaxBytes: 1 << 20, LeaderEpoch: -1, LastEpoch: -1}}
				done := make(chan struct{})
				f.Done = func(*partition.Fetch) { close(done) }
				g.ahead.Fetch(t.Context(), f)
				<-done
				if err := f.Parts[0].Err; !errors.Is(err, partition.ErrOffsetOutOfRange) {
					t.Fatalf("fetches wait for %v: in round %d %v", wait, i, err)
				}
			}
		})
	}
}
