package broker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// What fails is tried again once a while, however often it was marked meanwhile: each mark would else begin tries of its own,
// which go on for as long as it fails.
func TestWhatFailsIsTriedAgainOnceAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		var r *reconciler[int]
		r = newReconciler(1, func(_ context.Context, k int) {
			tries++
			r.markAfter(k, time.Second)
		})
		defer r.stop()
		for range 100 {
			r.mark(1)
			synctest.Wait()
			time.Sleep(time.Millisecond)
		}
		tries = 0
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if tries < 9 || tries > 11 {
			t.Errorf("%d tries in 10 s", tries)
		}
	})
}
