// Package compat runs the clients that users bring against a real firn process, and against three of which one is killed:
// the same stories for each, so that a difference is the client's or the broker's and not the test's.
//
// It is a module of its own, so that the product's go.mod need not know these clients.
package compat

import (
	"context"
	"time"
)

// Record is what the stories send and expect back.
type Record struct {
	Partition int32
	Offset    int64
	Time      time.Time // to the millisecond
	Key       string
	Value     string
}

// Client is a client library as the stories use it.
type Client interface {
	// Produce sends records to their partitions, each so long after the one before it, and returns when all are acknowledged
	// by all in-sync replicas. Where the client can be idempotent it is.
	Produce(ctx context.Context, topic string, records []Record, gap time.Duration) error
	// Read returns n records of a partition from offset on.
	Read(ctx context.Context, topic string, partition int32, offset int64, n int) ([]Record, error)
	// OffsetAt returns the first offset with a timestamp of at least t.
	OffsetAt(ctx context.Context, topic string, partition int32, t time.Time) (int64, error)
	// Join makes a member of a group that subscribes to topic and starts at the earliest offset.
	Join(ctx context.Context, group, topic string) (Member, error)
	Close()
}

// pace waits until a gap after gap has passed since began, so often as i says.
func pace(began time.Time, gap time.Duration, i int) {
	if ahead := time.Duration(i)*gap - time.Since(began); ahead > 0 {
		<-time.After(ahead)
	}
}

// Member is a member of a consumer group. It commits only when told to.
type Member interface {
	// Next returns the next record, or ctx's error.
	Next(ctx context.Context) (Record, error)
	// Commit commits all that Next has returned.
	Commit(ctx context.Context) error
	// Leave leaves the group.
	Leave()
}
