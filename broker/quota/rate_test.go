package quota

import (
	"math/rand/v2"
	"testing"
	"time"
)

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Over any window no more goes by than the rate, a second's worth and what was taken at once; and no less than the rate,
// for who asks whenever he may.
func TestRateOverAnyWindow(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		perSecond := 1 + rng.Int64N(1<<24)
		largest := 1 + rng.IntN(1<<20)
		var r Rate
		r.Set(perSecond, begin)
		type gone struct {
			at time.Time
			n  int
		}
		var all []gone
		now := begin
		const long = 20 * time.Second
		for now.Before(begin.Add(long)) && len(all) < 100_000 {
			if wait := r.Wait(now); wait > 0 {
				now = now.Add(wait)
				continue
			}
			n := 1 + rng.IntN(largest)
			r.Take(n, now)
			all = append(all, gone{now, n})
		}
		total := 0
		for i, first := range all {
			total += first.n
			if i%7 != 0 {
				continue
			}
			sum := 0
			for _, g := range all[i:min(len(all), i+1000)] {
				sum += g.n
				most := float64(perSecond)*(1+g.at.Sub(first.at).Seconds()) + float64(largest)
				if float64(sum) > most+1 {
					t.Fatalf("seed %d: %d bytes within %v at %d a second", seed, sum, g.at.Sub(first.at), perSecond)
				}
			}
		}
		if least := float64(perSecond) * now.Sub(begin).Seconds(); float64(total) < least-1 {
			t.Errorf("seed %d: %d bytes in %v at %d a second", seed, total, now.Sub(begin), perSecond)
		}
	}
}

func TestRateChanges(t *testing.T) {
	var r Rate
	if r.Take(1<<40, begin); r.Wait(begin) != 0 {
		t.Error("the zero value is limited")
	}
	r.Set(1000, begin)
	if r.Wait(begin) != 0 {
		t.Error("a new rate has nothing to begin with")
	}
	r.Take(2000, begin)
	if w := r.Wait(begin); w < time.Second/2 || w > maxWait {
		t.Errorf("wait %v for 1001 bytes at 1000 a second", w)
	}
	r.Set(1_000_000, begin)
	if w := r.Wait(begin); w <= 0 || w > 2*time.Millisecond {
		t.Errorf("wait %v after the rate was raised", w)
	}
	r.Set(Unlimited, begin)
	if w := r.Wait(begin); w != 0 {
		t.Errorf("wait %v without a limit", w)
	}
	r.Set(0, begin)
	if w := r.Wait(begin.Add(time.Hour)); w != maxWait {
		t.Errorf("wait %v at 0 a second", w)
	}
	r.Set(10, begin.Add(2*time.Hour))
	if w := r.Wait(begin.Add(3 * time.Hour)); w != 0 {
		t.Errorf("wait %v after an hour", w)
	}
	r.Take(0, begin) // a clock that goes back gives nothing
	if w := r.Wait(begin.Add(3 * time.Hour)); w != 0 {
		t.Errorf("wait %v after the clock went back", w)
	}
}
