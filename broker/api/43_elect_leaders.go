package api

import (
	"cmp"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/controller"
	"firn/broker/wire"
	"firn/metadata"
)

// ElectLeaders (key 43), versions 0-2.
//
// Elects the preferred leader of partitions, or (from version 1, type 1) whatever replica is alive for those that
// nobody leads, with the loss of what it lacks. Without topics it is about all partitions, and those that need no
// election are left out. A partition that is led as asked for is ELECTION_NOT_NEEDED; PREFERRED_LEADER_NOT_AVAILABLE and
// ELIGIBLE_LEADERS_NOT_AVAILABLE say that nobody can be elected. Another type of election is INVALID_REQUEST.
func init() { registerByController(kmsg.ElectLeaders, 0, 2, (*API).electLeaders) }

const (
	electPreferred = 0
	electUnclean   = 1
)

func (a *API) electLeaders(req *wire.Request, body *kmsg.ElectLeadersRequest) {
	resp := kmsg.NewPtrElectLeadersResponse()
	if body.ElectionType != electPreferred && body.ElectionType != electUnclean {
		resp.ErrorCode = kerr.InvalidRequest.Code
		req.Reply(resp)
		return
	}
	list, all := elections(a.admin.Image(), body)
	ctx, cancel := adminContext(body.TimeoutMillis)
	defer cancel()
	for i, err := range a.admin.Controller.Elect(ctx, list) {
		code, text := a.outcome(err, "elect leader", list[i].Topic)
		switch {
		case code == kerr.NotController.Code:
			resp.ErrorCode = code // of the whole; before version 1 only partitions have one
		case all && code == kerr.ElectionNotNeeded.Code:
			continue
		}
		rp := kmsg.NewElectLeadersResponseTopicPartition()
		rp.Partition, rp.ErrorCode, rp.ErrorMessage = list[i].Partition, code, text
		n := len(resp.Topics)
		if n == 0 || resp.Topics[n-1].Topic != list[i].Topic {
			rt := kmsg.NewElectLeadersResponseTopic()
			rt.Topic = list[i].Topic
			resp.Topics, n = append(resp.Topics, rt), n+1
		}
		resp.Topics[n-1].Partitions = append(resp.Topics[n-1].Partitions, rp)
	}
	req.Reply(resp)
}

// elections returns what a request is about, each partition once, and whether that is everything.
func elections(im *metadata.Image, body *kmsg.ElectLeadersRequest) (list []controller.Election, all bool) {
	unclean := body.ElectionType == electUnclean
	if body.Topics == nil {
		for t := range im.Topics() {
			for i := range t.Partitions {
				if t.Live() {
					list = append(list, controller.Election{Topic: t.Name, Partition: i, Unclean: unclean})
				}
			}
		}
		slices.SortFunc(list, func(a, b controller.Election) int {
			return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
		})
		return list, true
	}
	for i := range body.Topics {
		for _, p := range body.Topics[i].Partitions {
			list = append(list, controller.Election{Topic: body.Topics[i].Topic, Partition: p, Unclean: unclean})
		}
	}
	return firsts(list, itself[controller.Election]), false
}
