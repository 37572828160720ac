// Package replication fetches what leaders have for the replicas of this broker that follow them.
//
// What belongs here: connections to leaders, the fetches that go over them, what to do about each answer, and when to
// ask again. What does not: a replica's log, epochs and watermarks (partition), what a leader answers (api, partition),
// who leads (controller).
//
// # How it runs
//
// There is a fetcher, or a few, for each leader; a partition always belongs to the same one of them. A fetcher has one
// connection and one fetch session on it, and one goroutine that appends what comes and says what there is to say. The
// leader keeps a fetch until it has something. A partition whose records are not on the disk yet is left out of the next
// fetch, and goes into one of its own when they are: that ends the wait of the fetch before, so nothing waits for
// anybody's disk but its own. At most maxInFlight fetches are on their way, each answered by at most Options.MaxBytes or
// one batch: that bounds the memory.
//
// # Lock order
//
// Fetchers.mu, then fetcher.mu. The replicas' own locks are not held when these are taken, but for Durable, which only
// takes fetcher.mu.
package replication
