package api

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/partition"
	"firn/metadata"
	"firn/metadata/topic"
)

func TestDescribeCluster(t *testing.T) {
	c := newCluster(t)
	two := c.addBroker(2, metadata.Listener{Name: "PLAINTEXT", Host: "two", Port: 9093})
	if _, err := two.Campaign(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.await(func(im *metadata.Image) bool { return im.Controller().ID == 2 })
	c.addBroker(3, metadata.Listener{Name: "INTERNAL", Host: "three", Port: 9094})
	for v := int16(0); v <= 2; v++ {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.Version, req.IncludeClusterAuthorizedOperations = v, true
		resp := call[*kmsg.DescribeClusterResponse](t, c.api, req)
		if resp.ErrorCode != 0 || resp.ClusterID != c.store.Image().Cluster().ID || resp.ControllerID != 2 || len(resp.Brokers) != 2 {
			t.Fatalf("v%d: %+v", v, resp)
		}
		if b := resp.Brokers[1]; b.NodeID != 2 || b.Host != "two" || b.Port != 9093 || *b.Rack != "r2" || b.IsFenced {
			t.Errorf("v%d: %+v", v, b)
		}
		if resp.ClusterAuthorizedOperations != 8096 || v >= 1 && resp.EndpointType != 1 {
			t.Errorf("v%d: operations %d, endpoint %d", v, resp.ClusterAuthorizedOperations, resp.EndpointType)
		}
	}
}

func TestDescribeClusterFencedBrokers(t *testing.T) {
	c := newCluster(t)
	two := c.addBroker(2, metadata.Listener{Name: "PLAINTEXT", Host: "two", Port: 9093})
	if err := two.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.await(func(im *metadata.Image) bool { _, ok := im.Broker(2); return !ok })
	req := kmsg.NewPtrDescribeClusterRequest()
	req.Version = 2
	if resp := call[*kmsg.DescribeClusterResponse](t, c.api, req); len(resp.Brokers) != 1 {
		t.Errorf("brokers %+v", resp.Brokers)
	}
	req.IncludeFencedBrokers = true
	resp := call[*kmsg.DescribeClusterResponse](t, c.api, req)
	if len(resp.Brokers) != 2 || !resp.Brokers[1].IsFenced || resp.Brokers[1].NodeID != 2 || resp.Brokers[1].Port != -1 {
		t.Errorf("brokers %+v", resp.Brokers)
	}
}

func TestDescribeClusterEndpointTypes(t *testing.T) {
	c := newCluster(t)
	for endpoint, want := range map[int8]*kerr.Error{1: nil, 2: kerr.MismatchedEndpointType, 3: kerr.UnsupportedEndpointType} {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.Version, req.EndpointType = 1, endpoint
		resp := call[*kmsg.DescribeClusterResponse](t, c.api, req)
		wantCode(t, fmt.Sprint("endpoint type ", endpoint), resp.ErrorCode, want)
	}
}

// pages asks page by page until there is no cursor and returns what the pages held.
func pages(t *testing.T, c *cluster, limit int32, names ...string) (got []string) {
	t.Helper()
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = limit
	for _, n := range names {
		req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: n})
	}
	for {
		resp := call[*kmsg.DescribeTopicPartitionsResponse](t, c.api, req)
		n := 0
		for _, rt := range resp.Topics {
			n += len(rt.Partitions)
			if rt.ErrorCode != 0 {
				got = append(got, fmt.Sprint(*rt.Topic, " ", kerr.TypedErrorForCode(rt.ErrorCode).Message))
			}
			for _, p := range rt.Partitions {
				got = append(got, fmt.Sprint(*rt.Topic, p.Partition))
			}
		}
		if n > int(max(limit, 1)) {
			t.Errorf("%d partitions in a page of %d", n, limit)
		}
		if resp.NextCursor == nil {
			return got
		}
		req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: resp.NextCursor.Topic, Partition: resp.NextCursor.Partition}
	}
}

func TestDescribeTopicPartitionsInPages(t *testing.T) {
	c := newCluster(t)
	c.addTopic("b", 3, 1)
	c.addTopic("a", 2, 1)
	c.addTopic("c", 1, 1)
	all := []string{"a0", "a1", "b0", "b1", "b2", "c0"}
	for _, limit := range []int32{-1, 0, 1, 2, 3, 5, 6, 100, 1 << 30} {
		if got := pages(t, c, limit); !slices.Equal(got, all) {
			t.Errorf("limit %d: %v", limit, got)
		}
		want := []string{"b0", "b1", "b2", "c0", "no/name INVALID_TOPIC_EXCEPTION", "zz UNKNOWN_TOPIC_OR_PARTITION"}
		if got := pages(t, c, limit, "zz", "c", "b", "b", "no/name"); !slices.Equal(got, want) {
			t.Errorf("limit %d: %v", limit, got)
		}
	}
}

func TestDescribeTopicPartitionsCursor(t *testing.T) {
	c := newCluster(t)
	id := c.addTopic("b", 3, 1)
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	ask := func(topicName string, partition int32) *kmsg.DescribeTopicPartitionsResponse {
		req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: topicName, Partition: partition}
		return call[*kmsg.DescribeTopicPartitionsResponse](t, c.api, req)
	}
	resp := ask("b", 2)
	if rt := resp.Topics[0]; len(rt.Partitions) != 1 || rt.Partitions[0].Partition != 2 || rt.TopicID != id || rt.AuthorizedOperations != topicOperations {
		t.Errorf("%+v", rt)
	}
	if p := resp.Topics[0].Partitions[0]; p.EligibleLeaderReplicas == nil || p.LastKnownELR == nil || p.LeaderEpoch != 5 || p.LeaderID != 1 {
		t.Errorf("%+v", p)
	}
	if resp := ask("a", 7); len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 3 { // a topic that is gone
		t.Errorf("%+v", resp.Topics)
	}
	if resp := ask("b", 7); len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 0 || resp.NextCursor != nil {
		t.Errorf("%+v", resp)
	}
	req.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "b"}}
	wantCode(t, "cursor elsewhere", ask("a", 0).Topics[0].ErrorCode, kerr.InvalidRequest)
	wantCode(t, "negative cursor", ask("b", -1).Topics[0].ErrorCode, kerr.InvalidRequest)
}

func TestDescribeLogDirs(t *testing.T) {
	var dirs []LogDir
	c := newCluster(t, func(d *AdminDeps) { d.LogDirs = func() []LogDir { return dirs } })
	a, b := c.addTopic("a", 3, 1), c.addTopic("b", 1, 1)
	stored := func(id topic.ID, index int32, size int64) StoredReplica {
		return StoredReplica{Partition: topic.Partition{ID: id, Index: index}, Size: size}
	}
	dirs = []LogDir{
		{Path: "/one", Total: 1000, Usable: 400, Replicas: []StoredReplica{stored(a, 2, 20), stored(b, 0, 5), stored(a, 0, 10), stored(topic.NewID(), 0, 1)}},
		{Path: "/two", Total: -1, Usable: -1, Err: errors.New("gone")},
	}
	for v := int16(1); v <= 5; v++ {
		req := kmsg.NewPtrDescribeLogDirsRequest()
		req.Version = v
		resp := call[*kmsg.DescribeLogDirsResponse](t, c.api, req)
		one, two := resp.Dirs[0], resp.Dirs[1]
		if len(one.Topics) != 2 || one.Topics[0].Topic != "a" || one.Topics[0].Partitions[1].Partition != 2 || one.Topics[0].Partitions[1].Size != 20 || one.Topics[1].Topic != "b" {
			t.Errorf("v%d: %+v", v, one)
		}
		if v >= 4 && (one.TotalBytes != 1000 || one.UsableBytes != 400 || two.TotalBytes != -1) {
			t.Errorf("v%d: %+v", v, one)
		}
		wantCode(t, "/two", two.ErrorCode, kerr.KafkaStorageError)

		req.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: "a", Partitions: []int32{0, 1}}, {Topic: "unknown", Partitions: []int32{0}}, {Topic: "b"}}
		got := call[*kmsg.DescribeLogDirsResponse](t, c.api, req).Dirs[0].Topics
		if len(got) != 1 || len(got[0].Partitions) != 1 || got[0].Partitions[0].Size != 10 {
			t.Errorf("v%d: asked for some: %+v", v, got)
		}
	}
}

func TestDescribeProducers(t *testing.T) {
	var led topic.Partition
	c := newCluster(t, func(d *AdminDeps) {
		d.Producers = func(tp topic.Partition) ([]partition.Producer, error) {
			if tp != led {
				return nil, partition.ErrNotLeader
			}
			return []partition.Producer{{ID: 7, Epoch: 3, LastSequence: 41, LastTimestamp: 1234}}, nil
		}
	})
	led = topic.Partition{ID: c.addTopic("a", 2, 1)}
	req := kmsg.NewPtrDescribeProducersRequest()
	for _, n := range []string{"a", "unknown", "no/name"} {
		rt := kmsg.NewDescribeProducersRequestTopic()
		rt.Topic, rt.Partitions = n, []int32{0, 1, 2}
		req.Topics = append(req.Topics, rt)
	}
	resp := call[*kmsg.DescribeProducersResponse](t, c.api, req)
	var codes []int16
	for _, rt := range resp.Topics {
		for _, p := range rt.Partitions {
			codes = append(codes, p.ErrorCode)
		}
	}
	wantCodes(t, codes, nil, kerr.NotLeaderForPartition, kerr.UnknownTopicOrPartition,
		kerr.UnknownTopicOrPartition, kerr.UnknownTopicOrPartition, kerr.UnknownTopicOrPartition,
		kerr.InvalidTopicException, kerr.InvalidTopicException, kerr.InvalidTopicException)
	p := resp.Topics[0].Partitions[0].ActiveProducers
	if len(p) != 1 || p[0].ProducerID != 7 || p[0].ProducerEpoch != 3 || p[0].LastSequence != 41 || p[0].LastTimestamp != 1234 || p[0].CurrentTxnStartOffset != -1 {
		t.Errorf("producers %+v", p)
	}
}

// Without an authorizer the ACL calls answer SECURITY_DISABLED.
func TestACLsAreDisabled(t *testing.T) {
	c := newCluster(t)
	for v := int16(1); v <= 3; v++ {
		d := kmsg.NewPtrDescribeACLsRequest()
		d.Version = v
		resp := call[*kmsg.DescribeACLsResponse](t, c.api, d)
		wantCode(t, "describe", resp.ErrorCode, kerr.SecurityDisabled)
		cr := kmsg.NewPtrCreateACLsRequest()
		cr.Version = v
		cr.Creations = make([]kmsg.CreateACLsRequestCreation, 2)
		created := call[*kmsg.CreateACLsResponse](t, c.api, cr)
		wantCodes(t, []int16{created.Results[0].ErrorCode, created.Results[1].ErrorCode}, kerr.SecurityDisabled, kerr.SecurityDisabled)
		de := kmsg.NewPtrDeleteACLsRequest()
		de.Version = v
		de.Filters = make([]kmsg.DeleteACLsRequestFilter, 1)
		deleted := call[*kmsg.DeleteACLsResponse](t, c.api, de)
		wantCodes(t, []int16{deleted.Results[0].ErrorCode}, kerr.SecurityDisabled)
		if resp.ErrorMessage == nil || created.Results[0].ErrorMessage == nil || deleted.Results[0].ErrorMessage == nil {
			t.Error("no message")
		}
	}
}
