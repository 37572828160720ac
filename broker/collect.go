package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"firn/gc"
	"firn/metadata"
	"firn/metadata/topic"
	"firn/tiering/manifest"
)

// startCollector starts what deletes from the bucket: total retention and the trash, and, unless turned off,
// the search for orphans.
func (b *Broker) startCollector(background context.Context) {
	if b.bucket == nil {
		return
	}
	collector := gc.NewCollector(gc.CollectorOptions{
		Targets: b.collectTargets, Interval: b.cfg.Tier.CheckInterval, FoldAfter: b.cfg.Tier.PublishInterval, Now: b.world.Now, Logger: b.partitionLogger(), Registerer: b.reg,
	})
	b.task(background, "collector", collector.Run)
	if b.cfg.Tier.ScrubInterval <= 0 {
		return
	}
	scrubber := gc.NewScrubber(gc.ScrubberOptions{
		Bucket: b.bucket, Cluster: b.clusterID(), Targets: b.collectTargets, Catalog: b.keeper.catalog, Confirm: b.confirmGone,
		Interval: b.cfg.Tier.ScrubInterval, Now: b.world.Now, Logger: b.log, Registerer: b.reg,
	})
	b.task(background, "scrubber", scrubber.Run)
}

// confirmGone returns nil if a topic is deleted, or has no record any more, as after its purge.
func (b *Broker) confirmGone(ctx context.Context, id topic.ID) error {
	err := b.store.ConfirmDeleted(ctx, id)
	if errors.Is(err, metadata.ErrNotFound) {
		return nil // no id is given twice
	}
	return err
}

// collectTargets are the partitions that this broker leads and archives.
func (b *Broker) collectTargets() []gc.Target {
	var list []gc.Target
	for tp, u := range b.applier.archived() {
		list = append(list, gc.Target{
			Archive: u.Archive(), Policy: func() gc.Policy { return b.tierPolicy(tp) }, Untiered: func() int64 { return u.Status().Untiered },
			LocalStart: u.LocalStart,
		})
	}
	return list
}

// tierPolicy is how long a partition's records live, by the newest image.
func (b *Broker) tierPolicy(tp topic.Partition) gc.Policy {
	c, err := b.topicConfig(b.store.Image(), tp.ID)
	if err != nil {
		b.log.Warn("nothing of a partition expires, as its topic settings cannot be read", "topic_id", tp.ID, "partition", tp.Index, "error", err)
		return gc.Policy{RetentionMs: -1, RetentionBytes: -1}
	}
	return gc.Policy{RetentionMs: c.Retention.Ms, RetentionBytes: c.Retention.Bytes}
}

// topicKeeper does, on the controller's broker, what a topic's life asks for beside its partitions: it keeps the
// bucket's catalog as the metadata is, and removes what deleted topics have left in the bucket and in the
// metadata. Every step can be made again; what fails is tried again later.
type topicKeeper struct {
	b       *Broker
	log     *slog.Logger
	catalog *gc.Catalog // nil without a bucket
	rec     *reconciler[topic.ID]

	mu      sync.Mutex
	known   map[topic.ID]string   // what the catalog says of a topic, by catalogued; empty if nothing
	purged  map[topic.ID]struct{} // deleted topics that this run has removed the objects of
	purging map[topic.ID]int32    // and of how many partitions of others, from the first on
}

const (
	keeperWorkers = 2
	keeperRetry   = 5 * time.Second
	keeperTimeout = 5 * time.Minute
)

func newTopicKeeper(b *Broker) *topicKeeper {
	k := &topicKeeper{b: b, log: b.log, known: map[topic.ID]string{}, purged: map[topic.ID]struct{}{}, purging: map[topic.ID]int32{}}
	if b.bucket != nil {
		k.catalog = gc.NewCatalog(b.bucket, b.clusterID())
	}
	k.rec = newReconciler(keeperWorkers, k.tidy)
	return k
}

func (k *topicKeeper) stop() { k.rec.stop() }

// mark asks for a topic to be looked at.
func (k *topicKeeper) mark(id topic.ID) { k.rec.mark(id) }

// markAll asks for all topics to be looked at, as after this broker has become the controller, or only for deleted ones.
func (k *topicKeeper) markAll(im *metadata.Image, deleted bool) {
	for t := range im.Topics() {
		if !deleted || !t.Live() {
			k.rec.mark(t.ID)
		}
	}
}

func (k *topicKeeper) tidy(ctx context.Context, id topic.ID) {
	im := k.b.store.Image()
	t, ok := im.TopicByID(id)
	if !ok {
		k.forget(id)
		return
	}
	if im.Controller().ID != k.b.cfg.NodeID {
		// The controller writes the catalog now: what it says of the topic is not known here any more.
		k.mu.Lock()
		delete(k.known, id)
		k.mu.Unlock()
		return
	}
	try, cancel := context.WithTimeout(ctx, keeperTimeout)
	defer cancel()
	var err error
	if t.Live() {
		err = k.describe(try, im, t)
	} else {
		err = k.purge(try, im, t)
	}
	switch {
	case err == nil || ctx.Err() != nil:
	case errors.Is(err, errNoBucket): // which no waiting changes
		k.log.Warn("record of a deleted topic stays", "topic", t.Name, "topic_id", id, "error", err)
	default:
		k.log.Warn("will try again", "doing", "keep topic", "topic", t.Name, "topic_id", id, "error", err)
		k.rec.markAfter(id, keeperRetry)
	}
}

// forget drops what is remembered of a topic that has no record any more.
func (k *topicKeeper) forget(id topic.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.known, id)
	delete(k.purged, id)
	delete(k.purging, id)
}

// catalogued is a topic's entry without its revision, to tell whether anything has changed.
func catalogued(t gc.Topic) string {
	t.Revision = 0
	b, err := json.Marshal(t)
	if err != nil {
		panic(fmt.Sprintf("marshal catalog entry: %v", err)) // strings and numbers always can be
	}
	return string(b)
}

// describe brings the catalog's entry of a live topic up to date.
func (k *topicKeeper) describe(ctx context.Context, im *metadata.Image, t *metadata.Topic) error {
	if k.catalog == nil {
		return nil
	}
	if err := k.load(ctx, t.ID); err != nil {
		return err
	}
	entry := gc.Topic{Name: t.Name, ID: t.ID, Partitions: t.Partitions, Settings: im.TopicOverrides(t.ID), Revision: im.Rev()}
	print := catalogued(entry)
	k.mu.Lock()
	same := k.known[t.ID] == print
	k.mu.Unlock()
	if same {
		return nil
	}
	if err := k.catalog.Put(ctx, entry); err != nil {
		return err
	}
	k.mu.Lock()
	k.known[t.ID] = print
	k.mu.Unlock()
	return nil
}

// load reads what the bucket says of a topic, once, so that a restart writes only what has changed. One entry that is
// damaged is written anew, and keeps no topic from being archived.
func (k *topicKeeper) load(ctx context.Context, id topic.ID) error {
	k.mu.Lock()
	_, loaded := k.known[id]
	k.mu.Unlock()
	if loaded {
		return nil
	}
	print := ""
	switch t, ok, err := k.catalog.Topic(ctx, id); {
	case errors.Is(err, gc.ErrDamaged):
		k.log.Warn("catalog entry is written anew", "topic_id", id, "error", err)
	case err != nil:
		return err
	case ok:
		print = catalogued(t)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, loaded := k.known[id]; !loaded {
		k.known[id] = print
	}
	return nil
}

// describeTopic makes sure that the bucket knows a topic before its first object arrives.
func (b *Broker) describeTopic(ctx context.Context, id topic.ID) error {
	im := b.store.Image()
	t, ok := im.TopicByID(id)
	if !ok || !t.Live() {
		return metadata.ErrTopicGone
	}
	return b.keeper.describe(ctx, im, t)
}

// purge removes what a deleted topic has left: objects once this broker holds nothing of it, and its records once
// nobody does. Until then it has nothing to do, and is asked again when the topic's record changes or a broker leaves.
func (k *topicKeeper) purge(ctx context.Context, im *metadata.Image, t *metadata.Topic) error {
	holders := im.Holders(t)
	if slices.Contains(holders, k.b.cfg.NodeID) {
		return nil
	}
	if err := k.purgeObjects(ctx, im, t); err != nil {
		return err
	}
	// The record is what tells a broker that was away to delete its copy.
	if len(holders) > 0 {
		k.log.Debug("record of a deleted topic waits for brokers", "topic", t.Name, "topic_id", t.ID, "brokers", holders)
		return nil
	}
	return k.b.store.PurgeTopic(ctx, t.ID)
}

// errNoBucket keeps the records of a deleted topic whose objects are in a bucket that this broker does not know: nothing
// else would name them any more. A controller that does will come, while object storage is rolled out.
var errNoBucket = errors.New("the topic has objects, and this broker no object storage")

// purgeObjects deletes a deleted topic's objects, once in a run.
func (k *topicKeeper) purgeObjects(ctx context.Context, im *metadata.Image, t *metadata.Topic) error {
	k.mu.Lock()
	_, done := k.purged[t.ID]
	from := k.purging[t.ID]
	k.mu.Unlock()
	if done {
		return nil
	}
	if k.catalog == nil {
		for n := range t.Partitions {
			head, ok := im.TierHead(topic.Partition{ID: t.ID, Index: n})
			if !ok {
				continue
			}
			if h, err := manifest.DecodeHead(head.Value); err != nil || hasObjects(&h) {
				return errors.Join(errNoBucket, err)
			}
		}
		return nil
	}
	purger := gc.Purger{Bucket: k.b.bucket, Anchor: k.b.anchor(), Cluster: k.b.clusterID(), Catalog: k.catalog, Logger: k.b.partitionLogger()}
	report, err := purger.Purge(ctx, gc.Job{
		ID: t.ID, Name: t.Name, Partitions: t.Partitions, Done: from,
		Confirm: func(ctx context.Context) error { return k.b.store.ConfirmDeleted(ctx, t.ID) },
	})
	if err == nil {
		k.log.Info("objects of a deleted topic are gone", "topic", t.Name, "topic_id", t.ID, "objects", report.Deleted)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		k.purging[t.ID] = report.Purged // one attempt may be too short for all
		return err
	}
	k.purged[t.ID] = struct{}{}
	return nil
}
