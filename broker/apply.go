package broker

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"firn/broker/partition"
	"firn/metadata"
	"firn/metadata/topic"
	"firn/tiering"
	"firn/tiering/manifest"
)

// applier brings this broker in line with the metadata: which partitions it hosts and leads, with which
// settings, what it archives, which coordinator shards it owns. It looks at the difference between
// images only to know what to look at; what it then does follows from the newest image alone.
type applier struct {
	b        *Broker
	log      *slog.Logger
	rec      *reconciler[topic.Partition]
	releases *reconciler[topic.ID] // of deleted topics
	stopFeed func()
	first    chan struct{} // closed when the first image has been marked

	owning sync.Mutex      // one look at who owns a shard at a time, so that the newest counts
	away   map[int32]int64 // by group shard, the owner record that this broker gives away; guarded by owning

	mu      sync.Mutex
	uploads map[topic.Partition]*upload
}

// reconcilers is how many partitions are brought in line with the metadata at a time. Opening a log after a
// crash reads from disk, so a few in parallel use it well.
const reconcilers = 16

// reconcileRetry is the pause before a partition that could not be opened, or whose leadership could not be changed, is
// looked at again.
const reconcileRetry = 2 * time.Second

// upload is a partition that this broker archives.
type upload struct {
	epoch int32
	*tiering.Upload
}

func newApplier(b *Broker) *applier {
	a := &applier{b: b, log: b.log, first: make(chan struct{}), away: map[int32]int64{}, uploads: map[topic.Partition]*upload{}}
	a.rec = newReconciler(reconcilers, a.reconcile)
	a.releases = newReconciler(1, a.release)
	return a
}

// start begins the work. What it opens may call for the applier at once, by way of its broker, which has it by now.
func (a *applier) start() { a.stopFeed = a.b.store.Subscribe(a.changed) }

// followEpoch looks at everything again whenever the broker has got a new epoch, until ctx ends: what the
// metadata gave to that epoch may have been seen before the broker knew the epoch for its own.
func (a *applier) followEpoch(ctx context.Context) error {
	_, changed := a.b.lease.Changed()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		_, changed = a.b.lease.Changed()
		im := a.b.store.Image()
		for p := range im.Partitions() {
			a.rec.mark(p.Partition)
		}
		for t := range im.Topics() {
			if !t.Live() {
				a.releases.mark(t.ID)
			}
		}
		a.ownAll()
		a.b.giver.look()
	}
}

// ownAll looks at all group shards anew.
func (a *applier) ownAll() {
	for n := range a.b.store.Image().Shards(metadata.GroupShard) {
		a.own(n)
	}
}

// own takes over, keeps or gives up a group shard, by what is newest of metadata, epoch and standing.
func (a *applier) own(shard int32) {
	a.owning.Lock()
	defer a.owning.Unlock()
	own := a.b.store.Image().ShardOwner(metadata.GroupShard, shard)
	if rev, ok := a.away[shard]; ok && rev != own.Rev {
		delete(a.away, shard)
	}
	if _, ok := a.away[shard]; ok || a.b.standing.Over() {
		own = metadata.ShardOwner{Broker: -1}
	}
	a.b.groups.Own(shard, own, a.b.lease.Epoch())
}

// disown ends the serving of a group shard for as long as its owner record is the one of a revision, or until reown. When it
// returns nothing is answered any more.
func (a *applier) disown(shard int32, rev int64) {
	a.owning.Lock()
	a.away[shard] = rev
	a.owning.Unlock()
	a.own(shard)
	a.b.groups.AwaitEnd(shard)
}

// reown takes a disowned shard back, if it is still this broker's.
func (a *applier) reown(shard int32) {
	a.owning.Lock()
	delete(a.away, shard)
	a.owning.Unlock()
	a.own(shard)
}

// stop ends reactions to metadata. What is hosted stays hosted.
func (a *applier) stop() {
	a.stopFeed()
	a.rec.stop()
	a.releases.stop()
}

// changed marks what a new image may concern. It does not block.
func (a *applier) changed(old, im *metadata.Image) {
	ch := im.Diff(old)
	for _, p := range ch.Partitions {
		a.rec.mark(p.Partition)
	}
	for _, tp := range ch.TierHeads {
		a.rec.mark(tp)
	}
	for _, t := range ch.Topics {
		deleted := t.New != nil && !t.New.Live()
		if t.Settings || t.New == nil || deleted && (t.Old == nil || t.Old.Live()) {
			a.markTopic(t)
		}
		if deleted {
			a.releases.mark(t.ID)
		}
		a.b.keeper.mark(t.ID)
	}
	if ch.Controller || len(ch.Nodes) > 0 {
		a.b.keeper.markAll(im, !ch.Controller)
	}
	if old == nil || a.settingsChanged(ch) {
		a.b.setThrottle(im)
	}
	if a.settingsChanged(ch) {
		for p := range im.Partitions() {
			a.rec.mark(p.Partition)
		}
	}
	for _, s := range ch.Shards {
		if s.Kind == metadata.GroupShard {
			a.own(s.Shard)
		}
	}
	if len(ch.Brokers)+len(ch.Nodes) > 0 {
		a.markDamaged()
	}
	if len(ch.Brokers)+len(ch.Nodes)+len(ch.Shards) > 0 {
		a.b.giver.look()
	}
	if old == nil {
		close(a.first)
	}
}

// markDamaged looks again at what could not be set aside as long as nobody else was there.
func (a *applier) markDamaged() {
	for r := range a.b.set.All() {
		if r.Damage() != nil {
			a.rec.mark(r.Partition())
		}
	}
}

func (a *applier) markTopic(t metadata.TopicChange) {
	var n int32
	for _, v := range []*metadata.Topic{t.Old, t.New} {
		if v != nil {
			n = max(n, v.Partitions)
		}
	}
	for i := range n {
		a.rec.mark(topic.Partition{ID: t.ID, Index: i})
	}
}

// settingsChanged says whether this broker's settings, to which topics fall back, changed at run time.
func (a *applier) settingsChanged(ch *metadata.Changes) bool {
	if ch.Cluster {
		return true
	}
	return slices.ContainsFunc(ch.Brokers, func(b metadata.BrokerChange) bool { return b.ID == a.b.cfg.NodeID })
}

// setThrottle holds reassignments back as the settings of an image say.
func (b *Broker) setThrottle(im *metadata.Image) {
	at := b.cfg.At(im.ClusterOverrides(), im.BrokerOverrides(b.cfg.NodeID))
	now := time.Now()
	b.sending.Set(at.Replication.LeaderRate, now)
	b.fetching.Set(at.Replication.FollowerRate, now)
}

// reconcile makes one partition what the newest image says it is. Only one call runs for a partition.
func (a *applier) reconcile(ctx context.Context, tp topic.Partition) {
	im := a.b.store.Image()
	ps, ok := im.Partition(tp)
	if !ok || !slices.Contains(ps.Replicas, a.b.cfg.NodeID) {
		a.evict(im, tp)
		return
	}
	t, ok := im.TopicByID(tp.ID)
	if !ok {
		return
	}
	log := a.log.With("topic", t.Name, "partition", tp.Index)
	config, err := a.b.topicConfig(im, tp.ID)
	if err != nil {
		log.Error("topic settings cannot be read, keeping the last ones", "error", err)
	}
	r := a.b.set.Get(tp)
	if r == nil || r.Reopens() {
		if err != nil {
			return
		}
		if r, err = a.b.set.Open(tp, t.Name, config); err != nil {
			log.Error("open partition", "error", err)
		}
		if r == nil { // no disk takes it
			a.b.inSync.mark(tp)
			return
		}
	} else if err == nil {
		r.SetConfig(config)
	}
	if r.Damage() != nil && a.setAside(ctx, im, ps, r, log) || r.Err() == nil && a.wentBack(ctx, ps, r, log) {
		return
	}
	if r.Err() != nil {
		// Logged where it failed, or here. It serves nothing, so that others should lead.
		a.b.fetchers.Forget(tp)
		a.archive(r, ps.LeaderEpoch, nil)
		a.b.inSync.mark(tp)
		if r.Reopens() {
			a.later(tp)
		}
		return
	}
	a.setTierHead(r, im, log)
	state := partition.State{
		Leader: ps.Leader, BrokerEpoch: ps.LeaderBrokerEpoch, LeaderEpoch: ps.LeaderEpoch, Rev: ps.Rev, Replicas: ps.Replicas, ISR: ps.ISR, ELR: ps.ELR,
		Moving: slices.Concat(ps.Adding, ps.Removing),
	}
	// A record of this broker's earlier life leads nothing: the controller will write a new epoch.
	leads := ps.Leader == a.b.cfg.NodeID && ps.LeaderBrokerEpoch == a.b.lease.Epoch()
	if !leads {
		a.archive(r, ps.LeaderEpoch, nil)
		if err = r.BecomeFollower(state); err == nil {
			a.b.fetchers.Follow(r)
		}
	} else {
		a.b.fetchers.Forget(tp)
		err = r.BecomeLeader(state)
	}
	if err != nil {
		// Perhaps what it needs is away: a lost disk starts anew from the tier.
		log.Error("change leadership, will try again", "leads", leads, "error", err)
		a.later(tp)
		return
	}
	if leads {
		a.archive(r, ps.LeaderEpoch, &config)
	}
}

// later looks at a partition again after a while.
func (a *applier) later(tp topic.Partition) { a.rec.markAfter(tp, reconcileRetry) }

// setTierHead hands the tier head of the image to the replica.
func (a *applier) setTierHead(r *partition.Replica, im *metadata.Image, log *slog.Logger) {
	th, ok := im.TierHead(r.Partition())
	if !ok || th.Rev == 0 {
		return
	}
	head, err := manifest.DecodeHead(th.Value)
	if err != nil {
		log.Error("tier head cannot be read", "error", err)
		return
	}
	r.SetTierHead(&head)
}

// archive starts, changes or ends the archiving of a partition; a nil config ends it. A partition that is not archived
// any more, but was, keeps its Upload: retention and the trash go on for what lies in the bucket.
func (a *applier) archive(r *partition.Replica, epoch int32, config *topic.Config) {
	if a.b.uploader == nil {
		return
	}
	tp := r.Partition()
	wanted := config != nil && (config.Tier.Enabled || hasObjects(r.TierHead()))
	a.mu.Lock()
	u := a.uploads[tp]
	over := u != nil && (!wanted || u.epoch != epoch)
	if over {
		delete(a.uploads, tp)
	}
	a.mu.Unlock()
	if over { // without the lock: the bucket may take its time to end what is under way
		r.SetUpload(nil)
		u.Close()
		u = nil
	}
	if !wanted {
		return
	}
	limits := uploadLimits(config)
	if u != nil {
		u.SetLimits(limits)
		return
	}
	u = &upload{epoch: epoch, Upload: a.b.uploader.Register(tp, epoch, newSource(r), limits)}
	a.mu.Lock()
	a.uploads[tp] = u
	a.mu.Unlock()
	r.SetUpload(u.Upload)
}

// hasObjects reports whether a tier head stands for anything in the bucket, if it is only trash.
func hasObjects(h *manifest.Head) bool {
	return h != nil && (len(h.Tail) > 0 || !h.Root.IsZero())
}

// evict stops hosting a partition that is no longer this broker's, and deletes its local data. What the metadata does not know
// is kept: an etcd that was restored from a backup lacks what was made since.
func (a *applier) evict(im *metadata.Image, tp topic.Partition) {
	t, known := im.TopicByID(tp.ID)
	ps, placed := im.Partition(tp)
	deleted := known && !t.Live()
	r := a.b.set.Get(tp)
	if r != nil {
		a.b.fetchers.Forget(tp)
		a.archive(r, -1, nil)
	} else if !deleted {
		// Not hosted in this run, but perhaps on a disk: then only the record of a deletion is reason enough
		// to delete. That nothing is known of a topic is not.
		return
	}
	why := partition.ErrUnknownPartition
	if placed && !deleted { // who waits is told where to go on
		why = partition.ErrNotLeader
	}
	if r != nil && !deleted && (!placed || !moved(r, ps)) {
		err := a.b.set.Release(tp, why)
		a.log.Error("the cluster does not know of a replica any more; it is kept", "dir", r.Disk().Dir(), "topic_id", tp.ID, "partition", tp.Index, "error", err)
		return
	}
	if err := a.b.set.Remove(tp, why); err != nil {
		a.log.Error("remove partition", "topic_id", tp.ID, "partition", tp.Index, "error", err)
		if deleted {
			a.releases.markAfter(tp.ID, releaseRetry) // which has it tried again
		}
	} else if deleted {
		a.releases.mark(tp.ID)
	}
}

// archived lists the partitions that this broker archives.
func (a *applier) archived() map[topic.Partition]*tiering.Upload {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make(map[topic.Partition]*tiering.Upload, len(a.uploads))
	for tp, u := range a.uploads {
		all[tp] = u.Upload
	}
	return all
}

// upload of a partition, nil if this broker does not archive it.
func (a *applier) upload(tp topic.Partition) *tiering.Upload {
	a.mu.Lock()
	defer a.mu.Unlock()
	if u := a.uploads[tp]; u != nil {
		return u.Upload
	}
	return nil
}
