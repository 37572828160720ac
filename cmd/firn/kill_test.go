package main

import (
	"testing"
	"time"
)

// Whatever moment a broker is killed at, with records on disk or in the tier by then: nobody who produces, reads or commits
// meanwhile, or reads everything afterwards, sees anything that is not as it should be.
func TestKilledAtRandomMoments(t *testing.T) {
	r := newCrashRig(t, "")
	for range envInt(t, "FIRN_CRASH_ROUNDS", 8) {
		r.live(1200 * time.Millisecond)
		r.p.Kill()
		r.p.Restart()
		r.observeTier()
	}
	r.finish()
}
