package broker

import (
	"testing"

	"firn/gc"
	"firn/metadata"
	"firn/metadata/memkv"
	"firn/metadata/topic"
	"firn/segment/vfs"
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
