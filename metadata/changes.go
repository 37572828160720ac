package metadata

import "firn/metadata/topic"

// Changes is what differs between two images. Old or New is nil where the thing did not or does not
// exist. Several writes of one thing between the two images are one change.
type Changes struct {
	Cluster    bool // cluster record or its run-time settings
	Controller bool
	Brokers    []BrokerChange
	// Topics holds topics created, deleted (New.State, or New nil once purged) and grown, and topics
	// whose settings changed.
	Topics []TopicChange
	// Partitions of topics that are live in either image: those of a topic just created are all here,
	// those of a topic just deleted, too, with New nil.
	Partitions []PartitionChange
	TierHeads  []topic.Partition
	Shards     []ShardChange
}

// BrokerChange is a broker that registered (again), left, or whose record or run-time settings changed.
type BrokerChange struct {
	ID       int32
	Old, New *Broker
}

// TopicChange is a topic that changed.
type TopicChange struct {
	ID       topic.ID
	Old, New *Topic
	Settings bool // its overrides changed
}

// PartitionChange is a partition that changed.
type PartitionChange struct {
	Partition topic.Partition
	Old, New  *PartitionState
}

// ShardChange is a shard whose owner record changed.
type ShardChange struct {
	Kind     ShardKind
	Shard    int32
	Old, New ShardOwner
}

// Diff returns what changed from old to img; a nil old means from nothing. Its cost is that of the
// changes, not of the images.
func (im *Image) Diff(old *Image) *Changes { panic("unwritten") }
