package tiering

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"firn/metadata/topic"
)

// Each partition that wants turns leaves as many to the others as it has itself, and none is lost on the way, be it by who gives
// up waiting.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seed := uint64(time.Now().UnixNano())
		rng := rand.New(rand.NewPCG(seed, 0))
		const limit = 16
		turns := newTurns(limit)
		p := func(n int) topic.Partition { return topic.Partition{Index: int32(n)} }
		for range 2000 {
			tp := p(rng.IntN(6))
			wait, work := time.Duration(rng.IntN(50))*time.Millisecond, time.Duration(rng.IntN(20))*time.Millisecond
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), wait)
				defer cancel()
				if turns.take(ctx, tp) == nil {
					time.Sleep(work)
					turns.done(tp)
				}
			}()
			if one := p(rng.IntN(6)); rng.IntN(3) == 0 && turns.tryTake(one) {
				time.AfterFunc(work, func() { turns.done(one) })
			}
			time.Sleep(time.Duration(rng.IntN(2)) * time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if turns.mu.free != limit || len(turns.mu.shares) > 0 || turns.mu.waiting.Len() > 0 {
			t.Fatalf("seed %d: %d turns of %d are left, %d shares", seed, turns.mu.free, limit, len(turns.mu.shares))
		}
		for n, want := range []int{8, 4, 2, 1, 1, 0} {
			got := 0
			for turns.tryTake(p(n)) {
				got++
			}
			if got != want {
				t.Errorf("partition %d has %d turns, want %d", n, got, want)
			}
		}
	})
}
