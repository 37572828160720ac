package api

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"firn/broker/controller"
	"firn/broker/partition"
	"firn/metadata"
	"firn/metadata/memkv"
	"firn/metadata/topic"
	"firn/segment"
)

// cluster is a key space, the image of it, and an API on broker 1 that asks a controller who only
// keeps what it was asked and answers as told.
type cluster struct {
	t     testing.TB
	kv    *memkv.Client
	store *metadata.Store
	ctl   *fakeController
	api   *API
	disks []*segment.Disk // of newWhole
	over  atomic.Bool     // the lease of the broker that coordinates groups is
}

// newCluster returns a cluster of broker 1 alone, reached at one:9092 on listener PLAINTEXT.
func newCluster(t testing.TB, change ...func(*AdminDeps)) *cluster {
	kv := memkv.New()
	store, err := metadata.Open(t.Context(), kv, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, kv: kv, store: store, ctl: newFakeController()}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		kv.Close()
	})
	c.addBroker(1, metadata.Listener{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Host: "one", Port: 9092})
	deps := AdminDeps{
		BrokerID: 1, Image: store.Image, Controller: c.ctl, AutoCreate: true,
		TopicDefaults:  func(im *metadata.Image) topic.Defaults { return topic.Defaults{Cluster: im.ClusterOverrides()} },
		BrokerSettings: brokerSettings,
		LogDirs:        func() []LogDir { return nil },
		Producers: func(topic.Partition) ([]partition.Producer, error) {
			return nil, partition.ErrNotLeader
		},
	}
	for _, fn := range change {
		fn(&deps)
	}
	c.api = New(Deps{Admin: deps, Logger: slog.New(slog.DiscardHandler)})
	return c
}

// addBroker registers a broker for as long as the test lives and returns its lease.
func (c *cluster) addBroker(id int32, listeners ...metadata.Listener) *metadata.Lease {
	c.t.Helper()
	lease, err := c.store.Register(c.t.Context(), metadata.Registration{ID: id, Listeners: listeners, Rack: "r" + string(rune('0'+id)), BootID: "boot"},
		metadata.LeaseOptions{KV: c.kv, TTL: time.Hour, OnEpoch: func(context.Context, int64) error { return nil }})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = lease.Close() })
	c.await(func(im *metadata.Image) bool { _, ok := im.Broker(id); return ok })
	return lease
}

// await waits until the image is as wanted.
func (c *cluster) await(ok func(*metadata.Image) bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), callTimeout)
	defer cancel()
	for im := c.store.Image(); !ok(im); {
		var err error
		if im, err = c.store.WaitRev(ctx, im.Rev()+1); err != nil {
			c.t.Fatalf("the image does not come: %v", err)
		}
	}
}

// write commits ops and waits for the image to have them.
func (c *cluster) write(ops ...metadata.Op) {
	c.t.Helper()
	res, err := c.kv.Txn(c.t.Context(), metadata.Txn{Then: ops})
	if err != nil || !res.OK {
		c.t.Fatalf("write: %v", err)
	}
	if _, err := c.store.WaitRev(c.t.Context(), res.Rev); err != nil {
		c.t.Fatal(err)
	}
}

// addTopic creates a topic of n partitions on these replicas, led by the first.
func (c *cluster) addTopic(name string, n int32, replicas ...int32) topic.ID {
	c.t.Helper()
	keys, id := c.store.Keys(), topic.NewID()
	ops := []metadata.Op{
		keys.PutTopic(&metadata.Topic{ID: id, Name: name, Partitions: n, ReplicationFactor: int16(len(replicas))}),
		keys.PutTopicName(name, id),
	}
	for i := range n {
		ops = append(ops, keys.PutPartition(c.state(topic.Partition{ID: id, Index: i}, replicas...)))
	}
	c.write(ops...)
	return id
}

// state is a partition led by the first of its replicas at epoch 5.
func (c *cluster) state(tp topic.Partition, replicas ...int32) *metadata.PartitionState {
	st := &metadata.PartitionState{
		Partition: tp, Leader: replicas[0], LeaderEpoch: 5, ISR: replicas, Replicas: replicas, LastKnownLeader: -1,
	}
	if b, ok := c.store.Image().Broker(replicas[0]); ok {
		st.LeaderBrokerEpoch = b.Epoch
	}
	return st
}

// brokerSettings are three settings of a broker.
func brokerSettings(im *metadata.Image) []BrokerSetting {
	origin := func(name, v string, s topic.Source) topic.Origin {
		return topic.Origin{Name: name, Value: v, Source: s}
	}
	retention := BrokerSetting{
		Name: "log.retention.ms", Type: topic.Long, Doc: "how long", Dynamic: true, Value: "1000", Source: topic.SourceStatic,
		Chain: []topic.Origin{origin("log.retention.ms", "1000", topic.SourceStatic)},
	}
	if v, ok := im.ClusterOverrides()["log.retention.ms"]; ok {
		retention.Value, retention.Source = v, topic.SourceClusterDefault
		retention.Chain = append([]topic.Origin{origin("log.retention.ms", v, topic.SourceClusterDefault)}, retention.Chain...)
	}
	return []BrokerSetting{
		{
			Name: "etcd.password", Type: topic.Password, Doc: "secret", Sensitive: true, Value: "[hidden]", Source: topic.SourceStatic,
			Chain: []topic.Origin{origin("etcd.password", "[hidden]", topic.SourceStatic)},
		},
		retention,
		{Name: "tier.url", Type: topic.String, Doc: "where", Null: true, Source: topic.SourceDefault},
	}
}

// fakeController keeps what it was asked.
type fakeController struct {
	current func() int32 // nil: broker 1
	nobody  bool         // no broker is, that this one could ask
	mu      sync.Mutex
	err     error            // of everything
	errs    map[string]error // by topic name
	byID    map[topic.ID]error
	asked   chan struct{} // a value for each call
	hold    chan struct{} // if not nil, calls wait for it
	create  []controller.NewTopic
	delete  []topic.ID
	more    []controller.MorePartitions
	alter   []controller.AlterSettings
	moves   []controller.Reassignment
	elect   []controller.Election
	gone    []int32
	dry     []bool // validateOnly of each call
	limit   time.Duration
}

func newFakeController() *fakeController {
	return &fakeController{errs: map[string]error{}, byID: map[topic.ID]error{}, asked: make(chan struct{}, 1000)}
}

func (f *fakeController) Current(context.Context) (int32, error) {
	switch {
	case f.nobody:
		return -1, controller.ErrNotController
	case f.current != nil:
		return f.current(), nil
	}
	return 1, nil
}

func (f *fakeController) enter(ctx context.Context, dry bool) func() {
	if f.hold != nil {
		<-f.hold
	}
	f.mu.Lock()
	f.dry = append(f.dry, dry)
	if d, ok := ctx.Deadline(); ok {
		f.limit = time.Until(d)
	}
	return func() { f.mu.Unlock(); f.asked <- struct{}{} }
}

func (f *fakeController) CreateTopics(ctx context.Context, topics []controller.NewTopic, validateOnly bool) []controller.CreatedTopic {
	defer f.enter(ctx, validateOnly)()
	f.create = append(f.create, topics...)
	out := make([]controller.CreatedTopic, len(topics))
	for i, t := range topics {
		out[i].Err = errors.Join(f.err, f.errs[t.Name])
		out[i].Topic = metadata.Topic{ID: topic.ID{1}, Name: t.Name, Partitions: max(t.Partitions, 1), ReplicationFactor: 1}
	}
	return out
}

func (f *fakeController) DeleteTopics(ctx context.Context, ids []topic.ID) []error {
	defer f.enter(ctx, false)()
	f.delete = append(f.delete, ids...)
	out := make([]error, len(ids))
	for i, id := range ids {
		out[i] = errors.Join(f.err, f.byID[id])
	}
	return out
}

func (f *fakeController) CreatePartitions(ctx context.Context, more []controller.MorePartitions, validateOnly bool) []error {
	defer f.enter(ctx, validateOnly)()
	f.more = append(f.more, more...)
	out := make([]error, len(more))
	for i, m := range more {
		out[i] = errors.Join(f.err, f.errs[m.Name])
	}
	return out
}

func (f *fakeController) AlterSettings(ctx context.Context, alter []controller.AlterSettings, validateOnly bool) []error {
	defer f.enter(ctx, validateOnly)()
	f.alter = append(f.alter, alter...)
	out := make([]error, len(alter))
	for i, a := range alter {
		out[i] = errors.Join(f.err, f.errs[a.Topic])
	}
	return out
}

func (f *fakeController) Reassign(ctx context.Context, list []controller.Reassignment) []error {
	defer f.enter(ctx, false)()
	f.moves = append(f.moves, list...)
	out := make([]error, len(list))
	for i, r := range list {
		out[i] = errors.Join(f.err, f.errs[r.Topic])
	}
	return out
}

func (f *fakeController) Elect(ctx context.Context, list []controller.Election) []error {
	defer f.enter(ctx, false)()
	f.elect = append(f.elect, list...)
	out := make([]error, len(list))
	for i, e := range list {
		out[i] = errors.Join(f.err, f.errs[e.Topic])
	}
	return out
}

func (f *fakeController) Unregister(ctx context.Context, broker int32) error {
	defer f.enter(ctx, false)()
	f.gone = append(f.gone, broker)
	return f.err
}

// awaitCalls waits until the controller has answered n calls.
func (f *fakeController) awaitCalls(t testing.TB, n int) {
	t.Helper()
	for range n {
		select {
		case <-f.asked:
		case <-time.After(callTimeout):
			t.Fatal("the controller was not asked")
		}
	}
}

// wantCode checks an error code.
func wantCode(t testing.TB, what string, code int16, want *kerr.Error) {
	t.Helper()
	if code != errorCode(want) {
		t.Errorf("%s: %v, want %v", what, kerr.ErrorForCode(code), want)
	}
}

// wantCodes checks error codes in order.
func wantCodes(t testing.TB, got []int16, want ...*kerr.Error) {
	t.Helper()
	codes := make([]int16, len(want))
	for i := range want {
		codes[i] = errorCode(want[i])
	}
	if !slices.Equal(got, codes) {
		names := make([]error, len(got))
		for i := range got {
			names[i] = kerr.ErrorForCode(got[i])
		}
		t.Errorf("got %v, want %v", names, want)
	}
}

func ptr[T any](v T) *T { return &v }
