package api

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/coordinator"
	"firn/broker/wire"
	"firn/broker/wire/wiretest"
	"firn/metadata"
	"firn/metadata/topic"
)

// newGroups returns a cluster in which broker 2 coordinates all groups, with a topic "t" of one partition.
func newGroups(t *testing.T) *cluster {
	c := newCluster(t)
	lease := c.addBroker(2, metadata.Listener{Name: "PLAINTEXT", Host: "two", Port: 9092})
	c.addTopic("t", 1, 2)
	var ops []metadata.Op
	for n := range c.store.Image().Shards(metadata.GroupShard) {
		ops = append(ops, c.store.Keys().PutShardOwner(metadata.GroupShard, n, &metadata.ShardOwner{Broker: 2, BrokerEpoch: lease.Epoch()}))
	}
	c.write(ops...)
	c.api = New(Deps{Groups: GroupDeps{Coordinator: c.openGroups(lease), Image: c.store.Image}, Logger: discardLogger})
	loaded := make(chan error, 1)
	for err := coordinator.ErrLoading; errors.Is(err, coordinator.ErrLoading); err = <-loaded {
		c.api.groups.Coordinator.List(nil, nil, func(_ *[]kmsg.ListGroupsResponseGroup, err error) { loaded <- err })
	}
	return c
}

// groupClient makes group requests as a client of some age does: each at the highest version up to max.
type groupClient struct {
	t   *testing.T
	c   *cluster
	max int16
	id  topic.ID // of topic "t"
}

func newGroupClient(t *testing.T, c *cluster, max int16) *groupClient {
	tp, ok := c.store.Image().Topic("t")
	if !ok {
		t.Fatal("no topic")
	}
	return &groupClient{t, c, max, tp.ID}
}

// ask sends a request at the client's version of it.
func ask[R kmsg.Response](g *groupClient, req kmsg.Request) R {
	g.t.Helper()
	for _, s := range Versions() {
		if s.Key.Int16() == req.Key() {
			req.SetVersion(max(s.Min, min(s.Max, g.max)))
		}
	}
	return call[R](g.t, g.c.api, req)
}

func joinRequest(member string) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.ProtocolType, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = "g", member, "consumer", 30_000, 30_000
	meta := kmsg.NewConsumerMemberMetadata()
	meta.Topics = []string{"t"}
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: meta.AppendTo(nil)}}
	return req
}

// join joins alone and takes the assignment "mine".
func (g *groupClient) join() (member string, generation int32) {
	g.t.Helper()
	resp := ask[*kmsg.JoinGroupResponse](g, joinRequest(""))
	if g.max >= 4 {
		wantCode(g.t, "first join", resp.ErrorCode, kerr.MemberIDRequired)
		resp = ask[*kmsg.JoinGroupResponse](g, joinRequest(resp.MemberID))
	}
	wantCode(g.t, "join", resp.ErrorCode, nil)
	if len(resp.Members) != 1 || resp.LeaderID != resp.MemberID || *resp.Protocol != "range" || g.max >= 7 && *resp.ProtocolType != "consumer" {
		g.t.Errorf("v%d join: %+v", g.max, resp)
	}
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group, sync.MemberID, sync.Generation = "g", resp.MemberID, resp.Generation
	sync.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: resp.MemberID, MemberAssignment: []byte("mine")}}
	if got := ask[*kmsg.SyncGroupResponse](g, sync); got.ErrorCode != 0 || string(got.MemberAssignment) != "mine" {
		g.t.Errorf("v%d sync: %+v", g.max, got)
	}
	return resp.MemberID, resp.Generation
}

// commit commits an offset of partition 0 of "t" and of partitions and topics that do not exist, and
// returns the codes.
func (g *groupClient) commit(member string, generation int32, offset int64) []int16 {
	g.t.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.MemberID, req.Generation = "g", member, generation
	part := func(p int32) kmsg.OffsetCommitRequestTopicPartition {
		rp := kmsg.NewOffsetCommitRequestTopicPartition()
		rp.Partition, rp.Offset, rp.LeaderEpoch, rp.Metadata = p, offset, 3, ptr("note")
		return rp
	}
	req.Topics = []kmsg.OffsetCommitRequestTopic{
		{Topic: "t", TopicID: g.id, Partitions: []kmsg.OffsetCommitRequestTopicPartition{part(0), part(1), part(-1)}},
		{Topic: "none", TopicID: topic.ID{9}, Partitions: []kmsg.OffsetCommitRequestTopicPartition{part(0)}},
	}
	var codes []int16
	for _, t := range ask[*kmsg.OffsetCommitResponse](g, req).Topics {
		for _, p := range t.Partitions {
			codes = append(codes, p.ErrorCode)
		}
	}
	return codes
}

// fetched is one partition of an OffsetFetch of any version.
type fetched struct {
	code     int16
	offset   int64
	epoch    int32
	metadata string
}

// fetch fetches partitions 0 and 1 of "t" and 0 of a topic that does not exist, or with all what there is.
func (g *groupClient) fetch(all bool) (whole int16, out []fetched) {
	g.t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	rg := kmsg.NewOffsetFetchRequestGroup()
	req.Group, rg.Group = "g", "g"
	if !all {
		req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0, 1}}, {Topic: "none", Partitions: []int32{0}}}
		rg.Topics = []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", TopicID: g.id, Partitions: []int32{0, 1}}, {Topic: "none", TopicID: topic.ID{9}, Partitions: []int32{0}}}
	}
	req.Groups = []kmsg.OffsetFetchRequestGroup{rg}
	resp := ask[*kmsg.OffsetFetchResponse](g, req)
	str := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			out = append(out, fetched{code: p.ErrorCode, offset: p.Offset, epoch: p.LeaderEpoch, metadata: str(p.Metadata)})
		}
	}
	whole = resp.ErrorCode
	for _, rg := range resp.Groups {
		whole = rg.ErrorCode
		for _, t := range rg.Topics {
			for _, p := range t.Partitions {
				out = append(out, fetched{code: p.ErrorCode, offset: p.Offset, epoch: p.LeaderEpoch, metadata: str(p.Metadata)})
			}
		}
	}
	return whole, out
}

// wantNothing checks that a fetch of named partitions finds no commit.
func (g *groupClient) wantNothing(what string) {
	g.t.Helper()
	whole, got := g.fetch(false)
	if whole != 0 || len(got) != 3 {
		g.t.Fatalf("%s, v%d: %d, %+v", what, g.max, whole, got)
	}
	for i, p := range got {
		code := int16(0)
		if i == 2 && g.max >= 10 {
			code = kerr.UnknownTopicID.Code
		}
		if p.offset != -1 || p.epoch != -1 || p.code != code {
			g.t.Errorf("%s, v%d: %+v", what, g.max, p)
		}
	}
	if whole, got := g.fetch(true); g.max >= 2 && (whole != 0 || len(got) != 0) {
		g.t.Errorf("%s, v%d, all: %d, %+v", what, g.max, whole, got)
	}
}

// A group's whole life, at every version of every request.
func TestGroupLifeByVersion(t *testing.T) {
	c := newGroups(t)
	for v := int16(0); v <= 10; v++ {
		g := newGroupClient(t, c, v)
		g.findCoordinator()
		g.wantNothing("before")
		member, gen := g.join()
		hb := kmsg.NewPtrHeartbeatRequest()
		hb.Group, hb.MemberID, hb.Generation = "g", member, gen
		wantCode(t, "heartbeat", ask[*kmsg.HeartbeatResponse](g, hb).ErrorCode, nil)
		unknown := kerr.UnknownTopicOrPartition
		if v >= 10 {
			unknown = kerr.UnknownTopicID
		}
		wantCodes(t, g.commit(member, gen, 42), nil, kerr.UnknownTopicOrPartition, kerr.UnknownTopicOrPartition, unknown)
		wantCodes(t, g.commit(member, gen+1, 43), kerr.IllegalGeneration, kerr.UnknownTopicOrPartition, kerr.UnknownTopicOrPartition, unknown)
		epoch := int32(-1)
		if v >= 6 {
			epoch = 3
		}
		if whole, got := g.fetch(false); whole != 0 || got[0].offset != 42 || got[0].metadata != "note" || v >= 5 && got[0].epoch != epoch || got[1].offset != -1 || got[2].offset != -1 {
			t.Errorf("v%d fetch: %d, %+v", v, whole, got)
		}
		if whole, got := g.fetch(true); v >= 2 && (whole != 0 || len(got) != 1 || got[0].offset != 42) {
			t.Errorf("v%d fetch of all: %d, %+v", v, whole, got)
		}
		g.describe("Stable")
		g.leave(member)
		g.describe("Empty")
		g.delete()
		g.wantNothing("after")
	}
}

func (g *groupClient) findCoordinator() {
	g.t.Helper()
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKey, req.CoordinatorKeys = "g", []string{"g", "", "other"}
	resp := ask[*kmsg.FindCoordinatorResponse](g, req)
	found := resp.Coordinators
	if g.max < 4 {
		found = []kmsg.FindCoordinatorResponseCoordinator{{ErrorCode: resp.ErrorCode, NodeID: resp.NodeID, Host: resp.Host, Port: resp.Port}}
	} else if len(found) != 3 {
		g.t.Fatalf("found %+v", found)
	}
	for _, f := range found {
		if f.ErrorCode != 0 || f.NodeID != 2 || f.Port != 9092 || f.Host != "two" {
			g.t.Errorf("v%d found %+v", g.max, f)
		}
	}
}

func (g *groupClient) describe(state string) {
	g.t.Helper()
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups, req.IncludeAuthorizedOperations = []string{"g", "unknown"}, true
	resp := ask[*kmsg.DescribeGroupsResponse](g, req)
	if len(resp.Groups) != 2 {
		g.t.Fatalf("v%d described %+v", g.max, resp.Groups)
	}
	if d := resp.Groups[0]; d.State != state || d.ErrorCode != 0 || d.ProtocolType != "consumer" || (len(d.Members) == 1) != (state == "Stable") ||
		g.max >= 3 && d.AuthorizedOperations != groupOperations {
		g.t.Errorf("v%d described %+v", g.max, d)
	} else if state == "Stable" && (string(d.Members[0].MemberAssignment) != "mine" || d.Members[0].ClientHost != "/127.0.0.1" || d.Members[0].ClientID != "test") {
		g.t.Errorf("v%d member %+v", g.max, d.Members[0])
	}
	wantUnknown := int16(0)
	if g.max >= 6 {
		wantUnknown = kerr.GroupIDNotFound.Code
	}
	if d := resp.Groups[1]; d.State != "Dead" || d.ErrorCode != wantUnknown {
		g.t.Errorf("v%d described %+v", g.max, d)
	}
	list := kmsg.NewPtrListGroupsRequest()
	list.StatesFilter, list.TypesFilter = []string{"stable", "EMPTY"}, []string{"Classic"}
	got := ask[*kmsg.ListGroupsResponse](g, list)
	if got.ErrorCode != 0 || len(got.Groups) != 1 || got.Groups[0].Group != "g" || g.max >= 4 && got.Groups[0].GroupState != state || g.max >= 5 && got.Groups[0].GroupType != "classic" {
		g.t.Errorf("v%d listed %+v", g.max, got)
	}
	list.StatesFilter = []string{"Dead"}
	if got := ask[*kmsg.ListGroupsResponse](g, list); g.max >= 4 && len(got.Groups) != 0 {
		g.t.Errorf("v%d listed dead groups %+v", g.max, got.Groups)
	}
}

func (g *groupClient) leave(member string) {
	g.t.Helper()
	for _, group := range []string{"unknown", "g"} {
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Group, req.MemberID = group, member
		req.Members = []kmsg.LeaveGroupRequestMember{{MemberID: member}}
		resp := ask[*kmsg.LeaveGroupResponse](g, req)
		code := resp.ErrorCode
		if g.max >= 3 {
			wantCode(g.t, "leave as a whole", code, nil)
			code = resp.Members[0].ErrorCode
		}
		if group == "g" {
			wantCode(g.t, "leave", code, nil)
		} else {
			wantCode(g.t, "leave of an unknown group", code, kerr.UnknownMemberID)
		}
	}
}

func (g *groupClient) delete() {
	g.t.Helper()
	del := kmsg.NewPtrOffsetDeleteRequest()
	del.Group = "g"
	del.Topics = []kmsg.OffsetDeleteRequestTopic{
		{Topic: "t", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}, {Partition: 1}}},
		{Topic: "none", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}},
	}
	resp := ask[*kmsg.OffsetDeleteResponse](g, del)
	wantCode(g.t, "offset delete", resp.ErrorCode, nil)
	wantCodes(g.t, []int16{resp.Topics[0].Partitions[0].ErrorCode, resp.Topics[0].Partitions[1].ErrorCode, resp.Topics[1].Partitions[0].ErrorCode},
		nil, kerr.UnknownTopicOrPartition, kerr.UnknownTopicOrPartition)
	req := kmsg.NewPtrDeleteGroupsRequest()
	req.Groups = []string{"g", "unknown"}
	groups := ask[*kmsg.DeleteGroupsResponse](g, req).Groups
	wantCodes(g.t, []int16{groups[0].ErrorCode, groups[1].ErrorCode}, nil, kerr.GroupIDNotFound)
	del.Group = "unknown"
	if resp := ask[*kmsg.OffsetDeleteResponse](g, del); resp.ErrorCode != kerr.GroupIDNotFound.Code || len(resp.Topics) != 0 {
		g.t.Errorf("offset delete of an unknown group: %+v", resp)
	}
}

// An error of the coordinator must not look like a group without commits to any client, also to one that
// only looks at partitions.
func TestFailedOffsetFetchShowsNoOffsets(t *testing.T) {
	c := newGroups(t)
	c.api.groups.Coordinator.Close()
	for v := int16(1); v <= 10; v++ {
		g := newGroupClient(t, c, v)
		for _, all := range []bool{false, true} {
			if v == 1 && all {
				continue
			}
			whole, got := g.fetch(all)
			if v >= 2 && (whole != kerr.NotCoordinator.Code || len(got) != 0) {
				t.Errorf("v%d: %d, %+v", v, whole, got)
			}
			for _, p := range got {
				wantCode(t, "partition", p.code, kerr.NotCoordinator)
			}
			if v == 1 && len(got) != 3 {
				t.Errorf("v1: %+v", got)
			}
		}
		wantCodes(t, g.commit("", -1, 1)[:1], kerr.NotCoordinator)
		hb := kmsg.NewPtrHeartbeatRequest()
		hb.Group = "g"
		wantCode(t, "heartbeat", ask[*kmsg.HeartbeatResponse](g, hb).ErrorCode, kerr.NotCoordinator)
		if resp := ask[*kmsg.JoinGroupResponse](g, joinRequest("m")); resp.ErrorCode != kerr.NotCoordinator.Code || resp.MemberID != "m" || resp.Generation != -1 {
			t.Errorf("join: %+v", resp)
		}
		if resp := ask[*kmsg.ListGroupsResponse](g, kmsg.NewPtrListGroupsRequest()); resp.ErrorCode != 0 || len(resp.Groups) != 0 {
			t.Errorf("list: %+v", resp)
		}
	}
}

// A coordinator that cannot be sure of its memory for now is asked again by every client. At COORDINATOR_NOT_AVAILABLE older
// sarama gives up when it joins, the Java client before 3.9 in OffsetFetch, after which librdkafka reads the partitions no more.
func TestMembersAskAgainWhileTheCoordinatorIsUnsure(t *testing.T) {
	c := newGroups(t)
	member, generation := newGroupClient(t, c, 9).join()
	c.over.Store(true)
	for v := int16(1); v <= 10; v++ {
		g := newGroupClient(t, c, v)
		whole, got := g.fetch(false)
		if v == 1 {
			whole = got[0].code
		}
		wantCode(t, "offset fetch", whole, kerr.CoordinatorLoadInProgress)
		sync := kmsg.NewPtrSyncGroupRequest()
		sync.Group, sync.MemberID, sync.Generation = "g", member, generation
		wantCode(t, "sync", ask[*kmsg.SyncGroupResponse](g, sync).ErrorCode, kerr.RebalanceInProgress)
		if v >= 4 {
			wantCode(t, "join", ask[*kmsg.JoinGroupResponse](g, joinRequest("")).ErrorCode, kerr.CoordinatorLoadInProgress)
		}
	}
}

func TestEmptyListOfTopicsIsNotAll(t *testing.T) {
	c := newGroups(t)
	g := newGroupClient(t, c, 10)
	wantCodes(t, g.commit("", -1, 1)[:1], nil)
	for v := int16(2); v <= 10; v++ {
		req := kmsg.NewPtrOffsetFetchRequest()
		rg := kmsg.NewOffsetFetchRequestGroup()
		req.Group, rg.Group, req.Topics, rg.Topics = "g", "g", []kmsg.OffsetFetchRequestTopic{}, []kmsg.OffsetFetchRequestGroupTopic{}
		req.Groups = []kmsg.OffsetFetchRequestGroup{rg}
		req.Version = v
		resp := call[*kmsg.OffsetFetchResponse](t, c.api, req)
		if len(resp.Topics) != 0 || v >= 8 && len(resp.Groups[0].Topics) != 0 {
			t.Errorf("v%d: %+v", v, resp)
		}
	}
}

func TestFindCoordinatorRefusals(t *testing.T) {
	c := newGroups(t)
	for v := int16(1); v <= 6; v++ {
		find := func(kind int8) (int16, *string, int32) {
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.Version, req.CoordinatorType, req.CoordinatorKey, req.CoordinatorKeys = v, kind, "x", []string{"x"}
			resp := call[*kmsg.FindCoordinatorResponse](t, c.api, req)
			if v >= 4 {
				return resp.Coordinators[0].ErrorCode, resp.Coordinators[0].ErrorMessage, resp.Coordinators[0].NodeID
			}
			return resp.ErrorCode, resp.ErrorMessage, resp.NodeID
		}
		for kind, want := range map[int8]*kerr.Error{coordinatorTxn: kerr.TransactionalIDAuthorizationFailed, 2: kerr.InvalidRequest, 9: kerr.InvalidRequest} {
			code, msg, node := find(kind)
			wantCode(t, "kind", code, want)
			if want.Retriable || msg == nil || node != -1 {
				t.Errorf("v%d kind %d: %v, node %d", v, kind, msg, node)
			}
		}
	}
	keys := c.store.Keys()
	c.write(keys.PutShardOwner(metadata.GroupShard, c.api.groups.Coordinator.Shard("g"), &metadata.ShardOwner{Broker: 77}))
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.Version, req.CoordinatorKeys = 6, []string{"g", "h"}
	found := call[*kmsg.FindCoordinatorResponse](t, c.api, req).Coordinators
	wantCodes(t, []int16{found[0].ErrorCode, found[1].ErrorCode}, kerr.CoordinatorNotAvailable, nil)
	conn := wiretest.NewConn(t)
	conn.Listener = "OTHER"
	found = callOn(t, c.api, conn, req).Response.(*kmsg.FindCoordinatorResponse).Coordinators
	wantCode(t, "on a listener the owner does not have", found[1].ErrorCode, kerr.CoordinatorNotAvailable)
}

// What parks gives back what it was charged for.
func TestParkedJoinHoldsNoMemory(t *testing.T) {
	c := newGroups(t)
	newGroupClient(t, c, 9).join() // who will not join again for as long as this takes
	budget := wire.NewBudget(1 << 30)
	req := joinRequest("")
	req.Version = 3
	big := kmsg.JoinGroupRequestProtocol{Name: "other", Metadata: make([]byte, 300_000)}
	req.Protocols = append(req.Protocols, big)
	raw := kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)[4:]
	lease := budget.Lease(nil)
	if err := lease.Grow(len(raw)); err != nil {
		t.Fatal(err)
	}
	buf := wire.NewBuffer(len(raw))
	copy(buf.B, raw)
	sink := wiretest.NewSink()
	r, err := wire.ParseRequest(wiretest.NewConn(t), buf, lease, sink)
	if err != nil {
		t.Fatal(err)
	}
	c.api.Serve(r)
	// The loop has parked it once it has answered the next question about the group.
	newGroupClient(t, c, 9).describe0()
	if used := budget.Used(); used != 0 {
		t.Errorf("%d bytes are charged while the join is parked", used)
	}
	select {
	case out := <-sink.Outcomes:
		t.Fatalf("it was answered: %+v", out)
	default:
	}
	c.api.groups.Coordinator.Close()
	select {
	case out := <-sink.Outcomes:
		wantCode(t, "join", out.Response.(*kmsg.JoinGroupResponse).ErrorCode, kerr.NotCoordinator)
	case <-time.After(callTimeout):
		t.Fatal("no answer")
	}
}

func (g *groupClient) describe0() {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{"g"}
	ask[*kmsg.DescribeGroupsResponse](g, req)
}

func TestErrorsOfTheCoordinatorAreRetriable(t *testing.T) {
	for _, err := range []error{coordinator.ErrNotCoordinator, coordinator.ErrLoading, coordinator.ErrBusy, coordinator.ErrUnavailable} {
		if e := kafkaError(err); !e.Retriable {
			t.Errorf("%v is %v, which clients give up at", err, e)
		}
	}
}

// The Java client ends with an error that its application sees at any other answer to Heartbeat.
func TestErrorsThatEveryMemberExpects(t *testing.T) {
	for _, err := range []error{coordinator.ErrNotCoordinator, coordinator.ErrBusy, coordinator.ErrUnavailable} {
		if c := code(err); c != kerr.CoordinatorNotAvailable.Code && c != kerr.NotCoordinator.Code {
			t.Errorf("%v is %v", err, kerr.ErrorForCode(c))
		}
	}
}

// While a shard is being loaded, members are told that all is well, those in a rebalance to join again, and everyone
// else to ask again.
func TestAnswersWhileLoading(t *testing.T) {
	c := newCluster(t)
	lease := c.addBroker(2, metadata.Listener{Name: "PLAINTEXT", Host: "two", Port: 9092})
	for n := range c.store.Image().Shards(metadata.GroupShard) {
		c.write(c.store.Keys().PutShardOwner(metadata.GroupShard, n, &metadata.ShardOwner{Broker: 2, BrokerEpoch: lease.Epoch()}))
	}
	c.kv.Cut(true)
	defer c.kv.Cut(false)
	c.api = New(Deps{Groups: GroupDeps{Coordinator: c.openGroups(lease), Image: c.store.Image}, Logger: discardLogger})
	g := &groupClient{t, c, 9, topic.ID{}}
	hb := kmsg.NewPtrHeartbeatRequest()
	hb.Group, hb.MemberID, hb.Generation = "g", "m", 3
	wantCode(t, "heartbeat", ask[*kmsg.HeartbeatResponse](g, hb).ErrorCode, nil)
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group, sync.MemberID, sync.Generation = "g", "m", 3
	wantCode(t, "sync", ask[*kmsg.SyncGroupResponse](g, sync).ErrorCode, kerr.RebalanceInProgress)
	wantCode(t, "join", ask[*kmsg.JoinGroupResponse](g, joinRequest("m")).ErrorCode, kerr.CoordinatorLoadInProgress)
	wantCode(t, "list", ask[*kmsg.ListGroupsResponse](g, kmsg.NewPtrListGroupsRequest()).ErrorCode, kerr.CoordinatorLoadInProgress)
}

// A client of old says for how long its offsets are kept, if only by a number that it takes for ever.
func TestRetentionTimeOfACommit(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		millis int64
		want   time.Time
	}{{-1, time.Time{}}, {0, now}, {60_000, now.Add(time.Minute)}} {
		if got := expires(now, c.millis); !got.Equal(c.want) {
			t.Errorf("%d ms: %v, want %v", c.millis, got, c.want)
		}
	}
	if got := expires(now, math.MaxInt64); got.Before(now.AddDate(290, 0, 0)) {
		t.Errorf("for ever: until %v", got)
	}
	if by := kmsg.NewOffsetCommitRequest(); !expires(now, by.RetentionTimeMillis).IsZero() {
		t.Error("versions without a retention time have one")
	}
}
