// Package poison makes memory that is given back to a pool unreadable where tests run, so that a use after the release shows
// as wrong bytes, and a write as a panic. Programs that are shipped pay a branch for it, and benchmarks do, too.
//
// What belongs here: that, for pools of bytes. What does not: the pools, which are their owners'.
package poison

import (
	"bytes"
	"os"
	"runtime/debug"
	"slices"
	"strings"
)

// filler is no length, offset, magic or text that anybody would take for a good one.
const filler = 0xdb

var on = tested()

// tested reports whether this is a binary of tests that are to be run, rather than benchmarks. Package testing, which
// would say so, is not for programs that are shipped.
func tested() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && strings.HasSuffix(info.Path, ".test") &&
		!slices.ContainsFunc(os.Args, func(arg string) bool { return strings.HasPrefix(arg, "-test.bench=") })
}

// Fill is called with all of what is given back, before anybody else can have it.
func Fill(b []byte) {
	if on && len(b) > 0 {
		b[0] = filler
		for n := 1; n < len(b); n *= 2 {
			copy(b[n:], b[:n])
		}
	}
}

// Check is called with the same before it is given out again: nobody has written to it meanwhile.
func Check(b []byte) {
	if on && len(b) > 0 && (b[0] != filler || !bytes.Equal(b[1:], b[:len(b)-1])) {
		panic("poison: memory of a pool was written to after its release")
	}
}
