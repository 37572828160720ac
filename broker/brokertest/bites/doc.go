// Package bites plants bugs that real systems had, one for each hazard and more, and sees that the tests find them: a
// simulation that has never failed proves nothing. Nothing is planted in the product: a planted source takes the place of
// the real one in a build of its own (go test -overlay).
package bites
