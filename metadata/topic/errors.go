package topic

import "fmt"

// Error reports a topic setting that cannot be accepted. Its text names the key, the value and what is
// allowed.
type Error struct {
	Key     string
	Value   string
	Allowed string // which values are legal; for an unknown key, what to do about it
	Unknown bool   // there is no such setting
}

// Error names the key, the value and what is allowed.
func (e *Error) Error() string {
	if e.Unknown {
		return fmt.Sprintf("unknown topic setting %q (value %q): %s", e.Key, e.Value, e.Allowed)
	}
	return fmt.Sprintf("topic setting %s=%q: allowed is %s", e.Key, e.Value, e.Allowed)
}

// Nearest returns the one of names that differs least from name, or "" when none is near. It is for the
// "did you mean" of an error about an unknown name.
func Nearest(name string, names []string) string {
	best, bestDist := "", max(2, len(name)/5)+1
	for _, n := range names {
		if d := distance(name, n, bestDist); d < bestDist {
			best, bestDist = n, d
		}
	}
	return best
}

// distance is the number of single-byte insertions, deletions and substitutions between a and b, or limit
// if there are at least that many.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return min(row[len(b)], limit)
}
