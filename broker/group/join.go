package group

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/coordinator"
)

// Client is who sent a request.
type Client struct {
	ID, Host string
}

// requiredIDVersion is the JoinGroup version from which a dynamic member must come back with the id
// it was given (KIP-394), so that a client that never returns holds nobody up.
const requiredIDVersion = 4

// skipAssignmentVersion is the JoinGroup version that can tell a returning static leader to leave the
// assignment alone (KIP-814).
const skipAssignmentVersion = 9

func joinError(req *kmsg.JoinGroupRequest, memberID string, err *kerr.Error) *kmsg.JoinGroupResponse {
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.Version = req.Version
	resp.ErrorCode = err.Code
	resp.MemberID = memberID
	if req.Version >= 7 {
		resp.Protocol = nil
	} else {
		resp.Protocol = kmsg.StringPtr("")
	}
	return resp
}

// Join handles JoinGroup. The answer may be parked until the group's rebalance completes.
func (m *Machine) Join(now time.Time, c Client, req *kmsg.JoinGroupRequest, done Done[kmsg.JoinGroupResponse]) coordinator.Result {
	refuse := func(memberID string, err *kerr.Error) coordinator.Result {
		answer(m, done, joinError(req, memberID, err))
		return m.take()
	}
	if req.RebalanceTimeoutMillis <= 0 { // version 0 does not know it
		req.RebalanceTimeoutMillis = req.SessionTimeoutMillis
	}
	switch st := ms(req.SessionTimeoutMillis); {
	case req.Group == "":
		return refuse(req.MemberID, kerr.InvalidGroupID)
	case st < m.opts.MinSessionTimeout || st > m.opts.MaxSessionTimeout:
		return refuse(req.MemberID, kerr.InvalidSessionTimeout)
	}
	g := m.get(req.Group)
	if g == nil {
		if req.MemberID != "" {
			return refuse(req.MemberID, kerr.UnknownMemberID)
		}
		if req.ProtocolType == "" || len(req.Protocols) == 0 {
			return refuse("", kerr.InconsistentGroupProtocol)
		}
		g = newGroup(req.Group, now)
		m.groups[g.id] = g
	}
	if !g.supports(req.ProtocolType, req.Protocols, req.MemberID) {
		return refuse(req.MemberID, kerr.InconsistentGroupProtocol)
	}
	if m.full(g, req.MemberID) {
		return refuse(req.MemberID, kerr.GroupMaxSizeReached)
	}
	var err *kerr.Error
	id := req.MemberID
	if id == "" {
		id, err = m.joinNew(g, now, c, req, done)
	} else {
		err = m.joinKnown(g, now, c, req, done)
	}
	if err != nil {
		answer(m, done, joinError(req, id, err))
	}
	m.advance(g, now)
	m.rearm(g)
	return m.take()
}

func (m *Machine) full(g *group, memberID string) bool {
	if m.opts.MaxSize <= 0 || len(g.members)+len(g.pending) < m.opts.MaxSize {
		return false
	}
	_, pending := g.pending[memberID]
	return g.members[memberID] == nil && !pending
}

// joinNew handles a join without a member id. An error answers with the returned id.
func (m *Machine) joinNew(g *group, now time.Time, c Client, req *kmsg.JoinGroupRequest, done Done[kmsg.JoinGroupResponse]) (string, *kerr.Error) {
	if req.InstanceID != nil {
		id := *req.InstanceID + "-" + m.opts.NewID()
		if old, ok := g.static[*req.InstanceID]; ok {
			m.replaceStatic(g, g.members[old], id, now, c, req, done)
			return id, nil
		}
		m.addMember(g, id, now, c, req, done)
		m.prepare(g, now)
		return id, nil
	}
	id := c.ID + "-" + m.opts.NewID()
	if req.Version >= requiredIDVersion {
		g.pending[id] = now.Add(ms(req.SessionTimeoutMillis))
		return id, kerr.MemberIDRequired
	}
	m.addMember(g, id, now, c, req, done)
	m.prepare(g, now)
	return id, nil
}

// joinKnown handles a join that names its member.
func (m *Machine) joinKnown(g *group, now time.Time, c Client, req *kmsg.JoinGroupRequest, done Done[kmsg.JoinGroupResponse]) *kerr.Error {
	if _, ok := g.pending[req.MemberID]; ok && req.InstanceID == nil {
		delete(g.pending, req.MemberID)
		m.addMember(g, req.MemberID, now, c, req, done)
		m.prepare(g, now)
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
		answer(m, done, m.joinedAs(g, mb, req.Version, false))
	case g.state == CompletingRebalance, g.state == Stable:
		m.park(g, mb, now, c, req, done)
		m.prepare(g, now)
	default:
		return kerr.UnknownMemberID
	}
	return nil
}

func (m *Machine) addMember(g *group, id string, now time.Time, c Client, req *kmsg.JoinGroupRequest, done Done[kmsg.JoinGroupResponse]) {
	m.joined++
	mb := &member{id: id, order: m.joined}
	if req.InstanceID != nil {
		mb.isStatic, mb.instanceID = true, *req.InstanceID
		g.static[mb.instanceID] = id
	}
	if len(g.members) == 0 {
		g.protocolType = req.ProtocolType
	}
	if g.leader == "" {
		g.leader = id
	}
	g.members[id] = mb
	g.join.newcomer = true
	m.park(g, mb, now, c, req, done)
}

// park keeps the join until the rebalance completes. Whoever waited for an earlier join of the same
// member is told that another took its place.
func (m *Machine) park(g *group, mb *member, now time.Time, c Client, req *kmsg.JoinGroupRequest, done Done[kmsg.JoinGroupResponse]) {
	if old := mb.joinReply; old != nil {
		answer(m, old, joinError(req, mb.id, kerr.UnknownMemberID))
	}
	mb.clientID, mb.clientHost = c.ID, c.Host
	mb.sessionTimeout, mb.rebalanceTimeout = ms(req.SessionTimeoutMillis), ms(req.RebalanceTimeoutMillis)
	mb.protocols = cloneProtocols(req.Protocols)
	mb.joinReply = func(resp *kmsg.JoinGroupResponse, err error) {
		if resp != nil {
			resp.Version = req.Version
		}
		done(resp, err)
	}
	mb.heard(now)
}

// cloneProtocols copies what would otherwise alias the request's frame.
func cloneProtocols(ps []kmsg.JoinGroupRequestProtocol) []kmsg.JoinGroupRequestProtocol {
	out := make([]kmsg.JoinGroupRequestProtocol, len(ps))
	for i, p := range ps {
		out[i] = p
		out[i].Metadata = append([]byte(nil), p.Metadata...)
	}
	return out
}

// replaceStatic lets a restarted static member take over from its former self (KIP-345). If nothing
// about it has changed, a stable group is not disturbed.
func (m *Machine) replaceStatic(g *group, old *member, id string, now time.Time, c Client, req *kmsg.JoinGroupRequest, done Done[kmsg.JoinGroupResponse]) {
	if f := old.joinReply; f != nil {
		old.joinReply = nil
		answer(m, f, joinError(req, old.id, kerr.FencedInstanceID))
	}
	if f := old.syncReply; f != nil {
		old.syncReply = nil
		answer(m, f, syncError(kerr.FencedInstanceID))
	}
	same := old.metadataFor(g.protocol) != nil && old.sameProtocols(req.Protocols)
	delete(g.members, old.id)
	m.deleteMember(g, old)
	mb := *old
	mb.id, mb.written = id, false
	g.members[id] = &mb
	g.static[mb.instanceID] = id
	wasLeader := g.leader == old.id
	if wasLeader {
		g.leader = id
	}
	if g.state == Stable && same {
		mb := g.members[id]
		mb.clientID, mb.clientHost = c.ID, c.Host
		mb.sessionTimeout, mb.rebalanceTimeout = ms(req.SessionTimeoutMillis), ms(req.RebalanceTimeoutMillis)
		mb.heard(now)
		m.writeGroup(g)
		if wasLeader && req.Version < skipAssignmentVersion {
			// An old client that is told it leads would assign anew: let it follow.
			resp := m.joinedAs(g, mb, req.Version, false)
			resp.LeaderID, resp.Members = old.id, nil
			answer(m, done, resp)
			return
		}
		answer(m, done, m.joinedAs(g, mb, req.Version, wasLeader))
		return
	}
	m.park(g, g.members[id], now, c, req, done)
	m.prepare(g, now)
}

// joinedAs is the answer to a completed join.
func (m *Machine) joinedAs(g *group, mb *member, version int16, skipAssignment bool) *kmsg.JoinGroupResponse {
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.Version = version
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
