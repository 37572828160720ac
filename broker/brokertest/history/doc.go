// Package history judges what clients of a cluster saw: a list of operations, each with the moment it was invoked, the
// moment it completed and what came of it, against what a Kafka cluster promises.
//
// What belongs here: the history, in memory and as lines of JSON, the table of errors (fail or unknown), each anomaly
// that a history can show (anomaly.go has the list), the verdict and its report. What does not: anything of a broker or of a
// client; package drive makes histories of real clusters, and a simulation may make its own.
//
// Three rules keep the verdict sound. An operation whose outcome is unknown is never taken for one that failed. Whatever
// any read returned is in the log, also if the reader died of it. And what the order of events does not prove is
// concurrent. So every anomaly reported is one; that none is reported says only that nobody saw one.
package history
