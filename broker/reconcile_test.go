package broker

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// What fails is tried again once a while, however often it was marked meanwhile: each mark would else begin tries of its own,
// which go on for as long as it fails.
func TestWhatFailsIsTriedAgainOnceAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int32
		var r *reconciler[int]
		r = newReconciler(1, func(_ context.Context, k int) {
			tries.Add(1)
			r.markAfter(k, time.Second)
		})
		defer r.stop()
		for range 100 {
			r.mark(1)
			synctest.Wait()
			time.Sleep(time.Millisecond)
		}
		tries.Store(0)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := tries.Load(); n < 9 || n > 11 {
			t.Errorf("%d tries in 10 s", n)
		}
	})
}
