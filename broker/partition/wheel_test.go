package partition

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

func TestWheelRingsInTimeAndSleepsWhenEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWheel()
		rng := rand.New(rand.NewPCG(1, 2))
		rang := 0
		for i := range 300 {
			d := time.Duration(rng.Int64N(int64(20 * time.Second))) // up to four turns
			begun := time.Now()
			a := &alarm{ring: func() {
				if late := time.Since(begun) - d; late < 0 || late > 2*wheelTick {
					t.Errorf("alarm %d of %v rang %v late", i, d, late)
				}
				rang++
			}}
			w.set(a, d)
			if i%3 == 0 {
				if !w.stop(a) || w.stop(a) {
					t.Error("stop")
				}
			}
			time.Sleep(time.Duration(rng.Int64N(int64(30 * time.Millisecond))))
		}
		time.Sleep(21 * time.Second)
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		if rang != 200 || w.mu.count != 0 || w.mu.armed != 0 {
			t.Errorf("%d rang, %d left, armed %d", rang, w.mu.count, w.mu.armed)
		}
	})
}

func TestWheelAfterALongPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWheel()
		time.Sleep(time.Hour)
		rang := make(chan time.Time, 1)
		a := &alarm{ring: func() { rang <- time.Now() }}
		for range 3 { // it may be set again
			begun := time.Now()
			w.set(a, 50*time.Millisecond)
			if d := (<-rang).Sub(begun); d < 50*time.Millisecond || d > 70*time.Millisecond {
				t.Errorf("rang after %v", d)
			}
		}
	})
}
