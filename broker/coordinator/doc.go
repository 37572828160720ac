// Package coordinator runs state machines by shard. A shard is owned by one broker at a time; its
// owner loads it from the metadata store, feeds it commands one by one, writes down what it asks for
// under the guard of that ownership, and lets an answer out only once everything it rests on is
// committed.
//
// What belongs here: event loops, loading, losing and finding again a shard, the order of writes and
// answers. What does not: what a shard means (packages group and, later, txn), who owns it (the
// controller), batching of writes over shards (metadata.Committer).
//
// What needs no write is answered from memory while the broker's lease stands: the controller takes a shard only from a
// broker whose lease is over, and a live one gives it away by itself, once its loop has ended.
// Nothing expires by time alone once the lease is over.
//
// A write whose outcome is unknown takes nothing for granted: the machine is put aside, all that
// waited is refused with a retriable error, and the shard is loaded again before it answers anything
// but what needs no store, such as heartbeats.
package coordinator
