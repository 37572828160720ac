package partition

import (
	"context"
	"iter"

	"firn/metadata/topic"
)

// Set is the replicas this broker hosts. Safe for concurrent use.
type Set struct {
	opts Options
}

// NewSet returns an empty Set.
func NewSet(o Options) (*Set, error) { return &Set{opts: o}, nil }

// Run does maintenance (roll by time, retention, producer expiry) until ctx ends.
func (s *Set) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Open opens the local log of tp, creating or recovering it, and hosts it as a follower of nobody. It blocks for
// the recovery; calls for different partitions run in parallel. An already hosted replica is returned as it is.
func (s *Set) Open(tp topic.Partition, name string, c topic.Config) (*Replica, error) {
	return nil, ErrStorage
}

// Get returns the hosted replica of tp, nil if there is none.
func (s *Set) Get(tp topic.Partition) *Replica { return nil }

// All yields the hosted replicas in no particular order.
func (s *Set) All() iter.Seq[*Replica] { return func(func(*Replica) bool) {} }

// Remove stops hosting tp and deletes its local data. Its waiters fail with ErrUnknownPartition.
func (s *Set) Remove(tp topic.Partition) error { return nil }

// Fetch reads many partitions, waiting for data as f says and no longer than ctx lives. It does not block.
func (s *Set) Fetch(ctx context.Context, f *Fetch) {}

// TierChanged tells the replica of tp, if hosted, that Tier.Bounds may have changed. It does not block.
func (s *Set) TierChanged(tp topic.Partition) {}

// Drain answers all waiting fetches and lets no new one wait; the broker is about to stop.
func (s *Set) Drain() {}

// Close fails all waiters with ErrNotLeader and closes the logs, not the disks.
func (s *Set) Close() error { return nil }
