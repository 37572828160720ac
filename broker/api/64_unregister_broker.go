package api

import (
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
)

// UnregisterBroker (key 64), version 0.
//
// Has a broker leave for good, whether it is up or not. The answer comes when that is recorded. It leads nothing from
// then on, its replicas move to others, and once it has none it is unregistered. A broker that is not known, or has left,
// is BROKER_ID_NOT_REGISTERED; too few others for the replicas there are, INVALID_REPLICATION_FACTOR.
func init() { registerByController(kmsg.UnregisterBroker, 0, 0, (*API).unregisterBroker) }

func (a *API) unregisterBroker(req *wire.Request, body *kmsg.UnregisterBrokerRequest) {
	resp := kmsg.NewPtrUnregisterBrokerResponse()
	ctx, cancel := adminContext(int32(defaultAdminTimeout.Milliseconds()))
	defer cancel()
	err := a.admin.Controller.Unregister(ctx, body.BrokerID)
	resp.ErrorCode, resp.ErrorMessage = a.outcome(err, "unregister broker", strconv.Itoa(int(body.BrokerID)))
	req.Reply(resp)
}
