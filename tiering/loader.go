package tiering

import (
	"container/list"
	"context"
	"sync"
)

// loader keeps immutable things that take a while to get: it gets each once, however many ask, and
// keeps what was used last within a bound. An error is told to those who wait and then forgotten.
type loader[K comparable, V any] struct {
	ctx  context.Context // of the loads: they go on when who asked has gone
	wg   *sync.WaitGroup
	max  int64
	load func(ctx context.Context, k K) (v V, size int64, err error)

	mu struct {
		sync.Mutex
		entries map[K]*loadEntry[K, V]
		recent  list.List // of *loadEntry, the last used in front; only loaded ones
		size    int64
		closed  bool
	}
}

type loadEntry[K comparable, V any] struct {
	key  K
	done chan struct{} // closed when v and err are set
	v    V
	err  error
	size int64
	elem *list.Element
}

func newLoader[K comparable, V any](ctx context.Context, wg *sync.WaitGroup, max int64, load func(context.Context, K) (V, int64, error)) *loader[K, V] {
	l := &loader[K, V]{ctx: ctx, wg: wg, max: max, load: load}
	l.mu.entries = map[K]*loadEntry[K, V]{}
	return l
}

// get returns what k stands for, waiting for it no longer than ctx.
func (l *loader[K, V]) get(ctx context.Context, k K) (V, error) {
	e := l.start(k)
	select {
	case <-e.done:
		return e.v, e.err
	default:
	}
	select {
	case <-e.done:
		return e.v, e.err
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}

// peek returns what k stands for if it is there, and else begins to get it.
func (l *loader[K, V]) peek(k K) (v V, ok bool) {
	e := l.start(k)
	select {
	case <-e.done:
		return e.v, e.err == nil
	default:
		return v, false
	}
}

// have returns what k stands for if it is there, and begins nothing.
func (l *loader[K, V]) have(k K) (v V, ok bool) {
	l.mu.Lock()
	e := l.mu.entries[k]
	l.mu.Unlock()
	if e == nil {
		return v, false
	}
	select {
	case <-e.done:
		return e.v, e.err == nil
	default:
		return v, false
	}
}

func (l *loader[K, V]) start(k K) *loadEntry[K, V] {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.mu.entries[k]; e != nil {
		if e.elem != nil {
			l.mu.recent.MoveToFront(e.elem)
		}
		return e
	}
	e := &loadEntry[K, V]{key: k, done: make(chan struct{})}
	if l.mu.closed {
		e.err = ErrClosed
		close(e.done)
		return e
	}
	l.mu.entries[k] = e
	l.wg.Add(1)
	go func() {
		defer l.wg.Done()
		v, size, err := l.load(l.ctx, k)
		l.finish(e, v, size, err)
	}()
	return e
}

func (l *loader[K, V]) finish(e *loadEntry[K, V], v V, size int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.v, e.size, e.err = v, size, err
	close(e.done)
	if err != nil {
		if l.mu.entries[e.key] == e {
			delete(l.mu.entries, e.key)
		}
		return
	}
	e.elem = l.mu.recent.PushFront(e)
	l.mu.size += size
	for l.mu.size > l.max && l.mu.recent.Len() > 1 {
		last := l.mu.recent.Remove(l.mu.recent.Back()).(*loadEntry[K, V])
		l.mu.size -= last.size
		delete(l.mu.entries, last.key)
	}
}

// close lets nothing begin any more. The caller cancels ctx and waits for wg.
func (l *loader[K, V]) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.closed = true
}
