package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
)

// ListGroups (key 16), versions 0-5.
//
// Lists the groups this broker coordinates; clients ask every broker.
//
//   - v4: filter by state. v5: filter by type; every group here is of type classic.
func init() { register(kmsg.ListGroups, 0, 5, (*API).listGroups) }

func (a *API) listGroups(req *wire.Request, body *kmsg.ListGroupsRequest) {
	a.groups.Coordinator.List(body.StatesFilter, body.TypesFilter, func(groups *[]kmsg.ListGroupsResponseGroup, err error) {
		resp := kmsg.NewPtrListGroupsResponse()
		if err != nil {
			resp.ErrorCode = code(err)
		} else {
			resp.Groups = *groups
		}
		req.Reply(resp)
	})
}
