package api

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/coordinator"
	"firn/broker/wire"
)

// Heartbeat (key 12), versions 0-4.
//
// Answered from memory, also while the metadata store is away. An unknown group is UNKNOWN_MEMBER_ID,
// a rebalance under way REBALANCE_IN_PROGRESS. While the group is being loaded all is well, as in Kafka: sessions
// begin anew when it is.
func init() { register(kmsg.Heartbeat, 0, 4, (*API).heartbeat) }

func (a *API) heartbeat(req *wire.Request, body *kmsg.HeartbeatRequest) {
	a.groups.Coordinator.Heartbeat(body, func(resp *kmsg.HeartbeatResponse, err error) {
		if err != nil {
			resp = kmsg.NewPtrHeartbeatResponse()
		}
		if err != nil && !errors.Is(err, coordinator.ErrLoading) {
			resp.ErrorCode = code(err)
		}
		req.Reply(resp)
	})
}
