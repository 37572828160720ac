package partition

import (
	"context"

	"firn/metadata/topic"
)

// Replica is one hosted partition replica. Safe for concurrent use.
type Replica struct {
	tp topic.Partition
}

// State is what the cluster's metadata says of a partition.
type State struct {
	Leader      int32
	LeaderEpoch int32
	Replicas    []int32
	ISR         []int32
}

// Partition names the partition.
func (r *Replica) Partition() topic.Partition { return r.tp }

// BecomeLeader makes the replica lead at st.LeaderEpoch, or, if it does already, takes over st's replica sets. The
// epoch's start is durable when it returns. Older states than the present one are ignored.
func (r *Replica) BecomeLeader(st State) error { return nil }

// BecomeFollower ends leadership: every append that is not committed fails with ErrNotLeader.
func (r *Replica) BecomeFollower(st State) error { return nil }

// SetConfig makes the topic's new settings take effect.
func (r *Replica) SetConfig(c topic.Config) {}

// Append appends a batch, which is checked first, and calls its completion when what a.Acks asks for has come
// about. It writes before it returns but never waits for a sync or for another broker.
func (r *Replica) Append(a *Append) {}

// Offsets is where a replica stands.
type Offsets struct {
	LogStart      int64 // first offset to be read, in either tier
	LocalStart    int64 // first offset on this disk
	TierEnd       int64 // offset behind the last archived record, -1 where nothing is archived
	LastStable    int64
	HighWatermark int64
	Durable       int64 // end of what a power cut cannot take from this disk
	LogEnd        int64
}

// Offsets returns where the replica stands; the values are not of one instant but never contradict each other.
func (r *Replica) Offsets() Offsets { return Offsets{} }

// LeaderEpoch returns the epoch it leads or follows at, and whether it leads.
func (r *Replica) LeaderEpoch() (epoch int32, leads bool) { return -1, false }

// Sizes returns the bytes on the local disk and the directory they are in.
func (r *Replica) Sizes() (bytes int64, dir string) { return 0, "" }

// Special timestamps of Replica.ListOffset, with Kafka's numbers.
const (
	Latest         = -1
	Earliest       = -2
	MaxTimestamp   = -3
	EarliestLocal  = -4
	LastTiered     = -5
	EarliestToTier = -6 // first offset that is still to be uploaded
)

// ListOffset finds an offset by timestamp in ms or by one of the special timestamps, in both tiers. Where
// there is none the offset and the timestamp are -1. currentEpoch is the caller's leader epoch, -1 for none. It may
// read the tier.
func (r *Replica) ListOffset(ctx context.Context, ts int64, currentEpoch int32, readCommitted bool) (TimedOffset, error) {
	return TimedOffset{}, nil
}

// EpochEnd finds the largest epoch that is at most epoch and its end, in both tiers.
func (r *Replica) EpochEnd(ctx context.Context, epoch, currentEpoch int32) (EpochEnd, error) {
	return EpochEnd{}, nil
}

// DeleteRecords moves the log start up to offset, -1 for the high watermark, durably for the cluster, and returns the
// low watermark.
func (r *Replica) DeleteRecords(ctx context.Context, offset int64) (int64, error) { return 0, nil }

// Producer is an idempotent producer as DescribeProducers shows it.
type Producer struct {
	ID            int64
	Epoch         int16
	LastSequence  int32
	LastTimestamp int64
}

// Producers returns the idempotent producers the replica remembers, by id.
func (r *Replica) Producers() []Producer { return nil }
