package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/brokertest"
	"firn/broker/brokertest/clustertest"
	"firn/broker/coordinator"
)

const (
	rawSession   = 6 * time.Second // of members, longer than their coordinator's lease
	rawHeartbeat = 100 * time.Millisecond
	// lateTopic is for commits that come when another coordinates the group. What is stored of them the next coordinator finds,
	// as nobody writes it anew meanwhile.
	lateTopic   = "late"
	rawPatience = time.Second // after which a member takes a coordinator that does not answer for dead
)

// homeless says whether an answer is one that a member may get while its group has no coordinator: it looks for the new one
// then, and is a member as before.
func homeless(code int16) bool {
	return slices.Contains([]int16{kerr.NotCoordinator.Code, kerr.CoordinatorLoadInProgress.Code, kerr.CoordinatorNotAvailable.Code}, code)
}

// coordinatorBy is who coordinates a group as the broker at an address has it.
func coordinatorBy(addr, group string) (id int32, at string, err error) {
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.Version, req.CoordinatorKey = 3, group
	answer, err := askAt(addr, req)
	if err != nil {
		return -1, "", err
	}
	resp := answer.(*kmsg.FindCoordinatorResponse)
	return resp.NodeID, fmt.Sprintf("%s:%d", resp.Host, resp.Port), kerr.ErrorForCode(resp.ErrorCode)
}

// coordinator is whom all brokers but those left out take for the coordinator of a group.
func (c *trio) coordinator(group string, but ...int32) (id int32, at string, err error) {
	for i, b := range c.Brokers {
		if slices.Contains(but, int32(i+1)) {
			continue
		}
		is, addr, err := coordinatorBy(b.Bootstrap, group)
		switch {
		case err != nil:
			return -1, "", fmt.Errorf("broker %d: %w", i+1, err)
		case at != "" && at != addr:
			return -1, "", fmt.Errorf("broker %d or broker %d", id, is)
		}
		id, at = is, addr
	}
	return id, at, nil
}

// settled waits until all brokers have agreed on a coordinator for a while: shards move when brokers come back.
func (c *trio) settled(group string) (id int32, at string) {
	c.t.Helper()
	agreed := 0
	brokertest.Eventually(c.t, "all brokers agree on a coordinator", func() (bool, error) {
		is, addr, err := c.coordinator(group)
		if agreed++; err != nil || is != id {
			agreed = 0
		}
		id, at = is, addr
		return agreed > 20, err
	})
	return id, at
}

// rawGroup is a group whose members speak for themselves: what they are told is what the broker says.
type rawGroup struct {
	c           *trio
	id, topic   string
	session     time.Duration
	generation  int32
	members     []*rawMember
	ctx         context.Context
	leave       context.CancelFunc // by all members, without a word
	running     sync.WaitGroup
	shrinks     atomic.Bool  // a member is about to go, and the others will be told
	acked, sent atomic.Int64 // the offset of the topic that was committed last, and the last that was tried
}

type rawMember struct {
	g          *rawGroup
	id         string
	instance   *string
	assignment []byte
	patience   time.Duration
	silent     atomic.Bool

	mu      sync.Mutex
	at      int32     // who took its last heartbeat
	taken   time.Time // when
	longest time.Duration
}

// joinRaw makes a group of three: one that gives a silent coordinator up soon, one that stays with it for as long as it
// may, and a static one.
func (c *trio) joinRaw(id, topic string, session time.Duration) *rawGroup {
	c.t.Helper()
	g := &rawGroup{c: c, id: id, topic: topic, session: session}
	g.ctx, g.leave = context.WithCancel(context.Background())
	c.t.Cleanup(func() { g.leave(); g.running.Wait() })
	for i := range 3 {
		m := &rawMember{g: g, patience: rawPatience, assignment: fmt.Appendf(nil, "share %d", i)}
		switch i {
		case 1:
			m.patience = time.Hour
		case 2:
			m.instance = kmsg.StringPtr("static")
		}
		g.members = append(g.members, m)
	}
	g.join()
	for _, m := range g.members {
		g.running.Go(m.live)
	}
	g.running.Go(g.commits)
	return g
}

func (m *rawMember) joinRequest() *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.InstanceID, req.ProtocolType = 9, m.g.id, m.id, m.instance, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = int32(m.g.session.Milliseconds()), int32(testTimeout.Milliseconds())
	sub := kmsg.NewConsumerMemberMetadata()
	sub.Topics = []string{m.g.topic}
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = "range", sub.AppendTo(nil)
	req.Protocols = append(req.Protocols, p)
	return req
}

// join has all members join one generation and gives each its share.
func (g *rawGroup) join() {
	t := g.c.t
	t.Helper()
	_, at := g.c.settled(g.id)
	peers := make([]*peer, len(g.members))
	for i, m := range g.members {
		p, err := dialPeer(at)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if peers[i] = p; m.instance == nil {
			answer, err := p.ask(m.joinRequest())
			if err != nil || answer.(*kmsg.JoinGroupResponse).ErrorCode != kerr.MemberIDRequired.Code {
				t.Fatalf("a first join: %+v, %v", answer, err)
			}
			m.id = answer.(*kmsg.JoinGroupResponse).MemberID
		}
	}
	each := func(make func(m *rawMember) kmsg.Request, got func(m *rawMember, resp kmsg.Response) int16) {
		t.Helper()
		for i, m := range g.members {
			if err := peers[i].send(make(m)); err != nil {
				t.Fatal(err)
			}
		}
		for i, m := range g.members {
			resp, err := peers[i].receive(testTimeout)
			if err != nil {
				t.Fatal(err)
			}
			if code := got(m, resp); code != 0 {
				t.Fatalf("member %d: %T: %v", i, resp, kerr.ErrorForCode(code))
			}
		}
	}
	leader := ""
	each(func(m *rawMember) kmsg.Request { return m.joinRequest() }, func(m *rawMember, resp kmsg.Response) int16 {
		r := resp.(*kmsg.JoinGroupResponse)
		if g.generation != 0 && r.Generation != g.generation {
			t.Fatalf("generations %d and %d", g.generation, r.Generation)
		}
		m.id, g.generation, leader = r.MemberID, r.Generation, r.LeaderID
		return r.ErrorCode
	})
	each(func(m *rawMember) kmsg.Request {
		req := kmsg.NewPtrSyncGroupRequest()
		req.Version, req.Group, req.MemberID, req.InstanceID, req.Generation = 5, g.id, m.id, m.instance, g.generation
		req.ProtocolType, req.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
		if m.id == leader {
			for _, o := range g.members {
				a := kmsg.NewSyncGroupRequestGroupAssignment()
				a.MemberID, a.MemberAssignment = o.id, o.assignment
				req.GroupAssignment = append(req.GroupAssignment, a)
			}
		}
		return req
	}, func(m *rawMember, resp kmsg.Response) int16 {
		r := resp.(*kmsg.SyncGroupResponse)
		if r.ErrorCode == 0 && !bytes.Equal(r.MemberAssignment, m.assignment) {
			t.Fatalf("assigned %q, not %q", r.MemberAssignment, m.assignment)
		}
		return r.ErrorCode
	})
}

// heartbeat sends one and waits for the answer.
func (m *rawMember) heartbeat(p *peer, patience time.Duration) (int16, error) {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.InstanceID, req.Generation = 4, m.g.id, m.id, m.instance, m.g.generation
	if err := p.send(req); err != nil {
		return 0, err
	}
	resp, err := p.receive(patience)
	if err != nil {
		return 0, err
	}
	return resp.(*kmsg.HeartbeatResponse).ErrorCode, nil
}

// live sends heartbeats to the coordinator for as long as that answers as one, and then to whom any broker names. Any other
// answer would force the member out, or to join again.
func (m *rawMember) live() {
	tick := time.NewTicker(rawHeartbeat)
	defer tick.Stop()
	var p *peer
	var at int32
	for asked := 0; ; {
		select {
		case <-m.g.ctx.Done():
			return
		case <-tick.C:
		}
		if m.silent.Load() {
			continue
		}
		if p == nil {
			asked++
			id, addr, err := coordinatorBy(m.g.c.Brokers[asked%len(m.g.c.Brokers)].Bootstrap, m.g.id)
			if err != nil {
				continue
			}
			if p, err = dialPeer(addr); err != nil {
				p = nil
				continue
			}
			at = id
			defer p.closeWith(m.g.ctx)()
		}
		code, err := m.heartbeat(p, m.patience)
		switch {
		case m.g.ctx.Err() != nil:
			return
		case err != nil || homeless(code):
			_ = p.Close()
			p = nil
		case code == kerr.RebalanceInProgress.Code && m.g.shrinks.Load():
			return
		case code != 0:
			m.g.c.t.Errorf("broker %d answers a heartbeat of %s with %v", at, m.id, kerr.ErrorForCode(code))
			return
		default:
			m.note(at)
		}
	}
}

func (m *rawMember) note(at int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); m.taken.IsZero() {
		m.at, m.taken = at, now
	} else {
		m.longest = max(m.longest, now.Sub(m.taken))
		m.at, m.taken = at, now
	}
}

// isAt says whose answer the last good one was, and since when none came.
func (m *rawMember) isAt() (at int32, longest time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at, m.longest
}

// commitRequest is one by the first member, of the first partition of a topic.
func (g *rawGroup) commitRequest(topic string, offset int64) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.MemberID, req.Generation = 9, g.id, g.members[0].id, g.generation
	rt, rp := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
	rt.Topic, rp.Offset = topic, offset
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

func committedAs(resp kmsg.Response) int16 {
	return resp.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode
}

// commits commits ever higher offsets of the topic.
func (g *rawGroup) commits() {
	tick := time.NewTicker(rawHeartbeat / 2)
	defer tick.Stop()
	for n := int64(1); ; {
		select {
		case <-g.ctx.Done():
			return
		case <-tick.C:
		}
		_, addr, err := coordinatorBy(g.c.Brokers[n%int64(len(g.c.Brokers))].Bootstrap, g.id)
		n++
		if err != nil {
			continue
		}
		g.sent.Store(n)
		resp, err := askAt(addr, g.commitRequest(g.topic, n))
		switch {
		case err != nil:
		case committedAs(resp) == 0:
			g.acked.Store(n)
		case !homeless(committedAs(resp)):
			g.c.t.Errorf("%s answers a commit with %v", addr, kerr.ErrorForCode(committedAs(resp)))
			return
		}
	}
}

// committed is the offset of the first partition of a topic that the broker at addr has.
func (g *rawGroup) committed(addr, topic string) (int64, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version = 8
	rg, rt := kmsg.NewOffsetFetchRequestGroup(), kmsg.NewOffsetFetchRequestGroupTopic()
	rg.Group, rt.Topic, rt.Partitions = g.id, topic, []int32{0}
	rg.Topics = append(rg.Topics, rt)
	req.Groups = append(req.Groups, rg)
	answer, err := askAt(addr, req)
	if err != nil {
		return 0, err
	}
	got := answer.(*kmsg.OffsetFetchResponse).Groups[0]
	if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
		return 0, err
	}
	return got.Topics[0].Partitions[0].Offset, kerr.ErrorForCode(got.Topics[0].Partitions[0].ErrorCode)
}

// describe is what the broker at addr says of the group.
func (g *rawGroup) describe(addr string) (kmsg.DescribeGroupsResponseGroup, error) {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Version, req.Groups = 6, []string{g.id}
	answer, err := askAt(addr, req)
	if err != nil {
		return kmsg.DescribeGroupsResponseGroup{}, err
	}
	got := answer.(*kmsg.DescribeGroupsResponse).Groups[0]
	return got, kerr.ErrorForCode(got.ErrorCode)
}

// lists says whether the broker at addr lists the group as Stable.
func (g *rawGroup) lists(addr string) (bool, error) {
	req := kmsg.NewPtrListGroupsRequest()
	req.Version = 5
	answer, err := askAt(addr, req)
	if err != nil {
		return false, err
	}
	resp := answer.(*kmsg.ListGroupsResponse)
	return slices.ContainsFunc(resp.Groups, func(l kmsg.ListGroupsResponseGroup) bool { return l.Group == g.id && l.GroupState == "Stable" }),
		kerr.ErrorForCode(resp.ErrorCode)
}

// check asks the coordinator, and all brokers but some who coordinates the group, for everything that is known of it: it
// must be what it was when the members joined.
func (g *rawGroup) check(id int32, addr string, but ...int32) {
	t := g.c.t
	t.Helper()
	acked := g.acked.Load()
	brokertest.Eventually(t, "the commits are there", func() (bool, error) {
		at, err := g.committed(addr, g.topic)
		if sent := g.sent.Load(); err == nil && (at < acked || at > sent) {
			t.Fatalf("offset %d is committed, %d was acknowledged before and %d is the last that was sent", at, acked, sent)
		}
		return err == nil, err
	})
	got, err := g.describe(addr)
	if err != nil || got.State != "Stable" || got.ProtocolType != "consumer" || got.Protocol != "range" || len(got.Members) != len(g.members) {
		t.Fatalf("described as %+v, %v", got, err)
	}
	for _, m := range g.members {
		i := slices.IndexFunc(got.Members, func(d kmsg.DescribeGroupsResponseGroupMember) bool { return d.MemberID == m.id })
		if i < 0 {
			t.Fatalf("%s is not a member any more: %+v", m.id, got.Members)
		}
		if d := got.Members[i]; !bytes.Equal(d.MemberAssignment, m.assignment) || d.ClientID != "peer" || (d.InstanceID == nil) != (m.instance == nil) {
			t.Errorf("%s is described as %+v", m.id, d)
		}
	}
	for i, b := range g.c.Brokers {
		if slices.Contains(but, int32(i+1)) {
			continue
		}
		brokertest.Eventually(t, fmt.Sprintf("broker %d can say which groups it coordinates", i+1), func() (bool, error) {
			listed, err := g.lists(b.Bootstrap)
			if err == nil && listed != (id == int32(i+1)) {
				t.Errorf("broker %d lists it: %v; broker %d coordinates it", i+1, listed, id)
			}
			return err == nil, err // it may be loading other shards
		})
	}
}

// awaitAll waits until every member that does not wait for somebody else has had a heartbeat taken by the coordinator.
func (g *rawGroup) awaitAll(id int32, but ...*rawMember) {
	g.c.t.Helper()
	brokertest.Eventually(g.c.t, "every member has found its coordinator", func() (bool, error) {
		if g.c.t.Failed() {
			g.c.t.FailNow() // a member was forced out, and looks for nobody
		}
		for _, m := range g.members {
			if at, _ := m.isAt(); at != id && !slices.Contains(but, m) {
				return false, fmt.Errorf("%s is at %d, not %d", m.id, at, id)
			}
		}
		return true, nil
	})
}

// linger is heartbeats to a coordinator of the past, as fast as it answers, for as long as it takes them. What it then says
// must not force members out.
func (g *rawGroup) linger(addr string) (ended *sync.WaitGroup) {
	g.c.t.Helper()
	ended = &sync.WaitGroup{}
	for _, m := range g.members {
		p, err := dialPeer(addr)
		if err != nil {
			g.c.t.Fatal(err)
		}
		ended.Go(func() {
			defer p.closeWith(g.ctx)()
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for {
				code, err := m.heartbeat(p, time.Hour)
				switch {
				case err != nil || homeless(code):
					return
				case code != 0:
					g.c.t.Errorf("%s, which coordinated the group, answers a heartbeat of %s with %v", addr, m.id, kerr.ErrorForCode(code))
					return
				}
				<-tick.C
			}
		})
	}
	return ended
}

// loss is a way in which a coordinator is lost, and comes back.
type loss struct {
	name string
	// survives says that its process lives on, and frozen that it hears and says nothing meanwhile.
	survives, frozen bool
	begin            func(id int32) (end func())
}

// Members of a group, and what they committed, outlive the loss of their coordinator, whichever way it is lost: nobody is
// forced out or to join again, no commit that was acknowledged is lost, and none is acknowledged by who is the coordinator
// no more. Consumers notice nothing: their group is not shared out anew, and each gets each record of its share once.
func TestGroupOutlivesItsCoordinator(t *testing.T) {
	t.Parallel()
	var between []*proxy
	c := startTrioWith(t, func(c *clustertest.Cluster) []string {
		p := startProxy(t, c.Etcd.Endpoint())
		between = append(between, p)
		return []string{"etcd.endpoints=" + p.addr(), "group.initial.rebalance.delay.ms=1000"}
	})
	c.Create("kill", killPartitions, map[string]string{"min.insync.replicas": "2"})
	c.Create(lateTopic, 1, map[string]string{"min.insync.replicas": "2"})
	g := c.joinRaw(c.groupAtController(), "kill", rawSession)
	f := c.startFlock(sameShard(g.id), "kill")
	for _, l := range []loss{
		{"killed", false, false, func(id int32) func() { c.Brokers[id-1].Kill(); return c.Brokers[id-1].Restart }},
		{"frozen for longer than its lease and the sessions of its members", true, true, func(id int32) func() { return c.Freeze(c.Brokers[id-1]) }},
		{"cut off from etcd", true, false, func(id int32) func() {
			p := between[id-1]
			p.delay.Store(int64(time.Hour))
			return func() { p.delay.Store(0); p.hangUp() }
		}},
		{"stopped", false, false, func(id int32) func() { c.Brokers[id-1].Stop(); return c.Brokers[id-1].Restart }},
	} {
		g.lose(l)
	}
	g.rejoinStatic()
	f.finish()
}

// lose loses the coordinator and gets it back.
func (g *rawGroup) lose(l loss) {
	c, t := g.c, g.c.t
	t.Helper()
	old, oldAddr := c.settled(g.id)
	g.awaitAll(old)
	g.check(old, oldAddr)
	var late *peer
	ended := &sync.WaitGroup{}
	if l.survives {
		var err error
		if late, err = dialPeer(oldAddr); err != nil {
			t.Fatal(err)
		}
		defer late.Close()
	}
	at, err := g.committed(oldAddr, lateTopic)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	end := l.begin(old)
	gone := time.Since(began)
	if l.survives {
		ended = g.linger(oldAddr)
		if err := late.send(g.commitRequest(lateTopic, at+1)); err != nil {
			t.Fatal(err)
		}
	}
	var id int32
	var addr string
	brokertest.Eventually(t, "another broker coordinates the group", func() (ok bool, err error) {
		id, addr, err = c.coordinator(g.id, old)
		return err == nil && id != old, err
	})
	taken := time.Since(began)
	if l.frozen {
		g.awaitAll(id, g.members[1])
	} else {
		g.awaitAll(id)
	}
	found := time.Since(began)
	g.check(id, addr, old)
	if is, err := g.committed(addr, lateTopic); err != nil || is != at {
		t.Errorf("offset %d is committed, the coordinator before had %d, %v", is, at, err)
	}
	brokertest.Eventually(t, "the new coordinator takes commits", func() (bool, error) {
		resp, err := askAt(addr, g.commitRequest(lateTopic, at+10))
		return err == nil && committedAs(resp) == 0, err
	})
	if l.survives {
		if err := late.send(g.commitRequest(lateTopic, at+2)); err != nil {
			t.Fatal(err)
		}
		if l.frozen {
			<-time.After(time.Until(began.Add(g.session + time.Second)))
			end()
		}
		for range 2 {
			if resp, err := late.receive(testTimeout); err == nil && !homeless(committedAs(resp)) {
				t.Errorf("a commit to who is not the coordinator any more is answered with %d (%v)", committedAs(resp), kerr.ErrorForCode(committedAs(resp)))
			}
		}
	}
	ended.Wait()
	end()
	c.AwaitInSync(g.topic, len(c.Brokers))
	id, addr = c.settled(g.id)
	g.awaitAll(id)
	g.check(id, addr)
	if now, err := g.committed(addr, lateTopic); err != nil || now != at+10 {
		t.Errorf("offset %d is committed, %d was acknowledged last, %v", now, at+10, err)
	}
	var longest []time.Duration
	for _, m := range g.members {
		m.mu.Lock()
		longest, m.longest = append(longest, m.longest.Round(time.Millisecond)), 0
		m.mu.Unlock()
	}
	t.Logf("broker %d %s (%v): another coordinates after %v, members are there after %v; longest without a coordinator: %v; now it is %d",
		old, l.name, gone.Round(time.Millisecond), taken.Round(time.Millisecond), found.Round(time.Millisecond), longest, id)
}

// rejoinStatic restarts the static member: it is known by its instance id, takes over from its former self, which is
// fenced, and nobody else notices.
func (g *rawGroup) rejoinStatic() {
	t := g.c.t
	t.Helper()
	_, addr := g.c.settled(g.id)
	m := g.members[2]
	g.leave()
	g.running.Wait()
	again := &rawMember{g: g, instance: m.instance}
	answer, err := askAt(addr, again.joinRequest())
	if err != nil {
		t.Fatal(err)
	}
	if r := answer.(*kmsg.JoinGroupResponse); r.ErrorCode != 0 || r.Generation != g.generation || r.MemberID == m.id {
		t.Fatalf("the static member joins again: %+v", r)
	}
	p, err := dialPeer(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if code, err := m.heartbeat(p, peerTimeout); err != nil || code != kerr.FencedInstanceID.Code {
		t.Errorf("its former self is answered with %v, %v", kerr.ErrorForCode(code), err)
	}
	again.id = answer.(*kmsg.JoinGroupResponse).MemberID
	for _, m := range []*rawMember{again, g.members[0], g.members[1]} {
		if code, err := m.heartbeat(p, peerTimeout); err != nil || code != 0 {
			t.Errorf("%s is answered with %v, %v", m.id, kerr.ErrorForCode(code), err)
		}
	}
}

// groupAtController is the name of a group that the controller coordinates, too: whoever loses it loses both.
func (c *trio) groupAtController() string {
	c.t.Helper()
	brokers, err := c.Admin.BrokerMetadata(context.Background())
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; ; i++ {
		group := fmt.Sprintf("raw-%d", i)
		if id, _, err := c.coordinator(group); err == nil && id == brokers.Controller {
			return group
		}
	}
}

// sameShard is the name of another group that has the same coordinator, always.
func sameShard(group string) string {
	const shards = 256 // of a cluster
	for i := 0; ; i++ {
		if name := fmt.Sprintf("flock-%d", i); coordinator.ShardOf(name, shards) == coordinator.ShardOf(group, shards) {
			return name
		}
	}
}

// A member of which a new coordinator hears nothing has its whole session from when that took over: it may not have found
// it yet. Then it goes.
func TestNewCoordinatorGivesWholeSessions(t *testing.T) {
	t.Parallel()
	const session = 4 * time.Second
	c := startTrio(t, 3, "group.min.session.timeout.ms=1000", "group.initial.rebalance.delay.ms=1000")
	c.Create("kill", killPartitions, map[string]string{"min.insync.replicas": "2"})
	g := c.joinRaw("raw", "kill", session)
	old, _ := c.settled(g.id)
	g.awaitAll(old)
	silent := g.members[1] // the first commits
	g.shrinks.Store(true)
	silent.silent.Store(true)
	c.Brokers[old-1].Kill()
	var id int32
	var addr string
	before := map[int32]time.Time{} // when each did not know yet that it is the new one
	brokertest.Eventually(t, "another broker coordinates the group", func() (bool, error) {
		for i, b := range c.Brokers {
			self, asked := int32(i+1), time.Now()
			if self == old {
				continue
			}
			is, at, err := coordinatorBy(b.Bootstrap, g.id)
			if err == nil && is == self {
				id, addr = is, at
				return true, nil
			}
			before[self] = asked
		}
		return false, nil
	})
	g.awaitAll(id, silent)
	var gone time.Time
	brokertest.Eventually(t, "the silent one is a member no more", func() (bool, error) {
		got, err := g.describe(addr)
		gone = time.Now()
		return err == nil && !slices.ContainsFunc(got.Members, func(m kmsg.DescribeGroupsResponseGroupMember) bool { return m.MemberID == silent.id }), err
	})
	if had := gone.Sub(before[id]); had < session {
		t.Errorf("the new coordinator heard nothing of a member for %v, whose session is %v, and gave it up", had, session)
	}
}
