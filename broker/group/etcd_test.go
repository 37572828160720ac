package group

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/metadata"
	"firn/metadata/etcd"
	"firn/metadata/topic"
)

// onEtcd is a coordinator of one shard on a real etcd, with whose limits a large group has to live.
type onEtcd struct {
	t         *testing.T
	kv        metadata.KV
	store     *metadata.Store
	committer *metadata.Committer
	groups    *Coordinator
}

func startOnEtcd(t *testing.T) *onEtcd {
	t.Helper()
	srv, err := etcd.Embed(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	e := &onEtcd{t: t}
	if e.kv, err = srv.Dial(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.kv.Close() })
	if e.store, err = metadata.Open(t.Context(), e.kv, metadata.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.store.Close() })
	e.committer = e.store.NewCommitter(metadata.CommitterOptions{Timeout: time.Minute})
	t.Cleanup(func() { _ = e.committer.Close() })
	e.restart()
	return e
}

// restart gives the shard to a coordinator that knows nothing of it.
func (e *onEtcd) restart() {
	e.t.Helper()
	if e.groups != nil {
		e.groups.Close()
	}
	e.groups = NewCoordinator(Config{
		Options: Options{
			MinSessionTimeout: time.Second, MaxSessionTimeout: time.Hour, InitialRebalanceDelay: 200 * time.Millisecond, OffsetsRetention: time.Hour,
			OffsetsCheckInterval: time.Hour, MaxMetadata: 4096, NewID: func() string { return topic.NewID().String() }, Topics: anyTopic{},
		},
		Broker: 1, Shards: 1, Store: e.committer, Logger: slog.New(slog.DiscardHandler),
	})
	e.t.Cleanup(e.groups.Close)
	own := metadata.ShardOwner{Broker: 1, BrokerEpoch: 1}
	res, err := e.kv.Txn(e.t.Context(), metadata.Txn{Then: []metadata.Op{e.store.Keys().PutShardOwner(metadata.GroupShard, 0, &own)}})
	if err != nil {
		e.t.Fatal(err)
	}
	own.Rev = res.Rev
	e.groups.Own(0, own, 1)
	loaded := make(chan error, 1)
	for err := errNotYet; err != nil; err = <-loaded {
		e.groups.List(nil, nil, func(_ *[]kmsg.ListGroupsResponseGroup, err error) { loaded <- err })
	}
}

var errNotYet = fmt.Errorf("not asked yet")

// waited is an answer that a test waits for.
type waited[T any] chan func() (*T, error)

func wait[T any]() waited[T] { return make(waited[T], 1) }

func (w waited[T]) done() Done[T] {
	return func(resp *T, err error) { w <- func() (*T, error) { return resp, err } }
}

func (w waited[T]) get(t *testing.T, what string) *T {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	select {
	case f := <-w:
		resp, err := f()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return resp
	case <-ctx.Done():
		t.Fatalf("%s: no answer", what)
	}
	return nil
}

// 500 members, each with 5 KiB to say and an assignment of 8 KiB, are more than five requests of etcd's.
func TestLargeGroupOnEtcd(t *testing.T) {
	const n = 500
	e := startOnEtcd(t)
	subscription := append(consumerOf("t1"), bytes.Repeat([]byte("m"), 5<<10)...)
	joins := make([]waited[kmsg.JoinGroupResponse], n)
	for i := range joins {
		joins[i] = wait[kmsg.JoinGroupResponse]()
		e.groups.Join(Client{ID: "c", Host: "/h"}, request(func(r *kmsg.JoinGroupRequest) {
			r.Version, r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = 3, 600_000, 600_000
			r.Protocols[0].Metadata = subscription
		}), joins[i].done())
	}
	start := time.Now()
	ids, leader, generation := make([]string, n), 0, int32(0)
	for i, w := range joins {
		resp := w.get(t, "join")
		if resp.ErrorCode != 0 {
			t.Fatalf("join: %+v", resp)
		}
		if ids[i], generation = resp.MemberID, resp.Generation; resp.LeaderID == resp.MemberID {
			if leader = i; len(resp.Members) != n || !bytes.Equal(resp.Members[n-1].ProtocolMetadata, subscription) {
				t.Fatalf("the leader was told of %d members", len(resp.Members))
			}
		}
	}
	t.Logf("joined after %v", time.Since(start))
	share := func(i int) []byte { return bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 4<<10) }
	sync := func(i int, assign bool) waited[kmsg.SyncGroupResponse] {
		req := kmsg.NewPtrSyncGroupRequest()
		req.Version, req.Group, req.MemberID, req.Generation = 5, "g", ids[i], generation
		for j := range ids {
			if assign {
				req.GroupAssignment = append(req.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: ids[j], MemberAssignment: share(j)})
			}
		}
		w := wait[kmsg.SyncGroupResponse]()
		e.groups.Sync(Client{}, req, w.done())
		return w
	}
	start = time.Now()
	syncs := make([]waited[kmsg.SyncGroupResponse], n)
	for i := range syncs {
		syncs[i] = sync(i, i == leader)
	}
	for i, w := range syncs {
		if resp := w.get(t, "sync"); resp.ErrorCode != 0 || !bytes.Equal(resp.MemberAssignment, share(i)) {
			t.Fatalf("member %d: error %d, %d bytes", i, resp.ErrorCode, len(resp.MemberAssignment))
		}
	}
	t.Logf("assigned after %v", time.Since(start))

	start = time.Now()
	e.restart()
	t.Logf("loaded after %v", time.Since(start))
	for i := range ids {
		req := kmsg.NewPtrHeartbeatRequest()
		req.Group, req.MemberID, req.Generation = "g", ids[i], generation
		w := wait[kmsg.HeartbeatResponse]()
		e.groups.Heartbeat(req, w.done())
		if resp := w.get(t, "heartbeat"); resp.ErrorCode != 0 {
			t.Fatalf("member %d after a restart of the coordinator: error %d", i, resp.ErrorCode)
		}
		if resp := sync(i, false).get(t, "sync"); !bytes.Equal(resp.MemberAssignment, share(i)) {
			t.Fatalf("member %d after a restart of the coordinator: error %d, %d bytes", i, resp.ErrorCode, len(resp.MemberAssignment))
		}
	}
}

// 3,000 partitions in one commit, of one topic with as much metadata as is allowed and of as many topics.
func TestLargeCommitOnEtcd(t *testing.T) {
	const n = 3000
	e := startOnEtcd(t)
	var commits []Commit
	note := strings.Repeat("n", 4096)
	for i := range int32(n) {
		commits = append(commits,
			Commit{Partition: topic.Partition{ID: topic.ID{1}, Index: i}, Offset: int64(i), LeaderEpoch: 1, Metadata: note},
			Commit{Partition: topic.Partition{ID: topic.ID{2, byte(i), byte(i >> 8)}}, Offset: int64(i), LeaderEpoch: 2})
	}
	start := time.Now()
	w := wait[Committed]()
	e.groups.Commit(Committer{Group: "g", Generation: -1}, commits, w.done())
	got := w.get(t, "commit")
	t.Logf("committed after %v", time.Since(start))
	if got.Err != nil || len(got.Codes) != len(commits) {
		t.Fatalf("%+v", got)
	}
	for i, code := range got.Codes {
		if code != 0 {
			t.Fatalf("commit %d: error %d", i, code)
		}
	}
	start = time.Now()
	e.restart()
	t.Logf("loaded after %v", time.Since(start))
	want := make([]topic.Partition, len(commits))
	for i, c := range commits {
		want[i] = c.Partition
	}
	f := wait[[]Fetched]()
	e.groups.Offsets("g", want, false, f.done())
	for i, o := range *f.get(t, "fetch") {
		if c := commits[i]; o != Fetched(c) {
			t.Fatalf("fetched %v %d, committed %d", o.Partition, o.Offset, c.Offset)
		}
	}
	d := wait[Committed]()
	e.groups.Delete("g", d.done())
	if got := d.get(t, "delete"); got.Err != nil {
		t.Fatal(got.Err)
	}
	e.restart()
	f = wait[[]Fetched]()
	e.groups.Offsets("g", nil, true, f.done())
	if got := *f.get(t, "fetch"); len(got) != 0 {
		t.Errorf("%d commits of a deleted group", len(got))
	}
}
