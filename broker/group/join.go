package group

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/coordinator"
)

// Client is who sent a request.
type Client struct {
	ID, Host string
	// Parked, if not nil, is called when the answer has to wait for other members and nothing of the request
	// is needed any longer. It must not block.
	Parked func()
}

const (
	// requiredIDVersion is the JoinGroup version from which a dynamic member must come back with the id
	// it was given (KIP-394), so that a client that never returns holds nobody up.
	requiredIDVersion = 4
	// skipAssignmentVersion is the JoinGroup version that can tell a returning static leader to leave the
	// assignment alone (KIP-814).
	skipAssignmentVersion = 9
	// freshTimeout is how long a new member's first join stays parked. Its client may be gone: it can't be
	// heard of before it has its answer.
	freshTimeout = 5 * time.Minute
	// maxName bounds ids and names, which are parts of keys. It is what a string of the protocol's old
	// versions can hold.
	maxName = 32767
	// maxMember bounds what is written down of a member; the store takes 1 MiB with the key.
	maxMember = 768 << 10
	// maxPending bounds the ids that were handed out in a group and not used yet. Whose id is forgotten asks for
	// another one, which a client that asks on and on and uses none keeps nobody from.
	maxPending = 1000
	// protocolSize is about what a protocol takes there beside its name and metadata, which may be empty.
	protocolSize = 16
)

func joinError(memberID string, err *kerr.Error) *kmsg.JoinGroupResponse {
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.ErrorCode = err.Code
	resp.MemberID = memberID
	return resp
}

// Join handles JoinGroup. The answer may be parked until the group's rebalance completes. Of req nothing is
// kept.
func (m *Machine) Join(now time.Time, c Client, req *kmsg.JoinGroupRequest, done Done[kmsg.JoinGroupResponse]) coordinator.Result {
	id, err := m.join(now, c, req, done)
	if err != nil {
		answer(m, done, joinError(id, err))
	}
	return m.take()
}

// join parks or answers the request, or returns an error to answer with and the member id to go with it.
func (m *Machine) join(now time.Time, c Client, req *kmsg.JoinGroupRequest, done Done[kmsg.JoinGroupResponse]) (string, *kerr.Error) {
	if req.RebalanceTimeoutMillis <= 0 { // version 0 does not know it
		req.RebalanceTimeoutMillis = req.SessionTimeoutMillis
	}
	if err := m.joinCheck(req); err != nil {
		return req.MemberID, err
	}
	g := m.get(req.Group)
	switch {
	case g == nil && req.MemberID != "":
		return req.MemberID, kerr.UnknownMemberID
	case g == nil:
		g = newGroup(req.Group, now)
	case m.full(g, req):
		m.turnAway(g, now, req.MemberID)
		return "", kerr.GroupMaxSizeReached
	}
	if !g.supports(req.ProtocolType, req.Protocols, req.MemberID) {
		return req.MemberID, kerr.InconsistentGroupProtocol
	}
	m.groups[g.id] = g
	var err *kerr.Error
	id := req.MemberID
	if id == "" {
		id, err = m.joinNew(g, now, c, req, done)
	} else {
		err = m.joinKnown(g, now, c, req, done)
	}
	m.advance(g, now)
	m.touch(g, g.members[id])
	if at, ok := g.pending[id]; ok {
		m.wake(g, at)
	}
	return id, err
}

// joinCheck looks at the request alone.
func (m *Machine) joinCheck(req *kmsg.JoinGroupRequest) *kerr.Error {
	names := len(req.ProtocolType)
	valid := utf8.ValidString(req.ProtocolType)
	size := 0
	for _, p := range req.Protocols {
		names = max(names, len(p.Name))
		valid = valid && utf8.ValidString(p.Name)
		size += len(p.Name) + len(p.Metadata) + protocolSize
	}
	if req.InstanceID != nil {
		names = max(names, len(*req.InstanceID))
		valid = valid && utf8.ValidString(*req.InstanceID)
	}
	switch st := ms(req.SessionTimeoutMillis); {
	case req.Group == "" || len(req.Group) > maxName:
		return kerr.InvalidGroupID
	case st < m.opts.MinSessionTimeout || st > m.opts.MaxSessionTimeout:
		return kerr.InvalidSessionTimeout
	case !valid || names > maxName || size > maxMember/2:
		return kerr.InvalidRequest
	}
	return nil
}

// full says whether a group has no place for the sender of req. Who is a member, or takes a static
// member's place, does not need one, but that in a rebalance places go to who comes first, so that a group
// above a limit that was lowered comes down to it.
func (m *Machine) full(g *group, req *kmsg.JoinGroupRequest) bool {
	mb := g.members[req.MemberID]
	if req.MemberID == "" && req.InstanceID != nil {
		mb = g.members[g.static[*req.InstanceID]]
	}
	switch {
	case m.opts.MaxSize <= 0 || len(g.members) < m.opts.MaxSize:
		return false
	case g.state != PreparingRebalance:
		return mb == nil
	case mb != nil && mb.joinReply != nil:
		return false
	}
	parked := 0
	for _, o := range g.members {
		if o.joinReply != nil {
			parked++
		}
	}
	return parked >= m.opts.MaxSize
}

// turnAway forgets someone for whom there is no place.
func (m *Machine) turnAway(g *group, now time.Time, id string) {
	delete(g.pending, id)
	if mb := g.members[id]; mb != nil {
		m.drop(g, mb)
		m.shrunk(g, now)
	}
	m.rearm(g)
}

// joinNew handles a join without a member id. An error answers with the returned id.
func (m *Machine) joinNew(g *group, now time.Time, c Client, req *kmsg.JoinGroupRequest, done Done[kmsg.JoinGroupResponse]) (string, *kerr.Error) {
	if req.InstanceID != nil {
		id := m.newID(*req.InstanceID)
		if old, ok := g.static[*req.InstanceID]; ok {
			m.replaceStatic(g, g.members[old], id, now, c, req, done)
			return id, nil
		}
		m.addMember(g, id, now, c, req, done)
		return id, nil
	}
	id := m.newID(c.ID)
	if req.Version >= requiredIDVersion {
		if len(g.pending) >= maxPending {
			for other := range g.pending {
				delete(g.pending, other)
				break
			}
		}
		g.pending[id] = now.Add(ms(req.SessionTimeoutMillis))
		return id, kerr.MemberIDRequired
	}
	m.addMember(g, id, now, c, req, done)
	return id, nil
}

// newID makes an id for a member of whom a name is known.
func (m *Machine) newID(name string) string {
	id := "-" + m.opts.NewID()
	return short(name, maxName-len(id)) + id
}

// short is what is left of a clean name in n bytes.
func short(name string, n int) string {
	name = clean(name)
	return strings.ToValidUTF8(name[:min(n, len(name))], "") // no half characters
}

// joinKnown handles a join that names its member.
func (m *Machine) joinKnown(g *group, now time.Time, c Client, req *kmsg.JoinGroupRequest, done Done[kmsg.JoinGroupResponse]) *kerr.Error {
	if _, ok := g.pending[req.MemberID]; ok && req.InstanceID == nil {
		delete(g.pending, req.MemberID)
		m.addMember(g, strings.Clone(req.MemberID), now, c, req, done)
		return nil
	}
	if err := g.check(req.MemberID, req.InstanceID, g.generation); err != nil {
		return err
	}
	mb := g.members[req.MemberID]
	same := mb.sameProtocols(req.Protocols)
	switch {
	case g.state == PreparingRebalance:
		m.park(g, mb, now, c, req, done)
	case g.state == CompletingRebalance && same, g.state == Stable && same && mb.id != g.leader:
		// The answer to the last join was lost, or this member need not disturb the others.
		mb.heard(now)
		answer(m, done, m.joinedAs(g, mb, false))
	default:
		m.park(g, mb, now, c, req, done)
		m.prepare(g, now)
	}
	return nil
}

func (m *Machine) addMember(g *group, id string, now time.Time, c Client, req *kmsg.JoinGroupRequest, done Done[kmsg.JoinGroupResponse]) {
	m.joined++
	mb := &member{id: id, order: m.joined, fresh: true, deadline: now.Add(freshTimeout)}
	if req.InstanceID != nil {
		mb.isStatic, mb.instanceID = true, strings.Clone(*req.InstanceID)
		g.static[mb.instanceID] = id
	}
	if len(g.members) == 0 {
		g.protocolType = strings.Clone(req.ProtocolType)
	}
	g.members[id] = mb
	g.join.newcomer = true
	m.park(g, mb, now, c, req, done)
	m.prepare(g, now)
}

// park keeps the join until the rebalance completes. Whoever waited for an earlier join of the same
// member is told to try again.
func (m *Machine) park(g *group, mb *member, now time.Time, c Client, req *kmsg.JoinGroupRequest, done Done[kmsg.JoinGroupResponse]) {
	if old := mb.joinReply; old != nil {
		answer(m, old, joinError(mb.id, kerr.RebalanceInProgress))
	}
	g.take(mb, c, req)
	mb.joinReply = done
	mb.heard(now)
	m.parked(c)
}

// parked tells a client's connection that its request is waiting.
func (m *Machine) parked(c Client) {
	if c.Parked != nil {
		m.out.AtOnce = append(m.out.AtOnce, c.Parked)
	}
}

// take copies what a member says of itself when it joins. All of it would otherwise alias the request.
func (g *group) take(m *member, c Client, req *kmsg.JoinGroupRequest) {
	g.count(m, -1)
	defer g.count(m, 1)
	m.clientID, m.clientHost = short(c.ID, maxName), c.Host
	m.sessionTimeout, m.rebalanceTimeout = ms(req.SessionTimeoutMillis), ms(req.RebalanceTimeoutMillis)
	m.protocols = make([]kmsg.JoinGroupRequestProtocol, len(req.Protocols))
	for i, p := range req.Protocols {
		m.protocols[i] = kmsg.JoinGroupRequestProtocol{Name: strings.Clone(p.Name), Metadata: slices.Clone(p.Metadata)}
	}
}

// replaceStatic lets a restarted static member take over from its former self (KIP-345). A stable group
// whose protocol and subscriptions stay the same is not disturbed.
func (m *Machine) replaceStatic(g *group, old *member, id string, now time.Time, c Client, req *kmsg.JoinGroupRequest, done Done[kmsg.JoinGroupResponse]) {
	if f := old.joinReply; f != nil {
		answer(m, f, joinError(old.id, kerr.FencedInstanceID))
	}
	if f := old.syncReply; f != nil {
		answer(m, f, syncError(kerr.FencedInstanceID))
	}
	m.deleteMember(g, old)
	before := old.metadataFor(g.protocol)
	mb := *old
	mb.id, mb.written, mb.fresh, mb.joinReply, mb.syncReply = id, false, false, nil, nil
	delete(g.members, old.id)
	g.members[id], g.static[mb.instanceID] = &mb, id
	wasLeader := g.leader == old.id
	if wasLeader {
		g.leader = id
	}
	if g.state != Stable || !g.undisturbed(&mb, before, req) {
		m.park(g, &mb, now, c, req, done)
		m.prepare(g, now)
		return
	}
	g.take(&mb, c, req)
	mb.heard(now)
	m.writeMember(g, &mb)
	m.writeHeader(g)
	resp := m.joinedAs(g, &mb, wasLeader)
	if wasLeader && req.Version < skipAssignmentVersion {
		// An old client that is told it leads would assign anew: let it follow.
		resp.LeaderID, resp.Members, resp.SkipAssignment = old.id, nil, false
	}
	answer(m, done, resp)
}

// undisturbed says whether the group would choose the same protocol with these of the member's in place,
// and, as far as can be told, has the same topics to share out. If what there would be to write down of the member
// is too much with the assignment that it has, the leader has to assign anew.
func (g *group) undisturbed(mb *member, before []byte, req *kmsg.JoinGroupRequest) bool {
	was := mb.protocols
	g.count(mb, -1)
	mb.protocols = req.Protocols
	g.count(mb, 1)
	same := len(mb.assignment)+mb.size() <= maxMember && g.vote() == g.protocol &&
		(g.protocolType != consumerProtocol || sameSubscription(before, mb.metadataFor(g.protocol)))
	g.count(mb, -1)
	mb.protocols = was
	g.count(mb, 1)
	return same
}

// joinedAs is the answer to a completed join.
func (m *Machine) joinedAs(g *group, mb *member, skipAssignment bool) *kmsg.JoinGroupResponse {
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.Generation = g.generation
	resp.ProtocolType = kmsg.StringPtr(g.protocolType)
	resp.Protocol = kmsg.StringPtr(g.protocol)
	resp.LeaderID = g.leader
	resp.MemberID = mb.id
	resp.SkipAssignment = skipAssignment
	if mb.id != g.leader {
		return resp
	}
	for _, o := range g.ordered() {
		rm := kmsg.NewJoinGroupResponseMember()
		rm.MemberID = o.id
		rm.ProtocolMetadata = o.metadataFor(g.protocol)
		if o.isStatic {
			rm.InstanceID = kmsg.StringPtr(o.instanceID)
		}
		resp.Members = append(resp.Members, rm)
	}
	return resp
}
