package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
)

// CreateAcls (key 30), versions 1-3.
//
// There is no authorizer: SECURITY_DISABLED for each ACL.
func init() { register(kmsg.CreateACLs, 1, 3, (*API).createACLs) }

func (a *API) createACLs(req *wire.Request, body *kmsg.CreateACLsRequest) {
	resp := kmsg.NewPtrCreateACLsResponse()
	for range body.Creations {
		r := kmsg.NewCreateACLsResponseResult()
		r.ErrorCode, r.ErrorMessage = a.outcome(noAuthorizer, "", "")
		resp.Results = append(resp.Results, r)
	}
	req.Reply(resp)
}
