// Package memkv is a metadata.KV in memory, with faults, for tests and simulation.
//
// A Server is the key space; each Client is one connection to it, whose requests and replies can be lost,
// delayed or cut off. Leases end by the clock of package time, so that a testing/synctest bubble controls
// them. Nothing here survives the process.
package memkv
