package partition

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"firn/segment/vfs"
)

const testLag = 10 * time.Second

var testNow = time.Unix(1_000_000, 0)

// subsets are those of the followers 2 and 3, with the leader 1 in each.
var subsets = [][]int32{{1}, {1, 2}, {1, 3}, {1, 2, 3}}

// TestHighWatermarkIsOnAllThatCount tries every small state: where three replicas end, who is in sync, who is about to
// be, how many must be.
func TestHighWatermarkIsOnAllThatCount(t *testing.T) {
	for _, isr := range subsets {
		for _, proposed := range append([][]int32{nil}, subsets...) {
			for n := range 5 * 5 * 4 * 4 * 4 * 3 {
				pick := func(k int) int64 { v := n % k; n /= k; return int64(v) }
				q := &quorum{self: 1, isr: isr, proposed: proposed}
				ends := map[int32]int64{2: pick(5) - 1, 3: pick(5) - 1}
				fresh := pick(4)
				ends[1] = pick(4)
				hw, minISR := pick(4), int(pick(3))+1
				for i, id := range []int32{2, 3} {
					f := follower{id: id, brokerEpoch: 7, end: ends[id], caughtUp: testNow.Add(-2 * testLag)}
					if fresh>>i&1 == 1 {
						f.caughtUp = testNow
					}
					q.followers = append(q.followers, f)
				}
				got := q.highWatermark(hw, ends[1], minISR, testLag, testNow)
				want := ends[1]
				for i, id := range []int32{2, 3} {
					if slices.Contains(isr, id) || slices.Contains(proposed, id) || fresh>>i&1 == 1 && ends[id] >= 0 {
						want = min(want, ends[id])
					}
				}
				want = max(want, hw)
				if len(isr) < minISR {
					want = hw
				}
				if got != want {
					t.Fatalf("isr %v, proposed %v, ends %v, fresh %b, min %d: %d after %d, want %d", isr, proposed, ends, fresh, minISR, got, hw, want)
				}
			}
		}
	}
}

func TestFollowerThatLagsLeavesAndComesBack(t *testing.T) {
	st := State{Leader: 1, LeaderEpoch: 4, Rev: 10, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2, 3}}
	any := func(Joiner) bool { return true }
	q := newQuorum(1, st, 100, testNow)
	at := testNow
	q.fetched(2, 20, 100, 100, 100, at)
	if _, ok := q.propose(100, 100, 2, testLag, at, any); ok {
		t.Fatal("3 has had no time to ask yet")
	}
	at = at.Add(testLag + 1)
	q.fetched(2, 20, 100, 100, 100, at)
	p, ok := q.propose(100, 101, 2, testLag, at, any)
	if !ok || !slices.Equal(p.ISR, []int32{1, 2}) || p.ELR != nil || p.Rev != 10 {
		t.Fatalf("%+v", p)
	}
	if _, ok := q.propose(100, 101, 2, testLag, at, any); ok {
		t.Fatal("two proposals at once")
	}
	st.ISR, st.Rev = p.ISR, 11
	q.adopt(st)
	if hw := q.highWatermark(100, 101, 2, testLag, at); hw != 100 {
		t.Fatalf("high watermark %d without 2", hw)
	}
	q.fetched(2, 20, 101, 101, 100, at)
	if hw := q.highWatermark(100, 101, 2, testLag, at); hw != 101 {
		t.Fatalf("high watermark %d, 3 still counts", hw)
	}
	// It is back: below the high watermark it may not join.
	if _, joins := q.fetched(3, 31, 100, 101, 101, at); joins {
		t.Fatal("3 joins without all that is committed")
	}
	if _, joins := q.fetched(3, 31, 101, 101, 101, at); !joins {
		t.Fatal("3 may not join")
	}
	if _, ok := q.propose(101, 101, 2, testLag, at, func(Joiner) bool { return false }); ok {
		t.Fatal("3 is about to leave the cluster")
	}
	p, ok = q.propose(101, 101, 2, testLag, at, any)
	if !ok || !slices.Equal(p.Joiners, []Joiner{{3, 31}}) || !slices.Equal(p.ISR, []int32{1, 2, 3}) {
		t.Fatalf("%+v %v", p, ok)
	}
	// What its earlier life has sent arrives now.
	if moved, joins := q.fetched(3, 30, 500, 600, 101, at); moved || joins {
		t.Fatal("a fetch of an earlier life counts")
	}
	if hw := q.highWatermark(101, 200, 2, testLag, at); hw != 101 {
		t.Fatalf("high watermark %d: who is about to join must have it, too", hw)
	}
}

func TestBelowMinimumTheLeaversStayEligible(t *testing.T) {
	st := State{Leader: 1, LeaderEpoch: 4, Rev: 10, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2}, ELR: nil}
	any := func(Joiner) bool { return true }
	q := newQuorum(1, st, 0, testNow)
	at := testNow.Add(testLag + 1)
	p, ok := q.propose(5, 9, 2, testLag, at, any)
	if !ok || !slices.Equal(p.ISR, []int32{1}) || !slices.Equal(p.ELR, []int32{2}) {
		t.Fatalf("%+v", p)
	}
	st.ISR, st.ELR, st.Rev = p.ISR, p.ELR, 11
	q.adopt(st)
	if hw := q.highWatermark(5, 9, 2, testLag, at); hw != 5 {
		t.Fatalf("high watermark %d below the minimum", hw)
	}
	q.fetched(3, 1, 9, 9, 5, at)
	p, ok = q.propose(5, 9, 2, testLag, at, any)
	if !ok || !slices.Equal(p.ISR, []int32{1, 3}) || len(p.ELR) > 0 {
		t.Fatalf("with enough in sync again nobody is merely eligible: %+v", p)
	}
}

func TestLeaderIsHeldByThoseWhoCouldLead(t *testing.T) {
	st := State{Leader: 1, LeaderEpoch: 4, Rev: 10, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2}, ELR: []int32{3}}
	q := newQuorum(1, st, 0, testNow)
	if q.held(testNow, time.Second, false) {
		t.Fatal("nobody has asked yet")
	}
	follows := func(id int32) {
		q.fetched(id, 1, 0, 5, 0, testNow)
		q.follows(id, 1, testNow)
	}
	follows(2)
	if q.held(testNow, time.Second, false) {
		t.Fatal("3 could lead")
	}
	if !q.held(testNow, time.Second, true) {
		t.Fatal("3 could lead once our registration is over")
	}
	q.fetched(3, 1, 0, 5, 0, testNow)
	if q.held(testNow, time.Second, false) {
		t.Fatal("3 may have asked long ago")
	}
	follows(3)
	if !q.held(testNow.Add(time.Second), time.Second, false) || q.held(testNow.Add(2*time.Second), time.Second, false) {
		t.Fatal("held for a second")
	}
}

// A follower whose fetches stand for a partition that they do not name has asked for it, and is caught up, with each.
func TestFollowerStandsForWhatItDoesNotName(t *testing.T) {
	st := State{Leader: 1, LeaderEpoch: 4, Rev: 10, Replicas: []int32{1, 2}, ISR: []int32{1, 2}}
	any := func(Joiner) bool { return true }
	q := newQuorum(1, st, 100, testNow)
	by := &Follower{ID: 2, BrokerEpoch: 20}
	asks := func(at time.Time) {
		by.asked.Store(int64(at.Sub(began)))
		by.proven.Store(by.asked.Load())
	}
	at := testNow
	asks(at)
	q.fetched(2, 20, 100, 100, 100, at)
	if !q.stand(by) || q.stand(&Follower{ID: 2, BrokerEpoch: 19}) || q.stand(&Follower{ID: 3, BrokerEpoch: 20}) {
		t.Fatal("who stands is who was heard of last")
	}
	at = at.Add(10 * testLag)
	asks(at)
	if p, ok := q.propose(100, 101, 1, testLag, at, any); ok || !q.held(at, time.Second, false) {
		t.Fatalf("it asks: %+v", p)
	}
	q.unstand(by)
	later := at.Add(testLag + 1)
	asks(later)
	if q.held(later, time.Second, false) {
		t.Fatal("it asks for other partitions alone")
	}
	p, ok := q.propose(100, 101, 1, testLag, later, any)
	if !ok || !slices.Equal(p.ISR, []int32{1}) {
		t.Fatalf("%+v", p)
	}
	// Struck off, what it asked before does not make it count again.
	q.stand(by)
	st.ISR, st.Rev = p.ISR, 11
	q.adopt(st)
	if hw := q.highWatermark(100, 101, 1, testLag, later); hw != 101 {
		t.Fatalf("high watermark %d: who was struck off holds it back", hw)
	}
	later = later.Add(time.Second)
	asks(later)
	if hw := q.highWatermark(101, 102, 1, testLag, later); hw != 101 {
		t.Fatalf("high watermark %d: it asks again", hw)
	}
}

// With a min.insync.replicas that was lowered nothing is committed before those who will lack it are no longer eligible.
func TestLoweredMinISRStrikesTheEligibleFirst(t *testing.T) {
	now := time.Unix(1000, 0)
	st := State{Leader: 1, LeaderEpoch: 4, Rev: 10, Replicas: []int32{1, 2}, ISR: []int32{1}, ELR: []int32{2}}
	q := newQuorum(1, st, 100, now)
	const lowered = 1
	if hw := q.highWatermark(100, 120, lowered, time.Second, now); hw != 100 {
		t.Errorf("high watermark is %d while another is eligible", hw)
	}
	p, ok := q.propose(100, 120, lowered, time.Second, now, func(Joiner) bool { return true })
	if !ok || !slices.Equal(p.ISR, []int32{1}) || len(p.ELR) > 0 {
		t.Fatalf("proposed %+v, %v", p, ok)
	}
	if hw := q.highWatermark(100, 120, lowered, time.Second, now); hw != 100 {
		t.Errorf("high watermark is %d before that is committed", hw)
	}
	st.ISR, st.ELR, st.Rev = p.ISR, p.ELR, 11
	q.adopt(st)
	if hw := q.highWatermark(100, 120, lowered, time.Second, now); hw != 120 {
		t.Errorf("high watermark is %d, want 120", hw)
	}
	if p, ok := q.propose(120, 120, lowered, time.Second, now, func(Joiner) bool { return true }); ok {
		t.Errorf("proposed once more: %+v", p)
	}
}

// A replica that was taken away and added once more has thrown its log away meanwhile. The leader, which may see both as one
// change, does not know of that, and a fetch from before may still come: only the new leader epoch tells.
func TestReplicaThatIsAddedOnceMoreProvesItselfAnew(t *testing.T) {
	all := newMembers(t, 2, durableConfig())
	st := State{Leader: 1, LeaderEpoch: 1, Rev: 100, Replicas: []int32{1, 2}, ISR: []int32{1}}
	elect(t, all, st)
	appendOK(t, all[0].r, records(t, 1, "v"))
	any := func(Joiner) bool { return true }
	catchUp(t, all[1], all[0])
	st.LeaderEpoch, st.Rev = 2, 200 // without 2, and with it again
	if err := all[0].r.BecomeLeader(st); err != nil {
		t.Fatal(err)
	}
	if p, ok := all[0].r.Propose(any); ok {
		t.Fatalf("in sync by what it has said before: %+v", p)
	}
	if p, _ := ask(t, all[1], all[0]); !errors.Is(p.Err, ErrFencedEpoch) {
		t.Fatalf("a fetch from before: %+v", p)
	}
	if p, ok := all[0].r.Propose(any); ok {
		t.Fatalf("in sync by a fetch from before: %+v", p)
	}
}

// A follower that has left the in-sync set comes back by a fetch, not by what it has said before: below the minimum, and on an
// idle partition, it lacks nothing for as long as it is silent.
func TestSilentFollowerDoesNotComeBack(t *testing.T) {
	any := func(Joiner) bool { return true }
	st := State{Leader: 1, LeaderEpoch: 4, Rev: 10, Replicas: []int32{1, 2}, ISR: []int32{1, 2}}
	q := newQuorum(1, st, 5, testNow)
	q.fetched(2, 20, 5, 5, 5, testNow)
	at := testNow.Add(testLag + 1)
	p, ok := q.propose(5, 9, 2, testLag, at, any)
	if !ok || !slices.Equal(p.ISR, []int32{1}) || !slices.Equal(p.ELR, []int32{2}) {
		t.Fatalf("%+v", p)
	}
	st.ISR, st.ELR, st.Rev = p.ISR, p.ELR, 11
	q.adopt(st)
	if p, ok := q.propose(5, 9, 2, testLag, at, any); ok {
		t.Errorf("it lags, and comes back: %+v", p)
	}
	q.fetched(2, 20, 5, 9, 5, at)
	if p, ok := q.propose(5, 9, 2, testLag, at, any); !ok || !slices.Equal(p.ISR, []int32{1, 2}) {
		t.Errorf("it asks again: %+v, %v", p, ok)
	}
	// Its disk has failed: it has resigned while there was nothing to fetch.
	st = State{Leader: 1, LeaderEpoch: 4, Rev: 10, Replicas: []int32{1, 2}, ISR: []int32{1, 2}}
	q = newQuorum(1, st, 5, testNow)
	q.fetched(2, 20, 5, 5, 5, testNow)
	st.ISR, st.Rev = []int32{1}, 11
	q.adopt(st)
	if p, ok := q.propose(5, 5, 1, testLag, testNow.Add(testLag/2), any); ok {
		t.Errorf("it has resigned, and comes back: %+v", p)
	}
}

// A follower that may not join, as its broker is about to leave, does not hold the high watermark back by asking on.
func TestWhoMayNotJoinIsNotWaitedFor(t *testing.T) {
	st := State{Leader: 1, LeaderEpoch: 4, Rev: 10, Replicas: []int32{1, 2}, ISR: []int32{1}}
	q := newQuorum(1, st, 5, testNow)
	q.fetched(2, 20, 5, 5, 5, testNow)
	if p, ok := q.propose(5, 5, 1, testLag, testNow, func(Joiner) bool { return false }); ok {
		t.Fatalf("%+v", p)
	}
	q.fetched(2, 20, 5, 5, 5, testNow)
	if hw := q.highWatermark(5, 9, 1, testLag, testNow); hw != 9 {
		t.Errorf("high watermark %d, want 9", hw)
	}
	// Once it may, it is waited for again, or under load it would never get there.
	if _, asks := q.fetched(2, 20, 8, 9, 9, testNow); !asks {
		t.Error("nobody looks whether it may join by now")
	}
	if p, ok := q.propose(9, 9, 1, testLag, testNow, func(Joiner) bool { return true }); ok {
		t.Fatalf("it lacks what was committed without it: %+v", p)
	}
	if hw := q.highWatermark(9, 12, 1, testLag, testNow); hw != 9 {
		t.Errorf("high watermark %d, though it may join", hw)
	}
	q.fetched(2, 20, 9, 9, 9, testNow)
	if p, ok := q.propose(9, 9, 1, testLag, testNow, func(Joiner) bool { return true }); !ok || !slices.Equal(p.ISR, []int32{1, 2}) {
		t.Errorf("%+v, %v", p, ok)
	}
	if hw := q.highWatermark(9, 12, 1, testLag, testNow); hw != 9 {
		t.Errorf("high watermark %d before that is committed", hw)
	}
}

// Who was about to raise the high watermark for a leader raises nothing once the replica follows another, whose log its own was cut
// to fit: what lies beyond is not there any more.
func TestHighWatermarkOfALeadershipThatIsOver(t *testing.T) {
	r := newRig(t, vfs.NewMem()).open(testTP, relaxedConfig())
	st := State{Leader: 1, LeaderEpoch: 1, Rev: 1, Replicas: []int32{1, 2}, ISR: []int32{1, 2}}
	if err := r.BecomeLeader(st); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		start(r, AcksLeader, records(t, 5, "v")).wait(t)
	}
	w := &r.waiters
	w.Lock()
	r.role.Load().quorum.fetched(2, 20, 10, 10, 0, time.Now())
	done := make(chan struct{})
	go func() {
		defer close(done)
		var list doneList
		r.advance(&list)
	}()
	until(t, "it waits for its turn", func() bool {
		return slices.ContainsFunc(stacks(), func(s string) bool {
			return strings.Contains(s, "(*Replica).advance") && strings.Contains(s, "sync.(*Mutex).Lock")
		})
	})
	st.Leader, st.LeaderEpoch, st.Rev = 2, 2, 2
	r.role.Store(newRole(st, 1))
	if err := r.log.TruncateTo(5); err != nil {
		t.Error(err)
	}
	w.Unlock()
	<-done
	if o := r.Offsets(); o.HighWatermark > o.LogEnd {
		t.Errorf("%+v", o)
	}
}
