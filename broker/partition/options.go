package partition

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"firn/metadata/topic"
)

// Options say how a Set works. The zero value of each field but Disks is useful.
type Options struct {
	// BrokerID is this broker's node.id.
	BrokerID int32
	// Lease tells whether the broker may still believe that it is registered; nil is always.
	Lease Lease
	// Tier is where offsets below the local log are; nil where there is no tier.
	Tier Tier
	// LogStarts keeps log starts that DeleteRecords moved; nil refuses DeleteRecords.
	LogStarts LogStarts
	// MaintenanceInterval is how often each replica is looked at even if nothing happened
	// (log.retention.check.interval.ms); 5 minutes if 0.
	MaintenanceInterval time.Duration
	// ProducerExpiry is how long a silent idempotent producer is remembered (producer.id.expiration.ms); a day
	// if 0.
	ProducerExpiry time.Duration
	// MaxProducers bounds how many idempotent producers all replicas together remember; 1,000,000 if 0. A new
	// one beyond it is refused, because forgetting one early could double its records.
	MaxProducers int
	// ColdReads bounds how many tier reads may be under way or waiting to be fetched; 256 if 0.
	ColdReads int
	// ColdBytes bounds the memory of finished tier reads that wait to be fetched; 64 MiB if 0.
	ColdBytes int64

	Logger     *slog.Logger          // slog.Default() if nil
	Registerer prometheus.Registerer // nil for none
}

// Lease is this broker's registration.
type Lease interface {
	// Valid reports whether the lease provably still holds. It is asked at every acknowledgement for which that
	// matters and must be cheap.
	Valid() bool
}

// LogStarts makes a new log start durable for the whole cluster.
type LogStarts interface {
	// AdvanceLogStart moves the log start of tp, which this broker leads at leaderEpoch, up to at least start and
	// returns what it is then. It never moves it down.
	AdvanceLogStart(ctx context.Context, tp topic.Partition, leaderEpoch int32, start int64) (int64, error)
}

// TierBounds are what the partition's tier head says.
type TierBounds struct {
	// LogStart is the first offset anybody may read. It counts for untiered partitions too.
	LogStart int64
	// End is the offset behind the last archived record; equal to LogStart if nothing is archived.
	End int64
}

// Tier reads what was archived. Safe for concurrent use. Its errors wrap ErrCorruptData where the bytes are
// wrong and name the object; others mean that trying again may help.
type Tier interface {
	// Bounds returns what is known of the partition's head, from memory; false if it has none.
	Bounds(tp topic.Partition) (TierBounds, bool)
	// Read returns the run of whole batches from the one holding offset on, of about maxBytes but at least one
	// batch, and the offset behind the run.
	Read(ctx context.Context, tp topic.Partition, offset int64, maxBytes int) (run Extent, next int64, err error)
	// FindTime returns the first record at or after offset from and below limit whose timestamp is at least ts.
	FindTime(ctx context.Context, tp topic.Partition, ts, from, limit int64) (TimedOffset, bool, error)
	// MaxTime returns the record of the largest timestamp among the archived ones below limit.
	MaxTime(ctx context.Context, tp topic.Partition, limit int64) (TimedOffset, bool, error)
	// EpochEnd returns the largest archived epoch that is at most epoch, and its end; Epoch -1 if there is none.
	EpochEnd(ctx context.Context, tp topic.Partition, epoch int32) (EpochEnd, error)
	// LocalFloor returns the offset below which the replica need not keep local bytes.
	LocalFloor(tp topic.Partition, c topic.Config, now time.Time, diskLow bool) int64
}

// TimedOffset is a record's place; Epoch is -1 if it is not known.
type TimedOffset struct {
	Offset    int64
	Timestamp int64
	Epoch     int32
}
