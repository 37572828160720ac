// Package broker wires one process together and starts and stops it in order.
//
// What belongs here: settings (config*.go), the order of things (broker.go), what becomes of a change of
// metadata (apply.go), the interfaces of lower packages plugged into each other (seams.go). What does
// not: anything that could be said without knowing all the parts.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"firn/broker/controller"
	"firn/broker/group"
	"firn/broker/partition"
	"firn/broker/quota"
	"firn/broker/replication"
	"firn/broker/server"
	"firn/metadata"
	"firn/metadata/etcd"
	"firn/segment"
	"firn/tiering"
	"firn/tiering/chunkcache"
	"firn/tiering/objstore"
)

// Options are what a process brings along beside its settings.
type Options struct {
	Logger *slog.Logger
	// Version is told to the cluster and shown to people.
	Version string
	// World is what the broker lives in; the zero World is the real one.
	World World
}

// Broker is one broker. It is made by New, and lives while Run does.
type Broker struct {
	cfg     Config
	log     *slog.Logger
	version string
	world   World
	reg     *prometheus.Registry
	ready   chan struct{}

	// The parts, in the order in which they are started; stop goes backwards.
	embedded   *etcd.Server
	kv         metadata.KV
	leaseKV    metadata.KV
	store      *metadata.Store
	disks      []*segment.Disk
	bucket     objstore.Bucket
	cache      *chunkcache.Cache
	reader     *tiering.Reader
	uploader   *tiering.Uploader
	listeners  []net.Listener
	advertised []Listener
	httpLn     net.Listener
	httpServer *http.Server
	lease      *metadata.Lease
	controller *controller.Controller
	set        *partition.Set
	inSync     *inSyncKeeper
	fetchers   *replication.Fetchers
	sending    quota.Rate // of what this broker, as a leader, sends for reassignments
	fetching   quota.Rate // of what it fetches for them
	groups     *group.Coordinator
	committer  *metadata.Committer
	keeper     *topicKeeper
	applier    *applier
	standing   *standing
	giver      *giver
	server     *server.Server

	began   time.Time                   // to start
	leaving atomic.Bool                 // it gives its registration up itself
	stack   []func(ctx context.Context) // what to undo, in the order it was done
	tasks   *errgroup.Group
	fatal   chan error
	once    sync.Once
}

// stopTimeout bounds how long a clean stop waits for clients to take their last responses.
const stopTimeout = 10 * time.Second

// handOverTimeout bounds how long a clean stop waits for others to take over what this broker leads.
const handOverTimeout = 3 * time.Second

// deregisterTimeout bounds what a stop asks of etcd, how often, with what pause. An etcd that is away is not waited for.
const (
	deregisterTimeout = 2 * time.Second
	deregisterTries   = 5
	deregisterRetry   = 50 * time.Millisecond
)

// New checks the settings and returns a broker that is not started yet.
func New(cfg Config, o Options) (*Broker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.World.ensureDefaults()
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo(o.Version))
	return &Broker{
		cfg: cfg, log: o.Logger, version: o.Version, world: o.World, reg: reg,
		ready: make(chan struct{}), fatal: make(chan error, 1),
	}, nil
}

// buildInfo is a metric whose labels tell which program this is.
func buildInfo(version string) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "firn_build_info", Help: "Always 1; the labels say which program this is.",
		ConstLabels: prometheus.Labels{"version": version, "go_version": runtime.Version()},
	})
	g.Set(1)
	return g
}

// Ready is closed once the broker serves and every partition it leads has been opened.
func (b *Broker) Ready() <-chan struct{} { return b.ready }

// Addr is the address of the first listener as bound; valid once Ready is closed.
func (b *Broker) Addr() string { return b.listeners[0].Addr().String() }

// HTTPAddr is the address of the console as bound, "" if it is off; valid once Ready is closed.
func (b *Broker) HTTPAddr() string {
	if b.httpLn == nil {
		return ""
	}
	return b.httpLn.Addr().String()
}

// Run starts the broker, serves until ctx ends, and stops it in order: what was acknowledged is safe and the
// next start need not verify anything. An error is why it could not start or had to stop.
func (b *Broker) Run(ctx context.Context) (err error) {
	if b.cfg.MemoryLimit > 0 {
		debug.SetMemoryLimit(b.cfg.MemoryLimit)
	}
	// What runs in the background outlives ctx: it is stopped in its turn.
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	b.tasks, background = errgroup.WithContext(background)
	defer func() {
		stopCtx, cancelStop := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancelStop()
		for i := len(b.stack) - 1; i >= 0; i-- {
			b.stack[i](stopCtx)
		}
		cancel()
		if taskErr := b.tasks.Wait(); err == nil && !errors.Is(taskErr, context.Canceled) {
			err = taskErr
		}
	}()
	if err := b.start(ctx, background); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	close(b.ready)
	select {
	case <-ctx.Done():
		b.log.Info("stopping")
		return nil
	case err := <-b.fatal:
		return err
	case <-background.Done():
		return context.Cause(background)
	}
}

// undo registers what stop does about the part that was just started.
func (b *Broker) undo(fn func(ctx context.Context)) { b.stack = append(b.stack, fn) }

// closeLater registers a Close whose error is only logged.
func (b *Broker) closeLater(what string, fn func() error) {
	b.undo(func(context.Context) {
		if err := fn(); err != nil {
			b.log.Warn("close", "part", what, "error", err)
		}
	})
}

// task runs fn in the background until its context ends, which undo brings about.
func (b *Broker) task(parent context.Context, what string, fn func(context.Context) error) {
	ctx, cancel := context.WithCancel(parent)
	done := make(chan struct{})
	b.tasks.Go(func() error {
		defer close(done)
		if err := fn(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	})
	b.undo(func(context.Context) { cancel(); <-done })
}

// fail stops the broker because of err.
func (b *Broker) fail(err error) {
	b.once.Do(func() { b.fatal <- err })
}

// start brings the parts up, each on those before it.
func (b *Broker) start(ctx, background context.Context) error {
	b.began = time.Now()
	steps := []struct {
		name string
		fn   func(ctx, background context.Context) error
	}{
		{"metadata", b.startMetadata},
		{"log directories", b.startDisks},
		{"listeners", b.startListeners},
		{"object storage", b.startTier},
		{"registration", b.startLease},
		{"partitions", b.startPartitions},
		{"serving", b.startServing},
	}
	for _, s := range steps {
		began := time.Now()
		if err := s.fn(ctx, background); err != nil {
			return fmt.Errorf("start %s: %w", s.name, err)
		}
		b.log.Debug("started", "part", s.name, "took", time.Since(began))
	}
	return nil
}

// metadataDial is how the metadata is reached.
func (b *Broker) metadataDial(ctx context.Context) (func() (metadata.KV, error), error) {
	switch dir := b.cfg.Etcd.EmbedDir; {
	case b.world.DialMetadata != nil:
		return b.world.DialMetadata, nil
	case dir != "":
		srv, err := etcd.Embed(ctx, dir, b.log.With("part", "etcd"))
		if err != nil {
			return nil, err
		}
		b.embedded = srv
		b.closeLater("etcd", srv.Close)
		return srv.Dial, nil
	}
	c, err := b.etcdConfig()
	return func() (metadata.KV, error) { return etcd.Dial(c) }, err
}

// etcdRetry is the pause before etcd is asked again while the broker starts.
const etcdRetry = 500 * time.Millisecond

// passing are the errors of etcd that a broker does not end for while it starts: etcd is away, or so slow that a registration
// was over before it was complete.
var passing = []error{metadata.ErrUnavailable, metadata.ErrUnknown, metadata.ErrFenced, metadata.ErrConflict, metadata.ErrLeaseNotFound}

// onceReached has try, which needs etcd, tried again while that is away, as brokers and etcd may be started in any order.
func (b *Broker) onceReached(ctx context.Context, try func() error) error {
	for {
		err := try()
		away := slices.ContainsFunc(passing, func(e error) bool { return errors.Is(err, e) })
		if !away || time.Since(b.began) > b.cfg.StartTimeout {
			return err
		}
		b.log.Warn("etcd is away or slow, will try again", "error", err)
		select {
		case <-time.After(etcdRetry):
		case <-ctx.Done():
			return err
		}
	}
}

func (b *Broker) startMetadata(ctx, background context.Context) error {
	dial, err := b.metadataDial(ctx)
	if err != nil {
		return err
	}
	meter := metadata.NewMeter(b.reg)
	for _, to := range []*metadata.KV{&b.kv, &b.leaseKV} {
		if err := b.onceReached(ctx, func() (err error) { *to, err = dial(); return err }); err != nil {
			return err
		}
		*to = meter.Around(*to)
		b.closeLater("etcd client", (*to).Close)
	}
	err = b.onceReached(ctx, func() (err error) {
		b.store, err = metadata.Open(ctx, b.kv, metadata.Options{
			Cluster: b.cfg.ClusterName, ReadTierHead: readTierHead, Logger: b.log, Registerer: b.reg,
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("etcd at %s: %w", b.etcdAddress(), err)
	}
	b.closeLater("metadata", b.store.Close)
	b.task(background, "metadata", func(ctx context.Context) error {
		select {
		case <-b.store.Failed():
			return b.store.Err()
		case <-ctx.Done():
			return nil
		}
	})
	return nil
}

func (b *Broker) startListeners(ctx, _ context.Context) error {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	for _, l := range b.cfg.Listeners {
		ln, err := b.world.Listen(ctx, "tcp", l.Addr())
		if err != nil {
			return err
		}
		b.listeners = append(b.listeners, ln)
		b.undo(func(context.Context) { _ = ln.Close() })
		b.advertised = append(b.advertised, b.cfg.AdvertisedAs(l, ln.Addr(), host))
	}
	if b.cfg.HTTP == "" {
		return nil
	}
	if b.httpLn, err = b.world.Listen(ctx, "tcp", b.cfg.HTTP); err != nil {
		return err
	}
	b.undo(func(context.Context) { _ = b.httpLn.Close() })
	return nil
}

func (b *Broker) startLease(ctx, background context.Context) error {
	reg := metadata.Registration{ID: b.cfg.NodeID, Rack: b.cfg.Rack, Version: b.version, BootID: b.world.BootID(), Relaxed: b.cfg.relaxed()}
	for _, l := range b.advertised {
		reg.Listeners = append(reg.Listeners, metadata.Listener{Name: l.Name, Protocol: l.Protocol, Host: l.Host, Port: l.Port})
	}
	for _, d := range b.disks {
		epoch, clean := d.LastBrokerEpoch()
		reg.Disks = append(reg.Disks, metadata.DiskFacts{ID: d.ID(), Epoch: max(epoch, 0), Clean: clean, Failed: d.Failed()})
	}
	err := b.onceReached(ctx, func() (err error) {
		b.lease, err = b.store.Register(ctx, reg, metadata.LeaseOptions{
			TTL: b.cfg.SessionTTL, KV: b.leaseKV, Clock: b.world.BootTime, Logger: b.log, Registerer: b.reg,
			OnEpoch: func(_ context.Context, epoch int64) error { return keepEpoch(b.disks, epoch) },
		})
		return err
	})
	if err != nil {
		return err
	}
	b.undo(b.deregister)
	b.controller, err = controller.New(controller.Options{
		Store: b.store, Lease: b.lease, Defaults: b.cfg.TopicDefaults(), FenceTier: fenceTier,
		BalanceInterval: b.cfg.Balance.interval(), ImbalancePercent: b.cfg.Balance.Percent,
		NumPartitions: b.cfg.Topics.NumPartitions, ReplicationFactor: b.cfg.Topics.ReplicationFactor,
		CheckBrokerSettings: func(_ int32, overrides map[string]string) error { return CheckDynamic(overrides) }, BrokerList: b.cfg.list,
		Logger: b.log, Registerer: b.reg,
	})
	if err != nil {
		return err
	}
	b.task(background, "controller", b.controller.Run)
	return nil
}

// path is where a part keeps its files if the settings do not say: in the first log directory.
func (b *Broker) path(configured, name string) string {
	if configured != "" {
		return configured
	}
	return filepath.Join(b.cfg.LogDirs[0], name)
}
