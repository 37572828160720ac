package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
)

// DescribeAcls (key 29), versions 1-3.
//
// There is no authorizer, and so SECURITY_DISABLED, which is what admin tools know how to show.
func init() { register(kmsg.DescribeACLs, 1, 3, (*API).describeACLs) }

// noAuthorizer is the answer to every ACL request.
var noAuthorizer = refusal(kerr.SecurityDisabled, "no authorizer is configured on this broker")

func (a *API) describeACLs(req *wire.Request, _ *kmsg.DescribeACLsRequest) {
	resp := kmsg.NewPtrDescribeACLsResponse()
	resp.ErrorCode, resp.ErrorMessage = a.outcome(noAuthorizer, "", "")
	req.Reply(resp)
}
