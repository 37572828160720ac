package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
	"firn/metadata"
	"firn/metadata/topic"
)

// DescribeProducers (key 61), version 0.
//
// The idempotent producers that the leader of each partition remembers, with the last sequence number
// and timestamp of each. There are no transactions yet: the start of the current one is -1, and so is
// the epoch of its coordinator.
//
// A partition that this broker does not lead is NOT_LEADER_OR_FOLLOWER. One named twice is described once.
func init() { register(kmsg.DescribeProducers, 0, 0, (*API).describeProducers) }

func (a *API) describeProducers(req *wire.Request, body *kmsg.DescribeProducersRequest) {
	im := a.admin.Image()
	resp := kmsg.NewPtrDescribeProducersResponse()
	body.Topics = folded(body.Topics, func(t *kmsg.DescribeProducersRequestTopic) string { return t.Topic },
		func(t *kmsg.DescribeProducersRequestTopic) *[]int32 { return &t.Partitions }, itself)
	for i := range body.Topics {
		rt := kmsg.NewDescribeProducersResponseTopic()
		rt.Topic = body.Topics[i].Topic
		for _, index := range body.Topics[i].Partitions {
			rt.Partitions = append(rt.Partitions, a.describedPartition(im, rt.Topic, index))
		}
		resp.Topics = append(resp.Topics, rt)
	}
	req.Reply(resp)
}

func (a *API) describedPartition(im *metadata.Image, name string, index int32) kmsg.DescribeProducersResponseTopicPartition {
	rp := kmsg.NewDescribeProducersResponseTopicPartition()
	rp.Partition = index
	t, ok := im.Topic(name)
	if !ok || index < 0 || index >= t.Partitions {
		err := refusal(kerr.UnknownTopicOrPartition, "there is no such partition")
		if topic.ValidateName(name) != nil {
			err = refusal(kerr.InvalidTopicException, "no topic can have this name")
		}
		rp.ErrorCode, rp.ErrorMessage = a.outcome(err, "describe producers", name)
		return rp
	}
	producers, err := a.admin.Producers(topic.Partition{ID: t.ID, Index: index})
	rp.ErrorCode, rp.ErrorMessage = a.outcome(err, "describe producers", name)
	for _, p := range producers {
		ap := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
		ap.ProducerID, ap.ProducerEpoch, ap.LastSequence, ap.LastTimestamp = p.ID, int32(p.Epoch), p.LastSequence, p.LastTimestamp
		ap.CoordinatorEpoch, ap.CurrentTxnStartOffset = -1, -1
		rp.ActiveProducers = append(rp.ActiveProducers, ap)
	}
	return rp
}
