package wire

import (
	"container/list"
	"errors"
	"sync"
	"sync/atomic"
)

// ErrStopped is returned to who waits for memory when the waiting is called off.
var ErrStopped = errors.New("wire: stopped while waiting for memory")

// Budget bounds the memory that requests hold between their first byte and the moment their frame is
// given back. What does not fit waits, first come first served.
//
// So that requests which each hold a part cannot wait for each other for ever, one lease at a time
// may go beyond the limit: the first in the queue. Memory in use is therefore at most the limit and
// one request. Safe for concurrent use.
type Budget struct {
	limit int64
	used  atomic.Int64
	// queued is the number of waiters, so that a release need not lock when there is none.
	queued atomic.Int64

	mu struct {
		sync.Mutex
		waiters list.List // of *waiter
		over    *Lease    // the lease that may go beyond the limit
	}
}

type waiter struct {
	lease *Lease
	n     int64
	ready chan struct{} // closed once n is granted
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Used is the bytes held now.
func (b *Budget) Used() int64 { return b.used.Load() }

// Waiting is the number of leases that wait now.
func (b *Budget) Waiting() int { return int(b.queued.Load()) }

// Lease is the share of one request. It is grown by one goroutine at a time.
type Lease struct {
	budget *Budget
	stop   <-chan struct{}
	held   int64
	over   atomic.Bool
}

// Lease returns an empty lease whose waiting ends with ErrStopped when stop is closed.
func (b *Budget) Lease(stop <-chan struct{}) *Lease { return &Lease{budget: b, stop: stop} }

// Over tells whether the lease has the right to go beyond the limit, which it has to come back from
// soon.
func (l *Lease) Over() bool { return l.over.Load() }

// Grow adds n bytes, waiting until they fit.
func (l *Lease) Grow(n int) error {
	b := l.budget
	if b.queued.Load() == 0 && b.tryTake(int64(n)) {
		l.held += int64(n)
		return nil
	}
	if l.over.Load() {
		b.used.Add(int64(n))
		l.held += int64(n)
		return nil
	}
	w := &waiter{lease: l, n: int64(n), ready: make(chan struct{})}
	b.mu.Lock()
	e := b.mu.waiters.PushBack(w)
	b.queued.Add(1)
	b.grantLocked()
	b.mu.Unlock()
	select {
	case <-w.ready:
		l.held += int64(n)
		return nil
	case <-l.stop:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.ready: // granted meanwhile: Release gives it back
		l.held += int64(n)
	default:
		b.mu.waiters.Remove(e)
		b.queued.Add(-1)
		b.grantLocked()
	}
	return ErrStopped
}

// tryTake takes n bytes if they fit.
func (b *Budget) tryTake(n int64) bool {
	for {
		used := b.used.Load()
		if used+n > b.limit {
			return false
		}
		if b.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// grantLocked serves waiters in order as far as memory goes, and makes the first that does not fit
// the one that may go beyond.
func (b *Budget) grantLocked() {
	for e := b.mu.waiters.Front(); e != nil; e = b.mu.waiters.Front() {
		w := e.Value.(*waiter)
		if !b.tryTake(w.n) {
			if b.mu.over != nil {
				return
			}
			b.mu.over = w.lease
			w.lease.over.Store(true)
			b.used.Add(w.n)
		}
		b.mu.waiters.Remove(e)
		b.queued.Add(-1)
		close(w.ready)
	}
}

// Shrink gives n bytes back before the rest.
func (l *Lease) Shrink(n int) {
	l.held -= int64(n)
	l.budget.put(l, int64(n), false)
}

// Release gives everything back. The lease may grow again.
func (l *Lease) Release() {
	n := l.held
	l.held = 0
	l.budget.put(l, n, true)
}

func (b *Budget) put(l *Lease, n int64, all bool) {
	fits := b.used.Add(-n) <= b.limit
	over := l.over.Load() && (all || fits)
	if !over && b.queued.Load() == 0 {
		return
	}
	b.mu.Lock()
	if over {
		l.over.Store(false)
		b.mu.over = nil
	}
	b.grantLocked()
	b.mu.Unlock()
}
