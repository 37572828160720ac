package api

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/partition"
	"firn/broker/quota"
	"firn/broker/wire/wiretest"
	"firn/metadata/topic"
)

// followed is a data test in which broker 3 has a replica of both partitions of "a".
func followed(t *testing.T) *dataTest {
	d := newDataTest(t)
	for i := range int32(2) {
		r := d.set.Get(topic.Partition{ID: d.ids["a"], Index: i})
		if err := r.BecomeLeader(partition.State{Leader: 1, LeaderEpoch: 5, Rev: 2, Replicas: []int32{1, 3}, ISR: []int32{1}}); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// followerRequest is a fetch of broker 3.
func (d *dataTest) followerRequest(session, epoch int32, wait time.Duration, parts ...any) *kmsg.FetchRequest {
	req := d.fetchRequest(17, parts...)
	req.SessionID, req.SessionEpoch = session, epoch
	req.ReplicaState.ID, req.ReplicaState.Epoch = 3, 33
	req.MaxWaitMillis, req.MinBytes = int32(wait.Milliseconds()), 1
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			req.Topics[i].Partitions[j].CurrentLeaderEpoch = 5
		}
	}
	return req
}

func TestFollowerIsToldOnceOfAPartition(t *testing.T) {
	d := followed(t)
	d.leave("a", 0)
	first := call[*kmsg.FetchResponse](t, d.api, d.followerRequest(0, 0, 0, "a", 0, 0, "a", 1, 7))
	id := first.SessionID
	if id == 0 || len(parts(first)) != 2 || len(parts(first)[0].RecordBatches) == 0 || parts(first)[1].ErrorCode != kerr.OffsetOutOfRange.Code {
		t.Fatalf("%+v", first)
	}
	if r := call[*kmsg.FetchResponse](t, d.api, d.followerRequest(id, 1, 0)); len(parts(r)) != 0 {
		t.Errorf("told twice: %v", parts(r))
	}
	r := call[*kmsg.FetchResponse](t, d.api, d.followerRequest(id, 2, 0, "a", 0, 1, "a", 1, 0))
	for _, p := range parts(r) {
		if p.ErrorCode != 0 || len(p.RecordBatches) > 0 {
			t.Errorf("named again: %+v", p)
		}
	}
	d.leave("a", 0)
	if r := call[*kmsg.FetchResponse](t, d.api, d.followerRequest(id, 3, 0)); !slices.Equal(indexes(r), []int32{0}) {
		t.Errorf("new records: %v", parts(r))
	}
	client := d.fetchRequest(17)
	client.SessionID, client.SessionEpoch = id, 4
	if r := call[*kmsg.FetchResponse](t, d.api, client); r.ErrorCode == 0 {
		t.Error("a client took a follower's session over")
	}
}

// A follower that names a partition again while a fetch that reads it waits has it read as it is named now, also where that fetch took
// the naming for its own: the leader must hear where the follower's log starts.
func TestPartitionNamedAgainWhileItIsReadIsReadAgain(t *testing.T) {
	d := followed(t)
	id := call[*kmsg.FetchResponse](t, d.api, d.followerRequest(0, 0, 0, "a", 0, 0, "a", 1, 0)).SessionID
	s := newSessionTest(t, d)
	s.id = id
	waits := d.followerRequest(id, 1, time.Hour, "a", 0, 0)
	s.api.Serve(wiretest.NewRequest(t, s.conn, s.sink, waits))
	sess := d.api.data.sessions.byID[id]
	next := d.followerRequest(id, 2, 0, "a", 0, 0) // but for the log start, as before
	if err := sess.resume(next); err != nil {      // the request that waits is first to see it
		t.Fatal(err)
	}
	s.receive()
	if n := s.due(); n != 1 {
		t.Errorf("%d partitions are read by the request that named one", n)
	}
}

// A follower passes over what it is told of a partition while it goes to another leader epoch. It names the partition again
// then, and must hear of the high watermark, though that stands where it stood.
func TestFollowerHearsOfTheHighWatermarkAgain(t *testing.T) {
	d := followed(t)
	d.leave("a", 0)
	first := call[*kmsg.FetchResponse](t, d.api, d.followerRequest(0, 0, 0, "a", 0, 1))
	if p := parts(first); len(p) != 1 || p[0].HighWatermark != 1 {
		t.Fatalf("%+v", first)
	}
	if r := call[*kmsg.FetchResponse](t, d.api, d.followerRequest(first.SessionID, 1, 0)); len(parts(r)) != 0 {
		t.Errorf("not named: %+v", parts(r))
	}
	r := call[*kmsg.FetchResponse](t, d.api, d.followerRequest(first.SessionID, 2, 0, "a", 0, 1))
	if p := parts(r); len(p) != 1 || p[0].HighWatermark != 1 {
		t.Errorf("named again: %+v", p)
	}
}

func TestFollowersNextRequestEndsTheWaitOfItsLast(t *testing.T) {
	d := followed(t)
	id := call[*kmsg.FetchResponse](t, d.api, d.followerRequest(0, 0, 0, "a", 0, 0)).SessionID
	conn, sink := wiretest.NewConn(t), wiretest.NewSink()
	send := func(req kmsg.Request) { d.api.Serve(wiretest.NewRequest(t, conn, sink, req)) }
	answer := func() *kmsg.FetchResponse {
		select {
		case out := <-sink.Outcomes:
			return out.Response.(*kmsg.FetchResponse)
		case <-time.After(callTimeout):
			t.Fatal("no answer")
			return nil
		}
	}
	send(d.followerRequest(id, 1, time.Hour))
	select {
	case out := <-sink.Outcomes:
		t.Fatalf("%+v", out)
	default:
	}
	send(d.followerRequest(id, 2, time.Hour, "a", 1, 0))
	if r := answer(); r.ErrorCode != 0 || len(parts(r)) != 0 {
		t.Fatalf("the first request: %+v", r)
	}
	d.leave("a", 1)
	if r := answer(); !slices.Contains(indexes(r), 1) {
		t.Fatalf("the second request: %+v", r)
	}
}

// A partition that the leader's throttle holds back does not keep the others of its session, and is read once there is
// room, though the follower does not name it again.
func TestThrottledPartitionStaysDueInItsSession(t *testing.T) {
	d := followed(t)
	r := d.set.Get(topic.Partition{ID: d.ids["a"], Index: 0})
	c, err := topic.ParseConfig(map[string]string{"leader.replication.throttled.replicas": "*"}, topic.Defaults{})
	if err != nil {
		t.Fatal(err)
	}
	r.SetConfig(c)
	d.throttle.Set(0, time.Now())
	d.leave("a", 0)
	first := call[*kmsg.FetchResponse](t, d.api, d.followerRequest(0, 0, 0, "a", 0, 0, "a", 1, 0))
	for _, p := range parts(first) {
		if p.ErrorCode != 0 || len(p.RecordBatches) > 0 {
			t.Fatalf("at a rate of 0: %+v", p)
		}
	}
	d.leave("a", 1)
	second := call[*kmsg.FetchResponse](t, d.api, d.followerRequest(first.SessionID, 1, time.Hour))
	if !slices.Equal(indexes(second), []int32{1}) || len(parts(second)[0].RecordBatches) == 0 {
		t.Fatalf("the other one: %+v", parts(second))
	}
	third := d.followerRequest(first.SessionID, 2, time.Hour, "a", 1, 1)
	d.throttle.Set(quota.Unlimited, time.Now())
	r3 := parts(call[*kmsg.FetchResponse](t, d.api, third))
	if i := slices.IndexFunc(r3, func(p kmsg.FetchResponseTopicPartition) bool { return p.Partition == 0 }); i < 0 || len(r3[i].RecordBatches) == 0 {
		t.Errorf("with room again: %+v", r3)
	}
}

func TestFollowersSessionTakesAClientsPlace(t *testing.T) {
	c := newSessionCache(1)
	if s, _ := c.begin(sessionRequest(5)); s == nil {
		t.Fatal("no session")
	}
	req := sessionRequest(1)
	req.ReplicaID = 3
	if s, _ := c.begin(req); s == nil {
		t.Fatal("a follower got no session")
	}
	if s, _ := c.begin(sessionRequest(5)); s != nil {
		t.Error("a client took a follower's place")
	}
	if c.len() != 1 {
		t.Errorf("%d sessions", c.len())
	}
}

// Anybody may say that it is a broker. Only one that is registered as it says gets a session where no client would.
func TestSessionsOfStrangersAreBounded(t *testing.T) {
	d := newDataTest(t, func(deps *DataDeps) { deps.FetchSessions = 2 })
	ask := func(epoch int64) int32 {
		req := d.followerRequest(0, 0, 0, "a", 0, 0)
		req.ReplicaState.Epoch = epoch
		return call[*kmsg.FetchResponse](t, d.api, req).SessionID
	}
	for range 5 {
		ask(34)
	}
	if n := d.api.data.sessions.len(); n > 2 {
		t.Errorf("%d sessions in 2 slots", n)
	}
	for i := range 3 {
		if ask(33) == 0 {
			t.Errorf("request %d of a broker: no session", i)
		}
	}
}

// leave appends a record that only the leader need have.
func (d *dataTest) leave(name string, index int) {
	d.t.Helper()
	resp := call[*kmsg.ProduceResponse](d.t, d.api, d.produceRequest(9, 1, oneBatch(d.t, 1, []byte("k")), name, index))
	if c := resp.Topics[0].Partitions[0].ErrorCode; c != 0 {
		d.t.Fatal(kerr.ErrorForCode(c))
	}
}

// A follower that holds itself back withdraws what it has asked for. A request that then asks for nothing is kept all the
// same, or it would come again and again, and what is withdrawn is not sent before it is named anew.
func TestFollowerWithdrawsWhatItAskedFor(t *testing.T) {
	d := followed(t)
	id := call[*kmsg.FetchResponse](t, d.api, d.followerRequest(0, 0, 0, "a", 0, 0)).SessionID
	conn, sink := wiretest.NewConn(t), wiretest.NewSink()
	withdrawal := d.followerRequest(id, 1, time.Hour)
	withdrawal.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{TopicID: d.ids["a"], Partitions: []int32{0}}}
	d.api.Serve(wiretest.NewRequest(t, conn, sink, withdrawal))
	d.leave("a", 0)
	select {
	case out := <-sink.Outcomes:
		t.Fatalf("%+v", out)
	default:
	}
	d.api.Serve(wiretest.NewRequest(t, conn, sink, d.followerRequest(id, 2, 0))) // ends the wait
	for i := range 2 {
		select {
		case out := <-sink.Outcomes:
			if r := out.Response.(*kmsg.FetchResponse); r.ErrorCode != 0 || len(parts(r)) > 0 {
				t.Errorf("request %d: %+v", i+1, r)
			}
		case <-time.After(callTimeout):
			t.Fatal("no answer")
		}
	}
	r := call[*kmsg.FetchResponse](t, d.api, d.followerRequest(id, 3, 0, "a", 0, 0))
	if !slices.Equal(indexes(r), []int32{0}) || len(parts(r)[0].RecordBatches) == 0 {
		t.Errorf("named anew: %+v", r)
	}
}
