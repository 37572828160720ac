package api

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/partition"
	"firn/broker/wire"
)

// Fetch sessions (KIP-227): a client names its partitions once, then only what changes, and gets only partitions that
// have something to say.
//
// A request with session id 0 and epoch 0 asks for a new session, one with epoch -1 for none. The epochs 1, 2, … of a
// session must come in order, else INVALID_FETCH_SESSION_EPOCH; an id that is not, or no longer, known is
// FETCH_SESSION_ID_NOT_FOUND. Either way the client begins a new one. A session that names nothing any more ends with its
// answer. When all slots are taken, or all sessions together have too many partitions, a new session takes the place of
// one not used for sessionStale, or of a smaller one older than that; failing this the client does without.
//
// Two more rules hold for the sessions of followers, which send a request before the last one is answered when they
// have something to say. A request that waits is answered at once when the next one of its session comes. And what
// the follower was sent of a partition (records, an error, where the logs part) is not sent again until it names the
// partition with its new offset: it may know only then, once its disk has it. A follower always gets
// a session, if need be in a client's place or beyond the slots: of brokers there are few.

const (
	defaultFetchSessions = 1000
	// sessionStale is how long a session must have been unused to be taken from its client (Kafka's
	// min.incremental.fetch.session.eviction.ms).
	sessionStale = 2 * time.Minute
	// maxSessionPartitions bounds the partitions of one session, maxCachedPartitions those of all, of about 200 bytes
	// each. A client that wants more gets no session, or loses the one it has.
	maxSessionPartitions = 100_000
	maxCachedPartitions  = 500_000

	initialEpoch = 0  // asks for a new session
	finalEpoch   = -1 // asks for no session
)

// sessionCache is the sessions of all connections. Safe for concurrent use. Its lock and a session's are never held
// together.
type sessionCache struct {
	slots int
	now   func() time.Time

	mu    sync.Mutex
	byID  map[int32]*fetchSession
	parts int // of all sessions, as counted
}

// fetchSession is the partitions a client has named, in order. A request walks them from another start each time, so
// that one which fills the response does not keep the others from being read.
type fetchSession struct {
	id       int32
	byTopic  bool // topic ids instead of names
	follower bool // a broker's that replicates
	created  time.Time
	used     atomic.Int64 // Unix nanoseconds
	size     atomic.Int32 // partitions
	counted  int          // what the cache counts for it; its lock guards it

	mu    sync.Mutex
	epoch int32 // the next request's
	parts []sessionPart
	start int              // where the next walk begins
	waits *partition.Fetch // the newest request, until it is answered
}

// sessionPart is a partition and what the client was last told of it.
type sessionPart struct {
	key      fetchKey
	asked    asked
	hw       int64 // -1: tell in any case
	logStart int64
	told     bool // a follower was sent something and has not answered to it
}

func newSessionCache(slots int) *sessionCache {
	if slots == 0 {
		slots = defaultFetchSessions
	}
	return &sessionCache{slots: slots, now: time.Now, byID: map[int32]*fetchSession{}}
}

// begin returns the session of a request, brought up to date with what it says, or nil for a request without one.
func (c *sessionCache) begin(body *kmsg.FetchRequest) (*fetchSession, *kerr.Error) {
	if body.Version < 7 {
		return nil, nil
	}
	if body.SessionEpoch != initialEpoch && body.SessionEpoch != finalEpoch {
		return c.resume(body)
	}
	if body.SessionID != 0 {
		c.drop(body.SessionID)
	}
	if body.SessionEpoch == finalEpoch {
		return nil, nil
	}
	s := &fetchSession{byTopic: body.Version >= 13, follower: isFollower(body), created: c.now(), epoch: 1}
	s.used.Store(s.created.UnixNano())
	if !s.update(body) || len(s.parts) == 0 || !c.insert(s) {
		return nil, nil
	}
	return s, nil
}

// resume finds the session of an incremental request.
func (c *sessionCache) resume(body *kmsg.FetchRequest) (*fetchSession, *kerr.Error) {
	c.mu.Lock()
	s := c.byID[body.SessionID]
	c.mu.Unlock()
	if s == nil {
		return nil, kerr.FetchSessionIDNotFound
	}
	s.used.Store(c.now().UnixNano())
	err := s.resume(body)
	switch {
	case err == kerr.FetchSessionIDNotFound:
		c.drop(s.id)
	case err != nil:
	case s.size.Load() == 0 && !s.follower:
		c.drop(s.id)
		return nil, nil
	case !c.count(s):
		return nil, kerr.FetchSessionIDNotFound
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// count takes the present size of s into account; false if it is too much and s is gone for it.
func (c *sessionCache) count(s *fetchSession) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID[s.id] != s {
		return true // dropped meanwhile: this answer is its last
	}
	size := int(s.size.Load())
	c.parts += size - s.counted
	s.counted = size
	if c.parts > maxCachedPartitions {
		c.dropLocked(s)
		return false
	}
	return true
}

func (s *fetchSession) resume(body *kmsg.FetchRequest) *kerr.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case body.SessionEpoch != s.epoch:
		return kerr.InvalidFetchSessionEpoch
	case s.byTopic != (body.Version >= 13), s.follower != isFollower(body):
		return kerr.FetchSessionTopicIDError
	case !s.update(body):
		return kerr.FetchSessionIDNotFound
	}
	if s.epoch++; s.epoch < 0 {
		s.epoch = 1
	}
	if s.follower && s.waits != nil {
		s.waits.Hurry()
	}
	return nil
}

// enter and leave enclose the wait of a request.
func (s *fetchSession) enter(f *partition.Fetch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits = f
}

func (s *fetchSession) leave(f *partition.Fetch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waits == f {
		s.waits = nil
	}
}

// insert gives s an id and a slot; false if there is none to be had.
func (c *sessionCache) insert(s *fetchSession) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.byID) >= c.slots || c.parts+len(s.parts) > maxCachedPartitions {
		if !c.evictLocked(s) {
			if s.follower {
				break
			}
			return false
		}
	}
	for s.id == 0 || c.byID[s.id] != nil {
		s.id = rand.Int32N(math.MaxInt32) + 1
	}
	c.byID[s.id] = s
	s.counted = len(s.parts)
	c.parts += s.counted
	return true
}

// evictLocked makes room for s: of the sessions that may go, the one unused for the longest time goes.
func (c *sessionCache) evictLocked(s *fetchSession) bool {
	now := c.now()
	var victim *fetchSession
	for _, o := range c.byID {
		unused := now.Sub(time.Unix(0, o.used.Load()))
		yields := s.follower && !o.follower
		if unused < sessionStale && !yields && (o.follower || now.Sub(o.created) < sessionStale || o.size.Load() >= s.size.Load()) {
			continue
		}
		if victim == nil || o.used.Load() < victim.used.Load() {
			victim = o
		}
	}
	if victim == nil {
		return false
	}
	c.dropLocked(victim)
	return true
}

func (c *sessionCache) drop(id int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.byID[id]; s != nil {
		c.dropLocked(s)
	}
}

func (c *sessionCache) dropLocked(s *fetchSession) {
	delete(c.byID, s.id)
	c.parts -= s.counted
	s.counted = 0
}

// len is the number of sessions.
func (c *sessionCache) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byID)
}

// update adds, changes and forgets the partitions that the request names; false if there are too many.
func (s *fetchSession) update(body *kmsg.FetchRequest) bool {
	known := s.parts // those added behind are not sorted in until the end
	for i := range body.Topics {
		t := &body.Topics[i]
		name := ""
		for j := range t.Partitions {
			k, want := requestKey(body.Version, t, j), requestAsked(&t.Partitions[j])
			if at, found := slices.BinarySearchFunc(known, k, comparePart); found {
				s.parts[at].asked, s.parts[at].told = want, false // what the client was told of it stands
				continue
			}
			if len(s.parts) == maxSessionPartitions {
				return false
			}
			if name == "" && k.name != "" {
				name = strings.Clone(k.name) // the request's goes with it
			}
			k.name = name
			s.parts = append(s.parts, sessionPart{key: k, asked: want, hw: -1, logStart: -1})
		}
	}
	if len(s.parts) > len(known) {
		slices.SortStableFunc(s.parts, func(a, b sessionPart) int { return compareKeys(a.key, b.key) })
		s.parts = slices.CompactFunc(s.parts, func(a, b sessionPart) bool { return a.key == b.key })
	}
	for i := range body.ForgottenTopics {
		s.forget(&body.ForgottenTopics[i])
	}
	s.size.Store(int32(len(s.parts)))
	return true
}

func (s *fetchSession) forget(t *kmsg.FetchRequestForgottenTopic) {
	k := fetchKey{name: t.Topic}
	if s.byTopic {
		k = fetchKey{id: t.TopicID}
	}
	gone := make(map[fetchKey]struct{}, len(t.Partitions))
	for _, k.index = range t.Partitions {
		gone[k] = struct{}{}
	}
	s.parts = slices.DeleteFunc(s.parts, func(p sessionPart) bool {
		_, ok := gone[p.key]
		return ok
	})
}

func (s *fetchSession) find(k fetchKey) (at int, found bool) {
	return slices.BinarySearchFunc(s.parts, k, comparePart)
}

func comparePart(p sessionPart, k fetchKey) int { return compareKeys(p.key, k) }

func compareKeys(a, b fetchKey) int {
	if d := strings.Compare(a.name, b.name); d != 0 {
		return d
	}
	if d := bytes.Compare(a.id[:], b.id[:]); d != 0 {
		return d
	}
	return int(a.index) - int(b.index)
}

// each calls fn for every partition that is to be read, from the next start on, and returns which call was for the first
// in order.
func (s *fetchSession) each(fn func(*sessionPart)) (first int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := 0
	walk := func(parts []sessionPart) {
		for i := range parts {
			if p := &parts[i]; !p.told {
				fn(p)
				calls++
			}
		}
	}
	start := min(s.start, len(s.parts))
	walk(s.parts[start:])
	if first = calls; start > 0 {
		walk(s.parts[:start])
	}
	if first == calls { // there was nothing to call for before the start
		return 0
	}
	return first
}

// changed reports whether a partition's answer has anything that the client was not told, and notes that it is told
// now. A partition that brought records is asked last the next time.
func (s *fetchSession) changed(k fetchKey, read *partition.FetchPart, out *wire.FetchPartition) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, found := s.find(k)
	if !found { // forgotten by a request that overtook this one
		return true
	}
	p := &s.parts[at]
	calls := read.Bytes > 0 || out.ErrorCode != 0 || out.DivergingEpoch.Epoch >= 0
	if s.follower && calls && p.asked.offset == read.Offset && p.asked.leaderEpoch == read.LeaderEpoch {
		p.told = true // unless it has named the partition again since
	}
	news := calls || p.hw != out.HighWatermark || p.logStart != out.LogStartOffset
	p.hw, p.logStart = out.HighWatermark, out.LogStartOffset
	if out.ErrorCode != 0 {
		p.hw = -1 // when the error has gone the client must hear of it
	}
	if read.Bytes > 0 {
		s.start = at + 1
	}
	return news
}
