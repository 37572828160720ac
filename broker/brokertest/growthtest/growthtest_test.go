package growthtest

import (
	"testing"
)

// judged is a test that a verdict is given in.
type judged struct {
	testing.TB
	failed bool
}

func (*judged) Helper()                 { /* the lines are ours */ }
func (j *judged) Failed() bool          { return j.failed }
func (j *judged) Errorf(string, ...any) { j.failed = true }

func TestGrowthIsJudged(t *testing.T) {
	sum := 0
	for name, c := range map[string]struct {
		n     int
		steps func(n int) int
		bad   bool
	}{
		"with the size":   {1 << 18, func(n int) int { return n }, false},
		"with the square": {1 << 9, func(n int) int { return n * n }, true},
	} {
		j := &judged{TB: t}
		Subquadratic(j, c.n, func(n int) func() {
			return func() {
				for i := range c.steps(n) {
					sum ^= sum<<1 + i
				}
			}
		})
		if j.failed != c.bad {
			t.Errorf("%s: failed is %v", name, j.failed)
		}
	}
}
