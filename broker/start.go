package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"firn/broker/api"
	"firn/broker/console"
	"firn/broker/group"
	"firn/broker/partition"
	"firn/broker/replication"
	"firn/broker/server"
	"firn/metadata"
	"firn/metadata/topic"
	"firn/tiering"
	"firn/tiering/chunkcache"
	"firn/tiering/objstore"
)

func (b *Broker) startTier(ctx, _ context.Context) error {
	if !b.cfg.Tier.Enabled() {
		return nil
	}
	bucket, err := b.world.OpenBucket(ctx, b.cfg.Tier.URL)
	if err != nil {
		return err
	}
	b.bucket = objstore.WithMetrics(bucket, b.reg)
	b.closeLater("object storage", b.bucket.Close)
	if b.cfg.Tier.CacheBytes > 0 {
		b.cache, err = chunkcache.Open(chunkcache.Options{
			FS: b.world.FS, Dir: b.path(b.cfg.Tier.CacheDir, "tier-cache"), MaxBytes: b.cfg.Tier.CacheBytes, Logger: b.log, Registerer: b.reg,
		})
		if err != nil {
			return err
		}
		b.closeLater("tier cache", b.cache.Close)
	}
	b.reader, err = tiering.NewReader(tiering.ReaderOptions{
		Bucket: b.bucket, Cluster: b.clusterID(), Anchor: anchorLater{b}, Cache: b.cache,
		Memory: b.cfg.ReadMemory(), Gets: int(b.cfg.Tier.ReadConcurrency), Logger: b.partitionLogger(), Registerer: b.reg,
	})
	if err != nil {
		return err
	}
	b.closeLater("tier reader", b.reader.Close)
	return nil
}

func (b *Broker) clusterID() string { return b.store.Image().Cluster().ID }

// startPartitions hosts what the metadata says. It waits until every log is open.
func (b *Broker) startPartitions(ctx, background context.Context) error {
	if err := b.startUploader(background); err != nil {
		return err
	}
	var tier partition.Tier
	if b.reader != nil {
		tier = b.reader
	}
	b.inSync = newInSyncKeeper(b)
	set, err := partition.NewSet(partition.Options{
		BrokerID: b.cfg.NodeID, Disks: b.disks, Lease: b.lease, Tier: tier, TierEnd: b.tierEnd, NextEpoch: b.nextEpoch,
		LogStarts: logStarts{b}, InSync: b.inSync, Throttle: &b.sending, ReplicaLag: b.cfg.Replication.MaxLag,
		FollowerWait: b.cfg.Replication.MaxWait, HoldOver: max(b.cfg.SessionTTL/2, min(b.cfg.SessionTTL, partition.Following(b.cfg.Replication.MaxWait))),
		OnDamage:   func(r *partition.Replica) { b.applier.rec.mark(r.Partition()) },
		OnFullness: b.diskFullness, MaintenanceInterval: b.cfg.Log.CheckInterval,
		ProducerExpiry: b.cfg.Log.ProducerIDExpiry, MaxProducers: int(b.cfg.Log.MaxProducerIDs),
		ColdBytes: b.cfg.ReadMemory() / 4, Now: b.world.Now, Logger: b.log, Registerer: b.reg,
	})
	if err != nil {
		return err
	}
	b.set = set
	b.closeLater("partitions", set.Close)
	b.task(background, "partitions", set.Run)
	if rate := b.cfg.Log.ScrubBytesPerSecond; rate > 0 {
		b.task(background, "scrub", func(ctx context.Context) error { return set.Scrub(ctx, rate) })
	}
	b.task(background, "in-sync sets", b.inSync.run)
	if b.fetchers, err = replication.New(b.replicationOptions()); err != nil {
		return err
	}
	b.closeLater("replication", b.fetchers.Close)

	b.committer = b.store.NewCommitter(metadata.CommitterOptions{Timeout: b.cfg.Etcd.RequestTimeout, Logger: b.log, Registerer: b.reg})
	b.closeLater("group store", b.committer.Close)
	b.groups = group.NewCoordinator(group.Config{
		Options: b.groupOptions(), Broker: b.cfg.NodeID, Shards: b.store.Image().Shards(metadata.GroupShard),
		Store: b.committer, Lease: b.lease, Logger: b.log, Registerer: b.reg,
	})
	b.undo(func(context.Context) { b.groups.Close() })

	b.standing, b.giver = &standing{b: b}, newGiver(b)
	b.keeper = newTopicKeeper(b)
	b.undo(func(context.Context) { b.keeper.stop() })
	b.applier = newApplier(b)
	b.applier.start()
	b.undo(func(context.Context) { b.applier.stop() })
	b.task(background, "epoch", b.applier.followEpoch)
	b.task(background, "standing", b.standing.run)
	b.task(background, "giver", b.giver.run)
	select {
	case <-b.applier.first:
	case <-ctx.Done():
		return ctx.Err()
	}
	b.startCollector(background)
	return nil
}

// tierEnd is the offset below which the tier has a partition's records, as the image tells.
func (b *Broker) tierEnd(tp topic.Partition) int64 {
	if h, _ := b.store.Image().TierHead(tp); b.reader != nil && h.Fields.TierEnd > h.Fields.LogStart {
		return h.Fields.TierEnd
	}
	return 0
}

// nextEpoch is the leader epoch of a partition that comes next. The image is never older than what this broker has done by it.
func (b *Broker) nextEpoch(tp topic.Partition) int32 {
	p, ok := b.store.Image().Partition(tp)
	if !ok {
		return 0
	}
	return p.LeaderEpoch + 1
}

func (b *Broker) replicationOptions() replication.Options {
	r := b.cfg.Replication
	return replication.Options{
		BrokerID: b.cfg.NodeID, BrokerEpoch: b.lease.Epoch, Dial: b.dialBroker, Fetchers: int(r.Fetchers),
		MaxBytes: int(r.ResponseBytes), PartitionBytes: int(r.PartitionBytes), MaxWait: r.MaxWait,
		Timeout: r.SocketTimeout, Backoff: r.Backoff, Throttle: &b.fetching, Logger: b.partitionLogger(), Registerer: b.reg,
	}
}

// dialBroker connects to another broker, wherever it is by now.
func (b *Broker) dialBroker(ctx context.Context, id int32) (net.Conn, error) {
	other, ok := b.store.Image().Broker(id)
	if !ok {
		return nil, fmt.Errorf("broker %d is not registered", id)
	}
	l, ok := other.Listener(b.cfg.Replication.Listener)
	if !ok {
		return nil, fmt.Errorf("broker %d has no listener %q", id, b.cfg.Replication.Listener)
	}
	return b.world.Dial(ctx, "tcp", net.JoinHostPort(l.Host, strconv.Itoa(int(l.Port))))
}

func (b *Broker) groupOptions() group.Options {
	g := b.cfg.Groups
	return group.Options{
		MinSessionTimeout: g.MinSession, MaxSessionTimeout: g.MaxSession, InitialRebalanceDelay: g.InitialRebalanceDelay,
		MaxSize: int(g.MaxSize), OffsetsRetention: g.OffsetsRetention, OffsetsCheckInterval: g.OffsetsCheckInterval,
		MaxMetadata: int(g.OffsetMetadataBytes), NewID: newMemberID, Topics: topicNames{b.store},
	}
}

func (b *Broker) startUploader(background context.Context) error {
	if b.bucket == nil {
		return nil
	}
	up, err := tiering.NewUploader(tiering.UploaderOptions{
		Bucket: b.bucket, Anchor: b.anchor(), Cluster: b.clusterID(), BrokerEpoch: b.lease.Epoch,
		Grace: b.cfg.Tier.DeleteGrace, FS: b.world.FS, SpoolDir: b.path(b.cfg.Tier.SpoolDir, "tier-spool"), Concurrency: int(b.cfg.Tier.UploadConcurrency),
		BytesPerSecond: b.cfg.Tier.UploadBytesPerSecond, Describe: b.describeTopic, OnCommit: b.tierCommitted,
		Logger: b.partitionLogger(), Registerer: b.reg,
	})
	if err != nil {
		return err
	}
	b.uploader = up
	b.task(background, "uploader", up.Run)
	return nil
}

// startServing lets clients in.
func (b *Broker) startServing(ctx, background context.Context) error {
	var wanted func() bool
	if b.reader != nil {
		wanted = b.reader.Wanted
	}
	srv, err := server.New(server.Options{
		Handler: b.newAPI(), Logger: b.log, Registerer: b.reg,
		MaxRequestBytes: b.cfg.MaxRequest(), MemoryBytes: b.cfg.RequestMemory(),
		MaxConnections: int(b.cfg.Network.MaxConnections), MaxConnectionsPerIP: int(b.cfg.Network.MaxConnectionsPerIP),
		Reserved: b.cfg.brokerListener(), IdleTimeout: b.cfg.Network.IdleTimeout, Wanted: wanted,
	})
	if err != nil {
		return err
	}
	b.server = srv
	b.undo(func(ctx context.Context) {
		b.handOver(ctx)
		// What is parked is answered now: fetches with what there is, joins with an error to try again after.
		b.set.Drain()
		b.groups.Close()
		if err := srv.Shutdown(ctx); err != nil {
			b.log.Warn("connections were cut", "error", err)
		}
	})
	for i, l := range b.listeners {
		b.tasks.Go(func() error {
			if err := srv.Serve(l, b.cfg.Listeners[i].Name); !errors.Is(err, server.ErrStopped) {
				return err
			}
			return nil
		})
	}
	b.startConsole()
	select {
	case <-b.applier.rec.settled():
		b.applier.reportStrays()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-background.Done():
		return context.Cause(background)
	}
}

func (b *Broker) newAPI() *api.API {
	return api.New(api.Deps{
		Admin: b.adminDeps(), Data: b.dataDeps(),
		Groups: api.GroupDeps{Coordinator: b.groups, Image: b.store.Image},
		Logger: b.log, Registerer: b.reg,
	})
}

// consoleTimeout bounds how long an HTTP client may take to say what it wants.
const consoleTimeout = 10 * time.Second

func (b *Broker) startConsole() {
	if b.httpLn == nil {
		return
	}
	b.httpServer = &http.Server{
		Handler: console.Handler(console.Options{
			Gatherer: b.reg, Alive: b.aliveChecks(), Ready: b.readyChecks(), Tier: b.tierStatus, Logger: b.log,
		}),
		ReadHeaderTimeout: consoleTimeout,
		ErrorLog:          slog.NewLogLogger(b.log.Handler(), slog.LevelWarn),
	}
	b.undo(func(context.Context) { _ = b.httpServer.Close() })
	b.tasks.Go(func() error {
		if err := b.httpServer.Serve(b.httpLn); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
}

func (b *Broker) aliveChecks() []console.Check {
	return []console.Check{
		{Name: "disks", Err: func() error {
			for _, d := range b.disks {
				if err := d.Offline(); err != nil {
					return err
				}
			}
			return nil
		}},
		{Name: "metadata", Err: b.store.Err},
	}
}

func (b *Broker) readyChecks() []console.Check {
	return []console.Check{
		{Name: "started", Err: func() error {
			select {
			case <-b.ready:
				return nil
			default:
				return errors.New("opening partitions")
			}
		}},
		{Name: "lease", Err: func() error {
			if !b.lease.Valid() {
				return errors.New("the broker's lease has lapsed: etcd does not answer")
			}
			return nil
		}},
	}
}
