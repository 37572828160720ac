package api

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/coordinator"
	"firn/broker/wire"
)

// SyncGroup (key 14), versions 0-5.
//
// Parks until the leader's assignment is written down; the assignment is handed on as it came. While the group is
// being loaded the answer is REBALANCE_IN_PROGRESS, as in Kafka: whoever waited to be told its assignment has to
// join again, and the Java client takes COORDINATOR_LOAD_IN_PROGRESS for final here. So it is where the coordinator
// cannot answer for now otherwise: older sarama gives up at COORDINATOR_NOT_AVAILABLE.
//
//   - v3: static members. v5: protocol type and name, which must be the group's.
func init() { register(kmsg.SyncGroup, 0, 5, (*API).syncGroup) }

func (a *API) syncGroup(req *wire.Request, body *kmsg.SyncGroupRequest) {
	a.groups.Coordinator.Sync(clientOf(req), body, func(resp *kmsg.SyncGroupResponse, err error) {
		if err != nil {
			resp = kmsg.NewPtrSyncGroupResponse()
			resp.ErrorCode = kerr.RebalanceInProgress.Code
			if errors.Is(err, coordinator.ErrNotCoordinator) {
				resp.ErrorCode = code(err)
			}
		}
		req.Reply(resp)
	})
}
