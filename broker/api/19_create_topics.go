package api

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/controller"
	"firn/broker/wire"
	"firn/metadata"
	"firn/metadata/topic"
)

// CreateTopics (key 19), versions 2-7.
//
// Each topic is created for itself: one that fails does not hinder the others. -1 partitions or
// replicas are the broker's defaults; an assignment by hand excludes both. validate_only checks
// everything and creates nothing. The answer comes when the topics are in the
// controller's metadata.
//
//   - v5: the answer says partitions, replicas and all settings in force. v7: the topic's id.
//   - A name given twice is INVALID_REQUEST for that name, a setting without a value INVALID_CONFIG.
//   - More than maxCreatedPartitions in one request are POLICY_VIOLATION for each topic, as in Kafka.
//   - What is not done within timeout_ms (at least one second) is REQUEST_TIMED_OUT and may still come.
func init() { registerByController(kmsg.CreateTopics, 2, 7, (*API).createTopics) }

// maxCreatedPartitions bounds what one request makes, or has described as if it did.
const maxCreatedPartitions = 10_000

var errTooManyPartitions = refusal(kerr.PolicyViolation, fmt.Sprintf("more than %d partitions in one request", maxCreatedPartitions))

// partitionsAsked is about how many partitions a request is to make.
func partitionsAsked(body *kmsg.CreateTopicsRequest) (n int) {
	for i := range body.Topics {
		n += max(1, int(body.Topics[i].NumPartitions), len(body.Topics[i].ReplicaAssignment))
	}
	return n
}

func (a *API) createTopics(req *wire.Request, body *kmsg.CreateTopicsRequest) {
	resp := kmsg.NewPtrCreateTopicsResponse()
	tooMany := partitionsAsked(body) > maxCreatedPartitions
	times := map[string]int{}
	for i := range body.Topics {
		times[body.Topics[i].Topic]++
	}
	var topics []controller.NewTopic
	var slots []int // of resp that topics go to
	for i := range body.Topics {
		t := &body.Topics[i]
		if times[t.Topic] > 1 {
			times[t.Topic] = -1 // answered once
		} else if times[t.Topic] < 0 {
			continue
		}
		rt := kmsg.NewCreateTopicsResponseTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = t.Topic, -1, -1
		rt.Configs = []kmsg.CreateTopicsResponseTopicConfig{}
		nt, err := newTopic(t)
		if tooMany {
			err = errTooManyPartitions
		} else if times[t.Topic] < 0 {
			err = refusal(kerr.InvalidRequest, "this topic is in the request more than once")
		}
		if err == nil {
			topics, slots = append(topics, nt), append(slots, len(resp.Topics))
		}
		rt.ErrorCode, rt.ErrorMessage = a.outcome(err, "create topic", t.Topic)
		resp.Topics = append(resp.Topics, rt)
	}
	if len(topics) > 0 {
		ctx, cancel := adminContext(body.TimeoutMillis)
		created := a.admin.Controller.CreateTopics(ctx, topics, body.ValidateOnly)
		cancel()
		im := a.admin.Image()
		for i := range created {
			a.fillCreated(&resp.Topics[slots[i]], &created[i], topics[i].Settings, im)
		}
	}
	req.Reply(resp)
}

// newTopic turns a topic of the request into the controller's form.
func newTopic(t *kmsg.CreateTopicsRequestTopic) (controller.NewTopic, error) {
	nt := controller.NewTopic{Name: t.Topic, Partitions: t.NumPartitions, ReplicationFactor: t.ReplicationFactor}
	for i := range t.ReplicaAssignment {
		ra := &t.ReplicaAssignment[i]
		if _, twice := nt.Assignment[ra.Partition]; twice {
			return nt, refusal(kerr.InvalidReplicaAssignment, fmt.Sprintf("partition %d is assigned more than once", ra.Partition))
		}
		if nt.Assignment == nil {
			nt.Assignment = map[int32][]int32{}
		}
		nt.Assignment[ra.Partition] = ra.Replicas
	}
	for i := range t.Configs {
		c := &t.Configs[i]
		if c.Value == nil {
			return nt, refusal(kerr.InvalidConfig, fmt.Sprintf("setting %s has no value", c.Name))
		}
		if nt.Settings == nil {
			nt.Settings = map[string]string{}
		}
		nt.Settings[c.Name] = *c.Value
	}
	return nt, nil
}

func (a *API) fillCreated(rt *kmsg.CreateTopicsResponseTopic, c *controller.CreatedTopic, settings map[string]string, im *metadata.Image) {
	if rt.ErrorCode, rt.ErrorMessage = a.outcome(c.Err, "create topic", rt.Topic); c.Err != nil {
		return
	}
	rt.TopicID, rt.NumPartitions, rt.ReplicationFactor = c.Topic.ID, c.Topic.Partitions, c.Topic.ReplicationFactor
	for _, v := range topic.Resolve(settings, a.admin.TopicDefaults(im)) {
		rc := kmsg.NewCreateTopicsResponseTopicConfig()
		rc.Name, rc.Value, rc.Source = v.Def.Name, &v.Value, int8(v.Source)
		rt.Configs = append(rt.Configs, rc)
	}
}
