package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/controller"
	"firn/broker/wire"
)

// CreatePartitions (key 37), versions 0-3.
//
// Grows topics to count partitions, placed by the controller or as assigned by hand. A count that is
// no increase is INVALID_PARTITIONS, assignments that do not fit it INVALID_REPLICA_ASSIGNMENT, a name
// given twice INVALID_REQUEST. validate_only checks and changes nothing. More than maxCreatedPartitions new ones in one
// request are POLICY_VIOLATION for each topic, as in Kafka: they are all planned before the first is made.
func init() { registerByController(kmsg.CreatePartitions, 0, 3, (*API).createPartitions) }

func (a *API) createPartitions(req *wire.Request, body *kmsg.CreatePartitionsRequest) {
	resp := kmsg.NewPtrCreatePartitionsResponse()
	times := map[string]int{}
	for i := range body.Topics {
		times[body.Topics[i].Topic]++
	}
	tooMany := a.partitionsAdded(body) > maxCreatedPartitions
	var more []controller.MorePartitions
	var slots []int // of resp that more goes to
	for i := range body.Topics {
		t := &body.Topics[i]
		rt := kmsg.NewCreatePartitionsResponseTopic()
		rt.Topic = t.Topic
		switch n := times[t.Topic]; {
		case n < 0:
			continue
		case n > 1:
			times[t.Topic] = -1 // answered once
			rt.ErrorCode, rt.ErrorMessage = a.outcome(refusal(kerr.InvalidRequest, "this topic is in the request more than once"), "", "")
		case tooMany:
			rt.ErrorCode, rt.ErrorMessage = a.outcome(errTooManyPartitions, "", "")
		default:
			more, slots = append(more, morePartitions(t)), append(slots, len(resp.Topics))
		}
		resp.Topics = append(resp.Topics, rt)
	}
	if len(more) > 0 {
		ctx, cancel := adminContext(body.TimeoutMillis)
		for i, err := range a.admin.Controller.CreatePartitions(ctx, more, body.ValidateOnly) {
			rt := &resp.Topics[slots[i]]
			rt.ErrorCode, rt.ErrorMessage = a.outcome(err, "create partitions", rt.Topic)
		}
		cancel()
	}
	req.Reply(resp)
}

// partitionsAdded is about how many partitions a request is to make.
func (a *API) partitionsAdded(body *kmsg.CreatePartitionsRequest) (n int) {
	im := a.admin.Image()
	for i := range body.Topics {
		have := 0
		if t, ok := im.Topic(body.Topics[i].Topic); ok {
			have = int(t.Partitions)
		}
		n += max(1, int(body.Topics[i].Count)-have)
	}
	return n
}

func morePartitions(t *kmsg.CreatePartitionsRequestTopic) controller.MorePartitions {
	m := controller.MorePartitions{Name: t.Topic, Total: t.Count}
	if t.Assignment != nil {
		m.Assignment = make([][]int32, len(t.Assignment))
	}
	for i := range t.Assignment {
		m.Assignment[i] = t.Assignment[i].Replicas
	}
	return m
}
