package partition

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
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

// modelWorld is a leader, 1, its followers 2 and 3, and the record of the partition in the metadata. Logs are only their
// lengths: within one leader epoch followers hold prefixes of the leader's log.
type modelWorld struct {
	t      *testing.T
	rng    *rand.Rand
	minISR int
	now    time.Time
	logs   map[int32]int64 // what each holds on its disk
	hw     int64
	q      *quorum
	record State              // as committed
	seen   []State            // committed but not seen by the leader yet
	sent   *Proposal          // on its way to the metadata, or arrived with the answer lost
	unsure bool               // its outcome has been unknown
	epochs map[int32]int64    // broker epochs
	asked  map[int32][2]int64 // the last fetch that each sent: broker epoch and offset; it may arrive late
	trail  []string
}

// TestCommittedRecordsAreOnEveryHeir lets a leader, its followers and a controller act in random order, with answers
// lost and fetches late: every record below the high watermark is always on every replica that could be elected.
func TestCommittedRecordsAreOnEveryHeir(t *testing.T) {
	advanced, joined, eligible := 0, 0, 0
	for seed := range uint64(4000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := &modelWorld{
			t: t, rng: rng, minISR: 1 + rng.IntN(3), now: testNow, logs: map[int32]int64{1: 0, 2: 0, 3: 0},
			record: State{Leader: 1, LeaderEpoch: 1, Rev: 1, Replicas: []int32{1, 2, 3}, ISR: subsets[rng.IntN(4)]},
			epochs: map[int32]int64{2: 1, 3: 1}, asked: map[int32][2]int64{},
		}
		w.q = newQuorum(1, w.record, 0, w.now)
		for range 80 {
			before := len(w.record.ISR)
			w.step()
			if w.hw > 0 {
				advanced++
			}
			if len(w.record.ISR) > before {
				joined++
			}
			eligible += len(w.record.ELR)
			w.check(seed)
		}
	}
	if advanced < 1000 || joined < 1000 || eligible < 1000 {
		t.Errorf("high watermark above 0: %d times, joins: %d, eligible replicas: %d; the search finds nothing", advanced, joined, eligible)
	}
}

func (w *modelWorld) step() {
	id := int32(2 + w.rng.IntN(2))
	switch w.rng.IntN(10) {
	case 0:
		w.note("append")
		w.logs[1]++
	case 1, 2: // a follower asks, and gets what there is
		w.asked[id] = [2]int64{w.epochs[id], w.logs[id]}
		w.fetch(id)
		w.logs[id] += w.rng.Int64N(w.logs[1] - w.logs[id] + 1)
	case 3: // the same question arrives again, late
		if _, ok := w.asked[id]; ok {
			w.fetch(id)
		}
	case 4: // a follower loses all it had; the metadata is told when it registers
		if w.rng.IntN(3) > 0 {
			return
		}
		w.note("%d starts empty", id)
		w.logs[id] = 0
		w.epochs[id]++
		gone := func(other int32) bool { return other == id }
		w.commit(slices.DeleteFunc(slices.Clone(w.record.ISR), gone), slices.DeleteFunc(slices.Clone(w.record.ELR), gone))
	case 5: // the controller takes a dead one out
		if i := slices.Index(w.record.ISR, id); i >= 0 {
			w.note("%d is buried", id)
			elr := slices.Clone(w.record.ELR)
			if len(w.record.ISR)-1 < w.minISR {
				elr = append(elr, id)
			}
			w.commit(slices.Delete(slices.Clone(w.record.ISR), i, i+1), elr)
		}
	case 6:
		if p, ok := w.q.propose(w.hw, w.logs[1], w.minISR, testLag, w.now, func(Joiner) bool { return w.rng.IntN(8) > 0 }); ok {
			w.note("propose %+v", p)
			w.sent = &p
		}
	case 7:
		w.arrive()
	case 8:
		if len(w.seen) > 0 {
			w.note("the leader sees %+v", w.seen[0])
			w.q.adopt(w.seen[0])
			w.seen = w.seen[1:]
		}
	case 9:
		w.now = w.now.Add(time.Duration(w.rng.Int64N(int64(testLag))))
	}
	w.hw = w.q.highWatermark(w.hw, w.logs[1], w.minISR, testLag, w.now)
}

func (w *modelWorld) note(format string, args ...any) {
	w.trail = append(w.trail, fmt.Sprintf(format, args...))
}

func (w *modelWorld) fetch(id int32) {
	a := w.asked[id]
	w.note("%d fetches at %d, epoch %d", id, a[1], a[0])
	w.q.fetched(id, a[0], a[1], w.logs[1], w.hw, w.now)
}

func (w *modelWorld) commit(isr, elr []int32) {
	w.record.Rev++
	w.record.ISR, w.record.ELR = isr, elr
	w.seen = append(w.seen, w.record)
}

// arrive lets the proposal be judged by its guards, or its answer be lost, or it be late. Once its outcome has been
// unknown only a record that has moved on proves anything.
func (w *modelWorld) arrive() {
	p := w.sent
	if p == nil {
		return
	}
	if w.rng.IntN(4) == 0 {
		w.unsure = true
		return
	}
	guarded := p.Rev == w.record.Rev
	for _, j := range p.Joiners {
		guarded = guarded && j.BrokerEpoch == w.epochs[j.ID]
	}
	if guarded {
		w.note("proposal is committed")
		w.commit(p.ISR, p.ELR)
		if w.rng.IntN(3) > 0 {
			w.sent, w.unsure = nil, false
			return
		}
		w.unsure = true // and it is sent again
		return
	}
	if !w.unsure {
		w.note("proposal is refused")
		w.q.refused(*p)
	} else if p.Rev == w.record.Rev {
		w.note("the record is moved")
		w.commit(w.record.ISR, w.record.ELR)
	}
	w.sent, w.unsure = nil, false
}

func (w *modelWorld) check(seed uint64) {
	w.t.Helper()
	for _, id := range slices.Concat(w.record.ISR, w.record.ELR) {
		if w.logs[id] < w.hw {
			w.t.Fatalf("seed %d: %d may be elected and ends at %d, high watermark %d; min %d, record %+v, trail:\n%q",
				seed, id, w.logs[id], w.hw, w.minISR, w.record, w.trail)
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
	if q.held(testNow, time.Second) {
		t.Fatal("nobody has asked yet")
	}
	q.fetched(2, 1, 0, 5, 0, testNow)
	if q.held(testNow, time.Second) {
		t.Fatal("3 could lead")
	}
	q.fetched(3, 1, 0, 5, 0, testNow)
	if !q.held(testNow.Add(time.Second), time.Second) || q.held(testNow.Add(2*time.Second), time.Second) {
		t.Fatal("held for a second")
	}
}

// A follower whose fetches stand for a partition that they do not name has asked for it, and is caught up, with each.
func TestFollowerStandsForWhatItDoesNotName(t *testing.T) {
	st := State{Leader: 1, LeaderEpoch: 4, Rev: 10, Replicas: []int32{1, 2}, ISR: []int32{1, 2}}
	any := func(Joiner) bool { return true }
	q := newQuorum(1, st, 100, testNow)
	by := &Follower{ID: 2, BrokerEpoch: 20}
	asks := func(at time.Time) { by.asked.Store(int64(at.Sub(began))) }
	at := testNow
	asks(at)
	q.fetched(2, 20, 100, 100, 100, at)
	if !q.stand(by) || q.stand(&Follower{ID: 2, BrokerEpoch: 19}) || q.stand(&Follower{ID: 3, BrokerEpoch: 20}) {
		t.Fatal("who stands is who was heard of last")
	}
	at = at.Add(10 * testLag)
	asks(at)
	if p, ok := q.propose(100, 101, 1, testLag, at, any); ok || !q.held(at, time.Second) {
		t.Fatalf("it asks: %+v", p)
	}
	q.unstand(by)
	later := at.Add(testLag + 1)
	asks(later)
	if q.held(later, time.Second) {
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
