package api

import (
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
)

// DescribeGroups (key 15), versions 0-6.
//
// A group that does not exist is described as Dead, from version 6 with GROUP_ID_NOT_FOUND. Metadata and
// assignments are shown while the group is Stable. A group named twice is described once.
//
//   - v3: authorized operations, if asked for. v4: instance ids. v6: error messages.
func init() { register(kmsg.DescribeGroups, 0, 6, (*API).describeGroups) }

func (a *API) describeGroups(req *wire.Request, body *kmsg.DescribeGroupsRequest) {
	resp := kmsg.NewPtrDescribeGroupsResponse()
	body.Groups = firsts(body.Groups, itself)
	resp.Groups = make([]kmsg.DescribeGroupsResponseGroup, len(body.Groups))
	each(len(body.Groups), func(i int, done func()) {
		a.groups.Coordinator.Describe(body.Groups[i], body.Version, func(g *kmsg.DescribeGroupsResponseGroup, err error) {
			if err != nil {
				failed := kmsg.NewDescribeGroupsResponseGroup()
				failed.Group, failed.ErrorCode = body.Groups[i], code(err)
				g = &failed
			}
			if body.IncludeAuthorizedOperations && g.ErrorCode == 0 {
				g.AuthorizedOperations = groupOperations
			}
			resp.Groups[i] = *g
			done()
		})
	}, func() { req.Reply(resp) })
}

// each starts n calls of fn and calls last when each has called its done.
func each(n int, fn func(i int, done func()), last func()) {
	var left atomic.Int64
	left.Store(int64(n) + 1)
	done := func() {
		if left.Add(-1) == 0 {
			last()
		}
	}
	for i := range n {
		fn(i, done)
	}
	done()
}
