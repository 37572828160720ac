// Package growthtest judges how the time that something takes grows with what it is given. How fast the machine is, and what else
// it does, is no part of that.
package growthtest

import (
	"math"
	"testing"
	"time"
)

const (
	// factor is by how much more is given the second time. What grows with the square takes 16 times as long then, what grows
	// with the size, or its logarithm more, 4 to 6.
	factor = 4
	most   = 10
	// Others only ever make a round slower: the fastest of a few counts, and where that is too slow, of more.
	fewest, rounds = 3, 9
)

// Subquadratic fails the test if what prepare makes ready takes 10 times as long for 4*n as for n, in the fastest of several
// rounds. Only what prepare returns is measured. n has to be so large that by far most of the time would go into what grows with
// the square, if anything did.
func Subquadratic(t testing.TB, n int, prepare func(n int) (run func())) {
	t.Helper()
	small, large := time.Duration(math.MaxInt64), time.Duration(math.MaxInt64)
	for i := range rounds {
		small, large = min(small, measure(prepare(n))), min(large, measure(prepare(n*factor)))
		if t.Failed() || i+1 >= fewest && large < most*small {
			return
		}
	}
	t.Errorf("%d take %v, %d take %v", n, small, n*factor, large)
}

func measure(run func()) time.Duration {
	began := time.Now()
	run()
	return time.Since(began)
}
