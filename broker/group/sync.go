package group

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/coordinator"
)

func syncError(err *kerr.Error) *kmsg.SyncGroupResponse {
	resp := kmsg.NewPtrSyncGroupResponse()
	resp.ErrorCode = err.Code
	return resp
}

// Sync handles SyncGroup. The answer is parked until the leader's assignment is committed. Of req nothing
// is kept.
func (m *Machine) Sync(now time.Time, c Client, req *kmsg.SyncGroupRequest, done Done[kmsg.SyncGroupResponse]) coordinator.Result {
	g := m.get(req.Group)
	err := m.syncCheck(g, req)
	if err != nil {
		answer(m, done, syncError(err))
		return m.take()
	}
	mb := g.members[req.MemberID]
	mb.heard(now)
	switch g.state {
	case PreparingRebalance:
		answer(m, done, syncError(kerr.RebalanceInProgress))
	case Stable:
		mb.synced = true
		answer(m, done, assignment(g, mb))
	case CompletingRebalance:
		if old := mb.syncReply; old != nil {
			answer(m, old, syncError(kerr.RebalanceInProgress))
		}
		mb.syncReply, mb.synced = done, true
		if mb.id == g.leader {
			m.assign(g, req.GroupAssignment, now)
		} else {
			m.parked(c)
		}
	default:
		answer(m, done, syncError(kerr.UnknownMemberID))
	}
	m.touch(g, mb)
	return m.take()
}

func (m *Machine) syncCheck(g *group, req *kmsg.SyncGroupRequest) *kerr.Error {
	if req.Group == "" {
		return kerr.InvalidGroupID
	}
	if g == nil {
		return kerr.UnknownMemberID
	}
	if err := g.check(req.MemberID, req.InstanceID, req.Generation); err != nil {
		return err
	}
	if req.ProtocolType != nil && *req.ProtocolType != g.protocolType ||
		req.Protocol != nil && g.state != PreparingRebalance && *req.Protocol != g.protocol {
		return kerr.InconsistentGroupProtocol
	}
	return nil
}

// assign takes the leader's assignment, writes the generation down and answers everyone who waits. An
// assignment too large to be written down is refused, and the group has to try again.
func (m *Machine) assign(g *group, as []kmsg.SyncGroupRequestGroupAssignment, now time.Time) {
	for _, mb := range g.members {
		mb.assignment = nil
	}
	for _, a := range as {
		mb := g.members[a.MemberID]
		if mb == nil {
			continue
		}
		if len(a.MemberAssignment)+mb.size() > maxMember {
			m.failSyncs(g, now, kerr.UnknownServerError)
			m.prepare(g, now)
			return
		}
		mb.assignment = slices.Clone(a.MemberAssignment)
	}
	g.state = Stable
	m.writeGroup(g)
	for _, mb := range g.ordered() {
		if done := mb.syncReply; done != nil {
			mb.syncReply = nil
			mb.heard(now)
			answer(m, done, assignment(g, mb))
		}
	}
}

func assignment(g *group, mb *member) *kmsg.SyncGroupResponse {
	resp := kmsg.NewPtrSyncGroupResponse()
	resp.ProtocolType = kmsg.StringPtr(g.protocolType)
	resp.Protocol = kmsg.StringPtr(g.protocol)
	resp.MemberAssignment = mb.assignment
	return resp
}

// failSyncs answers everyone who waits for the leader's assignment. Their sessions begin anew, for they
// could not be heard of while they waited.
func (m *Machine) failSyncs(g *group, now time.Time, err *kerr.Error) {
	for _, mb := range g.ordered() {
		mb.assignment = nil
		if done := mb.syncReply; done != nil {
			mb.syncReply = nil
			mb.heard(now)
			answer(m, done, syncError(err))
		}
	}
}
