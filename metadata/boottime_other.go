//go:build !linux

package metadata

import (
	"sync"
	"time"
)

// sleepSuspicion is how far the wall clock must run ahead of the monotonic one to be taken for a sleep.
const sleepSuspicion = 100 * time.Millisecond

var boot struct {
	sync.Mutex
	last  time.Time
	total time.Duration
}

// bootTime returns a time that never goes back and also runs while the machine sleeps. Where the system's
// own such clock is not to be had, a wall clock that gains on the monotonic one counts as sleep; setting the
// wall clock forward then ends a lease early, which is safe.
func bootTime() time.Duration {
	boot.Lock()
	defer boot.Unlock()
	now := time.Now()
	if boot.last.IsZero() {
		boot.last = now
	}
	step := now.Sub(boot.last) // monotonic
	if wall := now.Round(0).Sub(boot.last.Round(0)); wall > step+sleepSuspicion {
		step = wall
	}
	boot.last = now
	boot.total += step
	return boot.total
}
