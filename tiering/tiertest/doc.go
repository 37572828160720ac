// Package tiertest is what tests of the tier need: an Anchor in memory that fails as etcd can, and a local
// log in memory whose every byte can be told.
//
// What belongs here: fakes for tests of tiering, gc and what stands on them. What does not: anything that
// a broker runs.
package tiertest
