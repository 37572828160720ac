package replication

import (
	"slices"
	"time"
)

// The followers' half of a reassignment's throttle (KIP-73). Of a replica that is copied nothing more is asked while the
// broker's rate is used up, and what was asked is withdrawn. Replicas that are in sync are asked for whatever happens, and
// what they get is not counted: package partition says which are which.

// held has p, a copy, wait if the rate is used up.
func (s *session) held(p *follow) bool {
	now := time.Now()
	if wait := s.f.all.opts.Throttle.Wait(now); wait > 0 {
		p.retryAt = now.Add(wait)
		s.later, p.list = append(s.later, p), inLater
		return true
	}
	if !p.copies {
		s.copies, p.copies = append(s.copies, p), true
	}
	return false
}

// holdBack has the copies wait that are asked for, or are about to be, if the rate is used up by now: a leader that was
// asked for many would go on to send of each.
func (s *session) holdBack(now time.Time) {
	if len(s.copies) == 0 {
		return
	}
	wait := s.f.all.opts.Throttle.Wait(now)
	if wait == 0 {
		return
	}
	for _, p := range s.copies {
		p.copies = false
		asked := p.named && !p.told
		if at, follows := p.replica.Place(); p.list == inLater || !asked && p.list == inNone || !follows || !at.Throttled {
			continue // nothing is asked, or it is in sync by now
		}
		if asked {
			s.settle(p)
			s.forget[p.tp] = struct{}{}
		}
		p.say, p.retryAt = true, now.Add(wait)
		s.later, p.list = append(s.later, p), inLater
	}
	clear(s.copies)
	s.copies = s.copies[:0]
	s.ready = slices.DeleteFunc(s.ready, func(p *follow) bool { return p.list != inReady })
}

// count takes n bytes that came of p from the rate, if p is held to it.
func (s *session) count(p *follow, n int) {
	if n > 0 && p.place.Throttled {
		s.f.all.opts.Throttle.Take(n, time.Now())
		s.f.all.met.copied.Add(float64(n))
	}
}
