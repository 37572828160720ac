package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
	"firn/metadata"
	"firn/metadata/topic"
)

// DeleteTopics (key 20), versions 1-6.
//
// Names are resolved to ids once, in one image, and the ids are deleted: a topic of the same name that
// is created meanwhile is not touched. One unknown topic does not hinder the others.
//
//   - v5: error messages. v6: topics by name or by id; UNKNOWN_TOPIC_ID for an unknown one. Both or
//     neither given, or one topic named twice, is INVALID_REQUEST for it.
//   - With delete.topic.enable=false: TOPIC_DELETION_DISABLED, before v3 INVALID_REQUEST.
func init() { registerByController(kmsg.DeleteTopics, 1, 6, (*API).deleteTopics) }

func (a *API) deleteTopics(req *wire.Request, body *kmsg.DeleteTopicsRequest) {
	asked := body.Topics
	for i := range body.TopicNames {
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.Topic = &body.TopicNames[i]
		asked = append(asked, t)
	}
	resp := kmsg.NewPtrDeleteTopicsResponse()
	resp.Topics = make([]kmsg.DeleteTopicsResponseTopic, len(asked))
	im := a.admin.Image()
	var ids []topic.ID
	slots := map[topic.ID]int{} // of resp that ids go to
	for i := range asked {
		rt := &resp.Topics[i]
		*rt = kmsg.NewDeleteTopicsResponseTopic()
		rt.Topic, rt.TopicID = asked[i].Topic, asked[i].TopicID
		t, err := a.toDelete(im, &asked[i], body.Version)
		if err == nil {
			rt.Topic, rt.TopicID = &t.Name, t.ID
			if first, twice := slots[t.ID]; twice {
				err = refusal(kerr.InvalidRequest, "this topic is in the request more than once")
				a.failDeletion(&resp.Topics[first], err)
				ids = without(ids, t.ID)
			} else {
				slots[t.ID], ids = i, append(ids, t.ID)
			}
		}
		a.failDeletion(rt, err)
	}
	if len(ids) > 0 {
		ctx, cancel := adminContext(body.TimeoutMillis)
		for i, err := range a.admin.Controller.DeleteTopics(ctx, ids) {
			a.failDeletion(&resp.Topics[slots[ids[i]]], err)
		}
		cancel()
	}
	req.Reply(resp)
}

func (a *API) failDeletion(rt *kmsg.DeleteTopicsResponseTopic, err error) {
	name := ""
	if rt.Topic != nil {
		name = *rt.Topic
	}
	rt.ErrorCode, rt.ErrorMessage = a.outcome(err, "delete topic", name)
}

func (a *API) toDelete(im *metadata.Image, asked *kmsg.DeleteTopicsRequestTopic, version int16) (*metadata.Topic, error) {
	byID := asked.TopicID != topic.ID{}
	switch {
	case a.admin.RefuseDeletion && version < 3:
		return nil, refusal(kerr.InvalidRequest, "topic deletion is disabled (delete.topic.enable)")
	case a.admin.RefuseDeletion:
		return nil, refusal(kerr.TopicDeletionDisabled, "topic deletion is disabled (delete.topic.enable)")
	case byID && asked.Topic != nil:
		return nil, refusal(kerr.InvalidRequest, "a topic is named by its name or by its id, not by both")
	case !byID && asked.Topic == nil:
		return nil, refusal(kerr.InvalidRequest, "neither a topic's name nor its id is given")
	case byID:
		if t, ok := im.TopicByID(asked.TopicID); ok && t.Live() {
			return t, nil
		}
		return nil, refusal(kerr.UnknownTopicID, "there is no topic of this id")
	}
	if t, ok := im.Topic(*asked.Topic); ok {
		return t, nil
	}
	return nil, refusal(kerr.UnknownTopicOrPartition, "there is no topic of this name")
}

func without(ids []topic.ID, id topic.ID) []topic.ID {
	out := ids[:0]
	for _, x := range ids {
		if x != id {
			out = append(out, x)
		}
	}
	return out
}
