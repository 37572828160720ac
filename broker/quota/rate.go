// Package quota turns bytes into waiting.
//
// What belongs here: how many bytes may go by in a time. What does not: whose bytes they are, and what is done while
// they have to wait.
package quota

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Unlimited is the rate that holds nothing back.
const Unlimited = math.MaxInt64

// maxWait bounds what Wait returns: the rate may change before a long debt is paid.
const maxWait = time.Second

// Rate is bytes a second that may go by, on average. Bytes are taken once it is known how many there were, so what is
// taken at once may go beyond: the next then wait until that is made good. A second's worth is saved up at most. The zero
// value is unlimited. Safe for concurrent use.
type Rate struct {
	limited atomic.Bool

	mu struct {
		sync.Mutex
		perSecond int64
		have      float64 // bytes that may go by; less than nothing is a debt
		at        time.Time
	}
}

// Set changes the rate from now on. A negative one counts as 0, at which nothing goes by.
func (r *Rate) Set(bytesPerSecond int64, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fillLocked(now)
	r.mu.perSecond = max(bytesPerSecond, 0)
	if !r.limited.Swap(bytesPerSecond != Unlimited) {
		r.mu.have, r.mu.at = float64(r.mu.perSecond), now
	}
}

// Limited reports whether anything may have to wait.
func (r *Rate) Limited() bool { return r.limited.Load() }

// Wait returns how long to wait before anything may go by, 0 if it may now. It is no longer than a second, after which to
// ask again.
func (r *Rate) Wait(now time.Time) time.Duration {
	if !r.limited.Load() {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fillLocked(now)
	switch {
	case r.mu.have > 0:
		return 0
	case r.mu.perSecond == 0:
		return maxWait
	}
	wait := (1 - r.mu.have) / float64(r.mu.perSecond) * float64(time.Second)
	return max(time.Duration(min(wait, float64(maxWait))), 1)
}

// Take counts n bytes that have gone by.
func (r *Rate) Take(n int, now time.Time) {
	if !r.limited.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fillLocked(now)
	r.mu.have -= float64(n)
}

// fillLocked adds what has become free since the last time.
func (r *Rate) fillLocked(now time.Time) {
	if past := now.Sub(r.mu.at); past > 0 {
		r.mu.have, r.mu.at = r.mu.have+past.Seconds()*float64(r.mu.perSecond), now
	}
	r.mu.have = min(r.mu.have, float64(r.mu.perSecond))
}
