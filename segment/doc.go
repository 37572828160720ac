// Package segment keeps partitions on a local disk: per partition an ordered log of record batches, cut
// into segments of which the last is appended to and the others are sealed.
//
// What belongs here: files of one disk and their durability, recovery, indexes' use, reading by offset
// and by time, the budget of descriptors and mappings. What does not: replication, leadership, producer
// sequence checks (ProducerState is only stored and replayed), high watermarks (only remembered), the
// tier, topic names.
//
// A Disk is one directory with any number of Logs. Batches are stored exactly as they are handed in.
// FORMAT.md describes every file.
//
// # Concurrency
//
// A Log's changing methods (Append, Roll, RollIfDue, TruncateTo, Reset) want the caller's lock that also
// guards the ProducerState; the Log has its own besides, so that a mistake is slow and not fatal.
// Everything else may be called at any time by anyone. Readers take no lock that a writer holds during
// IO. Callbacks (OnDurable, OnFailure) come from the Disk's goroutines, one at a time per Log, and may
// take the caller's lock. Log.Close, Disk.Close and Remove wait for them and so must not be called with
// that lock held; the first two take a last snapshot, so that no append may be under way either.
//
// Lock order: the caller's lock, Log.mu, Log.markMu, Log.syncMu, segment.mu, then those of Disk: the
// checkpoint's, Disk.mu, the spare's, the committer's, the file budget's; last Log.pos.
//
// # Caveats
//
// What Append returned for is in the page cache only, until OnDurable or Durable says otherwise. After
// a failed sync the disk is offline for good: what the kernel then says of the unsynced bytes proves
// nothing.
package segment
