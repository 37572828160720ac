package partition

import (
	"sync"
	"sync/atomic"
)

// plugBytes is how much one request appends at most before those who wait for its first records are answered: about what one
// answer to a follower has.
const plugBytes = 4 << 20

// plugTime is how long anybody is held back, about: a request's disk may hang, and those who wait may have nothing to do with it.
const plugTime = wheelTick

// plug holds fetches back that have something to bring while a request appends to partition after partition, so that one
// answer brings what the request brought, and not one answer for each partition. A fetch is held back until any request has
// appended all that it has. A request that takes long holds nobody back any more.
type plug struct {
	wheel *wheel
	alarm alarm
	in    atomic.Int32 // requests of this round that append; it is changed under mu

	mu    sync.Mutex
	round int // of one that is over no request counts
	armed bool
	held  []*Fetch
}

func (g *plug) init(w *wheel) { g.wheel, g.alarm.ring = w, g.expire }

// begin holds back who is woken until the end of the round that it returns.
func (g *plug) begin() (round int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.in.Add(1)
	return g.round
}

// end undoes one begin and answers all who were held back.
func (g *plug) end(round int) {
	g.mu.Lock()
	if round == g.round {
		g.in.Add(-1)
	}
	g.releaseLocked()
}

// expire ends the round if anybody is held back. The wheel calls it.
func (g *plug) expire() {
	g.mu.Lock()
	if g.armed = false; len(g.held) > 0 {
		g.round++
		g.in.Store(0)
	}
	g.releaseLocked()
}

// release answers all who were held back up to now.
func (g *plug) release() {
	g.mu.Lock()
	g.releaseLocked()
}

// releaseLocked gives mu back.
func (g *plug) releaseLocked() {
	held := g.held
	g.held = nil
	g.mu.Unlock()
	for _, f := range held {
		// It may have been woken otherwise, and by now be another fetch.
		if f.state.CompareAndSwap(fetchHeld, fetchBusy) {
			go f.again()
		}
	}
}

// hold reports whether f, which waited and has something to bring, is held back. It may be called with any lock held.
func (g *plug) hold(f *Fetch) bool {
	if g.in.Load() == 0 {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.in.Load() == 0 {
		return false
	}
	if f.state.CompareAndSwap(fetchWaiting, fetchHeld) {
		g.held = append(g.held, f)
		if !g.armed { // it is left to ring, which costs less than to stop it each time
			g.armed = true
			g.wheel.set(&g.alarm, plugTime)
		}
		return true
	}
	return f.state.Load() == fetchHeld
}
