package group

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// twoStatic makes a stable group of the static members i and j, of which i leads.
func (r *rig) twoStatic() (i, j string, gen int32) {
	r.t.Helper()
	ji, jj := r.join(joinOpts{instance: "i"}), r.join(joinOpts{instance: "j"})
	r.pass(10 * time.Second)
	ri, rj := ji.get(r.t), jj.get(r.t)
	sj := r.sync(rj.MemberID, ri.Generation, nil)
	_ = r.sync(ri.MemberID, ri.Generation, map[string]string{ri.MemberID: "for-i", rj.MemberID: "for-j"}).get(r.t)
	if string(sj.get(r.t).MemberAssignment) != "for-j" || ri.LeaderID != ri.MemberID {
		r.t.Fatal("no assignment")
	}
	return ri.MemberID, rj.MemberID, ri.Generation
}

func TestFormerSelfIsFenced(t *testing.T) {
	r := newRig(t)
	i, old, gen := r.twoStatic()
	id := r.join(joinOpts{instance: "j"}).get(t).MemberID
	if id == old {
		t.Fatal("the same id again")
	}
	inst := kmsg.StringPtr("j")
	hb := kmsg.NewPtrHeartbeatRequest()
	hb.Group, hb.MemberID, hb.Generation, hb.InstanceID = "g", old, gen, inst
	beat := &pending[kmsg.HeartbeatResponse]{}
	r.apply(r.m.Heartbeat(r.now, hb, beat.done()))
	want(t, "heartbeat", beat.get(t).ErrorCode, kerr.FencedInstanceID)
	sg := kmsg.NewPtrSyncGroupRequest()
	sg.Group, sg.MemberID, sg.Generation, sg.InstanceID = "g", old, gen, inst
	sync := &pending[kmsg.SyncGroupResponse]{}
	r.apply(r.m.Sync(r.now, Client{}, sg, sync.done()))
	want(t, "sync", sync.get(t).ErrorCode, kerr.FencedInstanceID)
	want(t, "commit", r.commit(Committer{Group: "g", MemberID: old, InstanceID: inst, Generation: gen}, 1, tp(1, 0)).Err.Code, kerr.FencedInstanceID)
	want(t, "join", r.join(joinOpts{instance: "j", id: old}).get(t).ErrorCode, kerr.FencedInstanceID)
	want(t, "leave", r.leaveAs(old, "j"), kerr.FencedInstanceID)
	want(t, "the leader", r.beat(i, gen), nil)
	if c := r.commit(Committer{Group: "g", MemberID: id, InstanceID: inst, Generation: gen}, 1, tp(1, 0)); c.Err != nil {
		t.Errorf("commit of its new self: %v", c.Err)
	}
	want(t, "of an unknown instance", r.join(joinOpts{instance: "k", id: id}).get(t).ErrorCode, kerr.UnknownMemberID)
}

func (r *rig) leaveAs(id, instance string) int16 {
	r.t.Helper()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Version, req.Group = 5, "g"
	req.Members = []kmsg.LeaveGroupRequestMember{{MemberID: id, InstanceID: &instance}}
	p := &pending[kmsg.LeaveGroupResponse]{}
	r.apply(r.m.Leave(r.now, req, p.done()))
	return p.get(r.t).Members[0].ErrorCode
}

func TestReturningLeaderByVersion(t *testing.T) {
	for v := int16(5); v <= 9; v++ {
		r := newRig(t)
		old, _, gen := r.twoStatic()
		resp := r.join(joinOpts{instance: "i", version: v}).get(t)
		if resp.ErrorCode != 0 || resp.Generation != gen || resp.MemberID == old {
			t.Fatalf("v%d: %+v", v, resp)
		}
		if v < 9 && (resp.LeaderID != old || len(resp.Members) != 0 || resp.SkipAssignment) {
			t.Errorf("v%d would assign anew: %+v", v, resp)
		}
		if v >= 9 && (resp.LeaderID != resp.MemberID || len(resp.Members) != 2 || !resp.SkipAssignment) {
			t.Errorf("v%d does not know that it leads: %+v", v, resp)
		}
		if got := r.sync(resp.MemberID, gen, nil).get(t); string(got.MemberAssignment) != "for-i" {
			t.Errorf("v%d: assignment %q", v, got.MemberAssignment)
		}
		r.reload()
		want(t, "after a reload", r.beat(resp.MemberID, gen), nil)
		if s := r.state(); s != "Stable" {
			t.Errorf("v%d: state %s after a reload", v, s)
		}
	}
}

func TestWhatAReturningMemberMayChange(t *testing.T) {
	userData := func(data string) *kmsg.JoinGroupRequest {
		return request(func(r *kmsg.JoinGroupRequest) {
			m := kmsg.NewConsumerMemberMetadata()
			m.Version, m.Topics, m.UserData = 1, []string{"t1"}, []byte(data)
			r.InstanceID, r.Protocols[0].Metadata = kmsg.StringPtr("j"), m.AppendTo(nil)
		})
	}
	r := newRig(t)
	i, _, gen := r.twoStatic()
	want(t, "user data", r.joinWith(userData("what it owned")).get(t).ErrorCode, nil)
	want(t, "the leader then", r.beat(i, gen), nil)
	r.join(joinOpts{instance: "j", topics: []string{"t1", "t2"}}).parked(t)
	want(t, "the leader once subscriptions change", r.beat(i, gen), kerr.RebalanceInProgress)

	r = newRig(t)
	i, _, gen = r.twoStatic()
	want(t, "one more protocol", r.join(joinOpts{instance: "j", protocols: []string{"range", "x"}}).get(t).ErrorCode, nil)
	want(t, "the leader then", r.beat(i, gen), nil)
	want(t, "no common protocol", r.join(joinOpts{instance: "j", protocols: []string{"x"}}).get(t).ErrorCode, kerr.InconsistentGroupProtocol)
}

func TestReturnWhileOthersWait(t *testing.T) {
	r := newRig(t)
	first := r.join(joinOpts{instance: "i"})
	second := r.join(joinOpts{instance: "i"})
	if resp := first.get(t); resp.ErrorCode != kerr.FencedInstanceID.Code {
		t.Fatalf("its former self: %+v", resp)
	}
	other := r.join(joinOpts{instance: "j"})
	r.pass(10 * time.Second)
	i, j, gen := second.get(t).MemberID, other.get(t).MemberID, second.get(t).Generation
	sj := r.sync(j, gen, nil)
	back := r.join(joinOpts{instance: "j"}) // in CompletingRebalance
	want(t, "its former self's sync", sj.get(t).ErrorCode, kerr.FencedInstanceID)
	back.parked(t)
	want(t, "the leader's sync", r.sync(i, gen, nil).get(t).ErrorCode, kerr.RebalanceInProgress)
	if resp := r.join(joinOpts{id: i, instance: "i"}).get(t); resp.Generation != gen+1 || len(resp.Members) != 2 {
		t.Fatalf("join: %+v", resp)
	}
	want(t, "the returned", back.get(t).ErrorCode, nil)
}

func TestStaticMembersAreMissedOnlyByTheirSession(t *testing.T) {
	r := newRig(t)
	ji, jj := r.join(joinOpts{instance: "i", rebalance: 5_000}), r.join(joinOpts{instance: "j", rebalance: 5_000, session: 60_000})
	r.pass(6 * time.Second)
	i, j, gen := ji.get(t).MemberID, jj.get(t).MemberID, ji.get(t).Generation
	_ = r.sync(i, gen, nil).get(t)
	_ = r.sync(j, gen, nil).get(t)
	ji = r.join(joinOpts{id: i, instance: "i", rebalance: 5_000})
	r.pass(6 * time.Second)
	if resp := ji.get(t); resp.Generation != gen+1 || len(resp.Members) != 2 {
		t.Fatalf("the one that did not rejoin counts: %+v", resp)
	}
	if got := r.sync(i, gen+1, map[string]string{j: "for-j"}).get(t); got.ErrorCode != 0 {
		t.Fatal(got)
	}
	// It must sync in time though, for its part belongs to nobody else.
	r.pass(3 * time.Second)
	want(t, "heartbeat", r.beat(i, gen+1), nil)
	r.pass(2 * time.Second)
	want(t, "heartbeat", r.beat(i, gen+1), kerr.RebalanceInProgress)

	// With everybody silent nothing completes until sessions end.
	r = newRig(t)
	r.twoStatic()
	id := r.join(joinOpts{version: 3}) // a dynamic one comes and goes
	r.leaveAll(id)
	r.pass(5 * time.Second)
	if s := r.state(); s != "PreparingRebalance" {
		t.Errorf("state %s", s)
	}
	r.pass(10 * time.Second)
	if s := r.state(); s != "Empty" {
		t.Errorf("state %s", s)
	}
}

// leaveAll makes everyone leave whose join is parked.
func (r *rig) leaveAll(*pending[kmsg.JoinGroupResponse]) {
	for _, mb := range r.m.groups["g"].ordered() {
		if mb.joinReply != nil {
			_ = r.leave(mb.id)
		}
	}
}

func TestOperatorRemovesStaticMembers(t *testing.T) {
	r := newRig(t)
	i, j, gen := r.twoStatic()
	want(t, "by instance", r.leaveAs("", "j"), nil)
	want(t, "again", r.leaveAs("", "j"), kerr.UnknownMemberID)
	want(t, "by the wrong instance", r.leaveAs(i, "j"), kerr.UnknownMemberID)
	want(t, "by both", r.leaveAs(i, "i"), nil)
	want(t, "heartbeat", r.beat(j, gen), kerr.UnknownMemberID)
	if s := r.state(); s != "Empty" {
		t.Errorf("state %s", s)
	}
}
