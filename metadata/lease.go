package metadata

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	defaultTTL = 6 * time.Second
	// leaseMargin is what a broker gives up of its lease so that it stops believing in it before anyone
	// else stops: it covers the drift of two clocks over one TTL many times.
	leaseMargin = 500 * time.Millisecond
	// renewals is how many renewals fit into one TTL.
	renewals = 4
	// completing is how many TTLs a registration may take until the disks have its epoch.
	completing = 5
	// The pause between attempts to renew or register after a failure grows between these.
	minRenewPause = 50 * time.Millisecond
	maxRenewPause = 500 * time.Millisecond
)

// LeaseOptions configures a Lease.
type LeaseOptions struct {
	// TTL is how long the key space waits for us. Default 6 s; it must be more than a second.
	TTL time.Duration
	// KV is the lease's own connection, so that nothing queues before a renewal. The lease does not
	// close it.
	KV KV
	// OnEpoch is called with each new broker epoch before Epoch returns it, from the first
	// registration on; it makes the epoch durable on every disk. An error ends the registration.
	OnEpoch func(ctx context.Context, epoch int64) error
	// Clock returns the time since some fixed moment and runs while the machine sleeps. Nil: the time
	// since the machine started.
	Clock      func() time.Duration
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
}

func (o *LeaseOptions) ensureDefaults() error {
	if o.TTL == 0 {
		o.TTL = defaultTTL
	}
	if o.TTL <= 2*leaseMargin {
		return fmt.Errorf("broker lease TTL %v: want more than %v", o.TTL, 2*leaseMargin)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = bootTime
	}
	return nil
}

// Lease keeps a broker registered and knows, by its own clock, how long it may still believe so. A
// registration that is lost is made anew, with a new broker epoch, for as long as the Lease lives. Safe for
// concurrent use.
type Lease struct {
	store       *Store
	opts        LeaseOptions
	reg         Registration
	incarnation UUID
	metrics     *leaseMetrics
	stop        context.CancelFunc
	running     sync.WaitGroup

	// deadline is the boot time in ns until which the lease surely stands; 0: it does not. epoch is the newest
	// registration's. Epoch is written before deadline and read after it: who sees a deadline sees its epoch, or a later
	// one.
	deadline, epoch atomic.Int64

	mu struct {
		sync.Mutex
		lease   LeaseID
		changed chan struct{} // closed when epoch changes
	}
}

// Register makes the broker known, in the store's image, too, and starts to renew its lease. If an earlier life of the same broker
// (one of the same disks) is still registered, its lease is revoked; if another broker holds the id,
// Register waits a TTL and some seconds for it to go and then returns ErrNodeIDTaken. ErrWentBack if the key space
// is older than an epoch that one of the disks has.
func (s *Store) Register(ctx context.Context, reg Registration, opts LeaseOptions) (*Lease, error) {
	if err := opts.ensureDefaults(); err != nil {
		return nil, err
	}
	l := &Lease{store: s, opts: opts, reg: reg}
	_, _ = rand.Read(l.incarnation[:]) // never fails
	l.mu.changed = make(chan struct{})
	r, err := l.enter(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := s.WaitRev(ctx, r.epoch); err != nil {
		return nil, l.leave(ctx, r, err)
	}
	l.metrics = newLeaseMetrics(opts.Registerer, l.Headroom)
	l.metrics.registrations.Inc()
	bg, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.running.Go(func() { l.keep(bg, r) })
	return l, nil
}

// enter registers, in the order that makes a crash at any point harmless:
//  1. b and n in one transaction, n with what the disks may have lost;
//  2. the new epoch on every disk (OnEpoch);
//  3. the new epoch in n, from when on a disk without it is known to be an old copy;
//  4. only then does Epoch return it, so that nothing is appended before.
func (l *Lease) enter(ctx context.Context) (registered, error) {
	r, err := l.register(ctx)
	if err != nil {
		return r, err
	}
	if err := l.complete(ctx, &r); err != nil {
		return r, l.leave(ctx, r, err)
	}
	for i := range l.reg.Disks {
		l.reg.Disks[i].Failed = false
	}
	l.mu.Lock()
	l.mu.lease = r.lease
	l.epoch.Store(r.epoch)
	l.renewed(r.sent, r.ttl)
	close(l.mu.changed)
	l.mu.changed = make(chan struct{})
	l.mu.Unlock()
	l.opts.Logger.Info("broker registered", "broker", l.reg.ID, "epoch", r.epoch, "ttl", r.ttl)
	return r, nil
}

// complete does steps 2 and 3 of enter, and renews the lease meanwhile: disks may take longer than it lasts. Not for ever, for one
// may hang, and others give shards to whoever is registered.
func (l *Lease) complete(ctx context.Context, r *registered) error {
	renewing, stop := context.WithTimeout(ctx, completing*r.ttl)
	var done sync.WaitGroup
	defer done.Wait()
	defer stop()
	done.Go(func() {
		for sleep(renewing, r.ttl/renewals) {
			_ = l.renew(renewing, r) // a lease that is gone shows in step 3
		}
	})
	if l.opts.OnEpoch != nil {
		if err := l.opts.OnEpoch(ctx, r.epoch); err != nil {
			return fmt.Errorf("keep epoch %d of broker %d: %w", r.epoch, l.reg.ID, err)
		}
	}
	for i := range l.reg.Disks {
		l.reg.Disks[i].Epoch = r.epoch // what the next registration will say, also if this one ends before it is known to be confirmed
	}
	return l.confirmEpoch(ctx, r)
}

// leave takes a registration back that did not get through.
func (l *Lease) leave(ctx context.Context, r registered, err error) error {
	_ = l.opts.KV.Revoke(context.WithoutCancel(ctx), r.lease) // or it ends by itself
	return err
}

// renewed moves the deadline to what a renewal sent at that time gives.
func (l *Lease) renewed(sent, ttl time.Duration) {
	l.deadline.Store(int64(sent + ttl - leaseMargin))
}

// keep renews the lease, and registers again whenever it is gone, until ctx ends.
func (l *Lease) keep(ctx context.Context, r registered) {
	pause, retry := r.ttl/renewals, minRenewPause
	for sleep(ctx, pause) {
		err := l.renew(ctx, &r)
		if err == nil {
			l.renewed(r.sent, r.ttl)
		}
		if errors.Is(err, ErrLeaseNotFound) {
			l.lost(r)
			var again registered
			if again, err = l.enter(ctx); err == nil {
				r = again
				l.metrics.registrations.Inc()
			} else if ctx.Err() == nil {
				l.opts.Logger.Warn("broker not registered again yet", "broker", l.reg.ID, "error", err)
			}
		}
		if err == nil {
			pause, retry = r.ttl/renewals, minRenewPause
		} else {
			pause, retry = retry, min(2*retry, maxRenewPause)
		}
	}
}

// renew sends one renewal. Its time-out lets the next one, over another connection perhaps, be sent well
// before the lease ends.
func (l *Lease) renew(ctx context.Context, r *registered) error {
	ctx, cancel := context.WithTimeout(ctx, r.ttl/renewals)
	defer cancel()
	sent := l.opts.Clock()
	ttl, err := l.opts.KV.KeepAlive(ctx, r.lease)
	if err != nil {
		if !errors.Is(err, ErrLeaseNotFound) {
			l.opts.Logger.Debug("lease not renewed", "broker", l.reg.ID, "error", err)
		}
		return err
	}
	r.sent, r.ttl = sent, ttl
	return nil
}

// lost stops believing in a registration that the key space says is gone.
func (l *Lease) lost(r registered) {
	if l.deadline.Swap(0) != 0 {
		l.opts.Logger.Warn("broker lease is gone, registering again", "broker", l.reg.ID, "epoch", r.epoch)
	}
}

// ID returns the broker's node.id.
func (l *Lease) ID() int32 { return l.reg.ID }

// Epoch returns the broker epoch of the newest registration.
func (l *Lease) Epoch() int64 { return l.epoch.Load() }

// Changed returns a channel that is closed once Epoch returns another epoch than the one returned here.
func (l *Lease) Changed() (epoch int64, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch.Load(), l.mu.changed
}

// Valid reports whether the lease surely stands: the last renewal was sent less than TTL - 0.5 s ago by a
// clock that also runs while the machine sleeps. It costs one clock read.
func (l *Lease) Valid() bool { return l.Headroom() > 0 }

// Holds reports whether the registration of that epoch surely stands, and not another one of this broker.
func (l *Lease) Holds(epoch int64) bool { return l.Valid() && l.epoch.Load() == epoch }

// Headroom returns how long Valid will stay true without a renewal; zero or less when it is not.
func (l *Lease) Headroom() time.Duration {
	deadline := l.deadline.Load()
	if deadline == 0 {
		return 0
	}
	return time.Duration(deadline) - l.opts.Clock()
}

// Deregister revokes the lease, so that others need not wait for it to end, and stops renewing.
func (l *Lease) Deregister(ctx context.Context) error {
	_ = l.Close()
	l.mu.Lock()
	lease := l.mu.lease
	l.mu.Unlock()
	if err := l.opts.KV.Revoke(ctx, lease); err != nil && !errors.Is(err, ErrLeaseNotFound) {
		return fmt.Errorf("deregister broker %d: %w", l.reg.ID, err)
	}
	return nil
}

// Close stops renewing and leaves the lease to end by itself, as a crash would.
func (l *Lease) Close() error {
	l.stop()
	l.running.Wait()
	l.deadline.Store(0)
	return nil
}
