package api

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/controller"
	"firn/metadata"
	"firn/metadata/topic"
)

func newTopicReq(name string, partitions int32, replicas int16) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, replicas
	return t
}

func TestCreateTopicsOfEveryVersion(t *testing.T) {
	for v := int16(2); v <= 7; v++ {
		c := newCluster(t)
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version, req.ValidateOnly, req.TimeoutMillis = v, v%2 == 0, 20_000
		a := newTopicReq("a", 3, 1)
		a.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms", Value: ptr("5000")}}
		req.Topics = append(req.Topics, a, newTopicReq("b", -1, -1))
		resp := call[*kmsg.CreateTopicsResponse](t, c.api, req)
		if c.ctl.dry[0] != req.ValidateOnly || c.ctl.limit > 20*time.Second || c.ctl.limit < time.Second {
			t.Errorf("v%d: validate only %v, within %v", v, c.ctl.dry[0], c.ctl.limit)
		}
		if got := c.ctl.create; got[0].Settings["retention.ms"] != "5000" || got[0].Partitions != 3 || got[1].Partitions != -1 || got[1].ReplicationFactor != -1 {
			t.Errorf("v%d: asked for %+v", v, got)
		}
		checkCreated(t, v, resp.Topics[0])
	}
}

func checkCreated(t *testing.T, v int16, rt kmsg.CreateTopicsResponseTopic) {
	t.Helper()
	if rt.ErrorCode != 0 || rt.Topic != "a" {
		t.Errorf("v%d: %+v", v, rt)
	}
	if v >= 7 && rt.TopicID != (topic.ID{1}) {
		t.Errorf("v%d: id %v", v, rt.TopicID)
	}
	if v < 5 {
		return
	}
	if rt.NumPartitions != 3 || rt.ReplicationFactor != 1 || len(rt.Configs) != len(topic.Defs) {
		t.Errorf("v%d: %d partitions, %d replicas, %d settings", v, rt.NumPartitions, rt.ReplicationFactor, len(rt.Configs))
	}
	for _, s := range rt.Configs {
		switch s.Name {
		case "retention.ms":
			if *s.Value != "5000" || s.Source != int8(topic.SourceTopic) {
				t.Errorf("v%d: %s=%s from %d", v, s.Name, *s.Value, s.Source)
			}
		case "flush.messages":
			if *s.Value != "1" || s.Source != int8(topic.SourceDefault) {
				t.Errorf("v%d: %s=%s from %d", v, s.Name, *s.Value, s.Source)
			}
		}
	}
}

// One topic that fails does not hinder the others, and what is wrong with the request itself is found
// here.
func TestCreateTopicsErrors(t *testing.T) {
	c := newCluster(t)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 7
	twice := newTopicReq("assigned-twice", -1, -1)
	twice.ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Partition: 0, Replicas: []int32{1}}, {Partition: 0, Replicas: []int32{1}}}
	null := newTopicReq("null", 1, 1)
	null.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms"}}
	by := newTopicReq("by-hand", -1, -1)
	by.ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Partition: 1, Replicas: []int32{1, 2}}, {Partition: 0, Replicas: []int32{2}}}
	req.Topics = append(req.Topics, newTopicReq("dup", 1, 1), newTopicReq("ok", 1, 1), newTopicReq("dup", 1, 1),
		twice, null, by, newTopicReq("exists", 1, 1), newTopicReq("broken", 1, 1))
	c.ctl.errs["exists"] = fmt.Errorf("create: %w", controller.ErrTopicExists)
	c.ctl.errs["broken"] = errors.New("secret detail")
	resp := call[*kmsg.CreateTopicsResponse](t, c.api, req)
	var codes []int16
	for _, rt := range resp.Topics {
		codes = append(codes, rt.ErrorCode)
		if rt.ErrorCode != 0 && (rt.ErrorMessage == nil || *rt.ErrorMessage == "" || *rt.ErrorMessage == "secret detail") {
			t.Errorf("%s: message %v", rt.Topic, rt.ErrorMessage)
		}
		if rt.ErrorCode != 0 && (rt.NumPartitions != -1 || rt.ReplicationFactor != -1 || rt.Configs == nil) {
			t.Errorf("%s: %+v", rt.Topic, rt)
		}
	}
	wantCodes(t, codes, kerr.InvalidRequest, nil, kerr.InvalidReplicaAssignment, kerr.InvalidConfig, nil, kerr.TopicAlreadyExists, kerr.UnknownServerError)
	if a := c.ctl.create[1].Assignment; !slices.Equal(a[1], []int32{1, 2}) || !slices.Equal(a[0], []int32{2}) {
		t.Errorf("assignment %v", a)
	}
}

func TestCreateTopicsElsewhere(t *testing.T) {
	c := newCluster(t)
	c.ctl.nobody = true
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 2
	req.Topics = append(req.Topics, newTopicReq("a", 1, 1))
	wantCode(t, "topic", call[*kmsg.CreateTopicsResponse](t, c.api, req).Topics[0].ErrorCode, kerr.NotController)
}

func TestDeleteTopicsByName(t *testing.T) {
	for v := int16(1); v <= 6; v++ {
		c := newCluster(t)
		a, b := c.addTopic("a", 1, 1), c.addTopic("b", 1, 1)
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.Version = v
		for _, n := range []string{"a", "unknown", "b"} {
			req.TopicNames = append(req.TopicNames, n)
			rt := kmsg.NewDeleteTopicsRequestTopic()
			rt.Topic = ptr(n)
			req.Topics = append(req.Topics, rt)
		}
		resp := call[*kmsg.DeleteTopicsResponse](t, c.api, req)
		wantCodes(t, deletionCodes(resp), nil, kerr.UnknownTopicOrPartition, nil)
		if !slices.Equal(c.ctl.delete, []topic.ID{a, b}) {
			t.Errorf("v%d: deleted %v", v, c.ctl.delete)
		}
		if *resp.Topics[2].Topic != "b" || v >= 6 && resp.Topics[2].TopicID != b {
			t.Errorf("v%d: %+v", v, resp.Topics[2])
		}
		if v >= 5 && resp.Topics[1].ErrorMessage == nil {
			t.Errorf("v%d: no message", v)
		}
	}
}

func deletionCodes(resp *kmsg.DeleteTopicsResponse) []int16 {
	var codes []int16
	for _, rt := range resp.Topics {
		codes = append(codes, rt.ErrorCode)
	}
	return codes
}

func TestDeleteTopicsByID(t *testing.T) {
	c := newCluster(t)
	a, b, d := c.addTopic("a", 1, 1), c.addTopic("b", 1, 1), c.addTopic("d", 1, 1)
	c.ctl.byID[d] = metadata.ErrUnavailable
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version = 6
	ask := func(name *string, id topic.ID) {
		rt := kmsg.NewDeleteTopicsRequestTopic()
		rt.Topic, rt.TopicID = name, id
		req.Topics = append(req.Topics, rt)
	}
	ask(nil, a)
	ask(ptr("a"), a)
	ask(nil, topic.ID{})
	ask(nil, topic.NewID())
	ask(ptr("b"), topic.ID{})
	ask(nil, b) // the same as before
	ask(nil, d)
	resp := call[*kmsg.DeleteTopicsResponse](t, c.api, req)
	wantCodes(t, deletionCodes(resp), nil, kerr.InvalidRequest, kerr.InvalidRequest, kerr.UnknownTopicID,
		kerr.InvalidRequest, kerr.InvalidRequest, kerr.RequestTimedOut)
	if *resp.Topics[0].Topic != "a" || !slices.Equal(c.ctl.delete, []topic.ID{a, d}) {
		t.Errorf("deleted %v, %+v", c.ctl.delete, resp.Topics[0])
	}
}

func TestDeleteTopicsDisabled(t *testing.T) {
	c := newCluster(t, func(d *AdminDeps) { d.RefuseDeletion = true })
	c.addTopic("a", 1, 1)
	for v := int16(1); v <= 5; v++ {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.Version, req.TopicNames = v, []string{"a"}
		want := kerr.TopicDeletionDisabled
		if v < 3 {
			want = kerr.InvalidRequest
		}
		wantCodes(t, deletionCodes(call[*kmsg.DeleteTopicsResponse](t, c.api, req)), want)
	}
	if c.ctl.delete != nil {
		t.Error("deleted")
	}
}

func TestCreatePartitions(t *testing.T) {
	for v := int16(0); v <= 3; v++ {
		c := newCluster(t)
		c.ctl.errs["same"] = fmt.Errorf("grow: %w", controller.ErrPartitions)
		c.ctl.errs["gone"] = controller.ErrUnknownTopic
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.Version, req.ValidateOnly = v, v == 2
		for _, n := range []string{"a", "dup", "same", "dup", "gone", "b"} {
			rt := kmsg.NewCreatePartitionsRequestTopic()
			rt.Topic, rt.Count = n, 5
			if n == "b" {
				rt.Assignment = []kmsg.CreatePartitionsRequestTopicAssignment{{Replicas: []int32{1}}, {Replicas: []int32{2, 1}}}
			}
			req.Topics = append(req.Topics, rt)
		}
		resp := call[*kmsg.CreatePartitionsResponse](t, c.api, req)
		var codes []int16
		for _, rt := range resp.Topics {
			codes = append(codes, rt.ErrorCode)
			if rt.ErrorCode != 0 && rt.ErrorMessage == nil {
				t.Errorf("v%d: %s has no message", v, rt.Topic)
			}
		}
		wantCodes(t, codes, nil, kerr.InvalidRequest, kerr.InvalidPartitions, kerr.UnknownTopicOrPartition, nil)
		if got := c.ctl.more; len(got) != 4 || got[0].Assignment != nil || got[0].Total != 5 || !slices.Equal(got[3].Assignment[1], []int32{2, 1}) || c.ctl.dry[0] != (v == 2) {
			t.Errorf("v%d: asked for %+v", v, got)
		}
	}
}
