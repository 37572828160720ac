package group

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/metadata/topic"
)

func TestCommitsInEachState(t *testing.T) {
	r := newRig(t)
	check := func(what string, by Committer, err *kerr.Error) {
		t.Helper()
		by.Group = "g"
		c := r.commit(by, 5, tp(1, 0))
		code := int16(0)
		if c.Err != nil {
			code = c.Err.Code
		}
		want(t, what, code, err)
	}
	alone := Committer{Generation: -1}
	check("member of an unknown group, v8", Committer{MemberID: "m", Generation: 3, Version: 8}, kerr.IllegalGeneration)
	check("member of an unknown group, v9", Committer{MemberID: "m", Generation: 3, Version: 9}, kerr.GroupIDNotFound)
	if len(r.m.groups) != 0 || len(r.kept) != 0 {
		t.Fatal("a refused commit left something")
	}
	check("alone", alone, nil)
	check("a member nobody knows of, without a generation", Committer{MemberID: "m", Generation: -1}, nil)
	check("a member nobody knows of", Committer{MemberID: "m", Generation: 0}, kerr.UnknownMemberID)
	a, ja := r.enter()
	check("alone, while others join", alone, kerr.UnknownMemberID)
	check("a member, while others join", Committer{MemberID: a, Generation: 0}, nil)
	r.pass(10 * time.Second)
	gen := ja.get(t).Generation
	check("in CompletingRebalance", Committer{MemberID: a, Generation: gen}, kerr.RebalanceInProgress)
	_ = r.sync(a, gen, nil).get(t)
	check("Stable", Committer{MemberID: a, Generation: gen}, nil)
	check("an old generation", Committer{MemberID: a, Generation: gen - 1}, kerr.IllegalGeneration)
	check("another", Committer{MemberID: "m", Generation: gen}, kerr.UnknownMemberID)
	check("nobody, with a generation", Committer{Generation: gen}, kerr.UnknownMemberID)
	check("not static", Committer{MemberID: a, InstanceID: kmsg.StringPtr("i"), Generation: gen}, kerr.UnknownMemberID)
	for range 10 { // commits keep the session alive
		r.pass(9 * time.Second)
		check("instead of heartbeats", Committer{MemberID: a, Generation: gen}, nil)
	}
	_ = r.join(joinOpts{version: 3})
	check("before rejoining", Committer{MemberID: a, Generation: gen}, nil)
}

func TestWhatIsCommitted(t *testing.T) {
	r := newRig(t)
	if c := r.commit(Committer{Group: "g", Generation: -1}, 5); c.Err != nil || len(r.m.groups) != 0 {
		t.Errorf("a commit of nothing: %+v, %d groups", c, len(r.m.groups))
	}
	commit := func(group string, cs ...Commit) *Committed {
		p := &pending[Committed]{}
		r.apply(r.m.Commit(r.now, Committer{Group: group, Generation: -1}, cs, p.done()))
		return p.get(t)
	}
	c := commit("g", Commit{tp(1, 0), 5, 2, "note"}, Commit{tp(1, 1), 6, -1, strings.Repeat("x", 101)}, Commit{tp(1, 64), 7, 3, "\xff"},
		Commit{tp(1, 0), 8, 4, "later"}, Commit{tp(1, 2), -1, -1, ""}, Commit{tp(1, 3), 7, -1, strings.Repeat("\xffx", 50)})
	if c.Err != nil || c.Codes[0] != 0 || c.Codes[1] != kerr.OffsetMetadataTooLarge.Code || c.Codes[2] != 0 ||
		c.Codes[5] != kerr.OffsetMetadataTooLarge.Code { // 100 bytes, but 200 once they are what can be stored
		t.Fatalf("%+v", c)
	}
	c = commit("", Commit{tp(1, 0), 1, -1, ""})
	if c.Err != nil {
		t.Errorf("the empty group: %v", c.Err)
	}
	want(t, "long name", commit(strings.Repeat("x", maxName+1), Commit{tp(1, 0), 1, -1, ""}).Err.Code, kerr.InvalidGroupID)
	for range 2 {
		p := &pending[[]Fetched]{}
		r.apply(r.m.Offsets("g", []topic.Partition{tp(1, 0), tp(1, 1), tp(1, 64), tp(1, 2), tp(9, 0)}, false, p.done()))
		got := *p.get(t)
		for i, w := range []Fetched{{tp(1, 0), 8, 4, "later"}, {tp(1, 1), -1, -1, ""}, {tp(1, 64), 7, 3, "\uFFFD"}, {tp(1, 2), -1, -1, ""}, {tp(9, 0), -1, -1, ""}} {
			if got[i] != w {
				t.Errorf("fetched %+v, want %+v", got[i], w)
			}
		}
		p = &pending[[]Fetched]{}
		r.apply(r.m.Offsets("g", nil, true, p.done()))
		if got := *p.get(t); len(got) != 3 {
			t.Errorf("all: %+v", got)
		}
		p = &pending[[]Fetched]{}
		r.apply(r.m.Offsets("", nil, true, p.done()))
		if got := *p.get(t); len(got) != 1 || got[0].Offset != 1 {
			t.Errorf("the empty group: %+v", got)
		}
		r.reload()
	}
}

func (r *rig) deleteOffsets(group string, which ...topic.Partition) *Committed {
	r.t.Helper()
	p := &pending[Committed]{}
	r.apply(r.m.DeleteOffsets(group, which, p.done()))
	return p.get(r.t)
}

func TestOffsetDelete(t *testing.T) {
	r := newRig(t)
	want(t, "no group", r.deleteOffsets("", tp(1, 0)).Err.Code, kerr.InvalidGroupID)
	want(t, "unknown group", r.deleteOffsets("g", tp(1, 0)).Err.Code, kerr.GroupIDNotFound)
	_ = r.commit(Committer{Group: "g", Generation: -1}, 5, tp(1, 0), tp(1, 1), tp(2, 0))
	if c := r.deleteOffsets("g", tp(1, 0), tp(7, 0)); c.Err != nil || c.Codes[0] != 0 || c.Codes[1] != 0 {
		t.Errorf("of an empty group: %+v", c)
	}
	_, ja := r.enter()
	want(t, "subscriptions are not known yet", r.deleteOffsets("g", tp(2, 0)).Codes[0], kerr.GroupSubscribedToTopic)
	r.pass(10 * time.Second)
	_ = ja.get(t)
	want(t, "subscribed", r.deleteOffsets("g", tp(1, 1)).Codes[0], kerr.GroupSubscribedToTopic)
	want(t, "not subscribed", r.deleteOffsets("g", tp(2, 0)).Codes[0], nil)
	r.reload()
	if got := []int64{r.offset(tp(1, 0)), r.offset(tp(1, 1)), r.offset(tp(2, 0))}; got[0] != -1 || got[1] != 5 || got[2] != -1 {
		t.Errorf("offsets %v", got)
	}
	r = newRig(t)
	connect := request(func(r *kmsg.JoinGroupRequest) { r.Version, r.ProtocolType = 3, "connect" })
	_ = r.joinWith(connect)
	want(t, "members that are no consumers", r.deleteOffsets("g", tp(1, 0)).Err.Code, kerr.NonEmptyGroup)
}

func TestOffsetsOfASimpleGroupExpireByAge(t *testing.T) {
	r := newRig(t)
	self := Committer{Group: "g", Generation: -1}
	_ = r.commit(self, 1, tp(1, 0))
	r.pass(40 * time.Minute)
	_ = r.commit(self, 2, tp(1, 1))
	r.reload()
	r.pass(25 * time.Minute)
	if got := []int64{r.offset(tp(1, 0)), r.offset(tp(1, 1))}; got[0] != -1 || got[1] != 2 {
		t.Errorf("offsets %v", got)
	}
	r.pass(time.Hour)
	if len(r.kept) != 0 || r.state() != "Dead" {
		t.Errorf("%d keys, state %s", len(r.kept), r.state())
	}
}

// A client of old says itself for how long its offsets are kept, longer or shorter than the brokers would.
func TestOffsetsAreKeptForAsLongAsTheClientAsks(t *testing.T) {
	r := newRig(t)
	self := func(keep time.Duration) Committer {
		return Committer{Group: "g", Generation: -1, Version: 2, Expires: r.now.Add(keep)}
	}
	_ = r.commit(self(10*time.Minute), 1, tp(1, 0), tp(1, 3))
	_ = r.commit(self(10*time.Hour), 2, tp(1, 1))
	_ = r.commit(Committer{Group: "g", Generation: -1}, 3, tp(1, 2), tp(1, 3))
	r.reload()
	offsets := func(want ...int64) {
		t.Helper()
		if got := []int64{r.offset(tp(1, 0)), r.offset(tp(1, 1)), r.offset(tp(1, 2)), r.offset(tp(1, 3))}; !slices.Equal(got, want) {
			t.Errorf("offsets %v, want %v", got, want)
		}
	}
	offsets(1, 2, 3, 3)
	r.pass(12 * time.Minute)
	offsets(-1, 2, 3, 3) // what was committed anew without a time is kept as the brokers keep it
	r.pass(50 * time.Minute)
	offsets(-1, 2, -1, -1)
	_, j := r.enter()
	r.pass(10 * time.Second)
	_ = j.get(t) // who falls silent then
	r.pass(8 * time.Hour)
	offsets(-1, 2, -1, -1)
	r.pass(time.Hour)
	if offsets(-1, -1, -1, -1); len(r.kept) != 0 {
		t.Errorf("%d keys are left", len(r.kept))
	}
}

// An offset that an operator set after the group fell empty is as young as that.
func TestOffsetsSetInAnEmptyGroupAreYoung(t *testing.T) {
	r := newRig(t)
	a, b, gen := r.stable()
	_ = r.commit(Committer{Group: "g", MemberID: a, Generation: gen}, 1, tp(1, 0), tp(1, 1))
	_ = r.leave(a, b)
	r.pass(50 * time.Minute)
	_ = r.commit(Committer{Group: "g", Generation: -1}, 7, tp(1, 0))
	r.pass(20 * time.Minute)
	if got := []int64{r.offset(tp(1, 0)), r.offset(tp(1, 1))}; got[0] != 7 || got[1] != -1 {
		t.Errorf("offsets %v", got)
	}
}

// The end of a large group is written in pieces, the header last. Where a crash leaves the header of the generation
// that ended, how old that generation is says nothing about how long the group has been empty.
func TestOffsetsOutliveTheHalfWrittenEndOfAGroup(t *testing.T) {
	r := newRig(t)
	a, b, gen := r.stable()
	_ = r.commit(Committer{Group: "g", MemberID: a, Generation: gen}, 1, tp(1, 0))
	for range 13 * 60 { // an hour and a bit of heartbeats
		r.pass(5 * time.Second)
		_, _ = r.beat(a, gen), r.beat(b, gen)
	}
	header := r.kept[headerKey("g")]
	_ = r.leave(a, b)
	r.kept[headerKey("g")] = header
	r.reload()
	r.pass(50 * time.Minute)
	if got := r.offset(tp(1, 0)); got != 1 || r.state() != "Empty" {
		t.Errorf("offset %d, state %s: want what the retention keeps", got, r.state())
	}
	r.pass(20 * time.Minute)
	if len(r.kept) != 0 {
		t.Errorf("%d keys after the retention", len(r.kept))
	}
}

// How long a group has been empty whose end was not written down whole counts from when that was found, however often the
// shard moves on.
func TestOffsetsOfAHalfWrittenEndExpire(t *testing.T) {
	r := newRig(t)
	a, b, gen := r.stable()
	_ = r.commit(Committer{Group: "g", MemberID: a, Generation: gen}, 1, tp(1, 0))
	header := r.kept[headerKey("g")]
	_ = r.leave(a, b)
	r.kept[headerKey("g")] = header
	for range 3 {
		r.reload()
		r.pass(25 * time.Minute)
	}
	if len(r.kept) != 0 {
		t.Errorf("%d keys after the retention", len(r.kept))
	}
}

func TestNothingExpiresAfterTheClockWasSet(t *testing.T) {
	for _, c := range []struct {
		wall, passed time.Duration
		set          bool
	}{
		{time.Minute, time.Minute, false},
		{10 * time.Minute, 10*time.Minute + time.Second, false},
		{8 * 24 * time.Hour, time.Minute, true},
		{-time.Hour, time.Minute, true},
	} {
		if clockWasSet(c.wall, c.passed) != c.set {
			t.Errorf("%+v", c)
		}
	}
	r := newRig(t)
	_ = r.commit(Committer{Group: "g", Generation: -1}, 1, tp(1, 0), tp(2, 0))
	r.now = r.now.Add(59 * time.Minute)
	r.m.hold = r.now.Add(30 * time.Minute)
	r.gone[topic.ID{2}] = true
	r.pass(29 * time.Minute)
	if got := []int64{r.offset(tp(1, 0)), r.offset(tp(2, 0))}; got[0] != 1 || got[1] != -1 {
		t.Errorf("offsets %v: want age to be held back, and only that", got)
	}
	r.pass(5 * time.Minute)
	if got := r.offset(tp(1, 0)); got != -1 {
		t.Errorf("offset %d after the hold", got)
	}
}

// A sweep that takes long because it has much to write down notices when the clock is set in the middle of it.
func TestNothingExpiresAfterTheClockWasSetDuringASweep(t *testing.T) {
	r := newRig(t)
	r.now = time.Now()
	r.reload()
	live := tp(1, 0)
	_ = r.commit(Committer{Group: "g", Generation: -1}, 1, live)
	for n := range byte(3 * sweepEdits) {
		dead := tp(2, 0)
		dead.ID[1], r.gone[topic.ID{2, n}] = n, true
		_ = r.commit(Committer{Group: "g", Generation: -1}, 1, dead)
	}
	r.reload()
	r.pass(time.Minute) // the sweep begins
	if len(r.kept) < sweepEdits {
		t.Fatalf("%d keys are left when it has begun", len(r.kept))
	}
	r.now = clockSet(r.m.Deadline(), 2*time.Hour)
	r.apply(r.m.Tick(r.now))
	r.pass(10 * time.Minute)
	if got := r.offset(live); got != 1 || len(r.kept) != 2 {
		t.Errorf("offset %d, %d keys: want age to be held back, and only that", got, len(r.kept))
	}
}

// clockSet is a time as it is told after the clock was set forward by d.
func clockSet(at time.Time, d time.Duration) time.Time {
	at = at.Add(d)
	type clocks struct {
		wall      uint64
		monotonic int64
	}
	(*clocks)(unsafe.Pointer(&at)).monotonic -= int64(d)
	return at
}

func TestListAndDescribe(t *testing.T) {
	r := newRig(t)
	_ = r.commit(Committer{Group: "simple", Generation: -1}, 1, tp(1, 0))
	a, _, _ := r.stable()
	list := func(states, types []string) string {
		p := &pending[[]kmsg.ListGroupsResponseGroup]{}
		r.apply(r.m.List(newFilter(states), newFilter(types), p.done()))
		out := ""
		for _, g := range *p.get(t) {
			out += g.Group + "(" + g.ProtocolType + "," + g.GroupState + "," + g.GroupType + ") "
		}
		return strings.TrimSpace(out)
	}
	const stable, simple = "g(consumer,Stable,classic)", "simple(,Empty,classic)"
	for _, c := range []struct {
		states, types []string
		want          string
	}{
		{nil, nil, stable + " " + simple},
		{[]string{"stable"}, nil, stable},
		{[]string{"EMPTY", " Stable "}, nil, stable + " " + simple},
		{[]string{"Dead"}, nil, ""},
		{nil, []string{"Classic"}, stable + " " + simple},
		{nil, []string{"consumer"}, ""},
		{nil, []string{"nonsense"}, ""},
	} {
		if got := list(c.states, c.types); got != c.want {
			t.Errorf("%v %v: %q, want %q", c.states, c.types, got, c.want)
		}
	}
	describe := func(id string, version int16) *kmsg.DescribeGroupsResponseGroup {
		p := &pending[kmsg.DescribeGroupsResponseGroup]{}
		r.apply(r.m.Describe(id, version, p.done()))
		return p.get(t)
	}
	if g := describe("g", 5); g.Protocol != "range" || len(g.Members) != 2 || string(g.Members[0].MemberAssignment) != "for-a" || g.Members[0].ClientHost != "/h" {
		t.Errorf("stable: %+v", g)
	}
	_ = r.join(joinOpts{id: a})
	if g := describe("g", 5); g.State != "PreparingRebalance" || g.Protocol != "" || len(g.Members) != 2 || g.Members[0].MemberAssignment != nil {
		t.Errorf("rebalancing: %+v", g)
	}
	for _, id := range []string{"unknown", ""} {
		if g := describe(id, 5); g.State != "Dead" || g.ErrorCode != 0 {
			t.Errorf("%q v5: %+v", id, g)
		}
		if g := describe(id, 6); g.State != "Dead" || g.ErrorCode != kerr.GroupIDNotFound.Code || g.ErrorMessage == nil {
			t.Errorf("%q v6: %+v", id, g)
		}
	}
}
