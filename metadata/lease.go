package metadata

import (
	"context"
	"log/slog"
	"time"
)

// Registration is what a broker says of itself when it registers.
type Registration struct {
	ID        int32
	Listeners []Listener
	Rack      string
	Version   string
	BootID    string // of the running kernel; another one means the page cache was lost
	Disks     []DiskFacts
}

// DiskFacts is what a broker found on one of its disks. The broker holds the disk's directory lock.
type DiskFacts struct {
	ID    UUID
	Epoch int64 // the broker epoch its meta file holds; 0 for a new disk
	Clean bool  // its CLEAN mark stands: everything reached the disk before the last stop
}

// LeaseOptions configures a Lease.
type LeaseOptions struct {
	// TTL is how long the key space waits for us. Default 6 s, at least 2 s on etcd.
	TTL time.Duration
	// KV is the lease's own connection, so that nothing queues before a renewal.
	KV KV
	// OnEpoch is called with each new broker epoch before Epoch returns it, from the first
	// registration on; it makes the epoch durable on every disk. An error ends the registration.
	OnEpoch func(ctx context.Context, epoch int64) error
	Logger  *slog.Logger
}

// Lease keeps a broker registered and knows, by its own clock, how long it may still believe so.
type Lease struct{}

// Register makes the broker known and starts to renew its lease. If an earlier life of the same broker
// (one of the same disks) is still registered, its lease is revoked; if another broker holds the id,
// Register waits one TTL for it to go and then returns ErrNodeIDTaken.
func (s *Store) Register(ctx context.Context, reg Registration, opts LeaseOptions) (*Lease, error) {
	panic("unwritten")
}

// Epoch returns the broker epoch of the newest registration.
func (l *Lease) Epoch() int64 { panic("unwritten") }

// Valid reports whether the lease surely stands: the last renewal was sent less than TTL - 0.5 s ago by a
// clock that also runs while the machine sleeps. It costs one clock read.
func (l *Lease) Valid() bool { panic("unwritten") }

// Headroom returns how long Valid will stay true without a renewal; negative when it is not.
func (l *Lease) Headroom() time.Duration { panic("unwritten") }

// Deregister revokes the lease, so that others need not wait for it to end, and stops renewing.
func (l *Lease) Deregister(ctx context.Context) error { panic("unwritten") }

// Close stops renewing and leaves the lease to end by itself, as a crash would.
func (l *Lease) Close() error { panic("unwritten") }
