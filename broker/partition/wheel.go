package partition

import (
	"sync"
	"time"
)

const (
	// wheelTick is the wheel's resolution. Time-outs come up to one tick late, which no client notices, and cost
	// one timer for all instead of one each.
	wheelTick = 10 * time.Millisecond
	// wheelSlots times wheelTick is how far the wheel reaches in one turn; longer alarms go round more than once.
	wheelSlots = 512
)

// wheel rings alarms at about their time. It sleeps while there are none. Safe for concurrent use.
type wheel struct {
	start time.Time

	mu struct {
		sync.Mutex
		slots   [wheelSlots]*alarm
		count   int
		done    int64 // last tick that was rung
		armed   int64 // tick the timer is set to, 0 if it is not
		timer   *time.Timer
		ringing []*alarm // reused
	}
}

// alarm is a wheel's entry. It may be set again once it rang or was stopped.
type alarm struct {
	ring       func() // must not block; called on the wheel's goroutine
	tick       int64  // 0 while not set
	next, prev *alarm
}

func newWheel() *wheel {
	w := &wheel{start: time.Now()}
	w.mu.timer = time.AfterFunc(time.Hour, w.turn)
	w.mu.timer.Stop()
	return w
}

// set makes a ring after d, not before. It must not be set already.
func (w *wheel) set(a *alarm, d time.Duration) {
	// Two ticks up: one for the part of a tick that has passed, one for the part that d may have.
	tick := int64((time.Since(w.start)+max(d, 0))/wheelTick) + 1
	w.mu.Lock()
	defer w.mu.Unlock()
	a.tick = max(tick, w.mu.done+1)
	slot := &w.mu.slots[a.tick%wheelSlots]
	a.prev, a.next = nil, *slot
	if *slot != nil {
		(*slot).prev = a
	}
	*slot = a
	w.mu.count++
	if w.mu.armed == 0 || a.tick < w.mu.armed {
		w.armLocked(a.tick)
	}
}

// stop unsets a. It reports whether a was set; if not, a has rung, is ringing or was never set.
func (w *wheel) stop(a *alarm) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a.tick == 0 {
		return false
	}
	w.unlinkLocked(a)
	return true
}

func (w *wheel) unlinkLocked(a *alarm) {
	if a.prev != nil {
		a.prev.next = a.next
	} else {
		w.mu.slots[a.tick%wheelSlots] = a.next
	}
	if a.next != nil {
		a.next.prev = a.prev
	}
	a.next, a.prev, a.tick = nil, nil, 0
	w.mu.count--
}

func (w *wheel) armLocked(tick int64) {
	w.mu.armed = tick
	w.mu.timer.Reset(time.Until(w.start.Add(time.Duration(tick) * wheelTick)))
}

// turn rings what is due and sets the timer to the next slot with an alarm in it.
func (w *wheel) turn() {
	w.mu.Lock()
	now := int64(time.Since(w.start) / wheelTick)
	if now-w.mu.done > wheelSlots { // slept long: one turn visits all slots
		w.mu.done = now - wheelSlots
	}
	due := w.mu.ringing[:0]
	w.mu.ringing = nil
	for w.mu.done < now {
		w.mu.done++
		for a := w.mu.slots[w.mu.done%wheelSlots]; a != nil; {
			next := a.next
			if a.tick <= now {
				w.unlinkLocked(a)
				due = append(due, a)
			}
			a = next
		}
	}
	w.mu.armed = 0
	if w.mu.count > 0 {
		next := now + 1
		for w.mu.slots[next%wheelSlots] == nil {
			next++
		}
		w.armLocked(next)
	}
	w.mu.Unlock()
	for i, a := range due {
		a.ring()
		due[i] = nil
	}
	w.mu.Lock()
	w.mu.ringing = due[:0]
	w.mu.Unlock()
}
