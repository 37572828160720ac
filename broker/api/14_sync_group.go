package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
)

// SyncGroup (key 14), versions 0-5.
//
// Parks until the leader's assignment is written down; the assignment is handed on as it came.
//
//   - v3: static members. v5: protocol type and name, which must be the group's.
func init() { register(kmsg.SyncGroup, 0, 5, (*API).syncGroup) }

func (a *API) syncGroup(req *wire.Request, body *kmsg.SyncGroupRequest) {
	a.groups.Coordinator.Sync(clientOf(req), body, func(resp *kmsg.SyncGroupResponse, err error) {
		if err != nil {
			resp = kmsg.NewPtrSyncGroupResponse()
			resp.ErrorCode = code(err)
		}
		req.Reply(resp)
	})
}
