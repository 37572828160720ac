package partition

import (
	"sync"
	"sync/atomic"
)

// plugBytes is how much one request appends at most before those who wait for its first records are answered: about what one
// answer to a follower has.
const plugBytes = 4 << 20

// plug holds fetches back that have something to bring while a request appends to partition after partition, so that one
// answer brings what the request brought, and not one answer for each partition. A fetch is held back until any request has
// appended all that it has, and no longer than it would wait anyhow.
type plug struct {
	in atomic.Int32 // requests that append; it is raised under mu

	mu   sync.Mutex
	held []*Fetch
}

// begin holds back who is woken until end.
func (g *plug) begin() {
	g.mu.Lock()
	g.in.Add(1)
	g.mu.Unlock()
}

// end undoes one begin and answers all who were held back.
func (g *plug) end() {
	g.mu.Lock()
	g.in.Add(-1)
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
		return true
	}
	return f.state.Load() == fetchHeld
}
