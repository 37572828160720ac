package partition

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"firn/broker/quota"
	"firn/metadata/topic"
	"firn/segment"
	"firn/tiering"
	"firn/tiering/manifest"
)

// Options say how a Set works. Disks is needed, everything else may be left zero.
type Options struct {
	// BrokerID is this broker's node.id.
	BrokerID int32
	// Disks hold the replicas. They stay the caller's, who closes them after the Set.
	Disks []*segment.Disk
	// Lease tells whether the broker may still believe that it is registered; nil is always.
	Lease Lease
	// Tier reads what lies below the local logs; nil where there is no tier.
	Tier Tier
	// TierEnd is the offset below which a partition's records are in the tier, as far as that is known without asking
	// anybody; 0 for none. It is asked when a log is opened; nil knows of nothing.
	TierEnd func(tp topic.Partition) int64
	// NextEpoch is the first leader epoch of a partition that has not begun, as far as that is known, 0 if not. It is asked
	// when a log is opened, and must not be outdated; nil knows of nothing.
	NextEpoch func(tp topic.Partition) int32
	// LogStarts keeps log starts that DeleteRecords moves; nil refuses DeleteRecords.
	LogStarts LogStarts
	// InSync commits changes of the in-sync sets; nil leaves them as they are.
	InSync InSync
	// ReplicaLag is how long a follower may go without having caught up before it leaves the in-sync set
	// (replica.lag.time.max.ms); 30 s.
	ReplicaLag time.Duration
	// FollowerWait is how long fetches of followers are kept while there is nothing new (replica.fetch.wait.max.ms); 500 ms.
	FollowerWait time.Duration
	// HoldOver is how long a leader whose lease has run out takes a follower's fetch for proof that nobody else leads, for
	// acks=1: as long as another may lead meanwhile, what is acknowledged is lost. Half the lease's time, 3 s, but with a short lease up
	// to all of it, or idle followers would prove nothing (Following).
	HoldOver time.Duration
	// Throttle is what followers that are not in sync may be sent of throttled replicas
	// (leader.replication.throttled.rate); nil is all they ask for.
	Throttle *quota.Rate
	// OnDamage, if set, is called once when a hosted replica's log turns out to be damaged where the tier cannot help, and again
	// when it leads and a follower asks for the first time in a life of its own, or of the role; Replica.Damage says where. It must not block.
	OnDamage func(r *Replica)
	// OnFullness, if set, is called by Run when a disk's Fullness has changed.
	OnFullness func(d *segment.Disk, f segment.Fullness)
	// MaintenanceInterval is how often each replica is looked at even if nothing is due
	// (log.retention.check.interval.ms); 5 minutes.
	MaintenanceInterval time.Duration
	// ProducerExpiry is how long a silent idempotent producer is remembered (producer.id.expiration.ms); a day.
	ProducerExpiry time.Duration
	// MaxProducers bounds how many idempotent producers all replicas together remember; 1,000,000, which is about
	// 250 MB. A new one beyond it is refused, because forgetting another early could double that one's records.
	MaxProducers int
	// ColdReads bounds how many tier reads may be under way or waiting to be fetched; 256.
	ColdReads int
	// ColdBytes bounds the memory of finished tier reads that wait to be fetched; 16 MiB.
	ColdBytes int64
	// Now is the wall clock: it stamps records, and says how old they and producers are. Nil is time.Now.
	Now func() time.Time

	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil for none
}

// EnsureDefaults fills in what is zero.
func (o *Options) EnsureDefaults() {
	orDefault(&o.MaintenanceInterval, 5*time.Minute)
	orDefault(&o.ProducerExpiry, 24*time.Hour)
	orDefault(&o.MaxProducers, 1_000_000)
	orDefault(&o.ColdReads, 256)
	orDefault(&o.ColdBytes, 16<<20)
	orDefault(&o.ReplicaLag, 30*time.Second)
	orDefault(&o.FollowerWait, 500*time.Millisecond)
	orDefault(&o.HoldOver, 3*time.Second)
	if o.Throttle == nil {
		o.Throttle = &quota.Rate{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.TierEnd == nil {
		o.TierEnd = func(topic.Partition) int64 { return 0 }
	}
	if o.NextEpoch == nil {
		o.NextEpoch = func(topic.Partition) int32 { return 0 }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

func orDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Validate reports what cannot work.
func (o *Options) Validate() error {
	if len(o.Disks) == 0 {
		return errors.New("partition: no disks")
	}
	if o.MaintenanceInterval < 0 || o.ProducerExpiry < 0 || o.MaxProducers < 0 || o.ColdReads < 0 || o.ColdBytes < 0 {
		return errors.New("partition: negative limit")
	}
	return nil
}

// Lease is this broker's registration.
type Lease interface {
	// Holds reports whether the registration of that broker epoch provably still stands. It is asked at every
	// acknowledgement for which that matters and must be cheap.
	Holds(epoch int64) bool
	// Valid reports whether any registration of the broker provably stands. It must be as cheap.
	Valid() bool
}

// InSync commits what leaders propose.
type InSync interface {
	// Propose asks for r.Propose to be called soon, or, if r has failed, for others to take its part. It does not block.
	Propose(r *Replica)
}

// LogStarts makes a new log start durable for the whole cluster.
type LogStarts interface {
	// AdvanceLogStart moves the log start of tp, which this broker leads at leaderEpoch, up to at least start and
	// returns what it is then. It never moves it down.
	AdvanceLogStart(ctx context.Context, tp topic.Partition, leaderEpoch int32, start int64) (int64, error)
}

// Tier reads what was archived. See tiering.Reader, which it is.
type Tier interface {
	Read(ctx context.Context, tp topic.Partition, head *manifest.Head, offset int64, maxBytes int) (tiering.Data, error)
	FindTime(ctx context.Context, tp topic.Partition, head *manifest.Head, ts, from int64) (tiering.Stamp, bool, error)
	MaxTime(ctx context.Context, tp topic.Partition, head *manifest.Head) (tiering.Stamp, bool, error)
	EpochEnd(ctx context.Context, tp topic.Partition, head *manifest.Head, epoch int32) (found int32, end int64, ok bool, err error)
	Tail(ctx context.Context, tp topic.Partition, head *manifest.Head) (tiering.TailState, error)
}

var _ Tier = (*tiering.Reader)(nil)

// Upload is told what an archiving replica does; *tiering.Upload is one. Its methods must not block.
type Upload interface {
	Sealed()
	HighWatermark(hw int64)
}

var _ Upload = (*tiering.Upload)(nil)
