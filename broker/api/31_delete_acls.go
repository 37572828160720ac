package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
)

// DeleteAcls (key 31), versions 1-3.
//
// There is no authorizer: SECURITY_DISABLED for each filter.
func init() { register(kmsg.DeleteACLs, 1, 3, (*API).deleteACLs) }

func (a *API) deleteACLs(req *wire.Request, body *kmsg.DeleteACLsRequest) {
	resp := kmsg.NewPtrDeleteACLsResponse()
	for range body.Filters {
		r := kmsg.NewDeleteACLsResponseResult()
		r.ErrorCode, r.ErrorMessage = a.outcome(noAuthorizer, "", "")
		resp.Results = append(resp.Results, r)
	}
	req.Reply(resp)
}
