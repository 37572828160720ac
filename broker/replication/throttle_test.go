package replication

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/partition"
	"firn/broker/quota"
	"firn/metadata/topic"
	"firn/segment/batch"
)

const (
	copyRate = 10_000. // bytes a second
	answer3K = 3000    // bytes of one answer
)

// copying is a rig in a bubble whose broker 2 may fetch copyRate bytes a second of throttled replicas, and 3000 at once.
func copying(t *testing.T) (*rig, *quota.Rate) {
	rate := &quota.Rate{}
	rate.Set(copyRate, time.Now())
	return newRig(t, func(o *Options) {
		o.Fetchers, o.MaxBytes, o.PartitionBytes, o.Throttle = 1, answer3K, answer3K, rate
		o.MaxWait, o.Timeout = 500*time.Millisecond, 5*time.Second
	}), rate
}

// copied has broker 1 lead partition i with so many batches of 1000 bytes each, and broker 2 begin to copy it, throttled as
// replicas says, with isr in sync.
func copied(g *rig, i int32, replicas string, batches int, isr ...int32) (ahead, behind *partition.Replica) {
	g.t.Helper()
	ahead, behind = uncopied(g, i, replicas, batches, isr...)
	g.fetchers.Follow(behind)
	return ahead, behind
}

// uncopied is copied before broker 2 begins.
func uncopied(g *rig, i int32, replicas string, batches int, isr ...int32) (ahead, behind *partition.Replica) {
	g.t.Helper()
	c, err := topic.ParseConfig(map[string]string{"follower.replication.throttled.replicas": replicas}, topic.Defaults{})
	if err != nil {
		g.t.Fatal(err)
	}
	ahead, errAhead := g.ahead.Open(tpOf(i), "test", c)
	behind, errBehind := g.behind.Open(tpOf(i), "test", c)
	st := partition.State{Leader: 1, Rev: 1, Replicas: []int32{1, 2}, ISR: isr}
	for _, err := range []error{errAhead, errBehind, ahead.BecomeLeader(st)} {
		if err != nil {
			g.t.Fatal(err)
		}
	}
	for range batches {
		kilobyte(g.t, ahead, partition.AcksLeader)
	}
	if err := behind.BecomeFollower(st); err != nil {
		g.t.Fatal(err)
	}
	return ahead, behind
}

// kilobyte appends a batch of 1000 bytes and waits for its acknowledgement.
func kilobyte(t *testing.T, r *partition.Replica, acks int16) {
	t.Helper()
	var w batch.Builder
	w.Add(time.Now().UnixMilli(), nil, make([]byte, 1000-70))
	b, err := w.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &producing{done: make(chan error, 1)}
	p.Records, p.Acks, p.Done = b, acks, p
	r.Append(&p.Append)
	await(t, p.done)
}

// have is how many bytes the replicas have together.
func have(rs ...*partition.Replica) (n int64) {
	for _, r := range rs {
		n += r.Log().Size()
	}
	return n
}

func lacks(ahead, behind *partition.Replica) bool {
	return behind.Offsets().LogEnd < ahead.Offsets().LogEnd
}

// What is copied, of one partition or of many that are asked for together, comes at the rate, no faster and no slower.
func TestCopiesComeAtTheRate(t *testing.T) {
	for _, partitions := range []int{1, 40} {
		synctest.Test(t, func(t *testing.T) {
			g, _ := copying(t)
			var ahead, behind []*partition.Replica
			for i := range partitions {
				a, b := uncopied(g, int32(i), "*", 120/partitions, 1)
				ahead, behind = append(ahead, a), append(behind, b)
			}
			begun := time.Now()
			for _, b := range behind {
				g.fetchers.Follow(b)
			}
			until(t, "all is copied", func() bool { return have(behind...) == have(ahead...) })
			// A second's worth is there to begin with, and two answers may be on their way when it is used up.
			took, most := time.Since(begun).Seconds(), float64(have(ahead...))/copyRate-1
			if least := most - 2*answer3K/copyRate; took < least || took > most*1.1 {
				t.Errorf("%d partitions took %.1f s, want %.1f to %.1f", partitions, took, least, most)
			}
		})
	}
}

// At a rate of 0 copies get nothing, while the connection stays; who is in sync, or not throttled, or has caught up with
// all that is committed, gets everything at once. When the throttle is lifted the copies do, too.
func TestThrottleHoldsCopiesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, rate := copying(t)
		rate.Set(quota.Unlimited, time.Now())
		caughtUp, behindIt := copied(g, 0, "*", 5, 1)
		until(t, "it is copied", func() bool { return !lacks(caughtUp, behindIt) })
		rate.Set(0, time.Now())
		held, heldBehind := copied(g, 1, "*", 5, 1)
		inSync, inSyncBehind := copied(g, 2, "*", 5, 1, 2)
		other, otherBehind := copied(g, 3, "3:1,0:2", 5, 1)
		begun := time.Now()
		until(t, "the others have everything", func() bool {
			return !lacks(inSync, inSyncBehind) && !lacks(other, otherBehind)
		})
		for range 20 {
			kilobyte(t, inSync, partition.AcksAll)
			kilobyte(t, caughtUp, partition.AcksLeader)
			until(t, "who has caught up keeps up", func() bool { return !lacks(caughtUp, behindIt) })
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("who is not to be held waited %v", took)
		}
		time.Sleep(time.Minute)
		if n := have(heldBehind); n > 0 {
			t.Errorf("%d bytes at a rate of 0", n)
		}
		g.leader.mu.Lock()
		if g.leader.dials != 1 {
			t.Errorf("connected %d times", g.leader.dials)
		}
		g.leader.mu.Unlock()
		rate.Set(quota.Unlimited, time.Now())
		begun = time.Now()
		until(t, "it is let go", func() bool { return !lacks(held, heldBehind) })
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("it was let go after %v", took)
		}
	})
}

// A connection on which all have to wait stays, and its leader is heard.
func TestThrottledConnectionStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, rate := copying(t)
		ahead, behind := copied(g, 0, "0:2", 100, 1)
		until(t, "it begins", func() bool { return have(behind) > 0 })
		rate.Set(0, time.Now())
		time.Sleep(time.Minute)
		n := have(behind)
		if time.Sleep(time.Minute); have(behind) != n || !lacks(ahead, behind) {
			t.Errorf("%d bytes more at a rate of 0", have(behind)-n)
		}
		g.leader.mu.Lock()
		defer g.leader.mu.Unlock()
		asked := slices.ContainsFunc(g.leader.asked[len(g.leader.asked)-10:], func(r kmsg.FetchRequest) bool { return len(r.Topics) > 0 })
		if g.leader.dials != 1 || asked {
			t.Errorf("connected %d times, asked for something: %v", g.leader.dials, asked)
		}
	})
}
