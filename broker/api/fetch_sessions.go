package api

import (
	"bytes"
	"maps"
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
	"firn/metadata/topic"
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
// A request costs what has changed, not what the session has: of a partition that has been read to its end, and has told
// all it had, only a partition.Watch is left. What that hears of makes the partition due, and only those that are due are
// read. A request that waits is answered at once when the next one of its session comes.
//
// One more rule holds for the sessions of followers, which send a request before the last one is answered when they
// have something to say: what the follower was sent of a partition (records, an error, where the logs part) is not sent again until it names the
// partition with its new offset: it may know only then, once its disk has it. A follower that is registered as it says always
// gets a session, if need be in a client's place or beyond the slots: of brokers there are few.

const (
	defaultFetchSessions = 1000
	// sessionStale is how long a session must have been unused to be taken from its client (Kafka's
	// min.incremental.fetch.session.eviction.ms).
	sessionStale = 2 * time.Minute
	// maxSessionPartitions bounds the partitions of one session, maxCachedPartitions those of all, of about 200 bytes
	// each. A client that wants more, or names what no topic can be called, gets no session, or loses the one it has.
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
	// registered reports whether a broker is registered in the life it says that it lives. If nil all are.
	registered func(id int32, brokerEpoch int64) bool

	mu    sync.Mutex
	byID  map[int32]*fetchSession
	parts int // of all sessions, as counted
}

// fetchSession is the partitions a client has named.
type fetchSession struct {
	id       int32
	byTopic  bool // topic ids instead of names
	follower bool // of whoever says that it is a broker, and replicates
	broker   bool // of one that was registered when it began
	created  time.Time
	used     atomic.Int64 // Unix nanoseconds
	size     atomic.Int32 // partitions
	counted  int          // what the cache counts for it; its lock guards it

	// watching is held while watches are set and stopped. mu, which watches take, may be taken with it.
	watching sync.Mutex

	mu     sync.Mutex
	epoch  int32 // the next request's
	parts  map[fetchKey]*sessionPart
	due    []*sessionPart      // to be read by the next request, or the one that waits, in turn
	waits  *partition.Fetch    // the newest request, until it is answered
	who    *partition.Follower // who asks, in a follower's session
	closed bool
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
	s := &fetchSession{byTopic: body.Version >= 13, follower: isFollower(body), created: c.now(), epoch: 1, parts: map[fetchKey]*sessionPart{}}
	s.broker = s.follower && (c.registered == nil || c.registered(followerOf(body)))
	s.used.Store(s.created.UnixNano())
	if _, ok := s.update(body); !ok || len(s.parts) == 0 || !c.insert(s) {
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
	size := int(s.size.Load())
	c.mu.Lock()
	known := c.byID[s.id] == s // if it was dropped meanwhile this answer is its last
	if known {
		c.parts += size - s.counted
		s.counted = size
	}
	tooMuch := known && c.parts > maxCachedPartitions
	c.mu.Unlock()
	if tooMuch {
		c.drop(s.id)
	}
	return !tooMuch
}

func (s *fetchSession) resume(body *kmsg.FetchRequest) *kerr.Error {
	gone, err := s.take(body)
	if len(gone) > 0 {
		s.watching.Lock()
		defer s.watching.Unlock()
		for _, p := range gone {
			p.watch.Stop()
		}
	}
	return err
}

// take takes in what a request says. It returns the partitions that are gone, whose watches are to be stopped.
func (s *fetchSession) take(body *kmsg.FetchRequest) (gone []*sessionPart, kerror *kerr.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case body.SessionEpoch != s.epoch:
		return nil, kerr.InvalidFetchSessionEpoch
	case s.byTopic != (body.Version >= 13), s.follower != isFollower(body):
		return nil, kerr.FetchSessionTopicIDError
	}
	gone, ok := s.update(body)
	if !ok {
		return gone, kerr.FetchSessionIDNotFound
	}
	if s.epoch++; s.epoch < 0 {
		s.epoch = 1
	}
	if s.waits != nil {
		s.waits.Hurry()
	}
	return gone, nil
}

// insert gives s an id and a slot; false if there is none to be had.
func (c *sessionCache) insert(s *fetchSession) bool {
	var evicted []*fetchSession
	defer func() {
		for _, o := range evicted {
			o.close()
		}
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.byID) >= c.slots || c.parts+len(s.parts) > maxCachedPartitions {
		victim := c.victimLocked(s)
		if victim != nil {
			c.dropLocked(victim)
			evicted = append(evicted, victim)
			continue
		}
		if s.broker {
			break
		}
		return false
	}
	for s.id == 0 || c.byID[s.id] != nil {
		s.id = rand.Int32N(math.MaxInt32) + 1
	}
	c.byID[s.id] = s
	s.counted = len(s.parts)
	c.parts += s.counted
	return true
}

// victimLocked is who makes room for s: of the sessions that may go, the one unused for the longest time; nil if none may.
func (c *sessionCache) victimLocked(s *fetchSession) *fetchSession {
	now := c.now()
	var victim *fetchSession
	for _, o := range c.byID {
		unused := now.Sub(time.Unix(0, o.used.Load()))
		yields := s.broker && !o.broker
		if unused < sessionStale && !yields && (o.broker || now.Sub(o.created) < sessionStale || o.size.Load() >= s.size.Load()) {
			continue
		}
		if victim == nil || o.used.Load() < victim.used.Load() {
			victim = o
		}
	}
	return victim
}

func (c *sessionCache) drop(id int32) {
	c.mu.Lock()
	s := c.byID[id]
	if s != nil {
		c.dropLocked(s)
	}
	c.mu.Unlock()
	if s != nil {
		s.close()
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

// update adds, changes and forgets the partitions that the request names; false if there are too many, or names too long. It
// returns those that are gone.
func (s *fetchSession) update(body *kmsg.FetchRequest) (gone []*sessionPart, ok bool) {
	for i := range body.Topics {
		t := &body.Topics[i]
		name := ""
		for j := range t.Partitions {
			k := requestKey(body.Version, t, j)
			p := s.parts[k]
			if p == nil {
				if len(s.parts) == maxSessionPartitions || len(k.name) > topic.MaxNameLen {
					return nil, false
				}
				if name == "" && k.name != "" {
					name = strings.Clone(k.name) // the request's goes with it
				}
				k.name = name
				p = &sessionPart{session: s, key: k, hw: -1, logStart: -1}
				p.watch.Owner = p
				s.parts[k] = p
			}
			p.asked, p.told = requestAsked(&t.Partitions[j]), false
			if s.follower {
				// What it was told while it followed at another leader epoch, or began its log anew, it has passed over. What
				// a client was told stands.
				p.hw = -1
			}
			p.named++
			p.dueLocked()
		}
	}
	for i := range body.ForgottenTopics {
		gone = s.forget(gone, &body.ForgottenTopics[i])
	}
	s.size.Store(int32(len(s.parts)))
	return gone, true
}

func (s *fetchSession) forget(gone []*sessionPart, t *kmsg.FetchRequestForgottenTopic) []*sessionPart {
	k := fetchKey{name: t.Topic}
	if s.byTopic {
		k = fetchKey{id: t.TopicID}
	}
	for _, k.index = range t.Partitions {
		if p := s.parts[k]; p != nil {
			p.gone = true
			delete(s.parts, k)
			gone = append(gone, p)
		}
	}
	return gone
}

// close ends the session, whose last request may still be under way.
func (s *fetchSession) close() {
	s.mu.Lock()
	s.closed = true
	parts := slices.Collect(maps.Values(s.parts))
	s.mu.Unlock()
	s.watching.Lock()
	defer s.watching.Unlock()
	for _, p := range parts {
		p.watch.Stop()
	}
}

// followed returns who asks in a follower's session. When that is another life of the broker it asks for everything anew.
func (s *fetchSession) followed(id int32, brokerEpoch int64) *partition.Follower {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.who != nil && s.who.ID == id && s.who.BrokerEpoch == brokerEpoch {
		return s.who
	}
	s.who = &partition.Follower{ID: id, BrokerEpoch: brokerEpoch}
	for _, p := range s.parts {
		if !p.told {
			p.dueLocked()
		}
	}
	return s.who
}

func compareKeys(a, b fetchKey) int {
	if d := strings.Compare(a.name, b.name); d != 0 {
		return d
	}
	if d := bytes.Compare(a.id[:], b.id[:]); d != 0 {
		return d
	}
	return int(a.index) - int(b.index)
}
