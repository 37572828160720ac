package group

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/coordinator"
)

// Heartbeat handles Heartbeat. It writes nothing and waits for no write, so members stay in their
// groups while the metadata store is away.
func (m *Machine) Heartbeat(now time.Time, req *kmsg.HeartbeatRequest, done Done[kmsg.HeartbeatResponse]) coordinator.Result {
	resp := kmsg.NewPtrHeartbeatResponse()
	if err := m.heartbeat(now, req); err != nil {
		resp.ErrorCode = err.Code
	}
	m.out.AtOnce = append(m.out.AtOnce, func() { done(resp, nil) })
	return m.take()
}

func (m *Machine) heartbeat(now time.Time, req *kmsg.HeartbeatRequest) *kerr.Error {
	if req.Group == "" {
		return kerr.InvalidGroupID
	}
	g := m.get(req.Group)
	if g == nil {
		return kerr.UnknownMemberID
	}
	if err := g.check(req.MemberID, req.InstanceID, req.Generation); err != nil {
		return err
	}
	g.members[req.MemberID].heard(now)
	m.rearm1(g, g.members[req.MemberID])
	if g.state == PreparingRebalance {
		return kerr.RebalanceInProgress
	}
	return nil
}

// rearm1 is rearm where only one member's deadline has moved: later, as a rule, which the timer that
// is already set finds out by itself.
func (m *Machine) rearm1(g *group, mb *member) { m.wake(g, mb.deadline) }

// Leave handles LeaveGroup, of one member (before version 3) or many.
func (m *Machine) Leave(now time.Time, req *kmsg.LeaveGroupRequest, done Done[kmsg.LeaveGroupResponse]) coordinator.Result {
	resp := kmsg.NewPtrLeaveGroupResponse()
	resp.Version = req.Version
	leaving := req.Members
	if req.Version < 3 {
		one := kmsg.NewLeaveGroupRequestMember()
		one.MemberID = req.MemberID
		leaving = append(leaving, one)
	}
	g := m.get(req.Group)
	switch {
	case req.Group == "":
		resp.ErrorCode = kerr.InvalidGroupID.Code
		answer(m, done, resp)
		return m.take()
	case g == nil:
		resp.ErrorCode = kerr.UnknownMemberID.Code
		answer(m, done, resp)
		return m.take()
	}
	var gone []*member
	for _, l := range leaving {
		rm := kmsg.NewLeaveGroupResponseMember()
		rm.MemberID, rm.InstanceID = l.MemberID, l.InstanceID
		mb, err := g.leaver(l)
		if err != nil {
			rm.ErrorCode = err.Code
		} else if mb != nil {
			gone = append(gone, mb)
		}
		resp.Members = append(resp.Members, rm)
	}
	if req.Version < 3 {
		resp.ErrorCode, resp.Members = resp.Members[0].ErrorCode, nil
	}
	m.remove(g, gone, now)
	m.advance(g, now)
	m.rearm(g)
	answer(m, done, resp)
	return m.take()
}

// leaver finds who leaves; nil without an error for someone who had not quite joined yet.
func (g *group) leaver(l kmsg.LeaveGroupRequestMember) (*member, *kerr.Error) {
	if l.InstanceID != nil {
		id, ok := g.static[*l.InstanceID]
		switch {
		case !ok:
			return nil, kerr.UnknownMemberID
		case l.MemberID != "" && l.MemberID != id:
			return nil, kerr.FencedInstanceID
		}
		return g.members[id], nil
	}
	if _, ok := g.pending[l.MemberID]; ok {
		delete(g.pending, l.MemberID)
		return nil, nil
	}
	if mb := g.members[l.MemberID]; mb != nil {
		return mb, nil
	}
	return nil, kerr.UnknownMemberID
}
