package broker

import (
	"context"
	"sync"
	"time"
)

// reconciler calls fn for each key that was marked, one call at a time for each, until fn has seen it after
// its last mark. What to do is fn's to find out from the newest metadata; marks carry no state, so any
// number of them is worth one.
type reconciler[K comparable] struct {
	fn     func(context.Context, K)
	ctx    context.Context // of the calls, until stop
	cancel context.CancelFunc

	mu      sync.Mutex
	wake    sync.Cond // something is in queue, or stopped
	idle    sync.Cond // nothing is queued or running
	queue   []K
	state   map[K]markState
	later   map[K]struct{} // to be marked after a while
	running int
	stopped bool
	workers sync.WaitGroup
}

type markState int8

const (
	queued markState = iota
	running
	runningAgain // marked while running
)

func newReconciler[K comparable](workers int, fn func(context.Context, K)) *reconciler[K] {
	r := &reconciler[K]{fn: fn, state: map[K]markState{}, later: map[K]struct{}{}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.wake.L, r.idle.L = &r.mu, &r.mu
	for range workers {
		r.workers.Add(1)
		go r.work()
	}
	return r
}

// mark asks for k to be looked at.
func (r *reconciler[K]) mark(k K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, known := r.state[k]
	switch {
	case r.stopped || known && s != running:
	case known:
		r.state[k] = runningAgain
	default:
		r.state[k] = queued
		r.queue = append(r.queue, k)
		r.wake.Signal()
	}
}

// markAfter asks for k to be looked at after a while, or sooner if that was asked for already: what fails again and again, and is
// marked by others, too, is not to be tried more and more often.
func (r *reconciler[K]) markAfter(k K, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, asked := r.later[k]; asked {
		return
	}
	r.later[k] = struct{}{}
	time.AfterFunc(wait, func() {
		r.mu.Lock()
		delete(r.later, k)
		r.mu.Unlock()
		r.mark(k)
	})
}

// busy reports whether k is still to be looked at, or is being looked at.
func (r *reconciler[K]) busy(k K) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, known := r.state[k]
	return known
}

func (r *reconciler[K]) work() {
	defer r.workers.Done()
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		for len(r.queue) == 0 && !r.stopped {
			r.wake.Wait()
		}
		if r.stopped {
			return
		}
		k := r.queue[0]
		r.queue = r.queue[1:]
		r.state[k] = running
		r.running++
		r.mu.Unlock()
		r.fn(r.ctx, k)
		r.mu.Lock()
		r.running--
		if r.state[k] == runningAgain {
			r.state[k] = queued
			r.queue = append(r.queue, k)
			r.wake.Signal()
		} else {
			delete(r.state, k)
		}
		if len(r.queue) == 0 && r.running == 0 {
			r.idle.Broadcast()
		}
	}
}

// settle waits until nothing that was marked is left to do, or the reconciler is stopped.
func (r *reconciler[K]) settle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for (len(r.queue) > 0 || r.running > 0) && !r.stopped {
		r.idle.Wait()
	}
}

// settled returns a channel that is closed when settle would return.
func (r *reconciler[K]) settled() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		r.settle()
		close(done)
	}()
	return done
}

// stop ends the context of running calls, waits for them and starts no more.
func (r *reconciler[K]) stop() {
	r.cancel()
	r.mu.Lock()
	r.stopped = true
	r.wake.Broadcast()
	r.idle.Broadcast()
	r.mu.Unlock()
	r.workers.Wait()
}
