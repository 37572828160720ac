package batch

import "runtime"

const (
	// minLookBytes, lookRatio and maxLookBytes bound what a batch may decompress to where its records are only
	// looked at: so many times its own size, but not less and not more than so much. Honest records compress a
	// hundredfold at most where they are few.
	minLookBytes = 64 << 20
	lookRatio    = 16
	maxLookBytes = 256 << 20
)

// LookBytes is what a batch of size bytes may decompress to where its records are only looked at, a bound for Each.
func LookBytes(size int) int { return min(max(minLookBytes, lookRatio*size), maxLookBytes) }

// turns has room for as many as may decompress at a time.
var turns = make(chan struct{}, runtime.GOMAXPROCS(0))

// Turn waits for a turn to decompress a batch, which the caller ends by done. There are as many turns in this process
// as processors: clients choose which batches are looked into, and how often at a time, and without turns a few small
// requests could have any number of small batches blown up side by side. Whoever has a turn waits for nothing but a
// disk or for the place for huge output, and never for another turn. Nor does it decompress anything while it looks at
// records: it may have that place already.
func Turn() (done func()) {
	turns <- struct{}{}
	return endTurn
}

func endTurn() { <-turns }
