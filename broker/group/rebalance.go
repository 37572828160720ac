package group

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// prepare begins a rebalance, or joins the one under way.
func (m *Machine) prepare(g *group, now time.Time) {
	switch g.state {
	case PreparingRebalance:
		return
	case CompletingRebalance:
		m.failSyncs(g, now, kerr.RebalanceInProgress)
	default:
	}
	timeout := g.rebalanceTimeout()
	g.join = joinWait{due: now.Add(timeout)}
	if g.state == Empty {
		// The first members of a group come one by one: wait a little, again while more come, but
		// never past the rebalance time-out, and for nobody who was only given an id.
		delay := min(m.opts.InitialRebalanceDelay, timeout)
		g.join = joinWait{due: now.Add(delay), initial: true, remaining: timeout - delay}
	}
	g.state = PreparingRebalance
	g.syncDue = time.Time{}
}

// advance completes what the group waits for, if it need not or must not wait any longer.
func (m *Machine) advance(g *group, now time.Time) {
	switch g.state {
	case PreparingRebalance:
		due := !g.join.due.After(now)
		if g.join.initial && !due {
			return
		}
		if g.join.initial && g.join.newcomer && g.join.remaining > 0 {
			delay := min(m.opts.InitialRebalanceDelay, g.join.remaining)
			g.join.due = now.Add(delay)
			g.join.remaining -= delay
			g.join.newcomer = false
			return
		}
		if due || g.allJoined() {
			m.completeJoin(g, now)
		}
	case CompletingRebalance, Stable:
		if g.syncDue.IsZero() || g.syncDue.After(now) {
			return
		}
		g.syncDue = time.Time{}
		var late []*member
		for _, mb := range g.ordered() {
			if !mb.synced {
				late = append(late, mb)
			}
		}
		m.met.lost.Add(float64(len(late)))
		m.remove(g, late, now)
	default:
	}
}

// completeJoin starts the next generation with those who joined, and with static members, who may come
// back without the others noticing.
func (m *Machine) completeJoin(g *group, now time.Time) {
	for _, mb := range g.ordered() {
		if mb.joinReply == nil && !mb.isStatic {
			m.met.lost.Inc()
			m.drop(g, mb)
		}
	}
	if len(g.members) == 0 {
		m.becomeEmpty(g, now)
		return
	}
	if !m.keepOrPickLeader(g) {
		// Only static members that may still come back: go on waiting for them.
		g.join = joinWait{due: now.Add(g.rebalanceTimeout())}
		return
	}
	m.met.generations.Inc()
	g.generation++
	g.since = now
	g.protocol = g.vote()
	g.state = CompletingRebalance
	g.syncDue = now.Add(g.rebalanceTimeout())
	g.subscribe()
	// The generation is on record before anyone is told of it, so that none is ever given twice.
	m.writeHeader(g)
	for _, mb := range g.ordered() {
		mb.assignment, mb.synced = nil, false
		if done := mb.joinReply; done != nil {
			mb.joinReply, mb.fresh = nil, false
			mb.heard(now)
			answer(m, done, m.joinedAs(g, mb, false))
		}
	}
}

// keepOrPickLeader makes sure that the leader is a member that has joined; false if nobody has.
func (m *Machine) keepOrPickLeader(g *group) bool {
	if mb := g.members[g.leader]; mb != nil && mb.joinReply != nil {
		return true
	}
	for _, mb := range g.ordered() {
		if mb.joinReply != nil {
			g.leader = mb.id
			return true
		}
	}
	return false
}

func (m *Machine) becomeEmpty(g *group, now time.Time) {
	g.generation++
	g.state, g.protocol, g.leader, g.since = Empty, "", "", now
	g.syncDue, g.join = time.Time{}, joinWait{}
	g.subscribe()
	m.writeHeader(g)
}

// drop takes a member out without looking at what that does to the group, which then has a new leader once it has joined again.
func (m *Machine) drop(g *group, mb *member) {
	delete(g.members, mb.id)
	g.count(mb, -1)
	if mb.isStatic && g.static[mb.instanceID] == mb.id {
		delete(g.static, mb.instanceID)
	}
	if g.leader == mb.id {
		g.leader = ""
	}
	m.deleteMember(g, mb)
	if done := mb.joinReply; done != nil {
		mb.joinReply = nil
		answer(m, done, joinError("", kerr.UnknownMemberID))
	}
	if done := mb.syncReply; done != nil {
		mb.syncReply = nil
		answer(m, done, syncError(kerr.UnknownMemberID))
	}
}

// remove takes members out and rebalances the rest.
func (m *Machine) remove(g *group, mbs []*member, now time.Time) {
	for _, mb := range mbs {
		m.drop(g, mb)
	}
	if len(mbs) > 0 {
		m.shrunk(g, now)
	}
}

// shrunk rebalances what is left of a group.
func (m *Machine) shrunk(g *group, now time.Time) {
	if g.state == Stable || g.state == CompletingRebalance {
		m.prepare(g, now)
	}
	m.advance(g, now)
}
