package group

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/coordinator"
	"firn/metadata"
	"firn/metadata/topic"
)

// Config configures a Coordinator.
type Config struct {
	Options
	Broker int32 // node.id
	Shards int32 // of the cluster
	Store  coordinator.Store
	Lease  coordinator.Lease // see coordinator.Options
	Logger *slog.Logger

	Registerer prometheus.Registerer
}

// Coordinator coordinates the groups of the shards that this broker owns. No method blocks; every
// done is called exactly once, perhaps before the method returns. Its error is one of package
// coordinator's. Safe for concurrent use.
type Coordinator struct {
	runtime *coordinator.Runtime[*Machine]
	shards  int32
}

// NewCoordinator returns a coordinator that owns no shard yet; see Own.
func NewCoordinator(c Config) *Coordinator {
	met := newMetrics(c.Registerer)
	return &Coordinator{
		shards: c.Shards,
		runtime: coordinator.NewRuntime(coordinator.Options[*Machine]{
			Kind: metadata.GroupShard, Broker: c.Broker, Store: c.Store, Lease: c.Lease, Logger: c.Logger, Registerer: c.Registerer,
			New: func() *Machine { return newMachine(c.Options, met) },
		}),
	}
}

// Shard is the shard of a group.
func (c *Coordinator) Shard(group string) int32 { return coordinator.ShardOf(group, c.shards) }

// Own takes over, keeps or gives up a shard, as its owner record says.
func (c *Coordinator) Own(shard int32, own metadata.ShardOwner, brokerEpoch int64) {
	c.runtime.Own(shard, own, brokerEpoch)
}

// AwaitEnd returns when a shard that is not owned any more has given its last answer.
func (c *Coordinator) AwaitEnd(shard int32) { c.runtime.AwaitEnd(shard) }

// Serves reports whether the owner that a shard's record names may be asked: false if that is this broker and it does not
// serve the shard, because it has not heard of that yet or knows better.
func (c *Coordinator) Serves(shard int32, own metadata.ShardOwner) bool {
	return c.runtime.Serves(shard, own)
}

// Close refuses whatever waits and returns when nothing runs any more.
func (c *Coordinator) Close() { c.runtime.Close() }

func do[T any](c *Coordinator, group string, done Done[T], fn func(m *Machine, now time.Time) coordinator.Result) {
	c.runtime.Do(c.Shard(group), fn, func(err error) { done(nil, err) })
}

// Join handles JoinGroup.
func (c *Coordinator) Join(who Client, req *kmsg.JoinGroupRequest, done Done[kmsg.JoinGroupResponse]) {
	do(c, req.Group, done, func(m *Machine, now time.Time) coordinator.Result { return m.Join(now, who, req, done) })
}

// Sync handles SyncGroup.
func (c *Coordinator) Sync(who Client, req *kmsg.SyncGroupRequest, done Done[kmsg.SyncGroupResponse]) {
	do(c, req.Group, done, func(m *Machine, now time.Time) coordinator.Result { return m.Sync(now, who, req, done) })
}

// Heartbeat handles Heartbeat.
func (c *Coordinator) Heartbeat(req *kmsg.HeartbeatRequest, done Done[kmsg.HeartbeatResponse]) {
	c.runtime.DoInMemory(c.Shard(req.Group), func(m *Machine, now time.Time) coordinator.Result {
		return m.Heartbeat(now, req, done)
	}, func(err error) { done(nil, err) })
}

// Leave handles LeaveGroup.
func (c *Coordinator) Leave(req *kmsg.LeaveGroupRequest, done Done[kmsg.LeaveGroupResponse]) {
	do(c, req.Group, done, func(m *Machine, now time.Time) coordinator.Result { return m.Leave(now, req, done) })
}

// Commit handles OffsetCommit.
func (c *Coordinator) Commit(by Committer, commits []Commit, done Done[Committed]) {
	do(c, by.Group, done, func(m *Machine, now time.Time) coordinator.Result { return m.Commit(now, by, commits, done) })
}

// Offsets handles OffsetFetch; see Machine.Offsets.
func (c *Coordinator) Offsets(group string, want []topic.Partition, all bool, done Done[[]Fetched]) {
	do(c, group, done, func(m *Machine, _ time.Time) coordinator.Result { return m.Offsets(group, want, all, done) })
}

// DeleteOffsets handles OffsetDelete.
func (c *Coordinator) DeleteOffsets(group string, which []topic.Partition, done Done[Committed]) {
	do(c, group, done, func(m *Machine, _ time.Time) coordinator.Result { return m.DeleteOffsets(group, which, done) })
}

// Describe handles DescribeGroups for one group.
func (c *Coordinator) Describe(group string, version int16, done Done[kmsg.DescribeGroupsResponseGroup]) {
	do(c, group, done, func(m *Machine, _ time.Time) coordinator.Result { return m.Describe(group, version, done) })
}

// Delete handles DeleteGroups for one group.
func (c *Coordinator) Delete(group string, done Done[Committed]) {
	do(c, group, done, func(m *Machine, _ time.Time) coordinator.Result { return m.Delete(group, done) })
}

// List handles ListGroups: the groups of all shards this broker owns, or those in one of the states and of one of the
// types, compared without case. Fails if any shard cannot say, for a list with holes would look whole.
func (c *Coordinator) List(states, types []string, done Done[[]kmsg.ListGroupsResponseGroup]) {
	var (
		mu   sync.Mutex
		all  = []kmsg.ListGroupsResponseGroup{}
		fail error
	)
	owned := c.runtime.Owned()
	left := len(owned)
	if left == 0 {
		done(&all, nil)
		return
	}
	one := func(part *[]kmsg.ListGroupsResponseGroup, err error) {
		mu.Lock()
		switch {
		case errors.Is(err, coordinator.ErrNotCoordinator): // went elsewhere meanwhile, and will be listed there
		case err != nil:
			fail = err
		default:
			all = append(all, *part...)
		}
		left--
		last := left == 0
		mu.Unlock()
		if !last {
			return
		}
		if fail != nil {
			done(nil, fail)
			return
		}
		slices.SortFunc(all, byGroup)
		done(&all, nil)
	}
	inStates, ofTypes := newFilter(states), newFilter(types)
	for _, n := range owned {
		c.runtime.Do(n, func(m *Machine, _ time.Time) coordinator.Result { return m.List(inStates, ofTypes, one) },
			func(err error) { one(nil, err) })
	}
}
