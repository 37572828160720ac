package group

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/coordinator"
	"firn/metadata"
	"firn/metadata/topic"
)

// rig drives one machine with a clock of its own and keeps what it writes, as the store would.
type rig struct {
	t    *testing.T
	m    *Machine
	now  time.Time
	kept map[string][]byte
	ids  int
	gone map[topic.ID]bool
}

func (r *rig) TopicName(id [16]byte) (string, bool) {
	if r.gone[id] {
		return "", false
	}
	return fmt.Sprintf("t%d", id[0]), true
}

func (r *rig) options() Options {
	return Options{
		MinSessionTimeout: time.Second, MaxSessionTimeout: time.Hour, InitialRebalanceDelay: 3 * time.Second,
		OffsetsRetention: time.Hour, OffsetsCheckInterval: time.Minute, MaxMetadata: 100,
		NewID: func() string { r.ids++; return fmt.Sprint(r.ids) }, Topics: r,
	}
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, now: time.Unix(1_700_000_000, 0), kept: map[string][]byte{}, gone: map[topic.ID]bool{}}
	r.m = NewMachine(r.options())
	if err := r.m.Load(nil, r.now); err != nil {
		t.Fatal(err)
	}
	return r
}

// apply commits a result: the edits first, then the answers.
func (r *rig) apply(res coordinator.Result) {
	for _, e := range res.Edits {
		if e.Delete {
			delete(r.kept, e.Key)
		} else {
			r.kept[e.Key] = e.Value
		}
	}
	for _, f := range res.AtOnce {
		f()
	}
	for _, f := range res.Replies {
		f(nil)
	}
}

// pass lets time pass, in small steps, as timers would see it.
func (r *rig) pass(d time.Duration) {
	end := r.now.Add(d)
	for r.now.Before(end) {
		at := r.m.Deadline()
		if at.IsZero() || at.After(end) {
			at = end
		}
		if at.After(r.now) {
			r.now = at
		}
		r.apply(r.m.Tick(r.now))
		if at.Equal(end) {
			return
		}
	}
}

// reload replaces the machine by one loaded from what was written.
func (r *rig) reload() {
	r.m.Abandon(coordinator.ErrNotCoordinator)
	r.m = NewMachine(r.options())
	var entries []metadata.ShardEntry
	for k, v := range r.kept {
		entries = append(entries, metadata.ShardEntry{Key: k, Value: v})
	}
	if err := r.m.Load(entries, r.now); err != nil {
		r.t.Fatal(err)
	}
}

type joinOpts struct {
	id, instance string
	version      int16
	protocols    []string
	topics       []string // "t1" if nil
	session      int32
	rebalance    int32
}

// pending is an answer that may come later.
type pending[T any] struct {
	resp *T
	err  error
	n    int
}

func (p *pending[T]) done() Done[T] {
	return func(resp *T, err error) { p.resp, p.err = resp, err; p.n++ }
}

func (p *pending[T]) get(t *testing.T) *T {
	t.Helper()
	if p.n != 1 || p.err != nil {
		t.Fatalf("answered %d times, error %v; want one answer", p.n, p.err)
	}
	return p.resp
}

func (r *rig) join(o joinOpts) *pending[kmsg.JoinGroupResponse] {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version = 9
	if o.version != 0 {
		req.Version = o.version
	}
	req.Group, req.MemberID, req.ProtocolType = "g", o.id, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 10_000, 60_000
	if o.session != 0 {
		req.SessionTimeoutMillis = o.session
	}
	if o.instance != "" {
		req.InstanceID = kmsg.StringPtr(o.instance)
	}
	if o.rebalance != 0 {
		req.RebalanceTimeoutMillis = o.rebalance
	}
	if o.topics == nil {
		o.topics = []string{"t1"}
	}
	if o.protocols == nil {
		o.protocols = []string{"range"}
	}
	for _, name := range o.protocols {
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name, p.Metadata = name, consumerOf(o.topics...)
		req.Protocols = append(req.Protocols, p)
	}
	p := &pending[kmsg.JoinGroupResponse]{}
	r.apply(r.m.Join(r.now, Client{ID: "c", Host: "/h"}, req, p.done()))
	return p
}

func consumerOf(topics ...string) []byte {
	m := kmsg.NewConsumerMemberMetadata()
	m.Topics = topics
	return m.AppendTo(nil)
}

// enter joins as a client does: once for an id, then with it.
func (r *rig) enter() (string, *pending[kmsg.JoinGroupResponse]) {
	r.t.Helper()
	return r.enterWith(joinOpts{})
}

func (r *rig) enterWith(o joinOpts) (string, *pending[kmsg.JoinGroupResponse]) {
	r.t.Helper()
	first := r.join(o).get(r.t)
	if first.ErrorCode != kerr.MemberIDRequired.Code {
		r.t.Fatalf("first join: error %d, want MEMBER_ID_REQUIRED", first.ErrorCode)
	}
	o.id = first.MemberID
	return first.MemberID, r.join(o)
}

func (r *rig) sync(id string, generation int32, assign map[string]string) *pending[kmsg.SyncGroupResponse] {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version, req.Group, req.MemberID, req.Generation = 5, "g", id, generation
	req.ProtocolType, req.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
	for m, a := range assign {
		ga := kmsg.NewSyncGroupRequestGroupAssignment()
		ga.MemberID, ga.MemberAssignment = m, []byte(a)
		req.GroupAssignment = append(req.GroupAssignment, ga)
	}
	p := &pending[kmsg.SyncGroupResponse]{}
	r.apply(r.m.Sync(r.now, Client{}, req, p.done()))
	return p
}

func (r *rig) beat(id string, generation int32) int16 {
	r.t.Helper()
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation = "g", id, generation
	p := &pending[kmsg.HeartbeatResponse]{}
	r.apply(r.m.Heartbeat(r.now, req, p.done()))
	return p.get(r.t).ErrorCode
}

func (r *rig) leave(ids ...string) *kmsg.LeaveGroupResponse {
	r.t.Helper()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Version, req.Group = 5, "g"
	for _, id := range ids {
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID = id
		req.Members = append(req.Members, m)
	}
	p := &pending[kmsg.LeaveGroupResponse]{}
	r.apply(r.m.Leave(r.now, req, p.done()))
	return p.get(r.t)
}

func (r *rig) state() string {
	r.t.Helper()
	p := &pending[kmsg.DescribeGroupsResponseGroup]{}
	r.apply(r.m.Describe("g", 6, p.done()))
	return p.get(r.t).State
}

// stable makes a group of two members and returns their ids, leader first, and the generation.
func (r *rig) stable() (leader, follower string, generation int32) {
	r.t.Helper()
	return r.stableWith(joinOpts{})
}

func (r *rig) stableWith(o joinOpts) (leader, follower string, generation int32) {
	r.t.Helper()
	a, ja := r.enterWith(o)
	b, jb := r.enterWith(o)
	r.pass(10 * time.Second)
	ra, rb := ja.get(r.t), jb.get(r.t)
	if ra.ErrorCode != 0 || rb.ErrorCode != 0 || ra.LeaderID != a || len(ra.Members) != 2 || len(rb.Members) != 0 {
		r.t.Fatalf("joined: %+v, %+v", ra, rb)
	}
	sb := r.sync(b, ra.Generation, nil)
	if sb.n != 0 {
		r.t.Fatal("follower was answered before the leader assigned")
	}
	sa := r.sync(a, ra.Generation, map[string]string{a: "for-a", b: "for-b"})
	if got := string(sa.get(r.t).MemberAssignment) + " " + string(sb.get(r.t).MemberAssignment); got != "for-a for-b" {
		r.t.Fatalf("assignments %q", got)
	}
	return a, b, ra.Generation
}

func want(t *testing.T, what string, got int16, err *kerr.Error) {
	t.Helper()
	code := int16(0)
	if err != nil {
		code = err.Code
	}
	if got != code {
		t.Fatalf("%s: error %v, want %v", what, kerr.ErrorForCode(got), kerr.ErrorForCode(code))
	}
}

func TestTwoMembersShareAGroup(t *testing.T) {
	r := newRig(t)
	a, b, gen := r.stable()
	if s := r.state(); s != "Stable" {
		t.Fatalf("state %s", s)
	}
	want(t, "heartbeat", r.beat(a, gen), nil)
	want(t, "old generation", r.beat(b, gen-1), kerr.IllegalGeneration)
	want(t, "stranger", r.beat("nobody", gen), kerr.UnknownMemberID)
}

func TestMemberThatFallsSilentIsRemoved(t *testing.T) {
	r := newRig(t)
	a, b, gen := r.stable()
	for range 4 {
		r.pass(4 * time.Second)
		if code := r.beat(a, gen); code != 0 {
			want(t, "heartbeat of the one that stays", code, kerr.RebalanceInProgress)
			break
		}
	}
	want(t, "the silent one", r.beat(b, gen), kerr.UnknownMemberID)
	again := r.join(joinOpts{id: a}).get(t)
	if again.ErrorCode != 0 || again.Generation != gen+1 || len(again.Members) != 1 {
		t.Fatalf("join after the removal: %+v", again)
	}
}

func TestRebalanceWaitsForEveryMember(t *testing.T) {
	r := newRig(t)
	a, b, gen := r.stable()
	c, jc := r.enter()
	want(t, "heartbeat", r.beat(a, gen), kerr.RebalanceInProgress)
	ja := r.join(joinOpts{id: a})
	if ja.n != 0 || jc.n != 0 {
		t.Fatal("join completed without a member that is alive")
	}
	jb := r.join(joinOpts{id: b})
	for id, p := range map[string]*pending[kmsg.JoinGroupResponse]{a: ja, b: jb, c: jc} {
		if resp := p.get(t); resp.ErrorCode != 0 || resp.Generation != gen+1 {
			t.Fatalf("join of %s: %+v", id, resp)
		}
	}
	// The leader never assigns: those who did not sync are removed, the rest join again.
	sc := r.sync(c, gen+1, nil)
	r.pass(61 * time.Second)
	want(t, "sync without an assignment", sc.get(t).ErrorCode, kerr.RebalanceInProgress)
}

func TestStaticMemberComesBackWithoutARebalance(t *testing.T) {
	r := newRig(t)
	j := r.join(joinOpts{instance: "i1"})
	r.pass(10 * time.Second)
	first := j.get(t)
	s := r.sync(first.MemberID, first.Generation, map[string]string{first.MemberID: "x"})
	want(t, "sync", s.get(t).ErrorCode, nil)
	again := r.join(joinOpts{instance: "i1"}).get(t)
	if again.ErrorCode != 0 || again.Generation != first.Generation || again.MemberID == first.MemberID || !again.SkipAssignment {
		t.Fatalf("return of a static leader: %+v", again)
	}
	s = r.sync(again.MemberID, again.Generation, nil)
	if got := s.get(t); got.ErrorCode != 0 || string(got.MemberAssignment) != "x" {
		t.Fatalf("assignment after the return: %+v", got)
	}
	want(t, "its former self", r.beat(first.MemberID, first.Generation), kerr.UnknownMemberID)
	r.reload()
	want(t, "after a reload", r.beat(again.MemberID, again.Generation), nil)
}

func TestLeavingEmptiesTheGroup(t *testing.T) {
	r := newRig(t)
	a, b, _ := r.stable()
	resp := r.leave(a, b, "nobody")
	want(t, "leave", resp.ErrorCode, nil)
	want(t, "a stranger's leave", resp.Members[2].ErrorCode, kerr.UnknownMemberID)
	if s := r.state(); s != "Empty" {
		t.Fatalf("state %s", s)
	}
	r.reload()
	if s := r.state(); s != "Empty" {
		t.Fatalf("state after a reload %s", s)
	}
}

func TestGroupOutlivesItsCoordinator(t *testing.T) {
	r := newRig(t)
	a, b, gen := r.stable()
	r.reload()
	want(t, "heartbeat", r.beat(a, gen), nil)
	if got := r.sync(b, gen, nil).get(t); string(got.MemberAssignment) != "for-b" {
		t.Fatalf("assignment after a reload: %+v", got)
	}
}

// A crash between the writes of a large group leaves members of two generations: all must join again.
func TestHalfWrittenGenerationIsNotServed(t *testing.T) {
	r := newRig(t)
	a, b, gen := r.stable()
	before := map[string][]byte{}
	for k, v := range r.kept {
		before[k] = v
	}
	ja, jb := r.join(joinOpts{id: a, protocols: []string{"range", "other"}}), r.join(joinOpts{id: b})
	_ = r.sync(b, gen+1, nil)
	_, _ = ja.get(t), jb.get(t)
	_ = r.sync(a, gen+1, map[string]string{a: "new", b: "new"}).get(t)
	for k, v := range before { // the last pieces of the write are lost
		if k == headerKey("g") || k == memberKey("g", b) {
			r.kept[k] = v
		}
	}
	r.reload()
	want(t, "heartbeat of who knows the new one", r.beat(a, gen+1), kerr.RebalanceInProgress)
	want(t, "heartbeat of who does not", r.beat(b, gen), kerr.IllegalGeneration)
}

func TestProtocolIsCommonAndVotedFor(t *testing.T) {
	r := newRig(t)
	ja := r.join(joinOpts{version: 3, protocols: []string{"sticky", "range"}})
	jb := r.join(joinOpts{version: 3, protocols: []string{"range"}})
	jc := r.join(joinOpts{version: 3, protocols: []string{"roundrobin"}})
	want(t, "nothing in common", jc.get(t).ErrorCode, kerr.InconsistentGroupProtocol)
	r.pass(10 * time.Second)
	if got := *ja.get(t).Protocol; got != "range" || *jb.get(t).Protocol != "range" {
		t.Fatalf("protocol %q", got)
	}
}

func tp(topicNumber byte, p int32) topic.Partition {
	return topic.Partition{ID: topic.ID{topicNumber}, Index: p}
}

func (r *rig) commit(by Committer, offset int64, tps ...topic.Partition) *Committed {
	r.t.Helper()
	var cs []Commit
	for _, tp := range tps {
		cs = append(cs, Commit{Partition: tp, Offset: offset, LeaderEpoch: -1})
	}
	p := &pending[Committed]{}
	r.apply(r.m.Commit(r.now, by, cs, p.done()))
	return p.get(r.t)
}

func (r *rig) offset(tp topic.Partition) int64 {
	r.t.Helper()
	p := &pending[[]Fetched]{}
	r.apply(r.m.Offsets("g", []topic.Partition{tp}, false, p.done()))
	return (*p.get(r.t))[0].Offset
}

func TestOffsets(t *testing.T) {
	r := newRig(t)
	if got := r.offset(tp(1, 0)); got != -1 {
		t.Fatalf("offset of nothing: %d, want -1", got)
	}
	self := Committer{Group: "g", Generation: -1}
	if c := r.commit(self, 7, tp(1, 0), tp(1, 63), tp(1, 64)); c.Err != nil || len(r.kept) != 3 {
		t.Fatalf("commit: %+v, %d keys; want a header and two buckets", c, len(r.kept))
	}
	r.reload()
	if got := r.offset(tp(1, 63)); got != 7 {
		t.Fatalf("offset after a reload: %d", got)
	}
	a, _, gen := r.stable()
	want(t, "a stranger's commit", r.commit(self, 8, tp(1, 0)).Err.Code, kerr.UnknownMemberID)
	want(t, "an old generation's commit", r.commit(Committer{Group: "g", MemberID: a, Generation: gen - 1}, 8, tp(1, 0)).Err.Code, kerr.IllegalGeneration)
	if c := r.commit(Committer{Group: "g", MemberID: a, Generation: gen}, 9, tp(1, 0)); c.Err != nil {
		t.Fatal(c.Err)
	}
	if got := r.offset(tp(1, 0)); got != 9 {
		t.Fatalf("offset %d, want 9", got)
	}
	p := &pending[Committed]{}
	r.apply(r.m.DeleteOffsets("g", []topic.Partition{tp(1, 0), tp(2, 0)}, p.done()))
	want(t, "delete of a subscribed topic's offsets", p.get(t).Codes[0], kerr.GroupSubscribedToTopic)
}

func TestOffsetsExpire(t *testing.T) {
	r := newRig(t)
	a, b, gen := r.stable()
	by := Committer{Group: "g", MemberID: a, Generation: gen}
	_ = r.commit(by, 1, tp(1, 0), tp(2, 0), tp(3, 0))
	r.gone[topic.ID{3}] = true
	for range 13 * 60 { // an hour and a bit of heartbeats
		r.pass(5 * time.Second)
		_, _ = r.beat(a, gen), r.beat(b, gen)
	}
	if got := []int64{r.offset(tp(1, 0)), r.offset(tp(2, 0)), r.offset(tp(3, 0))}; got[0] != 1 || got[1] != -1 || got[2] != -1 {
		t.Fatalf("offsets %v: want the subscribed one kept, the unsubscribed and the deleted topic's gone", got)
	}
	_ = r.leave(a, b)
	r.pass(30 * time.Minute)
	if got := r.offset(tp(1, 0)); got != 1 {
		t.Fatalf("offset %d half way through the retention", got)
	}
	r.pass(32 * time.Minute)
	if got := r.offset(tp(1, 0)); got != -1 || r.state() != "Dead" || len(r.kept) != 0 {
		t.Fatalf("after the retention: offset %d, state %s, %d keys", got, r.state(), len(r.kept))
	}
}

func TestDeleteGroup(t *testing.T) {
	r := newRig(t)
	del := func() *kerr.Error {
		p := &pending[Committed]{}
		r.apply(r.m.Delete("g", p.done()))
		return p.get(t).Err
	}
	want(t, "unknown group", del().Code, kerr.GroupIDNotFound)
	a, b, gen := r.stable()
	_ = r.commit(Committer{Group: "g", MemberID: a, Generation: gen}, 1, tp(1, 0))
	want(t, "group with members", del().Code, kerr.NonEmptyGroup)
	_ = r.leave(a, b)
	if err := del(); err != nil || len(r.kept) != 0 {
		t.Fatalf("delete: %v, left %d keys", err, len(r.kept))
	}
}

// A group that rebalances over and over, by a client with long time-outs, leaves nothing behind in memory.
func TestRebalancesLeaveNoTimers(t *testing.T) {
	r := newRig(t)
	for range 1000 {
		a := r.join(joinOpts{version: 3, session: 3_600_000, rebalance: 1 << 30})
		r.pass(3 * time.Second)
		_ = r.leave(a.get(t).MemberID)
	}
	if n := len(r.m.timers); n > 2+maxStale {
		t.Errorf("%d timers for %d groups", n, len(r.m.groups))
	}
	_, b := r.enter()
	r.pass(10 * time.Second)
	if s := r.state(); b.n != 1 || s != "CompletingRebalance" {
		t.Errorf("then a member joins: %d answers, state %s", b.n, s)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte("\x08\x01"), 0)
	f.Fuzz(func(t *testing.T, value []byte, kind int) {
		keys := []string{headerKey("g"), memberKey("g", "m"), offsetsKey("g", bucketKey{}), string(value)}
		m := NewMachine((&rig{t: t}).options())
		_ = m.Load([]metadata.ShardEntry{{Key: keys[(kind%4+4)%4], Value: value}}, time.Unix(0, 0))
	})
}
