package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
)

// LeaveGroup (key 13), versions 0-5.
//
//   - v3: many members at once, static ones by their instance id. v5: a reason, which is not kept.
//
// In an unknown group nobody is a member: UNKNOWN_MEMBER_ID, from version 3 for each of them.
func init() { register(kmsg.LeaveGroup, 0, 5, (*API).leaveGroup) }

func (a *API) leaveGroup(req *wire.Request, body *kmsg.LeaveGroupRequest) {
	a.groups.Coordinator.Leave(body, func(resp *kmsg.LeaveGroupResponse, err error) {
		if err != nil {
			resp = kmsg.NewPtrLeaveGroupResponse()
			resp.ErrorCode = code(err)
		}
		req.Reply(resp)
	})
}
