// Package bench loads a Kafka broker and says how it did beside what the machine can do.
//
// What belongs here: workloads (Produce, Consume, Latency, Replay) that need nothing of a broker but the
// protocol, probes that move the same bytes without one, and suites that run both in turn and compare.
// What does not: benchmarks of one package, which stand beside its code, and flags, which are cmd/firn's.
//
// A probe is a process of its own, started from the same binary, so that the processor time of both sides
// is read in the same way. Probes for produce and fetch speak just enough of the protocol that the same
// client drives them: what is compared is the server alone.
//
// Figures come from rounds in which both sides take turns. What counts is the median of the rounds'
// ratios: the machine may be busy with other things, but it is then for both.
package bench
