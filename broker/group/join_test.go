package group

import (
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/brokertest/growthtest"
)

// request is a good first JoinGroup of version 9.
func request(change func(*kmsg.JoinGroupRequest)) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.ProtocolType = 9, "g", "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 10_000, 60_000
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: consumerOf("t1")}}
	if change != nil {
		change(req)
	}
	return req
}

func (r *rig) joinWith(req *kmsg.JoinGroupRequest) *pending[kmsg.JoinGroupResponse] {
	p := &pending[kmsg.JoinGroupResponse]{}
	r.apply(r.m.Join(r.now, Client{ID: "c", Host: "/h"}, req, p.done()))
	return p
}

// parked fails the test if p has its answer already.
func (p *pending[T]) parked(t *testing.T) {
	t.Helper()
	if p.n != 0 {
		t.Fatalf("answered: %+v, %v", p.resp, p.err)
	}
}

func TestJoinRefusals(t *testing.T) {
	long := strings.Repeat("x", maxName+1)
	for name, c := range map[string]struct {
		change func(*kmsg.JoinGroupRequest)
		want   *kerr.Error
	}{
		"no group":           {func(r *kmsg.JoinGroupRequest) { r.Group = "" }, kerr.InvalidGroupID},
		"long group":         {func(r *kmsg.JoinGroupRequest) { r.Group = long }, kerr.InvalidGroupID},
		"short session":      {func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 999 }, kerr.InvalidSessionTimeout},
		"long session":       {func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 3_600_001 }, kerr.InvalidSessionTimeout},
		"negative session":   {func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = -1 }, kerr.InvalidSessionTimeout},
		"no protocol type":   {func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "" }, kerr.InconsistentGroupProtocol},
		"no protocols":       {func(r *kmsg.JoinGroupRequest) { r.Protocols = nil }, kerr.InconsistentGroupProtocol},
		"a member of naught": {func(r *kmsg.JoinGroupRequest) { r.MemberID = "m" }, kerr.UnknownMemberID},
		"large metadata":     {func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Metadata = make([]byte, maxMember/2) }, kerr.InvalidRequest},
		"many protocols":     {func(r *kmsg.JoinGroupRequest) { r.Protocols = make([]kmsg.JoinGroupRequestProtocol, maxMember/2) }, kerr.InvalidRequest},
		"long instance":      {func(r *kmsg.JoinGroupRequest) { r.InstanceID = &long }, kerr.InvalidRequest},
		"bytes for names":    {func(r *kmsg.JoinGroupRequest) { r.InstanceID = kmsg.StringPtr("\xff") }, kerr.InvalidRequest},
		"bytes for protocol": {func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Name = "\xff" }, kerr.InvalidRequest},
	} {
		r := newRig(t)
		resp := r.joinWith(request(c.change)).get(t)
		want(t, name, resp.ErrorCode, c.want)
		if resp.Generation != -1 || len(r.m.groups) != 0 || len(r.kept) != 0 {
			t.Errorf("%s: generation %d, %d groups, %d keys", name, resp.Generation, len(r.m.groups), len(r.kept))
		}
	}
}

func TestMemberIDIsRequiredFromVersion4(t *testing.T) {
	for v := int16(0); v <= 9; v++ {
		r := newRig(t)
		of := func(id string) *pending[kmsg.JoinGroupResponse] {
			return r.joinWith(request(func(r *kmsg.JoinGroupRequest) {
				if r.Version, r.MemberID = v, id; v == 0 {
					r.RebalanceTimeoutMillis = -1
				}
			}))
		}
		j := of("")
		if v >= 4 {
			resp := j.get(t)
			want(t, "first join", resp.ErrorCode, kerr.MemberIDRequired)
			if s := r.state(); s != "Empty" {
				t.Errorf("v%d: state %s", v, s)
			}
			j = of(resp.MemberID)
			if s := r.state(); s != "PreparingRebalance" {
				t.Errorf("v%d: state %s", v, s)
			}
		}
		j.parked(t)
		r.pass(3 * time.Second)
		resp := j.get(t)
		want(t, "join", resp.ErrorCode, nil)
		if resp.Generation != 1 || resp.LeaderID != resp.MemberID || len(resp.Members) != 1 || *resp.Protocol != "range" || *resp.ProtocolType != "consumer" {
			t.Errorf("v%d: %+v", v, resp)
		}
		if !strings.HasPrefix(resp.MemberID, "c-") {
			t.Errorf("v%d: member %s", v, resp.MemberID)
		}
	}
}

func TestInitialDelayGrowsWithCompany(t *testing.T) {
	r := newRig(t)
	start := r.now
	var joins []*pending[kmsg.JoinGroupResponse]
	for joins == nil || joins[0].n == 0 { // one more every two seconds
		joins = append(joins, r.join(joinOpts{version: 3, rebalance: 20_000}))
		r.pass(2 * time.Second)
		if r.now.Sub(start) > time.Minute {
			t.Fatal("the first generation never comes")
		}
	}
	if took := r.now.Sub(start); took != 20*time.Second {
		t.Errorf("the first generation came after %v, want the rebalance time-out", took)
	}
	if got := joins[0].get(t); len(got.Members) != 10 {
		t.Errorf("%d members", len(got.Members))
	}
}

func TestNobodyWaitsForAnIDGivenToAStranger(t *testing.T) {
	r := newRig(t)
	stranger := r.join(joinOpts{}).get(t).MemberID
	a, ja := r.enter()
	r.pass(3 * time.Second)
	want(t, "join", ja.get(t).ErrorCode, nil)
	// The id holds good: its client comes after all. Then a rebalance waits for ids given out, as long as
	// these last.
	_ = r.sync(a, 1, nil).get(t)
	another := r.join(joinOpts{}).get(t).MemberID
	js := r.join(joinOpts{id: stranger})
	ja = r.join(joinOpts{id: a})
	ja.parked(t)
	want(t, "heartbeat", r.beat(a, 1), kerr.RebalanceInProgress)
	r.pass(10 * time.Second)
	if got := js.get(t); got.Generation != 2 || len(ja.get(t).Members) != 2 {
		t.Errorf("join: %+v", got)
	}
	want(t, "an id that lapsed", r.join(joinOpts{id: another}).get(t).ErrorCode, kerr.UnknownMemberID)
}

func TestWithoutInitialDelay(t *testing.T) {
	r := newRig(t)
	r.m.opts.InitialRebalanceDelay = 0
	_ = r.join(joinOpts{}).get(t) // somebody else's id
	_, j := r.enter()
	want(t, "join", j.get(t).ErrorCode, nil)
}

func TestWhoDoesNotRejoinIsRemoved(t *testing.T) {
	r := newRig(t)
	a, b, gen := r.stable()
	c, jc := r.enter()
	for range 14 { // the leader only heartbeats
		want(t, "heartbeat", r.beat(a, gen), kerr.RebalanceInProgress)
		r.pass(4 * time.Second)
	}
	jb := r.join(joinOpts{id: b})
	want(t, "b was silent too long", jb.get(t).ErrorCode, kerr.UnknownMemberID)
	jc.parked(t)
	r.pass(4 * time.Second)
	resp := jc.get(t)
	if resp.Generation != gen+1 || resp.LeaderID != c || len(resp.Members) != 1 {
		t.Errorf("join: %+v", resp)
	}
	want(t, "heartbeat", r.beat(a, gen), kerr.UnknownMemberID)
}

// A follower waits for its assignment longer than its session lasts, and then the leader is gone: the
// follower must not be taken for dead.
func TestLeaderFailsWhileOthersWaitForTheirAssignment(t *testing.T) {
	r := newRig(t)
	a, ja := r.enter()
	b, jb := r.enter()
	r.pass(10 * time.Second)
	gen := ja.get(t).Generation
	_ = jb.get(t)
	sb := r.sync(b, gen, nil)
	for range 12 {
		r.pass(4 * time.Second)
		want(t, "heartbeat of the leader", r.beat(a, gen), nil)
		sb.parked(t)
	}
	r.pass(10 * time.Second) // and now it dies
	want(t, "sync", sb.get(t).ErrorCode, kerr.RebalanceInProgress)
	r.pass(5 * time.Second)
	jb = r.join(joinOpts{id: b})
	if resp := jb.get(t); resp.ErrorCode != 0 || resp.LeaderID != b || resp.Generation != gen+1 {
		t.Fatalf("join: %+v", resp)
	}
}

func TestWhoDoesNotSyncIsRemoved(t *testing.T) {
	r := newRig(t)
	a, ja := r.enter()
	b, jb := r.enter()
	r.pass(10 * time.Second)
	gen := ja.get(t).Generation
	_ = jb.get(t)
	_ = r.sync(a, gen, map[string]string{a: "x", b: "y"}).get(t)
	if s := r.state(); s != "Stable" {
		t.Fatalf("state %s", s)
	}
	for range 16 {
		r.pass(4 * time.Second)
		if code := r.beat(a, gen); code != 0 {
			want(t, "heartbeat", code, kerr.RebalanceInProgress)
			break
		}
		want(t, "heartbeat of who does not sync", r.beat(b, gen), nil)
	}
	want(t, "heartbeat of who did not sync", r.beat(b, gen), kerr.UnknownMemberID)
	if resp := r.join(joinOpts{id: a}).get(t); resp.Generation != gen+1 || len(resp.Members) != 1 {
		t.Errorf("join: %+v", resp)
	}
}

func TestParkedJoinOfANewMemberTimesOut(t *testing.T) {
	r := newRig(t)
	a, b, gen := r.stableWith(joinOpts{rebalance: 1_200_000})
	gone := r.join(joinOpts{version: 3, rebalance: 1_200_000})
	for range 74 {
		r.pass(4 * time.Second)
		want(t, "heartbeat", r.beat(a, gen), kerr.RebalanceInProgress)
		want(t, "heartbeat", r.beat(b, gen), kerr.RebalanceInProgress)
	}
	gone.parked(t)
	r.pass(5 * time.Second)
	want(t, "parked for five minutes", gone.get(t).ErrorCode, kerr.UnknownMemberID)
}

func TestLeavingInEachState(t *testing.T) {
	r := newRig(t)
	want(t, "unknown group", r.leave("x").Members[0].ErrorCode, kerr.UnknownMemberID)
	a, ja := r.enter() // the initial join
	_, jb := r.enter()
	want(t, "leave", r.leave(a).Members[0].ErrorCode, nil)
	want(t, "join of who left", ja.get(t).ErrorCode, kerr.UnknownMemberID)
	r.pass(10 * time.Second)
	resp := jb.get(t)
	if resp.LeaderID != resp.MemberID || len(resp.Members) != 1 {
		t.Fatalf("join: %+v", resp)
	}
	b := resp.MemberID
	want(t, "leave in CompletingRebalance", r.leave(b).Members[0].ErrorCode, nil)
	if s := r.state(); s != "Empty" {
		t.Fatalf("state %s", s)
	}
	c, d, gen := r.stable()
	if gen != resp.Generation+2 {
		t.Errorf("generation %d after %d and an empty one", gen, resp.Generation)
	}
	id := r.join(joinOpts{}).get(t).MemberID
	want(t, "leave of a pending member", r.leave(id).Members[0].ErrorCode, nil)
	if s := r.state(); s != "Stable" {
		t.Fatalf("state %s: a pending member's leave disturbs nobody", s)
	}
	got := r.leave(d, d, "x")
	wantCodes := []*kerr.Error{nil, kerr.UnknownMemberID, kerr.UnknownMemberID}
	for i, w := range wantCodes {
		want(t, "leave in Stable", got.Members[i].ErrorCode, w)
	}
	want(t, "heartbeat", r.beat(c, gen), kerr.RebalanceInProgress)
	id = r.join(joinOpts{}).get(t).MemberID
	jc := r.join(joinOpts{id: c})
	jc.parked(t)
	_ = r.leave(id)
	want(t, "join once the pending member has left", jc.get(t).ErrorCode, nil)

	old := kmsg.NewPtrLeaveGroupRequest()
	old.Version, old.Group, old.MemberID = 2, "g", "x"
	p := &pending[kmsg.LeaveGroupResponse]{}
	r.apply(r.m.Leave(r.now, old, p.done()))
	want(t, "version 2", p.get(t).ErrorCode, kerr.UnknownMemberID)
}

func TestChangesOfProtocols(t *testing.T) {
	r := newRig(t)
	a, b, gen := r.stable()
	same := r.join(joinOpts{id: b}).get(t)
	if same.ErrorCode != 0 || same.Generation != gen || len(same.Members) != 0 {
		t.Fatalf("a follower that changes nothing: %+v", same)
	}
	want(t, "heartbeat", r.beat(a, gen), nil)
	jb := r.join(joinOpts{id: b, topics: []string{"t1", "t2"}})
	jb.parked(t)
	want(t, "heartbeat", r.beat(a, gen), kerr.RebalanceInProgress)
	ja := r.join(joinOpts{id: a})
	if resp := jb.get(t); resp.Generation != gen+1 || len(ja.get(t).Members) != 2 {
		t.Fatalf("join: %+v", resp)
	}
	again := r.join(joinOpts{id: a}).get(t) // the answer was lost
	if again.Generation != gen+1 || len(again.Members) != 2 {
		t.Fatalf("join in CompletingRebalance: %+v", again)
	}
	sb := r.sync(b, gen+1, nil)
	ja = r.join(joinOpts{id: a, topics: []string{"t3"}}) // or its mind was changed
	want(t, "sync", sb.get(t).ErrorCode, kerr.RebalanceInProgress)
	jb = r.join(joinOpts{id: b})
	if resp := jb.get(t); resp.Generation != gen+2 || len(ja.get(t).Members) != 2 {
		t.Fatalf("join: %+v", resp)
	}
	_ = r.sync(a, gen+2, nil).get(t)
	ja = r.join(joinOpts{id: a}) // the leader knows why
	ja.parked(t)
	want(t, "heartbeat", r.beat(b, gen+2), kerr.RebalanceInProgress)
	want(t, "protocols nobody else knows", r.join(joinOpts{id: b, protocols: []string{"other"}}).get(t).ErrorCode, kerr.InconsistentGroupProtocol)
	connect := request(func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "connect" })
	want(t, "another protocol type", r.joinWith(connect).get(t).ErrorCode, kerr.InconsistentGroupProtocol)
}

func TestAnEmptyGroupMayChangeItsType(t *testing.T) {
	r := newRig(t)
	a, b, _ := r.stable()
	_ = r.leave(a, b)
	connect := func(id string) *kmsg.JoinGroupRequest {
		return request(func(r *kmsg.JoinGroupRequest) { r.ProtocolType, r.MemberID = "connect", id })
	}
	id := r.joinWith(connect("")).get(t).MemberID
	j := r.joinWith(connect(id))
	r.pass(3 * time.Second)
	resp := j.get(t)
	if resp.ErrorCode != 0 || *resp.ProtocolType != "connect" {
		t.Fatalf("join: %+v", resp)
	}
	want(t, "alone, and of another type", r.joinWith(request(func(r *kmsg.JoinGroupRequest) { r.MemberID = id })).get(t).ErrorCode, kerr.InconsistentGroupProtocol)
	if r.m.groups["g"].topics != nil {
		t.Error("a group of connect subscribes to topics")
	}
}

func TestGroupMaxSize(t *testing.T) {
	r := newRig(t)
	r.m.opts.MaxSize = 2
	a, b, gen := r.stable()
	if resp := r.join(joinOpts{}).get(t); resp.ErrorCode != kerr.GroupMaxSizeReached.Code || resp.MemberID != "" {
		t.Fatalf("a third: %+v", resp)
	}
	want(t, "a member", r.join(joinOpts{id: b}).get(t).ErrorCode, nil)
	// A limit that is lowered is come down to in the next rebalance: the last to rejoin go.
	r.m.opts.MaxSize = 1
	ja := r.join(joinOpts{id: a})
	want(t, "the last to rejoin", r.join(joinOpts{id: b}).get(t).ErrorCode, kerr.GroupMaxSizeReached)
	if resp := ja.get(t); resp.Generation != gen+1 || len(resp.Members) != 1 {
		t.Fatalf("the first: %+v", resp)
	}
	// A static member takes its own place again.
	r = newRig(t)
	r.m.opts.MaxSize = 1
	j := r.join(joinOpts{instance: "i"})
	r.pass(3 * time.Second)
	_ = r.sync(j.get(t).MemberID, 1, nil).get(t)
	want(t, "a static member again", r.join(joinOpts{instance: "i"}).get(t).ErrorCode, nil)
	want(t, "another", r.join(joinOpts{instance: "j"}).get(t).ErrorCode, kerr.GroupMaxSizeReached)
}

func TestAskingAgainWhileParked(t *testing.T) {
	r := newRig(t)
	a, ja := r.enter()
	again := r.join(joinOpts{id: a})
	want(t, "the first join", ja.get(t).ErrorCode, kerr.RebalanceInProgress)
	b, _ := r.enter()
	r.pass(10 * time.Second)
	gen := again.get(t).Generation
	first := r.sync(b, gen, nil)
	second := r.sync(b, gen, nil)
	want(t, "the first sync", first.get(t).ErrorCode, kerr.RebalanceInProgress)
	_ = r.sync(a, gen, map[string]string{b: "y"})
	if got := second.get(t); string(got.MemberAssignment) != "y" {
		t.Errorf("sync: %+v", got)
	}
}

func TestSyncRefusals(t *testing.T) {
	r := newRig(t)
	a, b, gen := r.stable()
	sync := func(change func(*kmsg.SyncGroupRequest)) int16 {
		req := kmsg.NewPtrSyncGroupRequest()
		req.Version, req.Group, req.MemberID, req.Generation = 5, "g", b, gen
		change(req)
		p := &pending[kmsg.SyncGroupResponse]{}
		r.apply(r.m.Sync(r.now, Client{}, req, p.done()))
		return p.get(t).ErrorCode
	}
	want(t, "no group", sync(func(r *kmsg.SyncGroupRequest) { r.Group = "" }), kerr.InvalidGroupID)
	want(t, "unknown group", sync(func(r *kmsg.SyncGroupRequest) { r.Group = "x" }), kerr.UnknownMemberID)
	want(t, "unknown member", sync(func(r *kmsg.SyncGroupRequest) { r.MemberID = "x" }), kerr.UnknownMemberID)
	want(t, "old generation", sync(func(r *kmsg.SyncGroupRequest) { r.Generation-- }), kerr.IllegalGeneration)
	want(t, "not static", sync(func(r *kmsg.SyncGroupRequest) { r.InstanceID = kmsg.StringPtr("i") }), kerr.UnknownMemberID)
	want(t, "protocol", sync(func(r *kmsg.SyncGroupRequest) { r.Protocol = kmsg.StringPtr("other") }), kerr.InconsistentGroupProtocol)
	want(t, "protocol type", sync(func(r *kmsg.SyncGroupRequest) { r.ProtocolType = kmsg.StringPtr("connect") }), kerr.InconsistentGroupProtocol)
	want(t, "nothing wrong", sync(func(*kmsg.SyncGroupRequest) {}), nil)
	_ = r.join(joinOpts{id: a})
	want(t, "during the next rebalance", sync(func(*kmsg.SyncGroupRequest) {}), kerr.RebalanceInProgress)
}

// An assignment that can't be written down is refused and hurts nobody else; see maxMember.
func TestAssignmentTooLarge(t *testing.T) {
	r := newRig(t)
	a, ja := r.enter()
	b, _ := r.enter()
	r.pass(10 * time.Second)
	gen := ja.get(t).Generation
	sb := r.sync(b, gen, nil)
	sa := r.sync(a, gen, map[string]string{a: "x", b: strings.Repeat("y", maxMember)})
	want(t, "leader", sa.get(t).ErrorCode, kerr.UnknownServerError)
	want(t, "follower", sb.get(t).ErrorCode, kerr.UnknownServerError)
	if s := r.state(); s != "PreparingRebalance" {
		t.Errorf("state %s", s)
	}
}

func TestHeartbeatInEachState(t *testing.T) {
	r := newRig(t)
	want(t, "unknown group", r.beat("x", 1), kerr.UnknownMemberID)
	a, ja := r.enter()
	want(t, "parked", r.beat(a, 0), kerr.RebalanceInProgress)
	r.pass(10 * time.Second)
	gen := ja.get(t).Generation
	want(t, "CompletingRebalance", r.beat(a, gen), nil)
	want(t, "unknown member", r.beat("x", gen), kerr.UnknownMemberID)
	_ = r.sync(a, gen, nil).get(t)
	want(t, "Stable", r.beat(a, gen), nil)
	want(t, "generation to come", r.beat(a, gen+1), kerr.IllegalGeneration)
	_ = r.leave(a)
	want(t, "Empty", r.beat(a, gen), kerr.UnknownMemberID)
	req := kmsg.NewPtrHeartbeatRequest()
	p := &pending[kmsg.HeartbeatResponse]{}
	r.apply(r.m.Heartbeat(r.now, req, p.done()))
	want(t, "no group", p.get(t).ErrorCode, kerr.InvalidGroupID)
}

// What is written down of a static member that returns with more to say of itself does not outgrow the store.
func TestReturningMemberTooLarge(t *testing.T) {
	metadata := func(size int) []byte {
		m := kmsg.NewConsumerMemberMetadata()
		m.Topics, m.UserData = []string{"t1"}, make([]byte, size)
		return m.AppendTo(nil)
	}
	static := func(size int) *kmsg.JoinGroupRequest {
		return request(func(r *kmsg.JoinGroupRequest) {
			r.InstanceID, r.Protocols[0].Metadata = kmsg.StringPtr("i"), metadata(size)
		})
	}
	r := newRig(t)
	j := r.joinWith(static(1000))
	r.pass(10 * time.Second)
	old := j.get(t)
	_ = r.sync(old.MemberID, old.Generation, map[string]string{old.MemberID: strings.Repeat("x", maxMember-10_000)}).get(t)
	back := r.joinWith(static(maxMember/2 - 1000)) // the same topics, but much more to say of them
	for k, v := range r.kept {
		if len(v) > maxMember {
			t.Errorf("%d bytes at %q", len(v), k)
		}
	}
	resp := back.get(t)
	want(t, "back", resp.ErrorCode, nil)
	want(t, "sync", r.sync(resp.MemberID, resp.Generation, nil).get(t).ErrorCode, nil)
}

// Every version can carry what members are called, whatever their clients call themselves.
func TestNamesOfMembersAreBounded(t *testing.T) {
	long := strings.Repeat("x", maxName)
	for name, c := range map[string]struct{ client, instance string }{
		"client":            {client: long},
		"bytes as a client": {client: strings.Repeat("\xffé", maxName/3)},
		"instance":          {client: "c", instance: long},
	} {
		r := newRig(t)
		req := request(func(r *kmsg.JoinGroupRequest) {
			if r.Version = 3; c.instance != "" {
				r.Version, r.InstanceID = 5, &c.instance
			}
		})
		j := &pending[kmsg.JoinGroupResponse]{}
		r.apply(r.m.Join(r.now, Client{ID: c.client, Host: "/h"}, req, j.done()))
		r.pass(3 * time.Second)
		id := j.get(t).MemberID
		p := &pending[kmsg.DescribeGroupsResponseGroup]{}
		r.apply(r.m.Describe("g", 4, p.done()))
		m := p.get(t).Members[0]
		if m.MemberID != id || len(id) > maxName || !strings.HasSuffix(id, "-1") || !utf8.ValidString(id) {
			t.Errorf("%s: a member id of %d bytes that ends in %q", name, len(id), id[len(id)-8:])
		}
		if len(m.ClientID) > maxName || !utf8.ValidString(m.ClientID) {
			t.Errorf("%s: a client id of %d bytes", name, len(m.ClientID))
		}
	}
}

// TestManyProtocolsHoldNobodyUp lets a member name as many protocols as fit: all groups of a shard wait for its joins.
func TestManyProtocolsHoldNobodyUp(t *testing.T) {
	growthtest.Subquadratic(t, 5000, func(protocols int) func() {
		r := newRig(t)
		req := request(func(r *kmsg.JoinGroupRequest) {
			r.Version, r.Protocols = 3, nil
			for i := range protocols {
				r.Protocols = append(r.Protocols, kmsg.JoinGroupRequestProtocol{Name: strconv.FormatInt(int64(i), 36)})
			}
		})
		return func() {
			p := r.joinWith(req)
			r.pass(10 * time.Second)
			req.MemberID = p.get(t).MemberID
			req.Protocols = append(req.Protocols[1:], req.Protocols[0])
			p = r.joinWith(req)
			want(t, "with others", p.get(t).ErrorCode, nil)
		}
	})
}

// TestLargeGroupThatFallsSilentHoldsNobodyUp loses all members of a group at once, as when their network fails: each of them
// leads it by the time that it goes, and the groups of the shard wait.
func TestLargeGroupThatFallsSilentHoldsNobodyUp(t *testing.T) {
	growthtest.Subquadratic(t, 2000, func(members int) func() {
		r := newRig(t)
		var first *pending[kmsg.JoinGroupResponse]
		for range members {
			if j := r.join(joinOpts{version: 3}); first == nil {
				first = j
			}
		}
		r.pass(6 * time.Second)
		leader := first.get(t)
		_ = r.sync(leader.MemberID, leader.Generation, nil)
		return func() {
			if r.pass(time.Minute); r.state() == "Stable" {
				t.Errorf("it is %s", r.state())
			}
		}
	})
}

// TestClientThatNeverComesBackHoldsNobodyUp has a client ask for ids, as fast as it can, and use none: the groups of the shard
// wait whenever one of them lapses, and others still find their way into the group.
func TestClientThatNeverComesBackHoldsNobodyUp(t *testing.T) {
	growthtest.Subquadratic(t, 5000, func(ids int) func() {
		r := newRig(t)
		return func() {
			for range ids {
				want(t, "an id", r.join(joinOpts{version: 4}).get(t).ErrorCode, kerr.MemberIDRequired)
				r.now = r.now.Add(time.Millisecond)
				r.apply(r.m.Tick(r.now))
			}
			if n := len(r.m.groups["g"].pending); n > maxPending {
				t.Errorf("%d ids are remembered", n)
			}
			_, j := r.enterWith(joinOpts{version: 4})
			r.pass(time.Minute)
			want(t, "someone who comes back", j.get(t).ErrorCode, nil)
		}
	})
}
