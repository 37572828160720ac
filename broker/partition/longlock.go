package partition

import "sync"

// longLock is a mutex that may be held while something outside is waited for, such as the bucket. Unlike with a sync.Mutex
// those that wait for it count as waiting in a bubble of testing/synctest, whose clock would stand still otherwise. The zero
// value is unlocked.
type longLock struct {
	mu   sync.Mutex
	free sync.Cond // on mu
	held bool
}

// Lock waits until the lock is free and takes it.
func (l *longLock) Lock() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free.L = &l.mu
	for l.held {
		l.free.Wait()
	}
	l.held = true
}

// Unlock frees the lock.
func (l *longLock) Unlock() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = false
	l.free.Signal()
}
