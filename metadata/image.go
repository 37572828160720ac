package metadata

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"firn/metadata/snapmap"
	"firn/metadata/topic"
)

// maxShards bounds the shards of one kind, against a damaged cluster record.
const maxShards = 1 << 16

// Image is the cluster's metadata as of one revision. It never changes, so whoever needs several facts
// that fit together takes one Image and asks it. Look-ups are O(1). What it returns is shared: read-only.
type Image struct {
	rev        int64
	cluster    *Cluster // nil before the cluster record is there
	controller ControllerState
	brokers    map[int32]*Broker
	nodes      map[int32]*Node

	names      snapmap.Map[string, topic.ID]
	topics     snapmap.Map[topic.ID, *Topic]
	partitions snapmap.Map[topic.Partition, *PartitionState]
	heads      snapmap.Map[topic.Partition, *TierHead]

	clusterSettings *Settings
	brokerSettings  map[int32]*Settings
	topicSettings   snapmap.Map[topic.ID, *Settings]

	shards [3]map[int32]*ShardOwner

	newest newest
}

// newest is the youngest change that an image holds. A key space that does not have it on record, in its past, is
// not the one the image is of.
type newest struct {
	key     string
	rev     int64
	deleted bool
}

// newImage returns the image of an empty key space.
func newImage() *Image { return &Image{controller: nobody} }

var nobody = ControllerState{ID: -1}

// Rev returns the revision the image is of.
func (im *Image) Rev() int64 { return im.rev }

// Cluster returns the cluster's own record.
func (im *Image) Cluster() Cluster {
	if im.cluster == nil {
		return Cluster{}
	}
	return *im.cluster
}

// Controller returns who the controller is; ID -1 if nobody.
func (im *Image) Controller() ControllerState { return im.controller }

// Broker returns a live broker.
func (im *Image) Broker(id int32) (*Broker, bool) {
	b, ok := im.brokers[id]
	return b, ok
}

// Brokers returns the live brokers, by id.
func (im *Image) Brokers() []*Broker {
	return slices.SortedFunc(maps.Values(im.brokers), func(a, b *Broker) int { return cmp.Compare(a.ID, b.ID) })
}

// Node returns the lasting record of a broker, live or not.
func (im *Image) Node(id int32) (*Node, bool) {
	n, ok := im.nodes[id]
	return n, ok
}

// Nodes returns the lasting records of all brokers ever seen, by id.
func (im *Image) Nodes() []*Node {
	return slices.SortedFunc(maps.Values(im.nodes), func(a, b *Node) int { return cmp.Compare(a.ID, b.ID) })
}

// Topic returns the live topic of that name.
func (im *Image) Topic(name string) (*Topic, bool) {
	id, ok := im.names.Get(name)
	if !ok {
		return nil, false
	}
	t, ok := im.topics.Get(id)
	return t, ok && t.Live()
}

// TopicByID returns a topic, be it live or being deleted.
func (im *Image) TopicByID(id topic.ID) (*Topic, bool) { return im.topics.Get(id) }

// Topics iterates over all topics, live and being deleted, in no order.
func (im *Image) Topics() iter.Seq[*Topic] {
	return func(yield func(*Topic) bool) {
		for _, t := range im.topics.All() {
			if !yield(t) {
				return
			}
		}
	}
}

// NumTopics returns the number of live topics.
func (im *Image) NumTopics() int { return im.names.Len() }

// Partition returns the state of a partition of a live topic.
func (im *Image) Partition(tp topic.Partition) (*PartitionState, bool) {
	t, ok := im.topics.Get(tp.ID)
	if !ok || !t.Live() {
		return nil, false
	}
	return im.partitions.Get(tp)
}

// Partitions iterates over the partitions of all live topics, in no order.
func (im *Image) Partitions() iter.Seq[*PartitionState] {
	return func(yield func(*PartitionState) bool) {
		for tp, p := range im.partitions.All() {
			if t, ok := im.topics.Get(tp.ID); ok && t.Live() && !yield(p) {
				return
			}
		}
	}
}

// TierHead returns the tier head of a partition of a topic, live or being deleted.
func (im *Image) TierHead(tp topic.Partition) (TierHead, bool) {
	h, ok := im.heads.Get(tp)
	if !ok {
		return TierHead{}, false
	}
	return *h, true
}

// TopicOverrides returns the settings given to a topic; nil if none.
func (im *Image) TopicOverrides(id topic.ID) map[string]string { return im.TopicSettings(id).Values }

// BrokerOverrides returns the settings given at run time to one broker; nil if none.
func (im *Image) BrokerOverrides(id int32) map[string]string { return im.BrokerSettings(id).Values }

// ClusterOverrides returns the settings given at run time to all brokers; nil if none.
func (im *Image) ClusterOverrides() map[string]string { return im.ClusterSettings().Values }

// TopicSettings returns the record behind TopicOverrides.
func (im *Image) TopicSettings(id topic.ID) Settings {
	s, _ := im.topicSettings.Get(id)
	return s.orNone()
}

// BrokerSettings returns the record behind BrokerOverrides.
func (im *Image) BrokerSettings(id int32) Settings { return im.brokerSettings[id].orNone() }

// ClusterSettings returns the record behind ClusterOverrides.
func (im *Image) ClusterSettings() Settings { return im.clusterSettings.orNone() }

func (s *Settings) orNone() Settings {
	if s == nil {
		return Settings{}
	}
	return *s
}

// ShardOwner returns who owns a coordinator shard; Broker -1 if nobody does.
func (im *Image) ShardOwner(kind ShardKind, shard int32) ShardOwner {
	if o, ok := im.shards[kind][shard]; ok {
		return *o
	}
	return ShardOwner{Broker: -1}
}

// Shards returns the number of shards of a kind.
func (im *Image) Shards(kind ShardKind) int32 {
	c := im.Cluster()
	return [...]int32{c.GroupShards, c.TxnShards, c.ShareShards}[kind]
}
