package bench

import (
	"testing"

	"golang.org/x/sys/unix"
)

// As much is freed as others take, whole pieces of it, and what is freed is not held any more.
func TestWarmMemoryIsFreedAsOthersTakeSome(t *testing.T) {
	const pieces = 5
	w, err := holdWarm(pieces * warmPiece)
	if err != nil {
		t.Fatal(err)
	}
	close(w.stop)
	w.done.Wait()
	w.held = len(w.mem) // others may have taken some already
	for _, c := range []struct {
		taken int64
		left  int
	}{{-warmPiece, pieces}, {0, pieces}, {1, pieces - 1}, {2 * warmPiece, pieces - 3}, {1 << 40, 0}, {1, 0}} {
		if w.give(c.taken); w.held != c.left*warmPiece {
			t.Errorf("%d bytes taken: %d pieces are left, want %d", c.taken, w.held/warmPiece, c.left)
		}
	}
	for at := 0; at < len(w.mem); at += warmPiece {
		if w.mem[at] != 0 {
			t.Errorf("piece %d is still held", at/warmPiece)
		}
	}
	if err := unix.Munmap(w.mem); err != nil {
		t.Error(err)
	}
}
