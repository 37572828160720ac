package broker

import (
	"sync"

	"firn/metadata/topic"
)

// reconcilers is how many partitions are brought in line with the metadata at a time. Opening a log
// after a crash reads from disk, so a few in parallel use it well.
const reconcilers = 16

// reconciler calls fn for each partition that was marked, one call at a time for each, until fn has seen
// it after its last mark. What to do is fn's to find out from the newest metadata; marks carry no
// state, so any number of them is worth one.
type reconciler struct {
	fn func(topic.Partition)

	mu      sync.Mutex
	wake    sync.Cond // something is in queue, or stopped
	idle    sync.Cond // nothing is queued or running
	queue   []topic.Partition
	state   map[topic.Partition]markState
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

func newReconciler(fn func(topic.Partition)) *reconciler {
	r := &reconciler{fn: fn, state: map[topic.Partition]markState{}}
	r.wake.L, r.idle.L = &r.mu, &r.mu
	for range reconcilers {
		r.workers.Add(1)
		go r.work()
	}
	return r
}

// mark asks for tp to be looked at.
func (r *reconciler) mark(tp topic.Partition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, known := r.state[tp]
	switch {
	case r.stopped || known && s != running:
	case known:
		r.state[tp] = runningAgain
	default:
		r.state[tp] = queued
		r.queue = append(r.queue, tp)
		r.wake.Signal()
	}
}

func (r *reconciler) work() {
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
		tp := r.queue[0]
		r.queue = r.queue[1:]
		r.state[tp] = running
		r.running++
		r.mu.Unlock()
		r.fn(tp)
		r.mu.Lock()
		r.running--
		if r.state[tp] == runningAgain {
			r.state[tp] = queued
			r.queue = append(r.queue, tp)
			r.wake.Signal()
		} else {
			delete(r.state, tp)
		}
		if len(r.queue) == 0 && r.running == 0 {
			r.idle.Broadcast()
		}
	}
}

// settle waits until nothing that was marked is left to do, or the reconciler is stopped.
func (r *reconciler) settle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for (len(r.queue) > 0 || r.running > 0) && !r.stopped {
		r.idle.Wait()
	}
}

// stop lets running calls end and starts no more.
func (r *reconciler) stop() {
	r.mu.Lock()
	r.stopped = true
	r.wake.Broadcast()
	r.idle.Broadcast()
	r.mu.Unlock()
	r.workers.Wait()
}
