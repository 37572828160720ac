package api

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/partition"
	"firn/broker/quota"
	"firn/broker/wire"
	"firn/broker/wire/wiretest"
	"firn/metadata"
	"firn/metadata/topic"
	"firn/segment"
	"firn/segment/batch"
	"firn/segment/vfs"
)

// dataTest is an API over real replicas in memory: topic "a" with two partitions, "b" with one that another broker
// leads, and "c", compacted, with one.
type dataTest struct {
	t    testing.TB
	api  *API
	set  *partition.Set
	ids  map[string]topic.ID
	ids2 fakeIDs

	throttle quota.Rate // of a leader

	mu     sync.Mutex
	topics map[string]*metadata.Topic
}

func newDataTest(t testing.TB, change ...func(*DataDeps)) *dataTest {
	t.Helper()
	disk, err := segment.OpenDisk(segment.DiskOptions{FS: vfs.NewMem(), Dir: "/data", BrokerID: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.SetBrokerEpoch(1); err != nil {
		t.Fatal(err)
	}
	d := &dataTest{t: t, ids: map[string]topic.ID{}, topics: map[string]*metadata.Topic{}}
	d.set, err = partition.NewSet(partition.Options{BrokerID: 1, Disks: []*segment.Disk{disk}, LogStarts: keptStarts{}, Throttle: &d.throttle})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = d.set.Close()
		_ = disk.Close(false)
	})
	d.addTopic("a", 2, 1)
	d.addTopic("b", 1, 2)
	d.addTopic("c", 1, 1)
	deps := DataDeps{Partitions: d.set, Directory: func() Directory { return d }, ProducerIDs: &d.ids2}
	for _, c := range change {
		c(&deps)
	}
	d.api = New(Deps{Data: deps, Logger: slog.New(slog.DiscardHandler)})
	return d
}

func (d *dataTest) addTopic(name string, partitions, leader int32) {
	d.t.Helper()
	id := topic.NewID()
	d.mu.Lock()
	d.ids[name] = id
	d.topics[name] = &metadata.Topic{ID: id, Name: name, Partitions: partitions}
	d.mu.Unlock()
	if leader != 1 {
		return
	}
	c, err := topic.ParseConfig(map[string]string{"cleanup.policy": map[bool]string{true: "compact", false: "delete"}[name == "c"]}, topic.Defaults{})
	if err != nil {
		d.t.Fatal(err)
	}
	for i := range partitions {
		r, err := d.set.Open(topic.Partition{ID: id, Index: i}, name, c)
		if err != nil {
			d.t.Fatal(err)
		}
		if err := r.BecomeLeader(partition.State{Leader: 1, LeaderEpoch: 5, Replicas: []int32{1}, ISR: []int32{1}}); err != nil {
			d.t.Fatal(err)
		}
	}
}

func (d *dataTest) Topic(name string) (*metadata.Topic, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t, ok := d.topics[name]
	return t, ok
}

func (d *dataTest) TopicByID(id topic.ID) (*metadata.Topic, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.topics {
		if t.ID == id {
			return t, true
		}
	}
	return nil, false
}

func (d *dataTest) Partition(tp topic.Partition) (*metadata.PartitionState, bool) {
	leader := int32(1)
	if tp.ID == d.ids["b"] {
		leader = 2
	}
	return &metadata.PartitionState{Partition: tp, Leader: leader, LeaderEpoch: 9}, true
}

func (d *dataTest) Broker(id int32) (*metadata.Broker, bool) {
	b := &metadata.Broker{ID: id, Epoch: 11 * int64(id), Listeners: []metadata.Listener{{Name: "PLAINTEXT", Host: "two", Port: 9093}}}
	if id == 3 {
		b.Rack = "r3"
	}
	return b, true
}

type keptStarts struct{}

func (keptStarts) AdvanceLogStart(ctx context.Context, _ topic.Partition, _ int32, start int64) (int64, error) {
	return start, ctx.Err()
}

// fakeIDs hands out blocks of ten producer ids.
type fakeIDs struct {
	mu    sync.Mutex
	next  int64
	err   error
	calls int
}

func (f *fakeIDs) NextProducerIDs(context.Context) (int64, int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.err != nil {
		return 0, 0, f.err
	}
	f.next += 10
	return f.next - 10, 10, nil
}

func (f *fakeIDs) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// oneBatch builds a batch of n records.
func oneBatch(t testing.TB, n int, key []byte) []byte {
	t.Helper()
	var w batch.Builder
	for range n {
		w.Add(time.Now().UnixMilli(), key, []byte("value"))
	}
	b, err := w.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// produceRequest asks for one batch each in partitions given as name and number.
func (d *dataTest) produceRequest(version, acks int16, records []byte, parts ...any) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, acks, 30_000
	for i := 0; i < len(parts); i += 2 {
		rt := kmsg.NewProduceRequestTopic()
		rt.Topic, rt.TopicID = parts[i].(string), d.ids[parts[i].(string)]
		rp := kmsg.NewProduceRequestTopicPartition()
		rp.Partition, rp.Records = int32(parts[i+1].(int)), append([]byte(nil), records...)
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
	}
	return req
}

func (d *dataTest) fill(name string, index, n int) {
	d.t.Helper()
	resp := call[*kmsg.ProduceResponse](d.t, d.api, d.produceRequest(9, -1, oneBatch(d.t, n, []byte("k")), name, index))
	if c := resp.Topics[0].Partitions[0].ErrorCode; c != 0 {
		d.t.Fatal(kerr.ErrorForCode(c))
	}
}

func TestProduceEveryVersion(t *testing.T) {
	d := newDataTest(t)
	base := int64(0)
	for v := int16(3); v <= 13; v++ {
		for _, acks := range []int16{-1, 1} {
			resp := call[*kmsg.ProduceResponse](t, d.api, d.produceRequest(v, acks, oneBatch(t, 2, nil), "a", 1, "b", 0, "none", 0, "a", 7))
			if len(resp.Topics) != 4 {
				t.Fatalf("v%d: %d topics", v, len(resp.Topics))
			}
			unknown := kerr.UnknownTopicOrPartition.Code
			if v == 13 {
				unknown = kerr.UnknownTopicID.Code
			}
			want := []int16{0, kerr.NotLeaderForPartition.Code, unknown, kerr.UnknownTopicOrPartition.Code}
			for i := range resp.Topics {
				p := resp.Topics[i].Partitions[0]
				if p.ErrorCode != want[i] {
					t.Errorf("v%d topic %d: %v", v, i, kerr.ErrorForCode(p.ErrorCode))
				}
				if v < 13 && resp.Topics[i].Topic != []string{"a", "b", "none", "a"}[i] {
					t.Errorf("v%d: name %q", v, resp.Topics[i].Topic)
				}
				if i == 0 && (p.BaseOffset != base || v >= 5 && p.LogStartOffset != 0 || p.LogAppendTime != -1) || i > 0 && p.BaseOffset != -1 {
					t.Errorf("v%d topic %d: %+v", v, i, p)
				}
				if leader := p.CurrentLeader; v >= 10 && i == 1 && (leader.LeaderID != 2 || leader.LeaderEpoch != 9 || len(resp.Brokers) != 1 || resp.Brokers[0].Host != "two") {
					t.Errorf("v%d: leader %+v, brokers %+v", v, leader, resp.Brokers)
				}
			}
			base += 2
		}
	}
}

func TestProduceErrors(t *testing.T) {
	d := newDataTest(t)
	good := oneBatch(t, 1, []byte("k"))
	spoilt := append([]byte(nil), good...)
	spoilt[len(spoilt)-1] ^= 1
	for name, c := range map[string]struct {
		req  *kmsg.ProduceRequest
		want *kerr.Error
	}{
		"bad crc":  {d.produceRequest(9, -1, spoilt, "a", 0), kerr.CorruptMessage},
		"bad acks": {d.produceRequest(9, 3, good, "a", 0), kerr.InvalidRequiredAcks},
		"no batch": {d.produceRequest(9, -1, nil, "a", 0), kerr.InvalidRecord},
		"zstd early": {d.produceRequest(6, -1, func() []byte {
			w := batch.Builder{Codec: batch.Zstd}
			w.Add(time.Now().UnixMilli(), nil, nil)
			b, _ := w.Build(nil)
			return b
		}(), "a", 0), kerr.UnsupportedCompressionType},
		"transactional id": {func() *kmsg.ProduceRequest {
			r := d.produceRequest(9, -1, good, "a", 0)
			r.TransactionID = kmsg.StringPtr("tx")
			return r
		}(), kerr.TransactionalIDAuthorizationFailed},
	} {
		t.Run(name, func(t *testing.T) {
			p := call[*kmsg.ProduceResponse](t, d.api, c.req).Topics[0].Partitions[0]
			if p.ErrorCode != c.want.Code || p.BaseOffset != -1 {
				t.Errorf("%v at %d", kerr.ErrorForCode(p.ErrorCode), p.BaseOffset)
			}
			if c.req.Version >= 8 && p.ErrorMessage == nil {
				t.Error("no message")
			}
		})
	}
	p := call[*kmsg.ProduceResponse](t, d.api, d.produceRequest(8, -1, oneBatch(t, 3, nil), "c", 0)).Topics[0].Partitions[0]
	if p.ErrorCode != kerr.InvalidRecord.Code || len(p.ErrorRecords) != 3 || p.ErrorRecords[2].RelativeOffset != 2 || *p.ErrorRecords[2].ErrorMessage == "" {
		t.Errorf("keyless to a compacted topic: %+v", p)
	}
}

// Version 4 is there to say that the client knows a storage error; others would take it for final.
func TestProduceStorageErrorByVersion(t *testing.T) {
	for v := int16(3); v <= 13; v++ {
		want := kerr.KafkaStorageError.Code
		if v < 4 {
			want = kerr.NotLeaderForPartition.Code
		}
		var rp kmsg.ProduceResponseTopicPartition
		fillProduced(&rp, &partition.Append{Err: partition.ErrDiskFull}, v)
		if rp.ErrorCode != want || rp.ErrorMessage != nil {
			t.Errorf("v%d: %+v", v, rp)
		}
	}
}

func TestProduceWithoutAcks(t *testing.T) {
	d := newDataTest(t)
	if out := callOutcome(t, d.api, d.produceRequest(9, 0, oneBatch(t, 1, nil), "a", 0)); out.Response != nil || out.Err != nil {
		t.Errorf("%+v", out)
	}
	if out := callOutcome(t, d.api, d.produceRequest(9, 0, oneBatch(t, 1, nil), "none", 0)); out.Response != nil || !errors.Is(out.Err, kerr.UnknownTopicOrPartition) {
		t.Errorf("an error must close the connection: %+v", out)
	}
}

// fetchRequest asks for partitions given as name, number and offset.
func (d *dataTest) fetchRequest(version int16, parts ...any) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MinBytes, req.MaxBytes, req.SessionEpoch = version, 1, 1<<20, -1
	for i := 0; i < len(parts); i += 3 {
		rt := kmsg.NewFetchRequestTopic()
		rt.Topic, rt.TopicID = parts[i].(string), d.ids[parts[i].(string)]
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = int32(parts[i+1].(int)), int64(parts[i+2].(int)), 1<<20
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
	}
	return req
}

// parts flattens a response.
func parts(resp *kmsg.FetchResponse) []kmsg.FetchResponseTopicPartition {
	var out []kmsg.FetchResponseTopicPartition
	for _, rt := range resp.Topics {
		out = append(out, rt.Partitions...)
	}
	return out
}

func TestFetchEveryVersion(t *testing.T) {
	d := newDataTest(t)
	d.fill("a", 0, 3)
	d.fill("a", 0, 2)
	for v := int16(4); v <= 18; v++ {
		req := d.fetchRequest(v, "a", 0, 0)
		req.IsolationLevel = 1
		resp := call[*kmsg.FetchResponse](t, d.api, req)
		p := parts(resp)
		if len(p) != 1 || p[0].ErrorCode != 0 || p[0].HighWatermark != 5 || p[0].LastStableOffset != 5 || resp.SessionID != 0 {
			t.Fatalf("v%d: %+v", v, resp)
		}
		if v >= 13 && resp.Topics[0].TopicID != d.ids["a"] || v < 13 && resp.Topics[0].Topic != "a" {
			t.Errorf("v%d: topic %+v", v, resp.Topics[0])
		}
		if v >= 11 && p[0].PreferredReadReplica != -1 || v >= 5 && p[0].LogStartOffset != 0 || p[0].AbortedTransactions == nil {
			t.Errorf("v%d: %+v", v, p[0])
		}
		first, rest, err := batch.Parse(p[0].RecordBatches)
		if err != nil || first.VerifyCRC() != nil || first.NumRecords() != 3 || len(rest) == 0 {
			t.Errorf("v%d: %v", v, err)
		}
	}
}

func TestFetchErrors(t *testing.T) {
	d := newDataTest(t)
	d.fill("a", 0, 3)
	for name, c := range map[string]struct {
		version int16
		change  func(*kmsg.FetchRequest)
		want    *kerr.Error
	}{
		"beyond the end":  {12, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].FetchOffset = 4 }, kerr.OffsetOutOfRange},
		"unknown topic":   {12, func(r *kmsg.FetchRequest) { r.Topics[0].Topic = "none" }, kerr.UnknownTopicOrPartition},
		"unknown id":      {13, func(r *kmsg.FetchRequest) { r.Topics[0].TopicID = topic.NewID() }, kerr.UnknownTopicID},
		"unknown number":  {12, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].Partition = 2 }, kerr.UnknownTopicOrPartition},
		"negative number": {12, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].Partition = -1 }, kerr.UnknownTopicOrPartition},
		"other's":         {12, func(r *kmsg.FetchRequest) { r.Topics[0].Topic = "b" }, kerr.NotLeaderForPartition},
		"old epoch":       {12, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].CurrentLeaderEpoch = 4 }, kerr.FencedLeaderEpoch},
		"new epoch":       {12, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].CurrentLeaderEpoch = 6 }, kerr.UnknownLeaderEpoch},
		"no replica":      {17, func(r *kmsg.FetchRequest) { r.ReplicaState.ID, r.ReplicaState.Epoch = 3, 33 }, kerr.NotLeaderForPartition},
		"earlier life":    {17, func(r *kmsg.FetchRequest) { r.ReplicaState.ID, r.ReplicaState.Epoch = 3, 32 }, kerr.StaleBrokerEpoch},
		"old follower":    {12, func(r *kmsg.FetchRequest) { r.ReplicaID = 3 }, kerr.StaleBrokerEpoch},
	} {
		t.Run(name, func(t *testing.T) {
			req := d.fetchRequest(c.version, "a", 0, 0)
			req.MaxWaitMillis = math.MaxInt32
			c.change(req)
			p := parts(call[*kmsg.FetchResponse](t, d.api, req))
			if len(p) != 1 || p[0].ErrorCode != c.want.Code {
				t.Fatalf("%+v", p)
			}
			if c.want == kerr.FencedLeaderEpoch && (p[0].CurrentLeader.LeaderID != 1 || p[0].CurrentLeader.LeaderEpoch != 9) {
				t.Errorf("leader %+v", p[0].CurrentLeader)
			}
		})
	}
	// The error of one is not the others'.
	p := parts(call[*kmsg.FetchResponse](t, d.api, d.fetchRequest(12, "none", 0, 0, "a", 0, 0)))
	good := 0
	for i := range p {
		if p[i].ErrorCode == 0 && len(p[i].RecordBatches) > 0 {
			good++
		}
	}
	if len(p) != 2 || good != 1 {
		t.Errorf("%+v", p)
	}
}

// Clients that ask by a version before 6 take a storage error for one that is final, so they hear of another leader.
func TestFetchStorageErrorByVersion(t *testing.T) {
	for v := int16(4); v <= 18; v++ {
		want := kerr.KafkaStorageError.Code
		if v < 6 {
			want = kerr.NotLeaderForPartition.Code
		}
		c := &fetchCall{req: &wire.Request{Version: v}}
		if got := c.fetchCode(partition.ErrDiskFull); got != want {
			t.Errorf("v%d: %v", v, kerr.ErrorForCode(got))
		}
		if got := c.fetchCode(partition.ErrFencedEpoch); got != kerr.FencedLeaderEpoch.Code {
			t.Errorf("v%d: %v", v, kerr.ErrorForCode(got))
		}
	}
}

func TestFetchWithoutSessionRotates(t *testing.T) {
	d := newDataTest(t)
	d.fill("a", 0, 1)
	d.fill("a", 1, 1)
	seen := map[int32]int{}
	for range 10 {
		req := d.fetchRequest(12, "a", 0, 0, "a", 1, 0)
		req.MaxBytes = 1 // one batch
		for _, p := range parts(call[*kmsg.FetchResponse](t, d.api, req)) {
			if len(p.RecordBatches) > 0 {
				seen[p.Partition]++
			}
		}
	}
	if seen[0] != 5 || seen[1] != 5 {
		t.Errorf("%v", seen)
	}
}

// heap is the bytes that are in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// What is written and waits for others is not charged for any more, so it may not hold what it came in.
func TestWaitingProduceHoldsNothingOfItsRequest(t *testing.T) {
	const size = 32 << 20
	d := newDataTest(t)
	r := d.set.Get(topic.Partition{ID: d.ids["a"]})
	if err := r.BecomeLeader(partition.State{Leader: 1, LeaderEpoch: 5, Rev: 2, Replicas: []int32{1, 3}, ISR: []int32{1, 3}}); err != nil {
		t.Fatal(err)
	}
	req := d.produceRequest(9, partition.AcksAll, oneBatch(t, 1, nil), "a", 0, "b", 0)
	req.TimeoutMillis = 3600_000
	req.UnknownTags.Set(1000, make([]byte, size))
	before, sink := heap(), wiretest.NewSink()
	d.api.Serve(wiretest.NewRequest(t, wiretest.NewConn(t), sink, req))
	if grown := heapInUse() - before; grown > size/2 {
		t.Errorf("%d bytes are held for a request of %d that waits", grown, size)
	}
	runtime.KeepAlive(req)
	if err := r.BecomeLeader(partition.State{Leader: 1, LeaderEpoch: 5, Rev: 3, Replicas: []int32{1, 3}, ISR: []int32{1}}); err != nil {
		t.Fatal(err)
	}
	select {
	case out := <-sink.Outcomes:
		resp := out.Response.(*kmsg.ProduceResponse)
		wantCode(t, "produce", resp.Topics[0].Partitions[0].ErrorCode, nil)
		wantCode(t, "another's", resp.Topics[1].Partitions[0].ErrorCode, kerr.NotLeaderForPartition)
	case <-time.After(callTimeout):
		t.Fatal("no answer")
	}
}

// A fetch may wait for long, and is not charged for then: nothing that it keeps may be a part of what it came in.
func TestWaitingFetchHoldsNothingOfItsRequest(t *testing.T) {
	const size = 32 << 20
	d := newDataTest(t, func(d *DataDeps) { d.RackAware = true })
	req := d.fetchRequest(17, "a", 0, 0)
	req.Rack, req.MaxWaitMillis, req.MinBytes, req.SessionEpoch = "somewhere", 3600_000, 1, -1
	req.UnknownTags.Set(1000, make([]byte, size))
	before, sink := heap(), wiretest.NewSink()
	d.api.Serve(wiretest.NewRequest(t, wiretest.NewConn(t), sink, req))
	if grown := heapInUse() - before; grown > size/2 {
		t.Errorf("%d bytes are held for a request of %d that waits", grown, size)
	}
	runtime.KeepAlive(req)
	d.fill("a", 0, 1)
	select {
	case out := <-sink.Outcomes:
		if p := parts(out.Response.(*kmsg.FetchResponse)); len(p) != 1 || len(p[0].RecordBatches) == 0 {
			t.Errorf("%+v", p)
		}
	case <-time.After(callTimeout):
		t.Fatal("no answer")
	}
}

// Nor are names kept that no rack has: there may be many fetches.
func TestWaitingFetchHoldsNoVeryLongRack(t *testing.T) {
	const waiting, size = 500, math.MaxInt16
	d := newDataTest(t, func(d *DataDeps) { d.RackAware = true })
	req := d.fetchRequest(17, "a", 0, 0)
	req.Rack, req.MaxWaitMillis, req.MinBytes, req.SessionEpoch = strings.Repeat("r", size), 3600_000, 1, -1
	sink, conn := wiretest.NewSink(), wiretest.NewConn(t)
	before := heapInUse()
	for range waiting {
		d.api.Serve(wiretest.NewRequest(t, conn, sink, req))
	}
	if grown := heapInUse() - before; grown > waiting*size/2 {
		t.Errorf("%d bytes are held for %d fetches with racks of %d", grown, waiting, size)
	}
	d.fill("a", 0, 1)
	for range waiting {
		select {
		case out := <-sink.Outcomes:
			if p := parts(out.Response.(*kmsg.FetchResponse)); len(p) != 1 || len(p[0].RecordBatches) == 0 {
				t.Fatalf("%+v", p)
			}
		case <-time.After(callTimeout):
			t.Fatal("no answer")
		}
	}
}

// heapInUse is how many bytes are held.
func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A topic deleted and made again under its name is another topic: what was meant for the old one never reaches it.
func TestRecreatedTopicIsAnotherTopic(t *testing.T) {
	d := newDataTest(t)
	d.fill("a", 0, 5)
	old := d.ids["a"]
	byID := d.fetchRequest(13, "a", 0, 0)
	byID.SessionEpoch = 0
	session := call[*kmsg.FetchResponse](t, d.api, byID).SessionID
	stale := d.produceRequest(13, -1, oneBatch(t, 1, nil), "a", 0)
	if err := d.set.Remove(topic.Partition{ID: old, Index: 0}, partition.ErrUnknownPartition); err != nil {
		t.Fatal(err)
	}
	d.addTopic("a", 2, 1)
	if p := call[*kmsg.ProduceResponse](t, d.api, stale).Topics[0].Partitions[0]; p.ErrorCode != kerr.UnknownTopicID.Code {
		t.Errorf("produce by the old id: %v", kerr.ErrorForCode(p.ErrorCode))
	}
	req := d.fetchRequest(13)
	req.SessionID, req.SessionEpoch = session, 1
	if p := parts(call[*kmsg.FetchResponse](t, d.api, req)); len(p) != 1 || p[0].ErrorCode != kerr.UnknownTopicID.Code {
		t.Errorf("fetch by the old id: %+v", p)
	}
	if p := parts(call[*kmsg.FetchResponse](t, d.api, d.fetchRequest(13, "a", 0, 0))); p[0].HighWatermark != 0 || len(p[0].RecordBatches) != 0 {
		t.Errorf("the new topic has records of the old one: %+v", p)
	}
}

func TestListOffsetsVersions(t *testing.T) {
	d := newDataTest(t)
	d.fill("a", 0, 3)
	ask := func(version int16, name string, index int32, ts int64) kmsg.ListOffsetsResponseTopicPartition {
		req := kmsg.NewPtrListOffsetsRequest()
		req.Version = version
		rt := kmsg.NewListOffsetsRequestTopic()
		rt.Topic = name
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp = index, ts
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		return call[*kmsg.ListOffsetsResponse](t, d.api, req).Topics[0].Partitions[0]
	}
	for v := int16(1); v <= 11; v++ {
		if p := ask(v, "a", 0, -1); p.ErrorCode != 0 || p.Offset != 3 || p.Timestamp != -1 || v >= 4 && p.LeaderEpoch != 5 {
			t.Errorf("v%d latest: %+v", v, p)
		}
		if p := ask(v, "a", 0, -2); p.ErrorCode != 0 || p.Offset != 0 {
			t.Errorf("v%d earliest: %+v", v, p)
		}
		for ts, since := range map[int64]int16{-3: 7, -4: 8, -5: 9, -6: 11, -7: 99, math.MinInt64: 99} {
			want := int16(0)
			if v < since {
				want = kerr.UnsupportedVersion.Code
			}
			if p := ask(v, "a", 0, ts); p.ErrorCode != want {
				t.Errorf("v%d %d: %+v", v, ts, p)
			}
		}
		if p := ask(v, "a", 0, 1); p.Offset != 0 || p.Timestamp < 1 {
			t.Errorf("v%d by time: %+v", v, p)
		}
		if p := ask(v, "a", 0, math.MaxInt64); p.ErrorCode != 0 || p.Offset != -1 || p.Timestamp != -1 {
			t.Errorf("v%d never: %+v", v, p)
		}
	}
	if p := ask(5, "none", 0, -1); p.ErrorCode != kerr.UnknownTopicOrPartition.Code || p.Offset != -1 || p.Timestamp != -1 || p.LeaderEpoch != -1 {
		t.Errorf("%+v", p)
	}
	if p := ask(5, "b", 0, -1); p.ErrorCode != kerr.NotLeaderForPartition.Code {
		t.Errorf("%+v", p)
	}
}

func TestListOffsetsOfAPartitionTwice(t *testing.T) {
	d := newDataTest(t)
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version = 5
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = "a"
	for _, p := range []int32{0, 1, 0} {
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp = p, -1
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	for i, p := range call[*kmsg.ListOffsetsResponse](t, d.api, req).Topics[0].Partitions {
		want, offset := kerr.InvalidRequest.Code, int64(-1)
		if p.Partition == 1 {
			want, offset = 0, 0
		}
		if p.ErrorCode != want || p.Offset != offset {
			t.Errorf("entry %d: %+v", i, p)
		}
	}
}

// The same holds where the topic is there twice, too.
func TestListOffsetsOfATopicTwice(t *testing.T) {
	d := newDataTest(t)
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version = 5
	for _, at := range [][]int32{{0}, {1, 0}} {
		rt := kmsg.NewListOffsetsRequestTopic()
		rt.Topic = "a"
		for _, p := range at {
			rp := kmsg.NewListOffsetsRequestTopicPartition()
			rp.Partition, rp.Timestamp = p, -1
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
	}
	topics := call[*kmsg.ListOffsetsResponse](t, d.api, req).Topics
	wantCode(t, "first", topics[0].Partitions[0].ErrorCode, kerr.InvalidRequest)
	wantCode(t, "another", topics[1].Partitions[0].ErrorCode, nil)
	wantCode(t, "again", topics[1].Partitions[1].ErrorCode, kerr.InvalidRequest)
}

func TestDeleteRecordsVersions(t *testing.T) {
	d := newDataTest(t)
	d.fill("a", 0, 3)
	d.fill("a", 1, 1)
	for v := int16(0); v <= 2; v++ {
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.Version, req.TimeoutMillis = v, 30_000
		for _, name := range []string{"a", "none", "c"} {
			rt := kmsg.NewDeleteRecordsRequestTopic()
			rt.Topic = name
			rt.Partitions = []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 0, Offset: int64(v) + 1}}
			req.Topics = append(req.Topics, rt)
		}
		resp := call[*kmsg.DeleteRecordsResponse](t, d.api, req)
		if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 || p.LowWatermark != int64(v)+1 {
			t.Errorf("v%d: %+v", v, p)
		}
		if p := resp.Topics[1].Partitions[0]; p.ErrorCode != kerr.UnknownTopicOrPartition.Code || p.LowWatermark != -1 {
			t.Errorf("v%d: %+v", v, p)
		}
		if p := resp.Topics[2].Partitions[0]; p.ErrorCode != kerr.PolicyViolation.Code {
			t.Errorf("v%d: %+v", v, p)
		}
	}
}

// Clients whose time-out says that they do not wait expect the records to go all the same.
func TestDeleteRecordsWithoutTimeout(t *testing.T) {
	d := newDataTest(t)
	d.fill("a", 0, 3)
	for i, timeout := range []int32{0, -1} {
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.TimeoutMillis = timeout
		rt := kmsg.NewDeleteRecordsRequestTopic()
		rt.Topic = "a"
		rt.Partitions = []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 0, Offset: int64(i) + 1}}
		req.Topics = append(req.Topics, rt)
		p := call[*kmsg.DeleteRecordsResponse](t, d.api, req).Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.LowWatermark != int64(i)+1 {
			t.Errorf("time-out %d: %+v", timeout, p)
		}
	}
}

func TestOffsetForLeaderEpochVersions(t *testing.T) {
	d := newDataTest(t)
	d.fill("a", 0, 3)
	for v := int16(2); v <= 4; v++ {
		req := kmsg.NewPtrOffsetForLeaderEpochRequest()
		req.Version = v
		rt := kmsg.NewOffsetForLeaderEpochRequestTopic()
		rt.Topic = "a"
		for _, epoch := range []int32{5, 6} {
			rp := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
			rp.LeaderEpoch, rp.CurrentLeaderEpoch = epoch, 5
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
		p := call[*kmsg.OffsetForLeaderEpochResponse](t, d.api, req).Topics[0].Partitions
		if p[0].LeaderEpoch != 5 || p[0].EndOffset != 3 || p[1].LeaderEpoch != -1 || p[1].EndOffset != -1 {
			t.Errorf("v%d: %+v", v, p)
		}
	}
}

func TestInitProducerID(t *testing.T) {
	d := newDataTest(t)
	ask := func(v int16, txn *string) *kmsg.InitProducerIDResponse {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch = v, txn, 77, 3
		return call[*kmsg.InitProducerIDResponse](t, d.api, req)
	}
	seen := map[int64]bool{}
	for i := range 50 {
		resp := ask(int16(i%6), nil)
		if resp.ErrorCode != 0 || resp.ProducerEpoch != 0 || seen[resp.ProducerID] {
			t.Fatalf("%+v", resp)
		}
		seen[resp.ProducerID] = true
	}
	if resp := ask(4, kmsg.StringPtr("tx")); resp.ErrorCode != kerr.TransactionalIDAuthorizationFailed.Code || resp.ProducerID != -1 {
		t.Errorf("%+v", resp)
	}
	if resp := ask(4, kmsg.StringPtr("")); resp.ErrorCode != kerr.InvalidRequest.Code {
		t.Errorf("%+v", resp)
	}
	for _, half := range []struct {
		id    int64
		epoch int16
	}{{77, -1}, {-1, 3}} {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.Version, req.ProducerID, req.ProducerEpoch = 3, half.id, half.epoch
		if resp := call[*kmsg.InitProducerIDResponse](t, d.api, req); resp.ErrorCode != kerr.InvalidRequest.Code || resp.ProducerID != -1 {
			t.Errorf("%+v: %+v", half, resp)
		}
	}
	// While no block is to be had the rest is used up, then clients are told to come back, and it heals.
	d.ids2.fail(errors.New("away"))
	failed := 0
	for range 25 {
		if resp := ask(4, nil); resp.ErrorCode == kerr.CoordinatorLoadInProgress.Code {
			failed++
		} else if resp.ErrorCode != 0 || seen[resp.ProducerID] {
			t.Fatalf("%+v", resp)
		} else {
			seen[resp.ProducerID] = true
		}
	}
	if failed < 5 {
		t.Errorf("%d of 25 failed", failed)
	}
	d.ids2.fail(nil)
	if resp := ask(4, nil); resp.ErrorCode != 0 || seen[resp.ProducerID] {
		t.Errorf("%+v", resp)
	}
}
