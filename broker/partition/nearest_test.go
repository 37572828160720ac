package partition

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"firn/segment/batch"
	"firn/segment/vfs"
	"firn/segment/vfs/faultfs"
)

// lifeline is whoever fetches for a follower of a test.
type lifeline struct {
	at    atomic.Pointer[time.Time]
	moved atomic.Int32
}

func (h *lifeline) Moved(*Replica)   { h.moved.Add(1) }
func (h *lifeline) Heard() time.Time { return *h.at.Load() }

// hear gives a follower somebody who fetches and heard from the leader ago.
func hear(m *member, ago time.Duration) *lifeline {
	h, at := &lifeline{}, time.Now().Add(-ago)
	h.at.Store(&at)
	m.r.SetFetcher(h)
	return h
}

// anywhere reads a partition of m for a client that takes any replica's answer.
func anywhere(m *member, minBytes int, wait time.Duration, p FetchPart, near ...int32) *waitingFetch {
	f := &waitingFetch{done: make(chan struct{})}
	f.MinBytes, f.MaxBytes, f.MaxWait, f.AnyReplica, f.Parts = minBytes, 1<<20, wait, true, []FetchPart{p}
	if near != nil {
		f.Near = func(id int32) bool { return slices.Contains(near, id) }
	}
	f.Done = func(*Fetch) { close(f.done) }
	m.set.Fetch(m.t.Context(), &f.Fetch)
	return f
}

// followed is three members, the first of which leads, with n records that all have.
func followed(t *testing.T, n int, change ...func(*Options)) []*member {
	t.Helper()
	all := newMembers(t, 3, durableConfig(), change...)
	elect(t, all, three(1, 1))
	for i := range n {
		start(all[0].r, AcksLeader, records(t, 1, name(i))).wait(t)
	}
	for range 2 { // the second round tells the high watermark of the first
		catchUp(t, all[1], all[0])
		catchUp(t, all[2], all[0])
	}
	for _, m := range all {
		if hw := m.r.hw.Load(); hw != int64(n) {
			t.Fatalf("broker %d has high watermark %d", m.id, hw)
		}
	}
	hear(all[1], 0)
	hear(all[2], 0)
	return all
}

// A follower gives clients what the leader would, up to the high watermark it was told, and a fetch that waits for more
// goes on when the leader tells it.
func TestClientsReadFromFollowers(t *testing.T) {
	all := followed(t, 3)
	leader, two := all[0], all[1]
	f := anywhere(two, 1, 0, part(two.r, 0))
	if f.wait(t); f.Parts[0].Err != nil || f.Parts[0].HighWatermark != 3 || f.Parts[0].LogStart != 0 {
		t.Fatalf("%+v", f.Parts[0])
	}
	want := fetchWait(leader.rig, 1, 0, part(leader.r, 0))
	want.wait(t)
	if got, want := f.batches(t, 0), want.batches(t, 0); len(got) != 3 || !slices.EqualFunc(got, want, func(a, b batch.Batch) bool { return slices.Equal(a, b) }) {
		t.Errorf("%d batches, %d of the leader", len(got), len(want))
	}

	start(leader.r, AcksLeader, records(t, 1, "new")).wait(t)
	pull(t, two, leader) // has it; the third has not
	if end, hw := two.r.log.Next(), two.r.hw.Load(); end != 4 || hw != 3 {
		t.Fatalf("log end %d, high watermark %d", end, hw)
	}
	f = anywhere(two, 1, time.Hour, part(two.r, 3))
	if !f.pending() {
		t.Fatalf("read what is not committed: %+v", f.Parts[0])
	}
	catchUp(t, two, leader)
	catchUp(t, all[2], leader)
	if !f.pending() {
		t.Fatal("read what it does not know to be committed")
	}
	pull(t, two, leader)
	if f.wait(t); f.Parts[0].Err != nil || len(f.batches(t, 0)) != 1 {
		t.Errorf("%+v", f.Parts[0])
	}
}

// Where a follower's log is longer than what it knows to be committed a client waits, whatever epoch it read last: that
// log may still be cut. At another leader epoch it gets the error; what is out of range is the leader's to say.
func TestWhatAFollowerRefuses(t *testing.T) {
	all := followed(t, 3)
	two := all[1]
	start(all[0].r, AcksLeader, records(t, 2, "new")).wait(t)
	pull(t, two, all[0])
	above := part(two.r, 4)
	above.LastEpoch = 7
	if f := anywhere(two, 1, time.Hour, above); !f.pending() {
		t.Errorf("above the high watermark: %+v", f.Parts[0])
	} else {
		f.Hurry()
		f.wait(t)
	}
	for what, tc := range map[string]struct {
		offset int64
		epoch  int32
		want   error
	}{
		"an older leader epoch":       {0, 0, ErrFencedEpoch},
		"a newer leader epoch":        {0, 2, ErrUnknownEpoch},
		"the same leader epoch":       {0, 1, nil},
		"where the high watermark is": {3, 1, nil},
	} {
		p := part(two.r, tc.offset)
		p.LeaderEpoch = tc.epoch
		f := anywhere(two, 0, 0, p)
		f.wait(t)
		if f.batches(t, 0); !errors.Is(f.Parts[0].Err, tc.want) || f.Parts[0].Preferred != -1 {
			t.Errorf("%s: %v, preferred %d", what, f.Parts[0].Err, f.Parts[0].Preferred)
		}
	}
	for _, offset := range []int64{-1, 6} {
		f := anywhere(two, 0, 0, part(two.r, offset))
		if f.wait(t); f.Parts[0].Err != nil || f.Parts[0].Preferred != 1 {
			t.Errorf("offset %d, which it has not: %v, preferred %d", offset, f.Parts[0].Err, f.Parts[0].Preferred)
		}
	}
}

// A follower that takes itself for the leader, as it was elected in a life that it does not know yet to be its own, does not send
// clients to itself: they look for the leader anew.
func TestFollowerDoesNotSendClientsToItself(t *testing.T) {
	all := followed(t, 3)
	two := all[1]
	if err := two.r.BecomeFollower(three(2, 2)); err != nil {
		t.Fatal(err)
	}
	hear(two, time.Hour)
	f := anywhere(two, 1, 0, part(two.r, 0))
	if f.wait(t); !errors.Is(f.Parts[0].Err, ErrNotLeader) || f.Parts[0].Preferred != -1 {
		t.Errorf("%v, preferred %d", f.Parts[0].Err, f.Parts[0].Preferred)
	}
}

// A follower that has begun where its leader's log ends, all of which is deleted, knows none of the epochs that clients have read: it
// does not tell them that their offset is out of range, until the leader sends them here again.
func TestFollowerWithoutEpochsSendsClientsBack(t *testing.T) {
	all := newMembers(t, 3, durableConfig())
	elect(t, all, three(1, 1))
	start(all[0].r, AcksLeader, records(t, 3, "deleted"))
	if err := errors.Join(all[0].r.Roll(), all[0].r.log.SetStart(3)); err != nil {
		t.Fatal(err)
	}
	if _, err := all[0].r.log.DropBefore(3, 3); err != nil {
		t.Fatal(err)
	}
	two := all[1]
	catchUp(t, two, all[0])
	hear(two, 0)
	at := part(two.r, 3)
	at.LeaderEpoch, at.LastEpoch = 1, 1
	f := anywhere(two, 1, 20*time.Millisecond, at)
	if f.wait(t); f.Parts[0].Err != nil || f.Parts[0].Preferred != 1 {
		t.Errorf("%v, preferred %d", f.Parts[0].Err, f.Parts[0].Preferred)
	}
	f = anywhere(two, 1, time.Hour, at)
	start(all[0].r, AcksLeader, records(t, 2, "new"))
	for range 2 {
		catchUp(t, two, all[0])
		catchUp(t, all[2], all[0])
	}
	if f.wait(t); len(f.batches(t, 0)) != 1 {
		t.Errorf("what is new: %+v", f.Parts[0])
	}
}

// The leader sends a client to an in-sync follower near it that has the offset and has been caught up lately, at once and
// without records; else it answers itself.
func TestLeaderSendsClientsToTheNearestReplica(t *testing.T) {
	type world struct {
		all    []*member
		near   []int32
		offset int64
	}
	alter := func(id int32, fn func(*follower)) func(*world) {
		return func(w *world) {
			w.all[0].r.waiters.Lock()
			defer w.all[0].r.waiters.Unlock()
			fn(w.all[0].r.role.Load().quorum.follower(id))
		}
	}
	for name, tc := range map[string]struct {
		change func(*world)
		want   int32
	}{
		"near":                       {func(*world) {}, 2},
		"nobody near":                {func(w *world) { w.near = []int32{9} }, -1},
		"the leader is near":         {func(w *world) { w.near = []int32{1, 2} }, -1},
		"at the end":                 {func(w *world) { w.offset = 3 }, 2},
		"it lacks the offset":        {alter(2, func(f *follower) { f.end = 1 }), -1},
		"it starts above":            {alter(2, func(f *follower) { f.start = 3 }), -1},
		"not caught up for long":     {alter(2, func(f *follower) { f.caughtUp = f.caughtUp.Add(-2 * nearLag) }), -1},
		"never heard of":             {alter(2, func(f *follower) { f.end = -1 }), -1},
		"two are near, one is ahead": {func(w *world) { w.near = []int32{2, 3}; alter(2, func(f *follower) { f.end = 2 })(w) }, 3},
		"not in sync": {func(w *world) {
			st := three(1, 1)
			st.Rev, st.ISR = st.Rev+1, []int32{1, 3}
			elect(w.all[0].t.(*testing.T), w.all[:1], st)
		}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{all: followed(t, 3), near: []int32{2}, offset: 2}
			leader := w.all[0]
			leader.r.waiters.Lock()
			for i := range leader.r.role.Load().quorum.followers { // however long the test has taken
				leader.r.role.Load().quorum.followers[i].caughtUp = time.Now()
			}
			leader.r.waiters.Unlock()
			tc.change(w)
			min := 1
			if w.offset == 3 && tc.want < 0 {
				min = 0
			}
			f := anywhere(leader, min, time.Hour, part(leader.r, w.offset), w.near...)
			f.wait(t)
			p := f.Parts[0]
			got := f.batches(t, 0)
			if p.Err != nil || p.Preferred != tc.want || p.HighWatermark != 3 || p.LogStart != 0 {
				t.Errorf("preferred %d, want %d: %+v", p.Preferred, tc.want, p)
			}
			if (len(got) > 0) != (tc.want < 0) {
				t.Errorf("%d batches along with replica %d", len(got), p.Preferred)
			}
		})
	}
}

// A follower that may be cut off from what is committed sends its clients to the leader, and not at once, because that
// one may still think otherwise.
func TestFollowerThatMayBeBehindSendsClientsBack(t *testing.T) {
	lease := &flag{}
	lease.ok.Store(true)
	for name, cut := range map[string]func(*member){
		"without its lease":          func(*member) { lease.ok.Store(false) },
		"the leader does not answer": func(m *member) { hear(m, time.Hour) },
		"not in sync": func(m *member) {
			st := three(1, 1)
			st.Rev, st.ISR = st.Rev+1, []int32{1, 3}
			elect(m.t.(*testing.T), []*member{m}, st)
			hear(m, 0)
		},
		"nobody fetches for it": func(m *member) { m.r.SetFetcher(nil) },
	} {
		lease.ok.Store(true)
		all := followed(t, 3, func(o *Options) { o.Lease = lease })
		two := all[1]
		cut(two)
		const wait = 20 * time.Millisecond
		began := time.Now()
		f := anywhere(two, 1, wait, part(two.r, 0))
		f.wait(t)
		if p := f.Parts[0]; p.Err != nil || p.Preferred != 1 || p.Bytes > 0 || time.Since(began) < wait {
			t.Errorf("%s: %+v after %v", name, p, time.Since(began))
		}
		f = anywhere(two, 1, time.Hour, part(two.r, 0))
		if !f.pending() {
			t.Errorf("%s: sent back at once", name)
		}
		lease.ok.Store(true)
		hear(two, 0)
		elect(t, []*member{two}, three(1, 2))
		if f.wait(t); len(f.batches(t, 0)) != 3 {
			t.Errorf("%s: %+v after all is well again", name, f.Parts[0])
		}
	}
	// Without a leader to be sent to it is an error.
	two := followed(t, 1)[1]
	st := three(-1, 2)
	elect(t, []*member{two}, st)
	f := anywhere(two, 1, time.Hour, part(two.r, 0))
	if f.wait(t); !errors.Is(f.Parts[0].Err, ErrNotLeader) {
		t.Errorf("without a leader: %+v", f.Parts[0])
	}
}

// A client that waits at a follower for more gets it from there, or hears of it, when that one leads, or follows another.
func TestClientOfAFollowerThroughAFailover(t *testing.T) {
	all := followed(t, 2)
	two, other := all[1], all[2]
	atTwo, atThree := anywhere(two, 1, time.Hour, part(two.r, 2)), anywhere(other, 1, time.Hour, part(other.r, 2))
	epoch := part(other.r, 2)
	epoch.LeaderEpoch = 1
	fenced := anywhere(other, 1, time.Hour, epoch)
	st := three(2, 2)
	st.ISR = []int32{2, 3}
	elect(t, all, st)
	hear(other, 0)
	if fenced.wait(t); !errors.Is(fenced.Parts[0].Err, ErrFencedEpoch) {
		t.Errorf("a client of the old epoch: %+v", fenced.Parts[0])
	}
	start(two.r, AcksLeader, records(t, 1, "new")).wait(t)
	catchUp(t, other, two)
	if atTwo.wait(t); atTwo.Parts[0].Err != nil || len(atTwo.batches(t, 0)) != 1 {
		t.Errorf("at the new leader: %+v", atTwo.Parts[0])
	}
	pull(t, other, two)
	if atThree.wait(t); atThree.Parts[0].Err != nil || len(atThree.batches(t, 0)) != 1 {
		t.Errorf("at the other follower: %+v", atThree.Parts[0])
	}
}

// A follower that clients were sent to hears of the high watermark when it moves, others with what comes next.
func TestFollowersWithClientsHearOfTheHighWatermark(t *testing.T) {
	all := followed(t, 3)
	leader := all[0]
	wait := func(m *member, offset, told int64) *waitingFetch {
		f := &waitingFetch{done: make(chan struct{})}
		f.MinBytes, f.MaxBytes, f.MaxWait, f.Follower = 1, 1<<20, time.Hour, &Follower{ID: m.id, BrokerEpoch: int64(m.id) * 10}
		f.Parts = []FetchPart{{Replica: leader.r, Offset: offset, MaxBytes: 1 << 20, LeaderEpoch: 1, LastEpoch: 1, Told: told}}
		f.Done = func(*Fetch) { close(f.done) }
		leader.set.Fetch(t.Context(), &f.Fetch)
		return f
	}
	pull(t, all[1], leader)
	hint := anywhere(leader, 1, 0, part(leader.r, 0), 2)
	if hint.wait(t); hint.Parts[0].Preferred != 2 {
		t.Fatalf("%+v", hint.Parts[0])
	}
	start(leader.r, AcksLeader, records(t, 1, "new")).wait(t)
	two := wait(all[1], 4, 3)
	if !two.pending() {
		t.Fatalf("%+v", two.Parts[0])
	}
	three := wait(all[2], 4, 3)
	if two.wait(t); two.Parts[0].Err != nil || two.Parts[0].HighWatermark != 4 || two.Parts[0].Bytes > 0 {
		t.Errorf("the follower with clients: %+v", two.Parts[0])
	}
	if !three.pending() {
		t.Errorf("the one without: %+v", three.Parts[0])
	}
	three.Hurry()
	three.wait(t)
	late := wait(all[1], 4, 3) // moved before it was there
	if late.wait(t); late.Parts[0].HighWatermark != 4 {
		t.Errorf("afterwards: %+v", late.Parts[0])
	}
	if again := wait(all[1], 4, 4); !again.pending() {
		t.Error("told twice")
	} else {
		again.Hurry()
		again.wait(t)
	}
}

// What is in the tier any replica reads from there, also what its own disk never had.
func TestFollowersReadTheTier(t *testing.T) {
	w := newTieredRig(t)
	c := tieredConfig()
	c.Segment.Bytes = 1 << 10
	leader := &member{rig: w.rig, id: 1, r: w.open(testTP, c)}
	other := newTieredRigOn(t, w.bucket, w.anchor)
	other.set.opts.BrokerID = 2
	m := &member{rig: other.rig, id: 2, r: other.open(testTP, c)}
	st := State{Leader: 1, LeaderEpoch: 3, Replicas: []int32{1, 2}, ISR: []int32{1}}
	elect(t, []*member{leader, m}, st)
	const n = 60
	for i := range n {
		appendOK(t, leader.r, records(t, 1, name2(i)))
	}
	w.archive(leader.r)
	dropLocal(t, leader.r)
	m.r.SetTierHead(leader.r.head.Load())
	if err := m.r.StartAnew(3, 0); err != nil {
		t.Fatal(err)
	}
	start(leader.r, AcksLeader, records(t, 1, "hot")).wait(t)
	catchUp(t, m, leader)
	st.ISR, st.Rev = []int32{1, 2}, 1
	elect(t, []*member{leader, m}, st)
	catchUp(t, m, leader)
	pull(t, m, leader)
	hear(m, 0)
	if at, _ := m.r.Place(); m.r.log.Start() != n || at.LogStart != 0 {
		t.Fatalf("the follower's disk has offsets from %d on, it says that it has them from %d on", m.r.log.Start(), at.LogStart)
	}
	for next := int64(0); next <= n; {
		f := anywhere(m, 1, time.Minute, part(m.r, next))
		f.wait(t)
		got := f.batches(t, 0)
		if f.Parts[0].Err != nil || len(got) == 0 || f.Parts[0].LogStart != 0 {
			t.Fatalf("at %d: %+v", next, f.Parts[0])
		}
		for _, b := range got {
			if b.BaseOffset() != next {
				t.Fatalf("offset %d, want %d", b.BaseOffset(), next)
			}
			next = b.NextOffset()
		}
	}
}

// Brokers that replicate ask the leader, whatever their requests allow.
func TestFollowersAreNoLeadersOfFollowers(t *testing.T) {
	all := followed(t, 1)
	f := &waitingFetch{done: make(chan struct{})}
	f.MaxBytes, f.AnyReplica, f.Follower, f.Parts = 1<<20, true, &Follower{ID: 3, BrokerEpoch: 30}, []FetchPart{part(all[1].r, 0)}
	f.Parts[0].LeaderEpoch = 1
	f.Done = func(*Fetch) { close(f.done) }
	all[1].set.Fetch(t.Context(), &f.Fetch)
	if f.wait(t); !errors.Is(f.Parts[0].Err, ErrNotLeader) {
		t.Errorf("%+v", f.Parts[0])
	}
}

// A follower says where its log starts when that moves: the leader goes by it.
func TestFollowerSaysWhereItsLogStarts(t *testing.T) {
	c := durableConfig()
	c.Segment.Bytes, c.Retention.Bytes = 200, 1
	all := newMembers(t, 2, c)
	st := State{Leader: 1, LeaderEpoch: 1, Replicas: []int32{1, 2}, ISR: []int32{1, 2}}
	elect(t, all, st)
	for i := range 6 {
		start(all[0].r, AcksLeader, records(t, 1, name2(i))).wait(t)
		catchUp(t, all[1], all[0])
	}
	all[0].r.maintain(time.Now())
	pull(t, all[1], all[0])
	h := hear(all[1], 0)
	before := h.moved.Load()
	all[1].r.maintain(time.Now())
	if all[1].r.log.Start() == 0 || h.moved.Load() == before {
		t.Errorf("%+v, told %d times, %+v", all[1].r.Offsets(), h.moved.Load()-before, all[1].r.log.Segments())
	}
}

// A follower that comes back is told at once what is committed, with records that its disk does not have yet. It is not
// told again, and with nothing new coming its clients would wait for ever.
func TestFollowerRemembersWhatItWasTold(t *testing.T) {
	all := newMembers(t, 3, durableConfig())
	st := three(1, 1)
	st.ISR = []int32{1, 3}
	elect(t, all, st)
	leader, two := all[0], all[1]
	for i := range 3 {
		start(leader.r, AcksLeader, records(t, 1, name(i))).wait(t)
	}
	catchUp(t, all[2], leader)
	if hw := leader.r.hw.Load(); hw != 3 {
		t.Fatalf("high watermark %d", hw)
	}
	pull(t, two, leader)
	until(t, "it knows what is committed", func() bool { return two.r.hw.Load() == 3 })
}

// What a follower with clients has not been told of does not keep its fetch awake where the answer is an error that waits.
func TestFollowersFetchOfAFailedDiskWaits(t *testing.T) {
	all := followed(t, 3)
	leader := all[0]
	pull(t, all[1], leader)
	hint := anywhere(leader, 1, 0, part(leader.r, 0), 2)
	if hint.wait(t); hint.Parts[0].Preferred != 2 {
		t.Fatalf("%+v", hint.Parts[0])
	}
	var looks atomic.Int32
	f := &waitingFetch{done: make(chan struct{})}
	f.MinBytes, f.MaxBytes, f.MaxWait, f.Follower = 1, 1<<20, time.Hour, &Follower{ID: 2, BrokerEpoch: 20}
	f.Parts = []FetchPart{{Replica: leader.r, Offset: 3, MaxBytes: 1 << 20, LeaderEpoch: 1, LastEpoch: 1, Told: 3}}
	f.Join = func(*Fetch) { looks.Add(1) }
	f.Done = func(*Fetch) { close(f.done) }
	leader.set.Fetch(t.Context(), &f.Fetch)
	if !f.pending() {
		t.Fatalf("%+v", f.Parts[0])
	}
	leader.r.shut(fmt.Errorf("%w: by the test", ErrStorage))
	until(t, "it has looked again and waits", func() bool { return looks.Load() == 2 && f.pending() })
	f.Hurry()
	if f.wait(t); !errors.Is(f.Parts[0].Err, ErrStorage) {
		t.Errorf("%+v", f.Parts[0])
	}
}

// What an answer of a leader of the past says, taken in late, does not take the place of what the next one has said: that one does
// not say it again.
func TestFollowerForgetsNothingForALeaderOfThePast(t *testing.T) {
	var inject faultfs.Injector
	g := newRig(t, faultfs.Wrap(vfs.NewMem(), &inject))
	r := g.open(testTP, durableConfig())
	st := State{Leader: 2, LeaderEpoch: 1, Rev: 1, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2, 3}}
	follow := func() error { return r.BecomeFollower(st) }
	give := func(f Fetched) error { return r.AppendFetched(&f) }
	if err := errors.Join(follow(), give(Fetched{LeaderEpoch: 1, Records: records(t, 1, "v")})); err != nil {
		t.Fatal(err)
	}
	next := batch.Batch(records(t, 4, "v"))
	next.SetBaseOffset(1)
	syncs := holdSyncs(&inject)
	past, led := make(chan error, 1), make(chan error, 1)
	g.set.sched.mu.Lock() // where the answer of the past is held up
	go func() { past <- give(Fetched{LeaderEpoch: 1, Records: next, LogStart: 1}) }()
	in := func(fn, other string) func() bool {
		return func() bool {
			return slices.ContainsFunc(stacks(), func(s string) bool { return strings.Contains(s, fn) && strings.Contains(s, other) })
		}
	}
	until(t, "it is being taken in", in("AppendFetched", "(*scheduler).kick"))
	st.Leader, st.LeaderEpoch, st.Rev = 3, 2, 2
	go func() { led <- follow() }()
	waits, follows := in("BecomeFollower", "Lock"), func() bool { epoch, _, _ := r.LeaderEpoch(); return epoch == 2 }
	until(t, "another leads", func() bool { return follows() || waits() })
	tell := func() {
		if err := give(Fetched{LeaderEpoch: 2, HighWatermark: 5}); err != nil {
			t.Error(err)
		}
	}
	early := follows()
	if early {
		tell()
	}
	g.set.sched.mu.Unlock()
	if err := errors.Join(<-past, <-led); err != nil {
		t.Error(err)
	}
	if !early {
		tell()
	}
	syncs.release()
	until(t, "the high watermark is what the leader says", func() bool { return r.hw.Load() == 5 })
}

// While etcd is away nobody's lease stands, so that a follower sends its clients back: then the leader has to serve them itself.
func TestLeaderServesTheFarWhileEtcdIsAway(t *testing.T) {
	lease := &flag{}
	lease.ok.Store(true)
	all := followed(t, 3, func(o *Options) { o.Lease = lease })
	f := anywhere(all[0], 1, 0, part(all[0].r, 0), 2)
	if f.wait(t); f.Parts[0].Preferred != 2 {
		t.Fatalf("before: %+v", f.Parts[0])
	}
	lease.ok.Store(false)
	catchUp(t, all[1], all[0])
	catchUp(t, all[2], all[0])
	f = anywhere(all[0], 1, 0, part(all[0].r, 0), 2)
	if f.wait(t); f.Parts[0].Preferred >= 0 || len(f.batches(t, 0)) != 3 {
		t.Errorf("%+v", f.Parts[0])
	}
}
