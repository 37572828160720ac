package api

import (
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/partition"
	"firn/broker/wire"
	"firn/metadata/topic"
)

// Fetch (key 1), versions 4-18.
//
// Records are whole batches as their producers sent them, never beyond the high watermark. The answer comes once
// min_bytes can be read, there is more than fits, or max_wait_ms have passed; max_bytes and partition_max_bytes are kept,
// except that the first batch found is sent whatever its size. Offsets below the local log are read from the tier, all
// partitions at once; a read that takes longer goes on, so that the next Fetch finds it done. An error of one partition does
// not keep others' records back. It ends the wait, but for KAFKA_STORAGE_ERROR and CORRUPT_MESSAGE: those clients try again
// without a pause, so they are told when the wait is over.
//
//   - v7: sessions, see fetch_sessions.go. v9: current_leader_epoch. v12: last_fetched_epoch, answered with
//     diverging_epoch where the logs part. v12 and v16: current_leader and node_endpoints with an error of leadership.
//   - v11: followers answer, too, up to the high watermark that they know of (KIP-392). With rack_id, and a
//     replica.selector.class that goes by it, a leader on another rack answers preferred_read_replica, without records:
//     an in-sync follower on that rack which has the offset and was caught up within the last second. A follower that is
//     not in sync, cut off, or without the offset sends the client to the leader by the same field, when the wait is over.
//     Offsets between its high watermark and its log's end wait.
//   - v13: topic ids. v15: replica_state; v17, v18: fields of followers.
//   - isolation_level is accepted; without transactions the last stable offset is the high watermark.
//
// A broker that asks as a follower (replica_id, replica_state) reads up to the log's end, from the local log alone:
// what lies below is OFFSET_MOVED_TO_TIERED_STORAGE. Its offset says what it has, on durable topics on its disk.
// NOT_LEADER_OR_FOLLOWER if it has no replica of the partition, STALE_BROKER_EPOCH if it is not registered in the life it
// says that it lives. Its sessions have rules of their own, see there.
func init() { register(kmsg.Fetch, 4, 18, (*API).fetch) }

// fetchCall is one Fetch request under way. It is used again for later ones.
type fetchCall struct {
	api       *API
	req       *wire.Request
	dir       Directory
	committed bool // isolation level
	session   *fetchSession
	joins     func(*partition.Fetch) // join, made once
	stale     bool                   // a follower that is not registered as it says
	rack      string                 // where the client says that it stands; of an earlier one if nobody asks
	nearBy    func(int32) bool       // near, made once
	keys      []fetchKey             // of each part
	held      []heldPart             // the same of a session, empty without one
	first     int                    // the part that the answer of a request without a session begins with
	order     []int                  // of the parts in the answer: they are read in turn, but answered in order
	fetch     partition.Fetch
	resp      wire.FetchResponse
}

// maxRack is how long the name of a rack may be: it is kept with a fetch that waits and is not charged for. No broker stands on one
// with a longer name.
const maxRack = 1 << 10

// fetchKey names a partition as the client did.
type fetchKey struct {
	name  string // "" from v13
	id    topic.ID
	index int32
}

var fetchCalls sync.Pool // of *fetchCall

func newFetchCall() *fetchCall {
	c, _ := fetchCalls.Get().(*fetchCall)
	if c == nil {
		c = &fetchCall{}
		c.fetch.Done, c.joins, c.nearBy = c.done, c.join, c.near
	}
	c.fetch.Join, c.fetch.Near = nil, nil
	return c
}

func (a *API) fetch(req *wire.Request, body *kmsg.FetchRequest) {
	c := newFetchCall()
	c.api, c.req, c.dir = a, req, a.data.Directory()
	c.committed = body.IsolationLevel == 1
	c.keys, c.held, c.fetch.Parts = c.keys[:0], c.held[:0], c.fetch.Parts[:0]
	c.resp = wire.FetchResponse{Topics: c.resp.Topics[:0]}
	session, kerror := a.data.sessions.begin(body)
	if kerror != nil {
		c.resp.ErrorCode = kerror.Code
		c.finish()
		return
	}
	c.session, c.stale, c.fetch.Follower = session, false, nil
	c.fetch.AnyReplica = body.Version >= 11
	if isFollower(body) {
		c.beFollower(body)
	} else if body.Rack != "" && len(body.Rack) <= maxRack && a.data.RackAware {
		if c.rack != body.Rack {
			c.rack = strings.Clone(body.Rack) // or all of the request would be kept with it
		}
		c.fetch.Near = c.nearBy
	}
	if c.first = 0; session != nil {
		c.fetch.Join = c.joins
	} else {
		c.first = c.addAll(body, a.data.rotation.Add(1))
	}
	c.fetch.MaxBytes = min(a.data.FetchMaxBytes, int(max(body.MaxBytes, 0)))
	c.fetch.MinBytes = min(int(body.MinBytes), c.fetch.MaxBytes)
	c.fetch.MaxWait = time.Duration(max(body.MaxWaitMillis, 0)) * time.Millisecond
	if c.session != nil {
		c.session.enter(c)
	}
	ctx := req.Conn.Context
	req.ReleaseFrame() // the wait may be long
	a.data.Partitions.Fetch(ctx, &c.fetch)
}

// beFollower has the request count as a broker's, unless that is not registered as it says: then what it has must not count,
// and all it asks for is refused. The metadata may be behind; it tries again soon.
func (c *fetchCall) beFollower(body *kmsg.FetchRequest) {
	id, epoch := followerOf(body)
	c.stale = !registered(c.dir, id, epoch)
	if c.session == nil || c.stale {
		c.fetch.Follower = &partition.Follower{ID: id, BrokerEpoch: epoch}
		return
	}
	c.fetch.Follower = c.session.followed(id, epoch)
}

// registered reports whether a broker is registered in the life it says that it lives.
func registered(dir Directory, id int32, brokerEpoch int64) bool {
	b, ok := dir.Broker(id)
	return ok && b.Epoch == brokerEpoch
}

// near reports whether a broker stands on the client's rack and can be reached from there.
func (c *fetchCall) near(broker int32) bool {
	b, ok := c.api.data.Directory().Broker(broker)
	if !ok || b.Rack != c.rack {
		return false
	}
	_, ok = b.Listener(c.req.Conn.Listener)
	return ok
}

// isFollower reports whether a broker asks, or something that says it is one.
func isFollower(body *kmsg.FetchRequest) bool {
	id, _ := followerOf(body)
	return id >= 0
}

func followerOf(body *kmsg.FetchRequest) (id int32, brokerEpoch int64) {
	if body.Version >= 15 {
		return body.ReplicaState.ID, body.ReplicaState.Epoch
	}
	return body.ReplicaID, -1
}

// join adds the partitions of the session that are due.
func (c *fetchCall) join(*partition.Fetch) {
	c.dir = c.api.data.Directory()
	c.session.join(c)
}

// asked is what a client wants of a partition.
type asked struct {
	offset      int64
	maxBytes    int32
	leaderEpoch int32
	lastEpoch   int32
	start       int64 // of a follower's log
}

// addAll adds the partitions of a request without a session, beginning with another one each time: a client that asks
// in a fixed order must get to its last partition, too. It returns which part is the request's first.
func (c *fetchCall) addAll(body *kmsg.FetchRequest, rotation uint32) (first int) {
	total := partitionsOf(body)
	if total > maxPooledParts {
		// One that is named for as often as a frame has room would be read, and waited for, so many times.
		body.Topics = folded(body.Topics, func(t *kmsg.FetchRequestTopic) fetchKey { return fetchKey{name: t.Topic, id: t.TopicID} },
			func(t *kmsg.FetchRequestTopic) *[]kmsg.FetchRequestTopicPartition { return &t.Partitions },
			func(p *kmsg.FetchRequestTopicPartition) int32 { return p.Partition })
		total = partitionsOf(body)
	}
	if total == 0 {
		return 0
	}
	start := int(rotation % uint32(total))
	for _, wrapped := range [2]bool{false, true} {
		n := 0
		for i := range body.Topics {
			t := &body.Topics[i]
			for j := range t.Partitions {
				if (n < start) == wrapped {
					c.add(requestKey(body.Version, t, j), requestAsked(&t.Partitions[j]), math.MaxInt64)
				}
				n++
			}
		}
	}
	return (total - start) % total
}

func partitionsOf(body *kmsg.FetchRequest) (n int) {
	for i := range body.Topics {
		n += len(body.Topics[i].Partitions)
	}
	return n
}

func requestKey(version int16, t *kmsg.FetchRequestTopic, j int) fetchKey {
	k := fetchKey{index: t.Partitions[j].Partition}
	if version >= 13 {
		k.id = t.TopicID
	} else {
		k.name = t.Topic
	}
	return k
}

func requestAsked(p *kmsg.FetchRequestTopicPartition) asked {
	return asked{
		offset: p.FetchOffset, maxBytes: p.PartitionMaxBytes, leaderEpoch: p.CurrentLeaderEpoch, lastEpoch: p.LastFetchedEpoch,
		start: p.LogStartOffset,
	}
}

// add adds a partition to read. told is the high watermark that a follower was told.
func (c *fetchCall) add(k fetchKey, want asked, told int64) {
	n := len(c.fetch.Parts)
	if n < cap(c.fetch.Parts) {
		c.fetch.Parts = c.fetch.Parts[:n+1]
	} else {
		c.fetch.Parts = append(c.fetch.Parts, partition.FetchPart{})
	}
	p := &c.fetch.Parts[n]
	*p = partition.FetchPart{
		Offset: want.offset, MaxBytes: int(want.maxBytes), LeaderEpoch: want.leaderEpoch, LastEpoch: want.lastEpoch,
		Start: want.start, Told: told, Preferred: -1,
		HighWatermark: -1, LastStable: -1, LogStart: -1, Diverging: partition.EpochEnd{Epoch: -1, End: -1},
		Extents: p.Extents[:0],
	}
	t, terr := dataTopic(c.dir, c.req.Version >= 13, k.id, k.name)
	if p.Replica, p.Err = c.api.findReplica(t, terr, k.index); p.Err == nil && c.stale {
		p.Replica, p.Err = nil, kerr.StaleBrokerEpoch
	}
	if t != nil && k.name != "" {
		k.name = t.Name
	}
	c.keys = append(c.keys, k)
}

// done builds the answer. A topic's partitions stand together in it, as they do in the request: there are clients who
// of a topic that is there twice only keep the second.
func (c *fetchCall) done(*partition.Fetch) {
	h := hints{dir: c.api.data.Directory(), listener: c.req.Conn.Listener} // what the wait was for may have moved
	for _, i := range c.inOrder() {
		p, k := &c.fetch.Parts[i], c.keys[i]
		out := c.answer(p, k, &h)
		if c.session != nil && !c.held[i].news(c, p, &out) {
			continue
		}
		t := c.topicFor(k)
		t.Partitions = append(t.Partitions, out)
	}
	h.each(func(id int32, host string, port int32, rack *string) {
		b := kmsg.NewFetchResponseBroker()
		b.NodeID, b.Host, b.Port, b.Rack = id, host, port, rack
		c.resp.NodeEndpoints = append(c.resp.NodeEndpoints, b)
	})
	if c.session != nil {
		c.session.leave(c)
		c.resp.SessionID = c.session.id
	}
	c.finish()
}

// inOrder returns the parts as they stand in the answer: as they do in the request or, in a session, by their names.
func (c *fetchCall) inOrder() []int {
	c.order = c.order[:0]
	for n := range c.fetch.Parts {
		c.order = append(c.order, (c.first+n)%len(c.fetch.Parts))
	}
	if c.session != nil {
		slices.SortFunc(c.order, func(a, b int) int { return compareKeys(c.keys[a], c.keys[b]) })
	}
	return c.order
}

// answer turns a part's outcome into Kafka's form.
func (c *fetchCall) answer(p *partition.FetchPart, k fetchKey, h *hints) wire.FetchPartition {
	out := wire.NewFetchPartition(k.index)
	out.HighWatermark, out.LastStableOffset, out.LogStartOffset = p.HighWatermark, p.LastStable, p.LogStart
	out.PreferredReadReplica = p.Preferred
	out.DivergingEpoch = wire.EpochEnd{Epoch: p.Diverging.Epoch, EndOffset: p.Diverging.End}
	if c.committed {
		out.Aborted = noneAborted
	}
	for i, e := range p.Extents {
		out.Records = append(out.Records, e)
		p.Extents[i] = nil
	}
	if p.Err != nil {
		out.ErrorCode = c.fetchCode(p.Err)
		if to, ok := h.of(out.ErrorCode, c.hintID(k), k.index); ok {
			out.CurrentLeader = wire.LeaderEpoch{LeaderID: to.leader, LeaderEpoch: to.epoch}
		}
	}
	return out
}

var noneAborted = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}

func (c *fetchCall) hintID(k fetchKey) topic.ID {
	if k.name == "" {
		return k.id
	}
	if t, ok := c.dir.Topic(k.name); ok {
		return t.ID
	}
	return topic.ID{}
}

// fetchCode is the error code, as far as the version knows it.
func (c *fetchCall) fetchCode(err error) int16 { return storageCode(err, c.req.Version >= 6) }

// topicFor returns the response's last topic if it is k's, else a new one.
func (c *fetchCall) topicFor(k fetchKey) *wire.FetchTopic {
	n := len(c.resp.Topics)
	if n > 0 {
		if t := &c.resp.Topics[n-1]; t.TopicID == k.id && t.Topic == k.name {
			return t
		}
	}
	if n < cap(c.resp.Topics) {
		c.resp.Topics = c.resp.Topics[:n+1]
	} else {
		c.resp.Topics = append(c.resp.Topics, wire.FetchTopic{})
	}
	t := &c.resp.Topics[n]
	t.Topic, t.TopicID, t.Partitions = k.name, k.id, t.Partitions[:0]
	return t
}

// finish answers and gives the call back.
func (c *fetchCall) finish() {
	c.req.ReplyFetch(&c.resp)
	if cap(c.fetch.Parts) > maxPooledParts {
		return
	}
	for i := range c.fetch.Parts {
		c.fetch.Parts[i].Replica, c.fetch.Parts[i].Err = nil, nil
	}
	for i := range c.resp.Topics {
		c.resp.Topics[i].Topic = "" // of a topic that is not there it is a part of the request
	}
	clear(c.keys)
	clear(c.held)
	c.req, c.dir, c.session = nil, nil, nil
	fetchCalls.Put(c)
}
