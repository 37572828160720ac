package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/group"
	"firn/broker/wire"
	"firn/metadata/topic"
)

// OffsetDelete (key 47), version 0.
//
// Takes back commits of a group that exists, but not of topics that members of a group at work subscribe
// to (GROUP_SUBSCRIBED_TO_TOPIC).
func init() { register(kmsg.OffsetDelete, 0, 0, (*API).offsetDelete) }

func (a *API) offsetDelete(req *wire.Request, body *kmsg.OffsetDeleteRequest) {
	resp := kmsg.NewPtrOffsetDeleteResponse()
	im := a.groups.Image()
	var which []topic.Partition
	var codes []*int16
	for _, t := range body.Topics {
		rt := kmsg.NewOffsetDeleteResponseTopic()
		rt.Topic = t.Topic
		rt.Partitions = make([]kmsg.OffsetDeleteResponseTopicPartition, len(t.Partitions))
		found, err := findTopic(im, false, t.Topic, topic.ID{})
		for j, p := range t.Partitions {
			rp := &rt.Partitions[j]
			*rp = kmsg.NewOffsetDeleteResponseTopicPartition()
			rp.Partition = p.Partition
			if err != nil || p.Partition < 0 || p.Partition >= found.Partitions {
				rp.ErrorCode = kerr.UnknownTopicOrPartition.Code
				continue
			}
			which = append(which, topic.Partition{ID: found.ID, Index: p.Partition})
			codes = append(codes, &rp.ErrorCode)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	a.groups.Coordinator.DeleteOffsets(body.Group, which, func(c *group.Committed, err error) {
		if resp.ErrorCode = committedCode(c, err); resp.ErrorCode == 0 {
			for i, code := range codes {
				*code = c.Codes[i]
			}
		} else {
			resp.Topics = nil
		}
		req.Reply(resp)
	})
}
