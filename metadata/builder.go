package metadata

import (
	"maps"

	"firn/metadata/snapmap"
	"firn/metadata/topic"
)

// builder makes an image out of another and the events that follow it, copying only what they touch.
type builder struct {
	keys     Keys
	readHead func([]byte) (TierFields, error)
	img      Image // its maps are replaced by copies before they are written to
	// old is an earlier image whose values are taken over where the revision is the same, so that a
	// relist changes only what has changed. Empty when applying events.
	old *Image

	copied struct {
		brokers, nodes, settings bool
		shards                   [3]bool
	}

	names         *snapmap.Editor[string, topic.ID]
	topics        *snapmap.Editor[topic.ID, *Topic]
	partitions    *snapmap.Editor[topic.Partition, *PartitionState]
	heads         *snapmap.Editor[topic.Partition, *TierHead]
	topicSettings *snapmap.Editor[topic.ID, *Settings]
}

// newBuilder begins with the facts of base.
func newBuilder(keys Keys, base *Image, readHead func([]byte) (TierFields, error)) *builder {
	return &builder{
		keys: keys, readHead: readHead, img: *base, old: newImage(),
		names: base.names.Edit(), topics: base.topics.Edit(), partitions: base.partitions.Edit(),
		heads: base.heads.Edit(), topicSettings: base.topicSettings.Edit(),
	}
}

// finish returns the image as of rev. The builder must not be used afterwards.
func (b *builder) finish(rev int64) *Image {
	im := b.img
	im.rev = rev
	im.names, im.topics, im.partitions = b.names.Map(), b.topics.Map(), b.partitions.Map()
	im.heads, im.topicSettings = b.heads.Map(), b.topicSettings.Map()
	return &im
}

// apply takes one event over.
func (b *builder) apply(ev Event) error {
	k, err := b.keys.parse(ev.Key)
	if err != nil {
		return badRecord(ev.Entry, err.Error())
	}
	if ev.ModRev >= b.img.newest.rev {
		b.img.newest = newest{ev.Key, ev.ModRev, ev.Deleted}
	}
	if ev.Deleted {
		b.remove(k)
		return nil
	}
	return b.put(k, ev.Entry)
}

func (b *builder) put(k parsedKey, e Entry) (err error) {
	switch k.kind {
	case keyOther:
	case keyCluster:
		b.img.cluster, err = decodeCluster(e)
		// Its id says whether the revisions of two lists can be compared at all.
		if old := b.old.cluster; err == nil && old != nil && old.Rev == e.ModRev && old.ID == b.img.cluster.ID {
			b.img.cluster = old
		}
	case keyController:
		b.img.controller, err = decodeController(e)
	case keyBroker:
		err = put(b.brokers(), b.old.brokers, k.num, e, func() (*Broker, error) { return decodeBroker(e, k.num) })
	case keyNode:
		err = put(b.nodes(), b.old.nodes, k.num, e, func() (*Node, error) { return decodeNode(e, k.num) })
	case keyTopicName:
		var id topic.ID
		if id, err = decodeTopicName(e); err == nil {
			b.names.Set(k.name, id)
		}
	case keyTopic:
		err = set(b.topics, b.old.topics, k.tp.ID, e, func() (*Topic, error) { return decodeTopic(e, k.tp.ID) })
	case keyPartition:
		err = set(b.partitions, b.old.partitions, k.tp, e, func() (*PartitionState, error) { return decodePartition(e, k.tp) })
	case keyTierHead:
		err = set(b.heads, b.old.heads, k.tp, e, func() (*TierHead, error) { return decodeHead(e, b.readHead) })
	case keyClusterSettings:
		b.img.clusterSettings, err = reuse(b.old.clusterSettings, e, func() (*Settings, error) { return decodeSettings(e) })
	case keyBrokerSettings:
		err = put(b.brokerSettings(), b.old.brokerSettings, k.num, e, func() (*Settings, error) { return decodeSettings(e) })
	case keyTopicSettings:
		err = set(b.topicSettings, b.old.topicSettings, k.tp.ID, e, func() (*Settings, error) { return decodeSettings(e) })
	case keyShardOwner:
		err = put(b.shards(k.shard), b.old.shards[k.shard], k.num, e, func() (*ShardOwner, error) { return decodeShardOwner(e) })
	}
	return err
}

func (b *builder) remove(k parsedKey) {
	switch k.kind {
	case keyOther:
	case keyCluster:
		b.img.cluster = nil
	case keyController:
		b.img.controller = nobody
	case keyBroker:
		delete(b.brokers(), k.num)
	case keyNode:
		delete(b.nodes(), k.num)
	case keyTopicName:
		b.names.Delete(k.name)
	case keyTopic:
		b.topics.Delete(k.tp.ID)
	case keyPartition:
		b.partitions.Delete(k.tp)
	case keyTierHead:
		b.heads.Delete(k.tp)
	case keyClusterSettings:
		b.img.clusterSettings = nil
	case keyBrokerSettings:
		delete(b.brokerSettings(), k.num)
	case keyTopicSettings:
		b.topicSettings.Delete(k.tp.ID)
	case keyShardOwner:
		delete(b.shards(k.shard), k.num)
	}
}

// stored is a record as the image holds it.
type stored interface {
	comparable
	revision() int64
}

func (b *Broker) revision() int64         { return b.Rev }
func (n *Node) revision() int64           { return n.Rev }
func (t *Topic) revision() int64          { return t.Rev }
func (p *PartitionState) revision() int64 { return p.Rev }
func (h *TierHead) revision() int64       { return h.Rev }
func (s *Settings) revision() int64       { return s.Rev }
func (o *ShardOwner) revision() int64     { return o.Rev }

// reuse returns old if it is of e's revision, and else what dec reads.
func reuse[V stored](old V, e Entry, dec func() (V, error)) (V, error) {
	var none V
	if old != none && old.revision() == e.ModRev {
		return old, nil
	}
	return dec()
}

// set stores the decoded record under k, or the old image's if it is of the same revision.
func set[K comparable, V stored](ed *snapmap.Editor[K, V], old snapmap.Map[K, V], k K, e Entry, dec func() (V, error)) error {
	o, _ := old.Get(k)
	v, err := reuse(o, e, dec)
	if err == nil {
		ed.Set(k, v)
	}
	return err
}

// put is set for the small maps.
func put[V stored](m, old map[int32]V, k int32, e Entry, dec func() (V, error)) error {
	v, err := reuse(old[k], e, dec)
	if err == nil {
		m[k] = v
	}
	return err
}

// The functions below return the small maps for writing.

func (b *builder) brokers() map[int32]*Broker { return writable(&b.img.brokers, &b.copied.brokers) }
func (b *builder) nodes() map[int32]*Node     { return writable(&b.img.nodes, &b.copied.nodes) }
func (b *builder) brokerSettings() map[int32]*Settings {
	return writable(&b.img.brokerSettings, &b.copied.settings)
}

func (b *builder) shards(kind ShardKind) map[int32]*ShardOwner {
	return writable(&b.img.shards[kind], &b.copied.shards[kind])
}

func writable[V any](m *map[int32]V, copied *bool) map[int32]V {
	if !*copied {
		*copied = true
		if *m = maps.Clone(*m); *m == nil {
			*m = make(map[int32]V)
		}
	}
	return *m
}
