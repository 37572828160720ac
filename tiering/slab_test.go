package tiering

import (
	"context"
	"testing"
	"testing/synctest"
)

// Memory that a reader lets go of at the moment when another begins to wait for it reaches that one.
func TestMemoryLetGoBesideAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slabs{limit: 1 << 20, reclaim: func() bool { return false }}
		kept, err := s.get(t.Context(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		used := true
		s.reclaim = func() bool {
			if used { // and not any more: who used it looks, as Reader.idle does, whether somebody waits
				used = false
				for s.starving() && s.reclaim() {
				}
				return false
			}
			if kept == nil {
				return false
			}
			b := kept
			kept = nil
			s.put(b)
			return true
		}
		got := make(chan []byte, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			b, _ := s.get(ctx, 1<<20)
			got <- b
		}()
		synctest.Wait()
		select {
		case b := <-got:
			s.put(b)
		default:
			t.Error("it waits on")
		}
	})
}
