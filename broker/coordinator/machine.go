package coordinator

import (
	"time"

	"firn/metadata"
)

// Reply tells a caller how its command ended: nil, or why the shard cannot say (ErrNotCoordinator,
// ErrLoading, ErrUnavailable). It must not block.
type Reply func(err error)

// Result is what a machine wants done after a command.
type Result struct {
	// Edits are written in order, guarded by this shard's ownership: at once where they fit in one write of
	// the store, in several otherwise.
	Edits []metadata.Edit
	// Replies go out once these edits, and every edit of the shard before them, are committed, so
	// that no answer rests on state that may still be taken back.
	Replies []Reply
	// AtOnce go out without waiting for any write: answers that say nothing about what is stored,
	// such as a heartbeat's.
	AtOnce []func()
}

// Machine is the state of one shard. It does no input or output, keeps no clock, and is only ever
// called by its shard's loop, one call at a time.
type Machine interface {
	// Load takes the shard's entries, in key order, into a new machine.
	Load(entries []metadata.ShardEntry, now time.Time) error
	// Tick does what has become due.
	Tick(now time.Time) Result
	// Deadline is when Tick has something to do next; zero for never.
	Deadline() time.Time
	// Abandon answers every parked caller with err; the machine is not used for state again.
	Abandon(err error)
}
