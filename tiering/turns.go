package tiering

import (
	"container/list"
	"context"
	"slices"
	"sync"

	"firn/metadata/topic"
)

// turns bounds the chunks that are being read, and with them the GETs under way and the memory that waits for them. A
// partition gets another turn only while it has fewer than are left free, so that those which the bucket gives no answer
// about leave some for the others: one alone has half of all, a second one a quarter. Partitions that wait are served in
// turn.
type turns struct {
	mu struct {
		sync.Mutex
		free    int
		shares  map[topic.Partition]*share // of those that have or want any
		waiting list.List                  // of *share, of those that want some
	}
}

// share is what one partition has and wants.
type share struct {
	tp   topic.Partition
	has  int
	want []chan struct{} // closed when their turn has come, the first first
	elem *list.Element
}

func newTurns(n int) *turns {
	t := &turns{}
	t.mu.free, t.mu.shares = n, map[topic.Partition]*share{}
	return t
}

// take waits for a turn of the partition, which done gives back.
func (t *turns) take(ctx context.Context, tp topic.Partition) error {
	turn := make(chan struct{})
	t.mu.Lock()
	s := t.shareLocked(tp)
	if s.want = append(s.want, turn); s.elem == nil {
		s.elem = t.mu.waiting.PushBack(s)
	}
	t.serveLocked()
	t.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(s.want, turn); i >= 0 {
		s.want = slices.Delete(s.want, i, i+1)
		t.restLocked(s)
	} else { // it came after all
		t.doneLocked(s)
	}
	return ctx.Err()
}

// tryTake takes a turn of the partition if it can have one at once.
func (t *turns) tryTake(tp topic.Partition) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.shareLocked(tp)
	ok := s.has < t.mu.free
	if ok {
		s.has++
		t.mu.free--
	}
	t.restLocked(s)
	return ok
}

func (t *turns) shareLocked(tp topic.Partition) *share {
	s := t.mu.shares[tp]
	if s == nil {
		s = &share{tp: tp}
		t.mu.shares[tp] = s
	}
	return s
}

func (t *turns) done(tp topic.Partition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.doneLocked(t.mu.shares[tp])
}

func (t *turns) doneLocked(s *share) {
	s.has--
	t.mu.free++
	t.restLocked(s)
	t.serveLocked()
}

// serveLocked passes over no more partitions than there are turns: only who has some may have to wait for others.
func (t *turns) serveLocked() {
	for e := t.mu.waiting.Front(); e != nil && t.mu.free > 0; {
		s := e.Value.(*share)
		if s.has >= t.mu.free {
			e = e.Next()
			continue
		}
		s.has++
		t.mu.free--
		close(s.want[0])
		s.want = slices.Delete(s.want, 0, 1)
		t.mu.waiting.MoveToBack(e)
		t.restLocked(s)
		e = t.mu.waiting.Front()
	}
}

// restLocked forgets what a share need not be remembered for.
func (t *turns) restLocked(s *share) {
	if len(s.want) == 0 && s.elem != nil {
		t.mu.waiting.Remove(s.elem)
		s.elem = nil
	}
	if len(s.want) == 0 && s.has == 0 {
		delete(t.mu.shares, s.tp)
	}
}
