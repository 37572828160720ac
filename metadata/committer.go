package metadata

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Edit is one change of a shard's state. Keys are relative to the shard; build them with ShardKey.
type Edit struct {
	Key    string
	Value  []byte // must not be changed until the commit's done
	Delete bool
}

// ShardEntry is one key of a shard's state as loaded.
type ShardEntry struct {
	Key   string // relative to the shard, as in Edit
	Value []byte
}

// CommitterOptions configures a Committer.
type CommitterOptions struct {
	Linger     time.Duration // how long a batch waits for company; default 5 ms
	MaxLinger  time.Duration // to which Linger grows while the key space is slow; default 50 ms
	Timeout    time.Duration // of one transaction; default 10 s
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Committer writes the state of all coordinator shards a broker owns, in shared batches: at most 100
// writes and 1 MiB a transaction and two transactions in flight, each guarded by the co record of every
// shard in it. Safe for concurrent use.
type Committer struct{}

// NewCommitter returns a committer that writes through s's key space.
func (s *Store) NewCommitter(opts CommitterOptions) *Committer { panic("unwritten") }

// Open loads a shard and opens it for writing under the ownership record own. The state is at or past own.Rev, so
// nothing an earlier owner had acknowledged is missing, and no write of an earlier owner or of an earlier
// Shard of our own can be applied after it. ErrFenced if own is no longer the record.
func (c *Committer) Open(ctx context.Context, kind ShardKind, shard int32, own ShardOwner) (*Shard, []ShardEntry, error) {
	panic("unwritten")
}

// Close fails what is queued with ErrClosed, waits for what is in flight and returns.
func (c *Committer) Close() error { panic("unwritten") }

// Shard is a coordinator shard open for writing. It is good until its first failure.
type Shard struct{}

// Commit queues edits, which are applied together or not at all and in the order of calls. done is called
// exactly once, from another goroutine and without blocking it, with nil when they are committed.
//
// ErrFenced (somebody else owns the shard), ErrUnknown (the edits may be applied) and ErrClosed end the
// Shard: everything queued and every later commit fails the same way, and the owner opens it again.
// ErrUnavailable and ErrNoSpace fail everything queued too, with nothing of it written, but leave the
// Shard usable. ErrTooLarge fails that commit alone.
func (sh *Shard) Commit(edits []Edit, done func(error)) { panic("unwritten") }

// Close forgets the shard: what is queued fails with ErrClosed.
func (sh *Shard) Close() { panic("unwritten") }

// ShardKey joins parts into a shard-relative key; parts may hold any bytes.
func ShardKey(parts ...string) string { panic("unwritten") }

// SplitShardKey undoes ShardKey.
func SplitShardKey(key string) ([]string, error) { panic("unwritten") }
