// Package partition is one hosted replica of one partition: appends, reads from the local disk or from the
// tier, watermarks, leader epochs, idempotent producers, and everybody who waits for one of these.
//
// What belongs here: Set (the replicas of this broker), Replica, the checks of a produced batch, the state of
// idempotent producers, the high watermark as a pure function, the queues of acknowledgements and of waiting
// fetches, local retention. What does not: bytes on disk (segment), bytes in the bucket (tiering), who should
// lead (controller), Kafka's messages and names (api): a topic has left its name behind when it comes here.
//
// # How an append runs
//
// The goroutine that read the request checks the batch, enters the replica's append queue and takes the append
// lock; whoever holds the lock appends what has queued up with one write. It never waits for a sync: it leaves
// an entry (end offset, epoch, completion) in the replica's queue of acknowledgements and goes on. The high
// watermark rises when the disk's committer says so and completes a prefix of that queue.
//
// # How a fetch runs
//
// Set.Fetch plans all partitions without locks. If that is too little it is registered once with each replica,
// and the high watermark's advance counts it down and wakes it once. Offsets below the local log are read from
// the tier by goroutines that outlive the request, so that a later one finds what an impatient one began.
//
// # How it is replicated
//
// A leader takes the fetches of its followers for word of what they have (fetch_follower.go). The high watermark and the
// in-sync set follow from that by a pure machine (quorum.go); what it proposes is committed by whoever InSync is. A
// follower appends what it is handed, and cuts its log where it is told that it parts from the leader's (follow.go);
// asking is package replication's.
//
// # Lock order
//
// Replica.leadership, then Replica.append, then the log's own locks, then Replica.waiters. The locks of the append
// queue, the producers, the table of tier reads and the scheduler are taken under any of these, and none of them under
// another; the wheel's is innermost. Completions run without any lock.
package partition
