package api

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/partition"
	"firn/broker/wire/wiretest"
	"firn/metadata/topic"
)

// inSync makes broker 3 a follower in sync of partition 0 of "a", which has one record.
func inSync(t *testing.T, change ...func(*DataDeps)) *dataTest {
	d := newDataTest(t, change...)
	r := d.set.Get(topic.Partition{ID: d.ids["a"]})
	if err := r.BecomeLeader(partition.State{Leader: 1, LeaderEpoch: 5, Rev: 2, Replicas: []int32{1, 3}, ISR: []int32{1, 3}}); err != nil {
		t.Fatal(err)
	}
	d.leave("a", 0)
	d.catchUp()
	return d
}

// catchUp lets broker 3 say that it has the record.
func (d *dataTest) catchUp() {
	d.t.Helper()
	resp := call[*kmsg.FetchResponse](d.t, d.api, d.followerRequest(0, -1, 0, "a", 0, 1))
	if p := parts(resp)[0]; p.ErrorCode != 0 || p.HighWatermark != 1 {
		d.t.Fatalf("%+v", p)
	}
}

// A client that says where it stands is sent to a follower there, if the broker is told to, from the version on that can
// say so.
func TestClientsAreSentToTheirRack(t *testing.T) {
	aware := func(d *DataDeps) { d.RackAware = true }
	for name, tc := range map[string]struct {
		rack   string
		change []func(*DataDeps)
		want   int32
	}{
		"on its rack":    {"r3", []func(*DataDeps){aware}, 3},
		"on another":     {"r4", []func(*DataDeps){aware}, -1},
		"on none":        {"", []func(*DataDeps){aware}, -1},
		"leaders answer": {"r3", nil, -1},
	} {
		d := inSync(t, tc.change...)
		for v := int16(4); v <= 18; v++ {
			d.catchUp() // lately enough, however long this takes
			req := d.fetchRequest(v, "a", 0, 0)
			req.Rack, req.MinBytes, req.SessionEpoch = tc.rack, 1, -1
			p := parts(call[*kmsg.FetchResponse](t, d.api, req))[0]
			want := tc.want
			if v < 11 {
				want = -1
			}
			if p.ErrorCode != 0 || p.PreferredReadReplica != want || (len(p.RecordBatches) > 0) != (want < 0) || p.HighWatermark != 1 {
				t.Errorf("%s, v%d: %+v", name, v, p)
			}
		}
	}
}

// A broker that its client cannot reach is not recommended, and in a session a recommendation is news every time.
func TestRecommendationsOfASession(t *testing.T) {
	d := inSync(t, func(d *DataDeps) { d.RackAware = true })
	req := d.fetchRequest(17, "a", 0, 1)
	req.Rack, req.MaxWaitMillis, req.MinBytes, req.SessionEpoch = "r3", 3600_000, 1, 0
	conn := wiretest.NewConn(t)
	d.catchUp()
	resp := callOn(t, d.api, conn, req).Response.(*kmsg.FetchResponse)
	if p := parts(resp); len(p) != 1 || p[0].PreferredReadReplica != 3 {
		t.Fatalf("%+v", p)
	}
	again := d.fetchRequest(17)
	again.SessionID, again.SessionEpoch, again.Rack, again.MaxWaitMillis, again.MinBytes = resp.SessionID, 1, "r3", 3600_000, 1
	d.catchUp()
	if p := parts(callOn(t, d.api, conn, again).Response.(*kmsg.FetchResponse)); len(p) != 1 || p[0].PreferredReadReplica != 3 {
		t.Errorf("in a session: %+v", p)
	}
	other := wiretest.NewConn(t)
	other.Listener = "ELSEWHERE"
	req.SessionEpoch, req.MaxWaitMillis = -1, 0
	if p := parts(callOn(t, d.api, other, req).Response.(*kmsg.FetchResponse))[0]; p.PreferredReadReplica != -1 {
		t.Errorf("through a listener that broker 3 has not: %+v", p)
	}
}

// A follower answers clients whose version can be sent on, and others as ever.
func TestFollowersAnswerClients(t *testing.T) {
	d := inSync(t)
	r := d.set.Get(topic.Partition{ID: d.ids["a"]})
	if err := r.BecomeFollower(partition.State{Leader: 3, LeaderEpoch: 6, Rev: 3, Replicas: []int32{1, 3}, ISR: []int32{1, 3}}); err != nil {
		t.Fatal(err)
	}
	for _, alive := range []bool{false, true} {
		if alive {
			r.SetFetcher(alwaysHeard{})
		}
		for v := int16(4); v <= 18; v++ {
			req := d.fetchRequest(v, "a", 0, 0)
			req.MinBytes, req.SessionEpoch = 1, -1
			p := parts(call[*kmsg.FetchResponse](t, d.api, req))[0]
			switch {
			case v < 11:
				wantCode(t, "an old client", p.ErrorCode, kerr.NotLeaderForPartition)
			case alive && (p.ErrorCode != 0 || len(p.RecordBatches) == 0 || p.PreferredReadReplica != -1),
				!alive && (p.ErrorCode != 0 || len(p.RecordBatches) > 0 || p.PreferredReadReplica != 3):
				t.Errorf("v%d, leader heard of %t: %+v", v, alive, p)
			}
		}
	}
	list := kmsg.NewPtrListOffsetsRequest()
	list.Version = 7
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic, rt.Partitions = "a", []kmsg.ListOffsetsRequestTopicPartition{{Timestamp: -1, CurrentLeaderEpoch: -1}}
	list.Topics = append(list.Topics, rt)
	wantCode(t, "ListOffsets", call[*kmsg.ListOffsetsResponse](t, d.api, list).Topics[0].Partitions[0].ErrorCode, kerr.NotLeaderForPartition)
}

// alwaysHeard fetches from a leader that has just answered.
type alwaysHeard struct{}

func (alwaysHeard) Moved(*partition.Replica) {}
func (alwaysHeard) Heard() time.Time         { return time.Now() }
