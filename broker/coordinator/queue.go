package coordinator

import (
	"sync"
	"time"
)

type command[M Machine] struct {
	fn       func(m M, now time.Time) Result
	refuse   func(error)
	inMemory bool
}

// waiting is the queue of commands in front of a loop.
type waiting[M Machine] struct {
	wake chan struct{} // holds a token while list may have something

	mu   sync.Mutex
	list []command[M]
	shut bool
}

// submit hands a command to the loop without waiting, or refuses it.
func (w *waiting[M]) submit(c command[M]) {
	w.mu.Lock()
	var err error
	switch {
	case w.shut:
		err = ErrNotCoordinator
	case len(w.list) >= maxWaiting:
		err = ErrBusy
	default:
		w.list = append(w.list, c)
	}
	w.mu.Unlock()
	if err != nil {
		c.refuse(err)
		return
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take empties the queue; with shut nothing enters it any more.
func (w *waiting[M]) take(shut bool) []command[M] {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.list
	w.list = nil
	w.shut = w.shut || shut
	return list
}
