package broker

import (
	"context"

	"firn/broker/api"
	"firn/broker/partition"
	"firn/metadata"
	"firn/metadata/topic"
	"firn/segment"
	"firn/tiering"
	"firn/tiering/manifest"
)

// adminDeps is what the handlers of topics and settings ask.
func (b *Broker) adminDeps() api.AdminDeps {
	return api.AdminDeps{
		BrokerID: b.cfg.NodeID, Image: b.store.Image, Controller: b.controller, Forward: b.forward,
		TopicDefaults: b.topicDefaults, BrokerSettings: b.brokerSettings,
		LogDirs:    func() []api.LogDir { return api.LogDirsOf(b.disks, b.set) },
		Producers:  func(tp topic.Partition) ([]partition.Producer, error) { return api.ProducersOf(b.set, tp) },
		AutoCreate: b.cfg.Topics.AutoCreate, RefuseDeletion: !b.cfg.Topics.Delete,
	}
}

// dataDeps is what the handlers of records ask.
func (b *Broker) dataDeps() api.DataDeps {
	return api.DataDeps{
		Partitions: b.set, Directory: func() api.Directory { return b.store.Image() }, ProducerIDs: b.store,
		FetchMaxBytes: int(b.cfg.Network.FetchMaxBytes), FetchSessions: b.fetchSessions(), RackAware: b.cfg.Replication.rackAware(),
	}
}

// fetchSessions is the bound of fetch sessions as api takes it, where 0 is the default.
func (b *Broker) fetchSessions() int {
	if n := int(b.cfg.Network.FetchSessions); n > 0 {
		return n
	}
	return -1
}

func (b *Broker) brokerSettings(im *metadata.Image) []api.BrokerSetting {
	values := b.cfg.Describe(im.ClusterOverrides(), im.BrokerOverrides(b.cfg.NodeID))
	out := make([]api.BrokerSetting, len(values))
	for i, v := range values {
		s := v.Setting
		out[i] = api.BrokerSetting{
			Name: s.Name, Type: s.Type, Doc: s.Doc, Sensitive: s.Sensitive, Dynamic: s.Dynamic,
			Value: v.Value, Null: v.Null, Source: v.Source, Chain: v.Chain,
		}
	}
	return out
}

// newMemberID is the random part of a group member's id.
func newMemberID() string { return topic.NewID().String() }

// anchorLater is the anchor for parts that are made before the broker has registered: they only read.
type anchorLater struct{ b *Broker }

func (a anchorLater) Load(ctx context.Context, tp topic.Partition) ([]byte, int64, error) {
	return a.b.store.TierHeads(a.b.cfg.NodeID, func() int64 { return -1 }).Load(ctx, tp)
}

func (a anchorLater) Swap(context.Context, topic.Partition, int64, int32, []byte) (int64, bool, error) {
	return 0, false, tiering.ErrRefused
}

// tierCommitted hands a head that a read has proven to the replica, without waiting for the image.
func (b *Broker) tierCommitted(tp topic.Partition, head manifest.Head) {
	if r := b.set.Get(tp); r != nil {
		r.SetTierHead(&head)
	}
}

// diskFullness lets uploads go first while a disk is very low.
func (b *Broker) diskFullness(*segment.Disk, segment.Fullness) {
	if b.uploader == nil {
		return
	}
	urgent := false
	for _, d := range b.disks {
		if u, err := d.Usage(); err == nil && u.Fullness >= segment.VeryLow {
			urgent = true
		}
	}
	b.uploader.SetUrgent(urgent)
}
