package replication

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/metadata/topic"
)

const (
	// maxInFlight is how many fetches are on their way at most: one that the leader keeps, and one that ends its wait.
	maxInFlight = 2
	// syncGrace is how long a fetch that would say nothing new waits for a disk that is about to finish, which then
	// gives it something to say.
	syncGrace = 2 * time.Millisecond
)

// session is a fetch session on one connection. It is for the fetcher's goroutine.
type session struct {
	f       *fetcher
	link    *link
	id      int32
	epoch   int32  // of the next fetch
	seq     uint64 // fetches sent
	seen    uint64 // answers received
	follows map[topic.Partition]*follow
	ready   []*follow // have something to say
	later   []*follow // have to wait before they may
	copies  []*follow // were found ready though throttled, as there was room; some may be told of by now
	forget  map[topic.Partition]struct{}
	live    int // partitions of which the leader tells as soon as it has something
	syncing int // partitions that wait for their disk
	grace   time.Time
	req     kmsg.FetchRequest
}

func newSession(f *fetcher, l *link) *session {
	s := &session{f: f, link: l, follows: map[topic.Partition]*follow{}, forget: map[topic.Partition]struct{}{}}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.gone = nil // a new session knows nobody
	for _, p := range f.mu.follows {
		p.list, p.named, p.told, p.say, p.syncing, p.copies, p.retryAt, p.pause = inNone, false, false, true, false, false, time.Time{}, 0
		if !p.marked {
			p.marked = true
			f.mu.marked = append(f.mu.marked, p)
		}
	}
	return s
}

// run sends and receives until the connection breaks or the fetcher ends.
func (s *session) run() error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		s.takeMarked()
		now := time.Now()
		s.holdBack(now)
		wait := s.retry(now) // after what was marked: a pause may have been cut short
		for s.maySend(now) {
			if err := s.send(); err != nil {
				return err
			}
		}
		if s.inFlight() == 0 && s.syncing > 0 && s.keeps() {
			wait = min(wait, s.grace.Sub(now))
		}
		timer.Reset(max(wait, 0))
		select {
		case <-s.f.ctx.Done():
			return s.f.ctx.Err()
		case <-s.f.wake:
		case <-timer.C:
		case a := <-s.link.answers:
			if a.err != nil {
				return a.err
			}
			err := s.take(a)
			a.frame.Release()
			if err != nil {
				return err
			}
		}
	}
}

func (s *session) inFlight() int { return int(s.seq - s.seen) }

// maySend reports whether it is time for a fetch: when there is something to say, or when the leader has none to keep.
func (s *session) maySend(now time.Time) bool {
	switch flying := s.inFlight(); {
	case flying >= maxInFlight, flying > 0 && s.id == 0:
		return false
	case len(s.ready) > 0:
		return true
	case flying > 0:
		return len(s.forget) > 0
	}
	return s.keeps() && (s.syncing == 0 || !now.Before(s.grace))
}

// keeps reports whether the leader is to keep a fetch: for what it may tell, or so that it is heard while all have to wait.
func (s *session) keeps() bool { return s.live > 0 || s.id != 0 && len(s.later) > 0 }

// takeMarked looks at the partitions that were added, removed, or have news of their own.
func (s *session) takeMarked() {
	f := s.f
	f.mu.Lock()
	marked, gone := f.mu.marked, f.mu.gone
	f.mu.marked, f.mu.gone = nil, nil
	for _, p := range marked {
		p.marked = false
		if p.begun {
			p.begun, p.busy = false, false
		}
	}
	f.mu.Unlock()
	for _, tp := range gone {
		s.drop(tp)
	}
	for _, p := range marked {
		if s.follows[p.tp] != p {
			s.drop(p.tp)
			s.follows[p.tp] = p
			p.say = true
		}
		s.look(p)
	}
}

// drop ends fetching for a partition.
func (s *session) drop(tp topic.Partition) {
	p := s.follows[tp]
	if p == nil {
		return
	}
	s.settle(p)
	if p.named {
		s.forget[tp] = struct{}{}
	}
	is := func(o *follow) bool { return o == p }
	s.ready, s.later, s.copies = slices.DeleteFunc(s.ready, is), slices.DeleteFunc(s.later, is), slices.DeleteFunc(s.copies, is)
	p.list = inNone
	delete(s.follows, tp)
}

// settle takes p out of the counts.
func (s *session) settle(p *follow) {
	if p.named && !p.told {
		s.live--
	}
	p.told = true
	if p.syncing {
		s.syncing--
		p.syncing = false
	}
}

// look decides whether there is anything to say of p now.
func (s *session) look(p *follow) {
	if p.syncing {
		p.syncing = false
		s.syncing--
	}
	if p.busy {
		return // its log is held meanwhile, for as long as a disk takes
	}
	at, follows := p.replica.Place()
	switch {
	case !follows || at.Leader != s.f.leader:
		return
	case p.named && at.Epoch != p.place.Epoch:
		p.say, p.retryAt, p.pause = true, time.Time{}, 0
	case p.named && at.LogStart > p.place.LogStart:
		p.say = true // the leader sends clients here by it
	}
	switch {
	case at.Anew && p.list == inNone:
		s.startAnew(p, at.Epoch, at.LogStart)
	case !p.say || p.list != inNone: // of those in later, retry comes to the ones whose pause was cut short
	case !p.retryAt.IsZero():
		s.later, p.list = append(s.later, p), inLater
	case !at.Durable:
		p.syncing = true
		s.syncing++
		s.grace = time.Now().Add(syncGrace)
	case at.Throttled && s.held(p):
	default:
		s.ready, p.list = append(s.ready, p), inReady
	}
}

// retry looks again at the partitions whose pause is over, and returns how long until the next one's is.
func (s *session) retry(now time.Time) time.Duration {
	later := s.later
	s.later = nil
	for _, p := range later {
		if p.retryAt.After(now) {
			s.later = append(s.later, p)
			continue
		}
		p.retryAt, p.list = time.Time{}, inNone
		s.look(p)
	}
	next := time.Hour
	for _, p := range s.later {
		next = min(next, p.retryAt.Sub(now))
	}
	return next
}

// again has p named again after a pause, because of an error.
func (s *session) again(p *follow) {
	p.say = true
	p.pause = s.f.all.longer(p.pause)
	p.retryAt = time.Now().Add(p.pause)
}
