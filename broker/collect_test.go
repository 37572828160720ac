package broker

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"firn/gc"
	"firn/metadata"
	"firn/metadata/memkv"
	"firn/metadata/topic"
	"firn/segment/vfs"
	"firn/tiering"
	"firn/tiering/manifest"
	"firn/tiering/objstore"
	"firn/tiering/objstore/mem"
)

// A broker that is the controller again knows that another has written the catalog since, also where the topic is
// again as it was.
func TestCatalogIsRightAfterControllersChange(t *testing.T) {
	server, bucket := memkv.NewServer(), mem.New()
	var hosts []*host
	for id := range int32(2) {
		h := startHost(t, server, id+1, vfs.NewMem())
		defer h.stop()
		h.b.keeper.catalog = gc.NewCatalog(bucket, "c")
		hosts = append(hosts, h)
	}
	keys, id := hosts[0].b.store.Keys(), topic.NewID()
	hosts[0].write(keys.PutTopic(&metadata.Topic{ID: id, Name: "t", Partitions: 1, ReplicationFactor: 1}))
	for _, turn := range []struct {
		h         *host
		retention string
	}{{hosts[0], "1"}, {hosts[1], "2"}, {hosts[0], "1"}} {
		turn.h.write(metadata.Delete(keys.Controller()), keys.PutSettings(keys.TopicSettings(id), metadata.Settings{Values: map[string]string{"retention.ms": turn.retention}}))
		eventually(t, "it is the controller", func() bool {
			_, _ = turn.h.b.lease.Campaign(t.Context())
			return turn.h.b.store.Image().Controller().ID == turn.h.b.cfg.NodeID
		})
		eventually(t, "the catalog says "+turn.retention, func() bool {
			got, ok, err := gc.NewCatalog(bucket, "c").Topic(t.Context(), id)
			return err == nil && ok && got.Settings["retention.ms"] == turn.retention
		})
		for _, h := range hosts {
			eventually(t, "all know", func() bool { return h.b.store.Image().TopicOverrides(id)["retention.ms"] == turn.retention })
			h.b.keeper.rec.settle()
		}
	}
}

// A controller without object storage does not forget a topic that has objects, which nothing would name any more; one
// with it deletes them first.
func TestObjectsAreNotForgotten(t *testing.T) {
	h := startHost(t, memkv.NewServer(), 1, vfs.NewMem())
	defer h.stop()
	keys, tp := h.b.store.Keys(), topic.Partition{ID: topic.NewID()}
	seg := manifest.Segment{End: 9, LeaderEpoch: 1, Size: 500, FooterLen: 100}
	head, err := manifest.Apply(manifest.Head{}, 1, manifest.Append{Segment: seg})
	if err != nil {
		t.Fatal(err)
	}
	bucket := mem.New()
	object := tiering.Keys{Cluster: h.b.clusterID()}.Segment(tp, seg)
	if _, err := bucket.Put(t.Context(), object, strings.NewReader("x"), objstore.Condition{}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.b.lease.Campaign(t.Context()); err != nil {
		t.Fatal(err)
	}
	record := &metadata.Topic{ID: tp.ID, Name: "t", Partitions: 1, ReplicationFactor: 1, State: metadata.TopicDeleting}
	h.write(metadata.Put(keys.TierHead(tp), head.Encode()), keys.PutTopic(record))
	eventually(t, "it has released the topic", func() bool { return len(released(h, tp.ID)) > 0 })
	h.b.keeper.rec.settle()
	im := h.b.store.Image()
	known, ok := im.TopicByID(tp.ID)
	if !ok {
		t.Fatal("the record is gone, the object is not")
	}
	k := newTopicKeeper(h.b)
	defer k.stop()
	if err := k.purge(t.Context(), im, known); !errors.Is(err, errNoBucket) {
		t.Error(err)
	}
	h.b.bucket = bucket
	k.catalog = gc.NewCatalog(bucket, h.b.clusterID())
	if err := k.purge(context.Background(), im, known); err != nil {
		t.Error(err)
	}
	if _, err := bucket.Head(t.Context(), object); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("the object: %v", err)
	}
}

// A topic is known to be gone where its record says that it was deleted, or is no more; not where it is alive.
func TestTopicsThatAreGone(t *testing.T) {
	h := startHost(t, memkv.NewServer(), 1, vfs.NewMem())
	defer h.stop()
	record := &metadata.Topic{ID: topic.NewID(), Name: "t", Partitions: 1, ReplicationFactor: 1}
	if err := h.b.confirmGone(t.Context(), record.ID); err != nil {
		t.Errorf("without a record: %v", err)
	}
	h.write(h.b.store.Keys().PutTopic(record))
	if err := h.b.confirmGone(t.Context(), record.ID); err == nil {
		t.Error("a topic that is alive is said to be gone")
	}
	record.State = metadata.TopicDeleting
	h.write(h.b.store.Keys().PutTopic(record))
	if err := h.b.confirmGone(t.Context(), record.ID); err != nil {
		t.Errorf("deleted: %v", err)
	}
}

// Where object storage is no more, what is left of deleted topics is told of and not tried again and again: nothing of
// it changes by waiting.
func TestTopicsWithObjectsDoNotFillTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHost(t, memkv.NewServer(), 1, vfs.NewMem())
		defer h.stop()
		keys, tp := h.b.store.Keys(), topic.Partition{ID: topic.NewID()}
		head, err := manifest.Apply(manifest.Head{}, 1, manifest.Append{Segment: manifest.Segment{End: 9, LeaderEpoch: 1, Size: 500, FooterLen: 100}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.b.lease.Campaign(t.Context()); err != nil {
			t.Fatal(err)
		}
		record := &metadata.Topic{ID: tp.ID, Name: "t", Partitions: 1, ReplicationFactor: 1, State: metadata.TopicDeleting}
		h.write(metadata.Put(keys.TierHead(tp), head.Encode()), keys.PutTopic(record))
		synctest.Wait()
		var log strings.Builder
		k := newTopicKeeper(h.b)
		k.log = slog.New(slog.NewTextHandler(&log, nil))
		k.mark(tp.ID)
		time.Sleep(10 * time.Minute)
		k.stop()
		if n := strings.Count(log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings:\n%.2000s", n, log.String())
		}
	})
}

// A topic that may wait for as long as can be said is not archived at once instead.
func TestLongestTierLag(t *testing.T) {
	for _, ms := range []string{"9223372036854775807", "18446744073710"} {
		c, err := topic.ParseConfig(map[string]string{"tier.max.lag.ms": ms}, topic.Defaults{})
		if err != nil {
			t.Fatal(err)
		}
		if l := uploadLimits(&c); l.MaxLag < 100*365*24*time.Hour {
			t.Errorf("tier.max.lag.ms=%s is %v", ms, l.MaxLag)
		}
	}
}
