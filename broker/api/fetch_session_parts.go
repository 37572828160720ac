package api

import (
	"firn/broker/partition"
	"firn/broker/wire"
)

// sessionPart is a partition and what the client was last told of it. The session's lock guards it. A request that has to
// read it holds it; else it is due, or it is watched, or a follower was told of it.
type sessionPart struct {
	session  *fetchSession
	key      fetchKey
	asked    asked
	hw       int64 // -1: tell in any case
	logStart int64
	named    uint32 // how often
	due      bool
	told     bool       // a follower was sent something and has not answered to it
	gone     bool       // forgotten
	holder   *fetchCall // the newest request that reads it
	watch    partition.Watch
}

var _ partition.Watcher = (*sessionPart)(nil)

// dueLocked has p read by the next request, or the one that waits.
func (p *sessionPart) dueLocked() {
	if !p.due {
		p.due = true
		p.session.due = append(p.session.due, p)
	}
}

// Grown implements partition.Watcher.
func (p *sessionPart) Grown(n int64) (on bool) {
	s := p.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.holder != nil || p.told {
		return false
	}
	p.dueLocked()
	return s.waits != nil && s.waits.Grown(n)
}

// Changed implements partition.Watcher.
func (p *sessionPart) Changed() {
	s := p.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.holder != nil || p.told {
		return
	}
	p.dueLocked()
	if s.waits != nil {
		s.waits.Wake()
	}
}

// Noted implements partition.Watcher.
func (p *sessionPart) Noted(awaited bool) {
	s := p.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.holder != nil || p.told {
		return
	}
	p.dueLocked()
	if awaited && s.waits != nil {
		s.waits.Wake()
	}
}

// enter has a request wait for what becomes due.
func (s *fetchSession) enter(c *fetchCall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits = &c.fetch
}

// join has a request read what is due.
func (s *fetchSession) join(c *fetchCall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range s.due {
		s.due[i] = nil
		p.due = false
		if p.gone || p.told || p.holder == c {
			continue
		}
		p.holder = c
		c.held = append(c.held, heldPart{p, p.named})
		c.add(p.key, p.asked, p.hw)
	}
	s.due = s.due[:0]
}

// heldPart is a partition that a request reads, as it was named when the reading began.
type heldPart struct {
	*sessionPart
	asNamed uint32
}

// news reports whether a partition's answer has anything that the client was not told, and notes that it is told now.
func (p *heldPart) news(c *fetchCall, read *partition.FetchPart, out *wire.FetchPartition) bool {
	s := p.session
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := read.Bytes > 0 || out.ErrorCode != 0 || out.DivergingEpoch.Epoch >= 0 || out.PreferredReadReplica >= 0
	if s.follower && calls && p.holder == c && p.named == p.asNamed {
		p.told = true
	}
	news := calls || p.hw != out.HighWatermark || p.logStart != out.LogStartOffset
	p.hw, p.logStart = out.HighWatermark, out.LogStartOffset
	if out.ErrorCode != 0 {
		p.hw = -1 // when the error has gone the client must hear of it
	}
	return news
}

// leave ends a request's part in the session: what it has read to the end is watched from now on, and of what is due again
// that which brought records comes last.
func (s *fetchSession) leave(c *fetchCall) {
	brought := func(i int) bool { return c.fetch.Parts[i].Bytes > 0 }
	s.watching.Lock()
	defer s.watching.Unlock()
	s.mu.Lock()
	if s.waits == &c.fetch {
		s.waits = nil
	}
	again := false
	for _, p := range c.held {
		if p.holder != c {
			continue
		}
		if p.holder = nil; p.named != p.asNamed { // it was read as it had been named before
			p.dueLocked()
			again = true
		}
	}
	if again && s.waits != nil {
		s.waits.Wake()
	}
	s.mu.Unlock()
	for _, last := range [2]bool{false, true} {
		for i, p := range c.held {
			if brought(i) == last {
				p.settle(&c.fetch.Parts[i])
			}
		}
	}
}

// settle watches p, which was read, or has it due again. A later request may have taken it over meanwhile: then one thing or
// the other is done for nothing.
func (p *sessionPart) settle(read *partition.FetchPart) {
	s := p.session
	s.mu.Lock()
	others, over := p.due || p.holder != nil, p.told || p.gone || s.closed
	s.mu.Unlock()
	switch {
	case others:
		return
	case over:
		p.watch.Stop()
		return
	case p.watch.Set(read):
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.dueLocked()
	if s.waits != nil {
		s.waits.Wake()
	}
}
