package main

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/brokertest"
)

// outcomeOf is the one error in an answer to a change.
func outcomeOf(t *testing.T, resp kmsg.Response) error {
	t.Helper()
	switch r := resp.(type) {
	case *kmsg.CreateTopicsResponse:
		return kerr.ErrorForCode(r.Topics[0].ErrorCode)
	case *kmsg.CreatePartitionsResponse:
		return kerr.ErrorForCode(r.Topics[0].ErrorCode)
	case *kmsg.DeleteTopicsResponse:
		return kerr.ErrorForCode(r.Topics[0].ErrorCode)
	case *kmsg.AlterConfigsResponse:
		return kerr.ErrorForCode(r.Resources[0].ErrorCode)
	case *kmsg.IncrementalAlterConfigsResponse:
		return kerr.ErrorForCode(r.Resources[0].ErrorCode)
	case *kmsg.AlterPartitionAssignmentsResponse:
		return kerr.ErrorForCode(r.Topics[0].Partitions[0].ErrorCode)
	case *kmsg.ElectLeadersResponse:
		return kerr.ErrorForCode(r.Topics[0].Partitions[0].ErrorCode)
	case *kmsg.UnregisterBrokerResponse:
		return kerr.ErrorForCode(r.ErrorCode)
	}
	t.Fatalf("%T", resp)
	return nil
}

func createOf(name string) kmsg.Request {
	req := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, 1, 2
	req.Topics, req.TimeoutMillis = append(req.Topics, rt), 10_000
	return req
}

// changesOf is a request of every kind that the controller decides, about a topic of two replicas.
func changesOf(name string) []kmsg.Request {
	grow := kmsg.NewPtrCreatePartitionsRequest()
	grow.TimeoutMillis, grow.Topics = 10_000, []kmsg.CreatePartitionsRequestTopic{{Topic: name, Count: 2}}
	value := "77000"
	alter := kmsg.NewPtrAlterConfigsRequest()
	alter.Resources = []kmsg.AlterConfigsRequestResource{{
		ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: name,
		Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: &value}},
	}}
	broker := kmsg.NewPtrIncrementalAlterConfigsRequest()
	broker.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{
		ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "1",
		Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "message.max.bytes", Value: &value}},
	}}
	move := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	move.TimeoutMillis = 10_000
	move.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: name, Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Replicas: []int32{1, 2, 3}}}}}
	elect := kmsg.NewPtrElectLeadersRequest()
	elect.TimeoutMillis, elect.Topics = 10_000, []kmsg.ElectLeadersRequestTopic{{Topic: name, Partitions: []int32{1}}}
	leave := kmsg.NewPtrUnregisterBrokerRequest()
	leave.BrokerID = 99
	del := kmsg.NewPtrDeleteTopicsRequest()
	del.TimeoutMillis, del.TopicNames, del.Topics = 10_000, []string{name}, []kmsg.DeleteTopicsRequestTopic{{Topic: &name}}
	return []kmsg.Request{createOf(name), grow, alter, broker, move, elect, leave, del}
}

// Simple clients send whatever they want changed to any broker, and auto-creation happens at any: all of it is done by
// the controller, also while that is about to be another.
func TestAnyBrokerChangesTheCluster(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 3, "auto.create.topics.enable=true", "default.replication.factor=2")
	cl, err := kgo.NewClient(c.Seeds(), kgo.RequestRetries(0))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx := context.Background()
	brokertest.Eventually(t, "there are three brokers", func() (bool, error) {
		meta, err := c.Admin.BrokerMetadata(ctx)
		return len(meta.Brokers) == 3 && meta.Controller > 0, err
	})
	want := map[string]error{"ElectLeaders": kerr.ElectionNotNeeded, "UnregisterBroker": kerr.BrokerIDNotRegistered}
	for id := 1; id <= 3; id++ {
		for _, req := range changesOf(fmt.Sprint("topic", id)) {
			resp, err := cl.Broker(id).Request(ctx, req)
			if err != nil {
				t.Fatalf("%s through broker %d: %v", kmsg.NameForKey(req.Key()), id, err)
			}
			name := kmsg.NameForKey(req.Key())
			if err := outcomeOf(t, resp); !errors.Is(err, want[name]) {
				t.Errorf("%s through broker %d: %v, want %v", name, id, err, want[name])
			}
		}
		auto := fmt.Sprint("auto", id)
		brokertest.Eventually(t, "a topic is there because it was asked for", func() (bool, error) {
			meta := kmsg.NewPtrMetadataRequest()
			rt := kmsg.NewMetadataRequestTopic()
			rt.Topic = &auto
			meta.Topics, meta.AllowAutoTopicCreation = append(meta.Topics, rt), true
			resp, err := cl.Broker(id).Request(ctx, meta)
			if err != nil {
				return false, err
			}
			got := resp.(*kmsg.MetadataResponse).Topics[0]
			return got.ErrorCode == 0 && len(got.Partitions) == 1 && len(got.Partitions[0].Replicas) == 2, kerr.ErrorForCode(got.ErrorCode)
		})
	}
	meta, err := c.Admin.BrokerMetadata(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c.Brokers[meta.Controller-1].Kill()
	other := meta.Controller%3 + 1
	resp, err := cl.Broker(int(other)).Request(ctx, createOf("late"))
	if err != nil {
		t.Fatal(err)
	}
	// It looks for the new controller; only a request that the old one had got already is in doubt.
	if err := outcomeOf(t, resp); err != nil {
		t.Errorf("through broker %d after controller %d was killed: %v", other, meta.Controller, err)
	}
}
