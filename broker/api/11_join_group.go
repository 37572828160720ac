package api

import (
	"net"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/group"
	"firn/broker/wire"
)

// JoinGroup (key 11), versions 0-9.
//
// Parks until the group's rebalance completes. From version 4 a dynamic member without an id is given
// one with MEMBER_ID_REQUIRED and comes back with it (KIP-394). A coordinator that cannot answer for now says
// COORDINATOR_LOAD_IN_PROGRESS: older sarama gives up at COORDINATOR_NOT_AVAILABLE.
//
//   - v1: rebalance time-out, before that the session time-out. v5: static members (KIP-345).
//   - v7: protocol type in the answer. v8: a reason, which is not kept. v9: skip_assignment
//     (KIP-814).
func init() { register(kmsg.JoinGroup, 0, 9, (*API).joinGroup) }

func (a *API) joinGroup(req *wire.Request, body *kmsg.JoinGroupRequest) {
	member := strings.Clone(body.MemberID) // so that nothing else of the request is held while it is parked
	a.groups.Coordinator.Join(clientOf(req), body, func(resp *kmsg.JoinGroupResponse, err error) {
		if err != nil {
			resp = kmsg.NewPtrJoinGroupResponse()
			resp.ErrorCode, resp.MemberID = unsureCode(err), member
		}
		req.Reply(resp)
	})
}

// clientOf is who sent a request. The request is no longer charged for, nor held, once it is parked.
func clientOf(req *wire.Request) group.Client {
	return group.Client{ID: req.ClientID, Host: clientHost(req.Conn.Remote), Parked: req.ReleaseFrame}
}

// clientHost is a client's address as Kafka shows it in groups: "/127.0.0.1".
func clientHost(a net.Addr) string {
	if a == nil {
		return "/"
	}
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		host = a.String()
	}
	return "/" + host
}
