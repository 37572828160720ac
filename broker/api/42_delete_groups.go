package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/group"
	"firn/broker/wire"
)

// DeleteGroups (key 42), versions 0-2.
//
// A group must exist (GROUP_ID_NOT_FOUND) and be empty (NON_EMPTY_GROUP); its offsets go with it. One named twice is
// deleted and answered once.
//
// Version 3 of Kafka 4.4 adds nothing but error messages and is left out until clients ask for it.
func init() { register(kmsg.DeleteGroups, 0, 2, (*API).deleteGroups) }

func (a *API) deleteGroups(req *wire.Request, body *kmsg.DeleteGroupsRequest) {
	resp := kmsg.NewPtrDeleteGroupsResponse()
	body.Groups = firsts(body.Groups, itself)
	resp.Groups = make([]kmsg.DeleteGroupsResponseGroup, len(body.Groups))
	each(len(body.Groups), func(i int, done func()) {
		a.groups.Coordinator.Delete(body.Groups[i], func(c *group.Committed, err error) {
			g := kmsg.NewDeleteGroupsResponseGroup()
			g.Group, g.ErrorCode = body.Groups[i], committedCode(c, err)
			resp.Groups[i] = g
			done()
		})
	}, func() { req.Reply(resp) })
}

// committedCode is the code for a whole request to change offsets.
func committedCode(c *group.Committed, err error) int16 {
	switch {
	case err != nil:
		return code(err)
	case c.Err != nil:
		return c.Err.Code
	}
	return 0
}
