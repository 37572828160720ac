package api

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/controller"
	"firn/broker/group"
	"firn/broker/partition"
	"firn/broker/wire/randmsg"
	"firn/broker/wire/wiretest"
	"firn/metadata"
	"firn/metadata/topic"
	"firn/segment"
	"firn/segment/vfs"
)

// newWhole returns a cluster whose API has everything behind it: a controller at work, a partition of
// topic "t" on a disk in memory, and the coordinator of all groups.
func newWhole(t testing.TB) *cluster {
	c := newCluster(t)
	var lease *metadata.Lease
	deps := AdminDeps{
		BrokerID: 2, Image: c.store.Image,
		TopicDefaults:  func(im *metadata.Image) topic.Defaults { return topic.Defaults{Cluster: im.ClusterOverrides()} },
		BrokerSettings: brokerSettings,
	}
	lease = c.addBroker(2, metadata.Listener{Name: "PLAINTEXT", Host: "two", Port: 9092})
	deps.Controller = c.runController(lease)
	set := c.openPartitions()
	deps.LogDirs = func() []LogDir { return LogDirsOf(c.disks, set) }
	deps.Producers = func(tp topic.Partition) ([]partition.Producer, error) { return ProducersOf(set, tp) }
	c.api = New(Deps{
		Admin:  deps,
		Data:   DataDeps{Partitions: set, Directory: func() Directory { return c.store.Image() }, ProducerIDs: c.store},
		Groups: GroupDeps{Coordinator: c.openGroups(lease), Image: c.store.Image},
		Logger: discardLogger,
	})
	return c
}

// runController runs a controller on a lease until the test ends.
func (c *cluster) runController(lease *metadata.Lease) *controller.Controller {
	ctl, err := controller.New(controller.Options{Store: c.store, Lease: lease, CheckBrokerSettings: func(int32, map[string]string) error { return nil }})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ctl.Run(ctx) }()
	c.t.Cleanup(func() { cancel(); <-done })
	c.await(func(im *metadata.Image) bool { return im.Controller().ID == lease.ID() })
	return ctl
}

// openPartitions leads partition 0 of a topic "t" on a disk in memory.
func (c *cluster) openPartitions() *partition.Set {
	disk, err := segment.OpenDisk(segment.DiskOptions{FS: vfs.NewMem(), Dir: "/data", BrokerID: 2})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := disk.SetBrokerEpoch(1); err != nil {
		c.t.Fatal(err)
	}
	c.disks = []*segment.Disk{disk}
	set, err := partition.NewSet(partition.Options{BrokerID: 2, Disks: c.disks})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { set.Close(); disk.Close(true) })
	tp := topic.Partition{ID: c.addTopic("t", 1, 2)}
	conf, _ := topic.ParseConfig(nil, topic.Defaults{})
	r, err := set.Open(tp, "t", conf)
	if err == nil {
		err = r.BecomeLeader(partition.State{Leader: 2, LeaderEpoch: 5, Replicas: []int32{2}, ISR: []int32{2}})
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return set
}

// openGroups coordinates the groups of all shards that the controller gives to the lease's broker.
func (c *cluster) openGroups(lease *metadata.Lease) *group.Coordinator {
	committer := c.store.NewCommitter(metadata.CommitterOptions{})
	shards := c.store.Image().Shards(metadata.GroupShard)
	g := group.NewCoordinator(group.Config{
		Options: group.Options{
			MinSessionTimeout: time.Second, MaxSessionTimeout: time.Minute, MaxSize: 100, OffsetsRetention: time.Hour,
			OffsetsCheckInterval: time.Hour, MaxMetadata: 4096, NewID: func() string { return topic.NewID().String() }, Topics: topicNamer{c.store},
		},
		Broker: 2, Shards: shards, Store: committer, Lease: c, Logger: discardLogger,
	})
	c.t.Cleanup(func() { g.Close(); committer.Close() })
	for shard := range shards {
		if o := c.store.Image().ShardOwner(metadata.GroupShard, shard); o.Broker == 2 {
			g.Own(shard, o, lease.Epoch())
		}
	}
	return g
}

// Holds implements coordinator.Lease.
func (c *cluster) Holds(int64) bool { return !c.over.Load() }

type topicNamer struct{ store *metadata.Store }

func (n topicNamer) TopicName(id [16]byte) (string, bool) {
	t, ok := n.store.Image().TopicByID(id)
	if !ok || !t.Live() {
		return "", false
	}
	return t.Name, true
}

// parks tells whether an API may keep a request for long.
func parks(key kmsg.Key) bool {
	return key == kmsg.Fetch || key == kmsg.JoinGroup || key == kmsg.SyncGroup || key == kmsg.Produce
}

// Whatever a well-formed request says, it gets an answer of its own kind, or a closed connection where
// there can be none, and never a panic.
func TestRandomRequestsAreAnswered(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	c := newWhole(t)
	for _, s := range Versions() {
		for v := s.Min; v <= s.Max; v++ {
			for range 5 {
				req := s.Key.Request()
				req.SetVersion(v)
				randmsg.Fill(rng, req)
				tame(req)
				sink := wiretest.NewSink()
				c.api.Serve(wiretest.NewRequest(t, wiretest.NewConn(t), sink, req))
				if parks(s.Key) {
					continue
				}
				select {
				case out := <-sink.Outcomes:
					if out.Response == nil && out.Err == nil || out.Response != nil && out.Response.Key() != s.Key.Int16() {
						t.Errorf("%s v%d: %+v", s.Key.Name(), v, out)
					}
				case <-time.After(callTimeout):
					t.Fatalf("%s v%d: no answer to %+v", s.Key.Name(), v, req)
				}
			}
		}
	}
}

// tame takes out of a random request what would only make the test slow.
func tame(req kmsg.Request) {
	if r, ok := req.(*kmsg.CreateTopicsRequest); ok {
		for i := range r.Topics {
			r.Topics[i].NumPartitions %= 4
		}
	}
}

// FuzzServe looks for frames that panic or get no outcome. What decoding may take is FuzzDecode of wire.
func FuzzServe(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, s := range Versions() {
		req := s.Key.Request()
		req.SetVersion(s.Max)
		randmsg.Fill(rng, req)
		f.Add(s.Key.Int16(), s.Max, kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)[14:])
	}
	c := newWhole(f)
	f.Fuzz(func(t *testing.T, key, version int16, rest []byte) {
		sink := wiretest.NewSink()
		c.api.Serve(wiretest.NewRawRequest(t, wiretest.NewConn(t), sink, append(header(key, version), rest...)))
		if !parks(kmsg.Key(key)) && key != kmsg.CreateTopics.Int16() {
			<-sink.Outcomes
		}
	})
}

// A topic's whole life through the API and the controller behind it.
func TestTopicLife(t *testing.T) {
	c := newWhole(t)
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Version = 7
	create.Topics = append(create.Topics, newTopicReq("life", 2, -1), newTopicReq("li/fe", 1, 1), newTopicReq("none", 0, 1), newTopicReq("many", 1, 9))
	created := call[*kmsg.CreateTopicsResponse](t, c.api, create)
	var codes []int16
	for _, rt := range created.Topics {
		codes = append(codes, rt.ErrorCode)
	}
	wantCodes(t, codes, nil, kerr.InvalidTopicException, kerr.InvalidPartitions, kerr.InvalidReplicationFactor)
	again := call[*kmsg.CreateTopicsResponse](t, c.api, create)
	wantCode(t, "again", again.Topics[0].ErrorCode, kerr.TopicAlreadyExists)

	meta := askMetadata(t, c, 13, "life").Topics[0]
	if meta.TopicID != created.Topics[0].TopicID || len(meta.Partitions) != 2 || meta.Partitions[1].ErrorCode != 0 {
		t.Errorf("metadata %+v", meta)
	}
	grow := kmsg.NewPtrCreatePartitionsRequest()
	grow.Version = 3
	grow.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "life", Count: 3}}
	wantCode(t, "grow", call[*kmsg.CreatePartitionsResponse](t, c.api, grow).Topics[0].ErrorCode, nil)
	wantCode(t, "grow again", call[*kmsg.CreatePartitionsResponse](t, c.api, grow).Topics[0].ErrorCode, kerr.InvalidPartitions)

	alterLife(t, c)

	del := kmsg.NewPtrDeleteTopicsRequest()
	del.Version = 6
	del.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: ptr("no-such")}, {TopicID: meta.TopicID}}
	wantCodes(t, deletionCodes(call[*kmsg.DeleteTopicsResponse](t, c.api, del)), kerr.UnknownTopicOrPartition, nil)
	gone := askMetadata(t, c, 13, "life").Topics[0]
	wantCode(t, "deleted", gone.ErrorCode, kerr.UnknownTopicOrPartition)
}

// alterLife changes settings of topic "life" in every way there is.
func alterLife(t *testing.T, c *cluster) {
	t.Helper()
	steps := []struct {
		name  string
		op    kmsg.IncrementalAlterConfigOp
		value string
		want  *kerr.Error
		after string // of the setting, "" for its default
	}{
		{"cleanup.policy", kmsg.IncrementalAlterConfigOpAppend, "compact", nil, "delete,compact"},
		{"cleanup.policy", kmsg.IncrementalAlterConfigOpSubtract, "delete", nil, "compact"},
		{"cleanup.policy", kmsg.IncrementalAlterConfigOpDelete, "", nil, "delete"},
		{"retention.ms", kmsg.IncrementalAlterConfigOpSet, "77", nil, "77"},
		{"retention.ms", kmsg.IncrementalAlterConfigOpAppend, "78", kerr.InvalidConfig, "77"},
		{"retention.ms", kmsg.IncrementalAlterConfigOpSet, "soon", kerr.InvalidConfig, "77"},
		{"no.such.setting", kmsg.IncrementalAlterConfigOpSet, "1", kerr.InvalidConfig, ""},
	}
	for _, s := range steps {
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		req.Version = 1
		r := kmsg.NewIncrementalAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = topicType, "life"
		r.Configs = []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: s.name, Op: s.op, Value: &s.value}}
		req.Resources = append(req.Resources, r)
		got := call[*kmsg.IncrementalAlterConfigsResponse](t, c.api, req).Resources[0]
		step := fmt.Sprint(s.name, " ", s.op, " ", s.value)
		wantCode(t, step, got.ErrorCode, s.want)
		if s.want != nil && (got.ErrorMessage == nil || !strings.Contains(*got.ErrorMessage, s.name)) {
			t.Errorf("%s: the message does not name the setting: %v", step, got.ErrorMessage)
		}
		if s.after == "" {
			continue
		}
		if v := *setting(t, describe(t, c, 4, topicType, "life"), s.name).Value; v != s.after {
			t.Errorf("%s: now %q, want %q", step, v, s.after)
		}
	}
}

// DescribeLogDirs and DescribeProducers on real partitions.
func TestDescribeOfRealPartitions(t *testing.T) {
	c := newWhole(t)
	req := kmsg.NewPtrDescribeLogDirsRequest()
	req.Version = 4
	dirs := call[*kmsg.DescribeLogDirsResponse](t, c.api, req).Dirs
	if len(dirs) != 1 || dirs[0].Dir != "/data" || dirs[0].ErrorCode != 0 || len(dirs[0].Topics) != 1 || dirs[0].Topics[0].Topic != "t" {
		t.Errorf("got %+v", dirs)
	}
	prod := kmsg.NewPtrDescribeProducersRequest()
	prod.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "t", Partitions: []int32{0}}}
	if p := call[*kmsg.DescribeProducersResponse](t, c.api, prod).Topics[0].Partitions[0]; p.ErrorCode != 0 || len(p.ActiveProducers) != 0 {
		t.Errorf("got %+v", p)
	}
}
