package group

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/coordinator"
)

// Leave handles LeaveGroup, of one member (before version 3) or many, each with an error of its own.
func (m *Machine) Leave(now time.Time, req *kmsg.LeaveGroupRequest, done Done[kmsg.LeaveGroupResponse]) coordinator.Result {
	resp := kmsg.NewPtrLeaveGroupResponse()
	answer(m, done, resp)
	if req.Group == "" {
		resp.ErrorCode = kerr.InvalidGroupID.Code
		return m.take()
	}
	leaving := req.Members
	if req.Version < 3 {
		leaving = []kmsg.LeaveGroupRequestMember{{MemberID: req.MemberID}}
	}
	g := m.get(req.Group)
	left, gone := false, false
	for _, l := range leaving {
		rm := kmsg.NewLeaveGroupResponseMember()
		rm.MemberID, rm.InstanceID = l.MemberID, l.InstanceID
		member, err := m.leave(g, l)
		if err != nil {
			rm.ErrorCode = err.Code
		}
		left, gone = left || err == nil, gone || member
		resp.Members = append(resp.Members, rm)
	}
	if req.Version < 3 {
		resp.ErrorCode, resp.Members = resp.Members[0].ErrorCode, nil
	}
	switch {
	case gone:
		m.shrunk(g, now)
		m.rearm(g)
	case left:
		m.advance(g, now) // which may have waited for someone who was only given an id
		m.rearm(g)
	}
	return m.take()
}

// leave takes out who leaves and says whether that was a member, or only someone who was given an id. An
// operator names a static member by its instance id alone.
func (m *Machine) leave(g *group, l kmsg.LeaveGroupRequestMember) (member bool, err *kerr.Error) {
	if g == nil {
		return false, kerr.UnknownMemberID
	}
	if _, ok := g.pending[l.MemberID]; ok {
		delete(g.pending, l.MemberID)
		return false, nil
	}
	id := l.MemberID
	if id == "" && l.InstanceID != nil {
		id = g.static[*l.InstanceID]
	}
	if err := g.check(id, l.InstanceID, g.generation); err != nil {
		return false, err
	}
	m.drop(g, g.members[id])
	return true, nil
}
