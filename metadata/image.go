package metadata

import (
	"iter"

	"firn/metadata/topic"
)

// Image is the cluster's metadata as of one revision. It never changes, so whoever needs several facts
// that fit together takes one Image and asks it. Look-ups are O(1). What it returns is shared: read-only.
type Image struct {
	rev int64
}

// Rev returns the revision the image is of.
func (im *Image) Rev() int64 { return im.rev }

// Cluster returns the cluster's own record.
func (im *Image) Cluster() Cluster { panic("unwritten") }

// Controller returns who the controller is; ID -1 if nobody.
func (im *Image) Controller() ControllerState { panic("unwritten") }

// Broker returns a live broker.
func (im *Image) Broker(id int32) (*Broker, bool) { panic("unwritten") }

// Brokers returns the live brokers, by id.
func (im *Image) Brokers() []*Broker { panic("unwritten") }

// Node returns the lasting record of a broker, live or not.
func (im *Image) Node(id int32) (*Node, bool) { panic("unwritten") }

// Nodes returns the lasting records of all brokers ever seen, by id.
func (im *Image) Nodes() []*Node { panic("unwritten") }

// Topic returns the live topic of that name.
func (im *Image) Topic(name string) (*Topic, bool) { panic("unwritten") }

// TopicByID returns a topic, be it live or being deleted.
func (im *Image) TopicByID(id topic.ID) (*Topic, bool) { panic("unwritten") }

// Topics iterates over all topics, live and being deleted, in no order.
func (im *Image) Topics() iter.Seq[*Topic] { panic("unwritten") }

// NumTopics returns the number of live topics.
func (im *Image) NumTopics() int { panic("unwritten") }

// Partition returns the state of a partition of a live topic.
func (im *Image) Partition(tp topic.Partition) (*PartitionState, bool) { panic("unwritten") }

// Partitions iterates over the partitions of all live topics, in no order.
func (im *Image) Partitions() iter.Seq[*PartitionState] { panic("unwritten") }

// TierHead returns the tier head of a partition of a topic, live or being deleted.
func (im *Image) TierHead(tp topic.Partition) (TierHead, bool) { panic("unwritten") }

// TopicOverrides returns the settings given to a topic; nil if none.
func (im *Image) TopicOverrides(id topic.ID) map[string]string { panic("unwritten") }

// BrokerOverrides returns the settings given at run time to one broker; nil if none.
func (im *Image) BrokerOverrides(id int32) map[string]string { panic("unwritten") }

// ClusterOverrides returns the settings given at run time to all brokers; nil if none.
func (im *Image) ClusterOverrides() map[string]string { panic("unwritten") }

// ShardOwner returns who owns a coordinator shard; Broker -1 if nobody does.
func (im *Image) ShardOwner(kind ShardKind, shard int32) ShardOwner { panic("unwritten") }

// Shards returns the number of shards of a kind.
func (im *Image) Shards(kind ShardKind) int32 { panic("unwritten") }
