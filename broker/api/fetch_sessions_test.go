package api

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
	"firn/broker/wire/wiretest"
	"firn/metadata/topic"
	"firn/segment/batch"
)

// indexes are the partitions of a response, in order.
func indexes(resp *kmsg.FetchResponse) []int32 {
	out := []int32{}
	for _, p := range parts(resp) {
		out = append(out, p.Partition)
	}
	return out
}

// TestFetchSession walks through the life of a session, by name and by id.
func TestFetchSession(t *testing.T) {
	for _, v := range []int16{7, 12, 13, 18} {
		d := newDataTest(t)
		ask := func(id, epoch int32, change func(*kmsg.FetchRequest), parts ...any) *kmsg.FetchResponse {
			t.Helper()
			req := d.fetchRequest(v, parts...)
			req.SessionID, req.SessionEpoch = id, epoch
			if change != nil {
				change(req)
			}
			return call[*kmsg.FetchResponse](t, d.api, req)
		}
		d.fill("a", 0, 1)
		first := ask(0, 0, nil, "a", 0, 0, "a", 1, 0)
		if first.SessionID == 0 || !slices.Equal(indexes(first), []int32{0, 1}) {
			t.Fatalf("v%d: %+v", v, first)
		}
		id := first.SessionID
		if r := ask(id, 1, nil, "a", 0, 1); r.SessionID != id || len(r.Topics) != 0 {
			t.Errorf("v%d: the client moved on and nothing is new: %v", v, indexes(r))
		}
		if r := ask(id, 2, nil); r.ErrorCode != 0 || len(r.Topics) != 0 {
			t.Errorf("v%d: nothing is new: %v", v, indexes(r))
		}
		if r := ask(id, 2, nil); r.ErrorCode != kerr.InvalidFetchSessionEpoch.Code {
			t.Errorf("v%d: an epoch again: %+v", v, r)
		}
		d.fill("a", 1, 1)
		if r := ask(id, 3, nil); !slices.Equal(indexes(r), []int32{1}) || len(parts(r)[0].RecordBatches) == 0 {
			t.Errorf("v%d: new records: %v", v, indexes(r))
		}
		forget := func(r *kmsg.FetchRequest) {
			ft := kmsg.NewFetchRequestForgottenTopic()
			ft.Topic, ft.TopicID, ft.Partitions = "a", d.ids["a"], []int32{1}
			r.ForgottenTopics = append(r.ForgottenTopics, ft)
		}
		if r := ask(id, 4, forget); len(r.Topics) != 0 {
			t.Errorf("v%d: a forgotten partition: %v", v, indexes(r))
		}
		wrong := ask(id, 5, nil, "a", 0, 99)
		if p := parts(wrong); len(p) != 1 || p[0].ErrorCode != kerr.OffsetOutOfRange.Code {
			t.Errorf("v%d: %+v", v, p)
		}
		if r := ask(id, 6, nil); len(parts(r)) != 1 {
			t.Errorf("v%d: an error is told each time: %v", v, indexes(r))
		}
		if r := ask(id, 7, nil, "a", 0, 1); len(parts(r)) != 1 || parts(r)[0].ErrorCode != 0 {
			t.Errorf("v%d: that an error has gone is told: %+v", v, parts(r))
		}
		if v >= 12 {
			req := d.fetchRequest(25-v, "a", 0, 0) // 12 and 13 name topics differently
			if v == 18 {
				req = d.fetchRequest(12, "a", 0, 0)
			}
			req.SessionID, req.SessionEpoch = id, 8
			if r := call[*kmsg.FetchResponse](t, d.api, req); r.ErrorCode != kerr.FetchSessionTopicIDError.Code {
				t.Errorf("v%d: names and ids in one session: %+v", v, r)
			}
		}
		if r := ask(id, -1, nil, "a", 0, 0); r.SessionID != 0 || len(parts(r)) != 1 || d.api.data.sessions.len() != 0 {
			t.Errorf("v%d: the final request: %+v", v, r)
		}
		if r := ask(id, 8, nil); r.ErrorCode != kerr.FetchSessionIDNotFound.Code {
			t.Errorf("v%d: a session that was closed: %+v", v, r)
		}
	}
}

func TestFetchSessionRotates(t *testing.T) {
	d := newDataTest(t)
	d.fill("a", 0, 1)
	d.fill("a", 1, 1)
	req := d.fetchRequest(12, "a", 0, 0, "a", 1, 0)
	seen := map[int32]int{}
	for epoch := range int32(10) {
		req.SessionEpoch, req.MaxBytes = epoch, 1
		resp := call[*kmsg.FetchResponse](t, d.api, req)
		for _, p := range parts(resp) {
			if len(p.RecordBatches) > 0 {
				seen[p.Partition]++
			}
		}
		req = d.fetchRequest(12)
		req.SessionID = resp.SessionID
	}
	if seen[0] != 5 || seen[1] != 5 {
		t.Errorf("%v", seen)
	}
}

// Wherever the reading begins, the answer has each topic once: sarama forgets what it had of a topic that comes again.
func TestFetchAnswersEachTopicOnce(t *testing.T) {
	d := newDataTest(t)
	const round = 6
	session := d.fetchRequest(12, "a", 0, 0, "a", 1, 0, "c", 0, 0)
	session.SessionEpoch = 0
	var id int32
	for n := range round {
		for _, at := range []struct {
			name  string
			index int
		}{{"a", 0}, {"a", 1}, {"c", 0}} {
			d.fill(at.name, at.index, 1)
		}
		plain := d.fetchRequest(12, "a", 0, 0, "a", 1, 0, "c", 0, 0)
		plain.MaxBytes = 1 // so that the next request begins elsewhere
		merged := plain.Topics[0]
		merged.Partitions = append(merged.Partitions, plain.Topics[1].Partitions...)
		plain.Topics = append(plain.Topics[:0], merged, plain.Topics[2])
		session.SessionID, session.MaxBytes = id, 1
		for kind, req := range map[string]*kmsg.FetchRequest{"plain": plain, "session": session} {
			resp := call[*kmsg.FetchResponse](t, d.api, req)
			if len(resp.Topics) != 2 || resp.Topics[0].Topic != "a" || len(parts(resp)) != 3 || parts(resp)[0].Partition != 0 {
				t.Errorf("%s, request %d: %+v", kind, n, resp.Topics)
			}
			if kind == "session" {
				id = resp.SessionID
			}
		}
		session = d.fetchRequest(12)
		session.SessionEpoch = int32(n) + 1
	}
}

func sessionRequest(partitions int) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.SessionEpoch = 12, initialEpoch
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic = "t"
	for i := range partitions {
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition = int32(i)
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	return req
}

func TestSessionCacheEvicts(t *testing.T) {
	now := time.Now()
	c := newSessionCache(2)
	c.now = func() time.Time { return now }
	begin := func(partitions int) *fetchSession {
		s, err := c.begin(sessionRequest(partitions))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	small, large := begin(1), begin(5)
	if small == nil || large == nil || begin(9) != nil {
		t.Fatal("young sessions must stay")
	}
	now = now.Add(sessionStale - time.Second)
	use := func(s *fetchSession, epoch int32) *kerr.Error {
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.SessionID, req.SessionEpoch = 12, s.id, epoch
		_, err := c.begin(req)
		return err
	}
	if err := use(small, 1); err != nil {
		t.Fatal(err)
	}
	if err := use(large, 1); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Second) // old enough, but in use
	if begin(1) != nil {
		t.Error("a session in use gave way to one of its size")
	}
	three := begin(3)
	if three == nil || use(small, 2) != kerr.FetchSessionIDNotFound {
		t.Error("a larger session must take the place of a small one")
	}
	now = now.Add(sessionStale)
	if err := use(three, 1); err != nil {
		t.Error(err)
	}
	if begin(1) == nil || use(large, 2) != kerr.FetchSessionIDNotFound {
		t.Error("a session without use must give way")
	}
	if c.len() != 2 {
		t.Errorf("%d sessions", c.len())
	}
}

// A session that has forgotten all it had ends, so that its slot is free for one that is of use.
func TestFetchSessionThatForgetsAllEnds(t *testing.T) {
	d := newDataTest(t)
	req := d.fetchRequest(12, "a", 0, 0)
	req.SessionEpoch = 0
	id := call[*kmsg.FetchResponse](t, d.api, req).SessionID
	req = d.fetchRequest(12)
	req.SessionID, req.SessionEpoch = id, 1
	req.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "a", Partitions: []int32{0}}}
	if r := call[*kmsg.FetchResponse](t, d.api, req); id == 0 || r.ErrorCode != 0 || r.SessionID != 0 || len(r.Topics) != 0 || d.api.data.sessions.len() != 0 {
		t.Errorf("session %d: %+v, %d sessions left", id, r, d.api.data.sessions.len())
	}
}

// All sessions together are bounded, however many slots there are: new ones are not made, and one that grows too far goes.
func TestSessionsTogetherAreBounded(t *testing.T) {
	c := newSessionCache(1000)
	var last *fetchSession
	for i := range 2 * maxCachedPartitions / maxSessionPartitions {
		s, err := c.begin(sessionRequest(maxSessionPartitions - 1))
		if full := i >= maxCachedPartitions/maxSessionPartitions; err != nil || (s == nil) != full {
			t.Fatalf("session %d: %v %v", i, s != nil, err)
		}
		if s != nil {
			last = s
		}
	}
	if c.parts > maxCachedPartitions || c.len() != maxCachedPartitions/maxSessionPartitions {
		t.Errorf("%d partitions in %d sessions", c.parts, c.len())
	}
	for free := maxCachedPartitions - c.parts; free > 0; free = maxCachedPartitions - c.parts {
		if s, _ := c.begin(sessionRequest(free)); s == nil {
			t.Fatalf("no session for the last %d partitions", free)
		}
	}
	req := sessionRequest(1)
	req.Topics[0].Partitions[0].Partition = math.MaxInt32
	req.SessionID, req.SessionEpoch = last.id, 1
	if _, err := c.begin(req); err != kerr.FetchSessionIDNotFound || c.parts != maxCachedPartitions-(maxSessionPartitions-1) {
		t.Errorf("one that grew: %v, %d partitions", err, c.parts)
	}
}

func TestSessionIsBounded(t *testing.T) {
	c := newSessionCache(10)
	if s, err := c.begin(sessionRequest(maxSessionPartitions + 1)); s != nil || err != nil {
		t.Error("too large a session was made")
	}
	s, _ := c.begin(sessionRequest(maxSessionPartitions))
	if s == nil {
		t.Fatal("no session")
	}
	req := sessionRequest(1)
	req.Topics[0].Partitions[0].Partition = math.MaxInt32
	req.SessionID, req.SessionEpoch = s.id, 1
	if _, err := c.begin(req); err != kerr.FetchSessionIDNotFound || c.len() != 0 {
		t.Errorf("%v, %d sessions", err, c.len())
	}
}

// A session costs what its partitions do. Names longer than any topic's could make that anything.
func TestNamesThatNoTopicCanHaveAreInNoSession(t *testing.T) {
	c := newSessionCache(10)
	long := sessionRequest(1)
	long.Topics[0].Topic = strings.Repeat("x", topic.MaxNameLen+1)
	if s, err := c.begin(long); s != nil || err != nil {
		t.Errorf("a session was made: %v %v", s != nil, err)
	}
	s, _ := c.begin(sessionRequest(1))
	long.SessionID, long.SessionEpoch = s.id, 1
	if _, err := c.begin(long); err != kerr.FetchSessionIDNotFound || c.len() != 0 || c.parts != 0 {
		t.Errorf("%v, %d sessions of %d partitions", err, c.len(), c.parts)
	}
}

// TestSessionAgainstModel adds, changes and forgets at random and compares with a map.
func TestSessionAgainstModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	ids := []topic.ID{topic.NewID(), topic.NewID(), topic.NewID()}
	c := newSessionCache(1)
	model := map[fetchKey]asked{}
	var s *fetchSession
	for epoch := range int32(300) {
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.SessionEpoch = 13, epoch
		if s != nil {
			req.SessionID = s.id
		}
		for range 1 + rng.IntN(3) {
			rt := kmsg.NewFetchRequestTopic()
			rt.TopicID = ids[rng.IntN(len(ids))]
			for range 1 + rng.IntN(5) {
				rp := kmsg.NewFetchRequestTopicPartition()
				rp.Partition, rp.FetchOffset = rng.Int32N(20), rng.Int64N(100)
				k := fetchKey{id: rt.TopicID, index: rp.Partition}
				if slices.ContainsFunc(rt.Partitions, func(p kmsg.FetchRequestTopicPartition) bool { return p.Partition == rp.Partition }) ||
					slices.ContainsFunc(req.Topics, func(o kmsg.FetchRequestTopic) bool { return o.TopicID == rt.TopicID }) {
					continue
				}
				rt.Partitions = append(rt.Partitions, rp)
				model[k] = requestAsked(&rp)
			}
			req.Topics = append(req.Topics, rt)
		}
		if len(model) > 10 { // a session without partitions would end
			ft := kmsg.NewFetchRequestForgottenTopic()
			ft.TopicID = ids[rng.IntN(len(ids))]
			for range rng.IntN(6) {
				ft.Partitions = append(ft.Partitions, rng.Int32N(20))
				delete(model, fetchKey{id: ft.TopicID, index: ft.Partitions[len(ft.Partitions)-1]})
			}
			req.ForgottenTopics = append(req.ForgottenTopics, ft)
		}
		var err *kerr.Error
		if s, err = c.begin(req); err != nil || s == nil {
			t.Fatal(err)
		}
		got := map[fetchKey]asked{}
		for k, p := range s.parts {
			got[k] = p.asked
		}
		if len(got) != len(model) || len(s.parts) != len(model) {
			t.Fatalf("epoch %d: %d partitions, want %d", epoch, len(got), len(model))
		}
		for k, want := range model {
			if got[k] != want {
				t.Fatalf("epoch %d: %+v is %+v, want %+v", epoch, k, got[k], want)
			}
		}
		due := map[fetchKey]int{}
		for _, p := range s.due {
			due[p.key]++
			p.due = false
		}
		s.due = s.due[:0]
		for i := range req.Topics {
			for j := range req.Topics[i].Partitions {
				k := requestKey(req.Version, &req.Topics[i], j)
				if _, there := model[k]; there && due[k] != 1 {
					t.Fatalf("epoch %d: %+v was named and is due %d times", epoch, k, due[k])
				}
			}
		}
	}
}

// sessionTest is a session of dataTest's partitions on one connection.
type sessionTest struct {
	*dataTest
	conn  *wire.Conn
	sink  *wiretest.Sink
	epoch int32
	id    int32
}

func newSessionTest(t *testing.T, d *dataTest) *sessionTest {
	return &sessionTest{dataTest: d, conn: wiretest.NewConn(t), sink: wiretest.NewSink()}
}

func (s *sessionTest) send(req *kmsg.FetchRequest, wait time.Duration, minBytes int) {
	req.SessionID, req.SessionEpoch = s.id, s.epoch
	req.MaxWaitMillis, req.MinBytes = int32(wait.Milliseconds()), int32(minBytes)
	s.epoch++
	s.api.Serve(wiretest.NewRequest(s.t, s.conn, s.sink, req))
}

func (s *sessionTest) receive() *kmsg.FetchResponse {
	s.t.Helper()
	select {
	case out := <-s.sink.Outcomes:
		resp := out.Response.(*kmsg.FetchResponse)
		if resp.ErrorCode != 0 {
			s.t.Fatal(kerr.ErrorForCode(resp.ErrorCode))
		}
		s.id = resp.SessionID
		return resp
	case <-time.After(callTimeout):
		s.t.Fatal("no answer")
		return nil
	}
}

// due lists the partitions that the session's next request would read.
func (s *sessionTest) due() (n int) {
	sess := s.api.data.sessions.byID[s.id]
	sess.mu.Lock()
	defer sess.mu.Unlock()
	return len(sess.due)
}

// A request reads what has changed and nothing else; one that waits is answered by a partition that it does not name.
func TestFetchSessionReadsWhatHasChanged(t *testing.T) {
	d := newDataTest(t)
	s := newSessionTest(t, d)
	s.send(d.fetchRequest(12, "a", 0, 0, "a", 1, 0, "c", 0, 0), 0, 1)
	if r := s.receive(); len(parts(r)) != 3 || s.due() != 0 {
		t.Fatalf("%v, %d due", parts(r), s.due())
	}
	s.send(d.fetchRequest(12), time.Hour, 1)
	d.fill("a", 1, 1)
	if r := s.receive(); !slices.Equal(indexes(r), []int32{1}) || s.due() != 1 {
		t.Fatalf("%v, %d due", indexes(r), s.due())
	}
	s.send(d.fetchRequest(12, "a", 1, 1), 0, 1)
	if r := s.receive(); len(parts(r)) != 0 || s.due() != 0 {
		t.Errorf("%v, %d due", parts(r), s.due())
	}
	// What comes while nobody asks is there for the next request.
	d.fill("c", 0, 1)
	if s.due() != 1 {
		t.Errorf("%d due", s.due())
	}
	s.send(d.fetchRequest(12), time.Hour, 1)
	if r := s.receive(); len(r.Topics) != 1 || r.Topics[0].Topic != "c" {
		t.Errorf("%+v", r.Topics)
	}
}

// min.bytes is waited for over all partitions of a session, also those that had nothing when the wait began.
func TestFetchSessionWaitsForMinBytes(t *testing.T) {
	d := newDataTest(t)
	s := newSessionTest(t, d)
	s.send(d.fetchRequest(12, "a", 0, 0, "a", 1, 0, "c", 0, 0), 0, 1)
	s.receive()
	size := len(oneBatch(t, 1, []byte("k")))
	s.send(d.fetchRequest(12), time.Hour, 3*size)
	d.fill("a", 0, 1)
	d.fill("c", 0, 1)
	select {
	case out := <-s.sink.Outcomes:
		t.Fatalf("answered too early: %+v", out)
	default:
	}
	d.fill("a", 0, 1)
	r := s.receive()
	got := 0
	for _, p := range parts(r) {
		got += len(p.RecordBatches)
	}
	if got < 3*size {
		t.Errorf("%d bytes, want %d", got, 3*size)
	}
}

// Whenever records come, between two requests or in the middle of one, a session that waits for long gets all of them.
func TestFetchSessionMissesNothing(t *testing.T) {
	d := newDataTest(t)
	const rounds = 400
	at := []struct {
		name  string
		index int
	}{{"a", 0}, {"a", 1}, {"c", 0}}
	var group sync.WaitGroup
	defer group.Wait()
	for _, p := range at {
		group.Go(func() {
			for range rounds {
				d.fill(p.name, p.index, 1)
			}
		})
	}
	s := newSessionTest(t, d)
	next := map[fetchKey]int64{}
	names := []any{"a", 0, 0, "a", 1, 0, "c", 0, 0}
	for total := 0; total < rounds*len(at); {
		s.send(d.fetchRequest(12, names...), time.Hour, 1)
		names = nil
		resp := s.receive()
		for i := range resp.Topics {
			for _, p := range resp.Topics[i].Partitions {
				k := fetchKey{name: resp.Topics[i].Topic, index: p.Partition}
				for rest := p.RecordBatches; len(rest) > 0; {
					b, more, err := batch.Parse(rest)
					if err != nil || b.BaseOffset() != next[k] {
						t.Fatalf("%+v: offset %d, want %d, %v", k, b.BaseOffset(), next[k], err)
					}
					next[k], rest = b.NextOffset(), more
					total++
				}
				if len(p.RecordBatches) > 0 {
					names = append(names, k.name, int(k.index), int(next[k]))
				}
			}
		}
	}
}

// A session that is gone leaves nothing behind that hears of its partitions.
func TestFetchSessionThatEndsWatchesNothing(t *testing.T) {
	d := newDataTest(t)
	s := newSessionTest(t, d)
	s.send(d.fetchRequest(12, "a", 0, 0, "a", 1, 0), 0, 1)
	s.receive()
	sess := d.api.data.sessions.byID[s.id]
	d.api.data.sessions.drop(s.id)
	d.fill("a", 0, 1)
	if len(sess.due) != 0 {
		t.Error("a partition was still watched")
	}
}
