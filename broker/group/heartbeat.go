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
	m.touch(g, g.members[req.MemberID])
	if g.state == PreparingRebalance {
		return kerr.RebalanceInProgress
	}
	return nil
}
