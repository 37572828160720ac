package api

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/controller"
	"firn/broker/wire/wiretest"
	"firn/metadata"
	"firn/metadata/topic"
)

// askMetadata asks for topics by name at a version; with no names for null.
func askMetadata(t *testing.T, c *cluster, version int16, names ...string) *kmsg.MetadataResponse {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.Version = version
	for _, n := range names {
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = ptr(n)
		req.Topics = append(req.Topics, rt)
	}
	return call[*kmsg.MetadataResponse](t, c.api, req)
}

func topicNamesOf(resp *kmsg.MetadataResponse) []string {
	var names []string
	for _, t := range resp.Topics {
		names = append(names, *t.Topic)
	}
	return names
}

func TestMetadataOfEveryVersion(t *testing.T) {
	c := newCluster(t)
	c.addBroker(2, metadata.Listener{Name: "PLAINTEXT", Host: "two", Port: 9093})
	id := c.addTopic("a", 3, 1, 2)
	c.addTopic("b", 1, 2)
	for v := int16(0); v <= 13; v++ {
		t.Run(fmt.Sprint("v", v), func(t *testing.T) {
			resp := askMetadata(t, c, v, "a", "a")
			if len(resp.Brokers) != 2 || resp.Brokers[1].Host != "two" || resp.Brokers[1].Port != 9093 {
				t.Errorf("brokers %+v", resp.Brokers)
			}
			if v >= 1 && *resp.Brokers[0].Rack != "r1" {
				t.Errorf("rack %v", resp.Brokers[0].Rack)
			}
			if v >= 1 && resp.ControllerID != -1 {
				t.Errorf("controller %d though there is none", resp.ControllerID)
			}
			if v >= 2 && *resp.ClusterID != c.store.Image().Cluster().ID {
				t.Errorf("cluster %v", resp.ClusterID)
			}
			if got := topicNamesOf(resp); !slices.Equal(got, []string{"a"}) {
				t.Fatalf("topics %v: each is to be there once", got)
			}
			rt := resp.Topics[0]
			if v >= 10 && rt.TopicID != id || rt.IsInternal || rt.ErrorCode != 0 || len(rt.Partitions) != 3 {
				t.Errorf("topic %+v", rt)
			}
			if v >= 8 && rt.AuthorizedOperations != notAsked {
				t.Errorf("operations %d though they were not asked for", rt.AuthorizedOperations)
			}
			p := rt.Partitions[2]
			if p.Partition != 2 || p.Leader != 1 || p.ErrorCode != 0 || !slices.Equal(p.Replicas, []int32{1, 2}) || !slices.Equal(p.ISR, []int32{1, 2}) {
				t.Errorf("partition %+v", p)
			}
			if v >= 7 && p.LeaderEpoch != 5 {
				t.Errorf("leader epoch %d", p.LeaderEpoch)
			}
		})
	}
}

// No topics means all in v0; from v1 null means all and an empty list none.
func TestMetadataOfAllTopics(t *testing.T) {
	c := newCluster(t)
	c.addTopic("b", 1, 1)
	c.addTopic("a", 1, 1)
	for v := int16(0); v <= 13; v++ {
		req := kmsg.NewPtrMetadataRequest()
		req.Version = v
		if v == 0 {
			req.Topics = []kmsg.MetadataRequestTopic{}
		}
		if got := topicNamesOf(call[*kmsg.MetadataResponse](t, c.api, req)); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("v%d: all topics are %v", v, got)
		}
		if v == 0 {
			continue
		}
		req.Topics = []kmsg.MetadataRequestTopic{}
		if resp := call[*kmsg.MetadataResponse](t, c.api, req); len(resp.Topics) != 0 || len(resp.Brokers) != 1 {
			t.Errorf("v%d: no topics are %v", v, topicNamesOf(resp))
		}
	}
}

func TestMetadataAuthorizedOperations(t *testing.T) {
	c := newCluster(t)
	c.addTopic("a", 1, 1)
	for v := int16(8); v <= 13; v++ {
		req := kmsg.NewPtrMetadataRequest()
		req.Version, req.IncludeTopicAuthorizedOperations, req.IncludeClusterAuthorizedOperations = v, true, true
		resp := call[*kmsg.MetadataResponse](t, c.api, req)
		if got := resp.Topics[0].AuthorizedOperations; got != 3576 {
			t.Errorf("v%d: topic operations %d", v, got)
		}
		if got := resp.AuthorizedOperations; v <= 10 && got != 8096 {
			t.Errorf("v%d: cluster operations %d", v, got)
		}
	}
}

func TestMetadataByID(t *testing.T) {
	c := newCluster(t)
	id := c.addTopic("a", 1, 1)
	gone := topic.NewID()
	for v := int16(10); v <= 13; v++ {
		req := kmsg.NewPtrMetadataRequest()
		req.Version = v
		for _, asked := range []topic.ID{id, gone} {
			rt := kmsg.NewMetadataRequestTopic()
			rt.TopicID = asked
			req.Topics = append(req.Topics, rt)
		}
		resp := call[*kmsg.MetadataResponse](t, c.api, req)
		codes := []int16{resp.Topics[0].ErrorCode, resp.Topics[1].ErrorCode}
		if v < 12 {
			wantCodes(t, codes, kerr.InvalidRequest, kerr.InvalidRequest)
			continue
		}
		wantCodes(t, codes, nil, kerr.UnknownTopicID)
		if *resp.Topics[0].Topic != "a" || resp.Topics[1].Topic != nil || resp.Topics[1].TopicID != gone {
			t.Errorf("v%d: %+v", v, resp.Topics)
		}
	}
}

// A topic that is being deleted is not there, by name or id, and its name may be another topic's.
func TestMetadataOfDeletedTopic(t *testing.T) {
	c := newCluster(t)
	old := c.addTopic("a", 1, 1)
	keys := c.store.Keys()
	c.write(keys.PutTopic(&metadata.Topic{ID: old, Name: "a", Partitions: 1, State: metadata.TopicDeleting}), metadata.Delete(keys.TopicName("a")))
	fresh := c.addTopic("a", 2, 1)
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	for _, asked := range []topic.ID{old, fresh} {
		rt := kmsg.NewMetadataRequestTopic()
		rt.TopicID = asked
		req.Topics = append(req.Topics, rt)
	}
	resp := call[*kmsg.MetadataResponse](t, c.api, req)
	wantCodes(t, []int16{resp.Topics[0].ErrorCode, resp.Topics[1].ErrorCode}, kerr.UnknownTopicID, nil)
	if got := askMetadata(t, c, 12); len(got.Topics) != 1 || len(got.Topics[0].Partitions) != 2 {
		t.Errorf("all topics: %+v", got.Topics)
	}
}

// An invalid name is INVALID_TOPIC_EXCEPTION, auto-creation or not.
func TestMetadataOfInvalidName(t *testing.T) {
	for _, auto := range []bool{true, false} {
		c := newCluster(t, func(d *AdminDeps) { d.AutoCreate = auto })
		for v := int16(0); v <= 13; v++ {
			resp := askMetadata(t, c, v, "no/slash", "")
			wantCodes(t, []int16{resp.Topics[0].ErrorCode, resp.Topics[1].ErrorCode}, kerr.InvalidTopicException, kerr.InvalidTopicException)
		}
	}
}

// The answer that has a topic created says that it is not there, and does not wait; the topic is
// created once, however often it is asked for meanwhile.
func TestAutoCreationIsBehindTheAnswer(t *testing.T) {
	for _, v := range []int16{0, 1, 3, 4, 12, 13} {
		c := newCluster(t)
		c.ctl.hold = make(chan struct{})
		for range 3 {
			req := kmsg.NewPtrMetadataRequest()
			req.Version, req.AllowAutoTopicCreation = v, v >= 4
			rt := kmsg.NewMetadataRequestTopic()
			rt.Topic = ptr("new")
			req.Topics = append(req.Topics, rt)
			resp := call[*kmsg.MetadataResponse](t, c.api, req)
			wantCode(t, "topic", resp.Topics[0].ErrorCode, kerr.UnknownTopicOrPartition)
			if len(resp.Topics[0].Partitions) != 0 {
				t.Errorf("v%d: partitions %+v", v, resp.Topics[0].Partitions)
			}
		}
		close(c.ctl.hold)
		c.ctl.awaitCalls(t, 1)
		if got := c.ctl.create; len(got) != 1 || got[0].Name != "new" || got[0].Partitions != -1 || got[0].ReplicationFactor != -1 {
			t.Errorf("v%d: created %+v", v, got)
		}
	}
}

// A client that finds no coordinator looks whether Kafka has made the topic for offsets yet. Nobody wants it here.
func TestLookingForKafkasOwnTopicsDoesNotCreateThem(t *testing.T) {
	c := newCluster(t)
	resp := askMetadata(t, c, 1, "__consumer_offsets", "__transaction_state", "new")
	for _, topic := range resp.Topics {
		wantCode(t, *topic.Topic, topic.ErrorCode, kerr.UnknownTopicOrPartition)
	}
	c.ctl.awaitCalls(t, 1)
	if got := c.ctl.create; len(got) != 1 || got[0].Name != "new" {
		t.Errorf("created %+v", got)
	}
}

// A client that waits for a topic asks for it several times a second. One that cannot be is not tried as often.
func TestATopicThatCannotBeIsNotCreatedAtEachRequest(t *testing.T) {
	c := newCluster(t)
	c.ctl.errs["never"], c.ctl.errs["later"] = controller.ErrTopicNameCollision, metadata.ErrUnavailable
	now := time.Now()
	c.api.auto.now = func() time.Time { return now }
	for _, want := range []struct {
		after time.Duration
		tried []string
	}{{0, []string{"never", "later"}}, {autoCreatePause - 1, []string{"later"}}, {1, []string{"never", "later"}}} {
		now = now.Add(want.after)
		askMetadata(t, c, 1, "never", "later")
		c.ctl.awaitCalls(t, 1)
		var tried []string
		for _, nt := range c.ctl.create {
			tried = append(tried, nt.Name)
		}
		if !slices.Equal(tried, want.tried) {
			t.Errorf("%v later: %v are tried, want %v", want.after, tried, want.tried)
		}
		c.ctl.create = nil
		c.awaitNoneCreating()
	}
}

// awaitNoneCreating waits until no topic is being created.
func (c *cluster) awaitNoneCreating() {
	creating := func() int {
		c.api.auto.mu.Lock()
		defer c.api.auto.mu.Unlock()
		return len(c.api.auto.mu.creating)
	}
	for creating() > 0 {
		runtime.Gosched()
	}
}

func TestAutoCreationThatIsNotAllowed(t *testing.T) {
	hold := make(chan struct{}) // a creation that begins does not end
	defer close(hold)
	client := newCluster(t)
	client.ctl.hold = hold
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 4
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = ptr("new")
	req.Topics = append(req.Topics, rt)
	resp := call[*kmsg.MetadataResponse](t, client.api, req)
	wantCode(t, "client forbids", resp.Topics[0].ErrorCode, kerr.UnknownTopicOrPartition)

	broker := newCluster(t, func(d *AdminDeps) { d.AutoCreate = false })
	broker.ctl.hold = hold
	req.AllowAutoTopicCreation = true
	resp = call[*kmsg.MetadataResponse](t, broker.api, req)
	wantCode(t, "broker forbids", resp.Topics[0].ErrorCode, kerr.UnknownTopicOrPartition)
	if client.api.auto.mu.creating["new"] || broker.api.auto.mu.creating["new"] {
		t.Error("the topic is being created")
	}
}

// What a partition looks like while brokers are away, by version.
func TestMetadataOfPartitionsInTrouble(t *testing.T) {
	c := newCluster(t)
	two := c.addBroker(2, metadata.Listener{Name: "INTERNAL", Host: "two", Port: 9093})
	id := c.addTopic("a", 4, 1, 2)
	keys := c.store.Keys()
	at := func(i int32) topic.Partition { return topic.Partition{ID: id, Index: i} }
	led := c.state(at(1), 2, 1) // by a broker without our client's listener
	nobody := c.state(at(2), 1, 2)
	nobody.Leader = -1
	stale := c.state(at(3), 1, 2) // by an earlier life of broker 1
	stale.LeaderBrokerEpoch--
	c.write(keys.PutPartition(led), keys.PutPartition(nobody), keys.PutPartition(stale))
	for v := int16(0); v <= 13; v++ {
		ps := askMetadata(t, c, v, "a").Topics[0].Partitions
		codes := []int16{ps[0].ErrorCode, ps[1].ErrorCode, ps[2].ErrorCode, ps[3].ErrorCode}
		switch {
		case v == 0:
			wantCodes(t, codes, kerr.ReplicaNotAvailable, kerr.LeaderNotAvailable, kerr.LeaderNotAvailable, kerr.LeaderNotAvailable)
			if !slices.Equal(ps[0].Replicas, []int32{1}) || !slices.Equal(ps[0].ISR, []int32{1}) {
				t.Errorf("v0: replicas %v, isr %v", ps[0].Replicas, ps[0].ISR)
			}
		case v < 6:
			wantCodes(t, codes, nil, kerr.LeaderNotAvailable, kerr.LeaderNotAvailable, kerr.LeaderNotAvailable)
		default:
			wantCodes(t, codes, nil, kerr.ListenerNotFound, kerr.LeaderNotAvailable, kerr.LeaderNotAvailable)
		}
		for i, want := range []int32{1, -1, -1, -1} {
			if ps[i].Leader != want {
				t.Errorf("v%d: leader of %d is %d", v, i, ps[i].Leader)
			}
		}
	}
	if err := two.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.await(func(im *metadata.Image) bool { _, ok := im.Broker(2); return !ok })
	resp := askMetadata(t, c, 13, "a")
	if ps := resp.Topics[0].Partitions; !slices.Equal(ps[0].OfflineReplicas, []int32{2}) || !slices.Equal(ps[0].Replicas, []int32{1, 2}) {
		t.Errorf("replicas %v, offline %v", ps[0].Replicas, ps[0].OfflineReplicas)
	}
	if len(resp.Brokers) != 1 {
		t.Errorf("brokers %+v", resp.Brokers)
	}
}

// Brokers are told with the address of the listener that the client came in by.
func TestMetadataOfTheClientsListener(t *testing.T) {
	c := newCluster(t)
	c.addBroker(2, metadata.Listener{Name: "PLAINTEXT", Host: "two", Port: 9092}, metadata.Listener{Name: "INTERNAL", Host: "two.inside", Port: 19092})
	conn := wiretest.NewConn(t)
	conn.Listener = "INTERNAL"
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	resp := callOn(t, c.api, conn, req).Response.(*kmsg.MetadataResponse)
	if len(resp.Brokers) != 1 || resp.Brokers[0].NodeID != 2 || resp.Brokers[0].Host != "two.inside" || resp.Brokers[0].Port != 19092 {
		t.Errorf("brokers %+v", resp.Brokers)
	}
}

func TestMetadataController(t *testing.T) {
	c := newCluster(t)
	two := c.addBroker(2, metadata.Listener{Name: "PLAINTEXT", Host: "two", Port: 9092})
	if _, err := two.Campaign(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.await(func(im *metadata.Image) bool { return im.Controller().ID == 2 })
	if got := askMetadata(t, c, 1).ControllerID; got != 2 {
		t.Errorf("controller %d", got)
	}
}
