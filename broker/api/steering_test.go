package api

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/controller"
	"firn/metadata/topic"
)

func TestAlterPartitionReassignments(t *testing.T) {
	for v := int16(0); v <= 1; v++ {
		c := newCluster(t)
		c.ctl.errs["still"] = fmt.Errorf("cancel: %w", controller.ErrNoReassignment)
		c.ctl.errs["odd"] = controller.ErrAssignment
		req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		req.Version, req.AllowReplicationFactorChange = v, false
		for _, name := range []string{"a", "still", "odd"} {
			rt := kmsg.NewAlterPartitionAssignmentsRequestTopic()
			rt.Topic = name
			for i := range int32(2) {
				rp := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
				if rp.Partition = i; i == 0 {
					rp.Replicas = []int32{2, 1}
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			req.Topics = append(req.Topics, rt)
		}
		resp := call[*kmsg.AlterPartitionAssignmentsResponse](t, c.api, req)
		var codes []int16
		for _, rt := range resp.Topics {
			for i, rp := range rt.Partitions {
				if codes = append(codes, rp.ErrorCode); rp.Partition != int32(i) || (rp.ErrorMessage == nil) != (rp.ErrorCode == 0) {
					t.Errorf("v%d: %+v", v, rp)
				}
			}
		}
		wantCodes(t, codes, nil, nil, kerr.NoReassignmentInProgress, kerr.NoReassignmentInProgress, kerr.InvalidReplicaAssignment, kerr.InvalidReplicaAssignment)
		want := []controller.Reassignment{{Topic: "a", Replicas: []int32{2, 1}, KeepFactor: v == 1}, {Topic: "a", Partition: 1, KeepFactor: v == 1}}
		if !reflect.DeepEqual(c.ctl.moves[:2], want) || c.ctl.moves[1].Replicas != nil {
			t.Errorf("v%d: asked for %+v", v, c.ctl.moves)
		}
		c.ctl.nobody = true
		wantCode(t, "elsewhere", call[*kmsg.AlterPartitionAssignmentsResponse](t, c.api, req).ErrorCode, kerr.NotController)
	}
}

func TestListPartitionReassignments(t *testing.T) {
	c := newCluster(t)
	id := c.addTopic("moving", 3, 1)
	c.addTopic("still", 1, 1)
	p := c.state(topic.Partition{ID: id, Index: 2}, 1)
	p.Replicas, p.Adding, p.Removing = []int32{3, 2, 1}, []int32{3, 2}, []int32{1}
	c.write(c.store.Keys().PutPartition(p))
	topics := func(names ...string) (out []kmsg.ListPartitionReassignmentsRequestTopic) {
		for _, n := range names {
			out = append(out, kmsg.ListPartitionReassignmentsRequestTopic{Topic: n, Partitions: []int32{0, 2, 2, 9}})
		}
		return out
	}
	for _, v := range []struct {
		topics []kmsg.ListPartitionReassignmentsRequestTopic
		want   int
	}{{nil, 1}, {topics("moving", "still", "unknown", "moving"), 1}, {topics("still"), 0}, {[]kmsg.ListPartitionReassignmentsRequestTopic{{Topic: "moving"}}, 0}, {[]kmsg.ListPartitionReassignmentsRequestTopic{}, 0}} {
		req := kmsg.NewPtrListPartitionReassignmentsRequest()
		req.Topics = v.topics
		resp := call[*kmsg.ListPartitionReassignmentsResponse](t, c.api, req)
		if len(resp.Topics) != v.want {
			t.Fatalf("%+v: %+v", v.topics, resp.Topics)
		}
		for _, rt := range resp.Topics {
			rp := rt.Partitions[0]
			if rt.Topic != "moving" || len(rt.Partitions) != 1 || rp.Partition != 2 || !slices.Equal(rp.Replicas, p.Replicas) ||
				!slices.Equal(rp.AddingReplicas, p.Adding) || !slices.Equal(rp.RemovingReplicas, p.Removing) {
				t.Errorf("%+v", rt)
			}
		}
	}
}

func TestElectLeaders(t *testing.T) {
	for v := int16(0); v <= 2; v++ {
		c := newCluster(t)
		c.addTopic("a", 2, 1)
		c.addTopic("led", 1, 1)
		c.ctl.errs["led"] = controller.ErrElectionNotNeeded
		c.ctl.errs["away"] = controller.ErrPreferredLeader
		req := kmsg.NewPtrElectLeadersRequest()
		req.Version = v
		if v > 0 {
			req.ElectionType = electUnclean
		}
		named := []kmsg.ElectLeadersRequestTopic{{Topic: "led", Partitions: []int32{0, 0}}, {Topic: "away", Partitions: []int32{4}}}
		for _, topics := range [][]kmsg.ElectLeadersRequestTopic{nil, named} {
			req.Topics = topics
			var codes []int16
			for _, rt := range call[*kmsg.ElectLeadersResponse](t, c.api, req).Topics {
				for _, rp := range rt.Partitions {
					codes = append(codes, rp.ErrorCode)
				}
			}
			if topics == nil {
				wantCodes(t, codes, nil, nil) // of topic a
			} else {
				wantCodes(t, codes, kerr.ElectionNotNeeded, kerr.PreferredLeaderNotAvailable)
			}
		}
		if e := c.ctl.elect; len(e) != 5 || e[0].Unclean != (v > 0) || e[1].Partition != 1 {
			t.Errorf("v%d: asked for %+v", v, e)
		}
		c.ctl.nobody = true
		resp := call[*kmsg.ElectLeadersResponse](t, c.api, req)
		wantCode(t, "elsewhere", resp.Topics[0].Partitions[0].ErrorCode, kerr.NotController)
		if v > 0 {
			wantCode(t, "elsewhere", resp.ErrorCode, kerr.NotController)
			req.ElectionType = 7
			wantCode(t, "type", call[*kmsg.ElectLeadersResponse](t, c.api, req).ErrorCode, kerr.InvalidRequest)
		}
	}
}

func TestUnregisterBroker(t *testing.T) {
	c := newCluster(t)
	req := kmsg.NewPtrUnregisterBrokerRequest()
	req.BrokerID = 3
	for want, err := range map[*kerr.Error]error{
		nil: nil, kerr.BrokerIDNotRegistered: controller.ErrUnknownBroker, kerr.InvalidReplicationFactor: controller.ErrReplicationFactor,
	} {
		c.ctl.err = err
		resp := call[*kmsg.UnregisterBrokerResponse](t, c.api, req)
		wantCode(t, "outcome", resp.ErrorCode, want)
		if (resp.ErrorMessage == nil) != (err == nil) {
			t.Errorf("%v: no message, or one too many", err)
		}
	}
	if !slices.Equal(c.ctl.gone, []int32{3, 3, 3}) {
		t.Errorf("asked for %v", c.ctl.gone)
	}
	c.ctl.nobody = true
	wantCode(t, "elsewhere", call[*kmsg.UnregisterBrokerResponse](t, c.api, req).ErrorCode, kerr.NotController)
}
