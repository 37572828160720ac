package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
)

// Heartbeat (key 12), versions 0-4.
//
// Answered from memory, also while the metadata store is away. An unknown group is UNKNOWN_MEMBER_ID,
// a rebalance under way REBALANCE_IN_PROGRESS.
func init() { register(kmsg.Heartbeat, 0, 4, (*API).heartbeat) }

func (a *API) heartbeat(req *wire.Request, body *kmsg.HeartbeatRequest) {
	a.groups.Coordinator.Heartbeat(body, func(resp *kmsg.HeartbeatResponse, err error) {
		if err != nil {
			resp = kmsg.NewPtrHeartbeatResponse()
			resp.ErrorCode = code(err)
		}
		req.Reply(resp)
	})
}
