package metadata

import "firn/metadata/topic"

// TopicState is where a topic is in its life.
type TopicState int8

// The states of a topic. A purged topic has no record.
const (
	TopicLive     TopicState = iota
	TopicDeleting            // its name is free again; what it left behind is being removed
)

// Topic is a topic's record t/i/<id>.
type Topic struct {
	ID                topic.ID
	Name              string
	Partitions        int32
	ReplicationFactor int16
	State             TopicState
	Released          []int32 // brokers that hold nothing of a deleted topic any more; read-only
	CreateRev         int64
	Rev               int64

	extra []byte
}

// Live reports whether the topic exists as far as clients can see.
func (t *Topic) Live() bool { return t.State == TopicLive }

// PartitionState is a partition's record p/<id>/<n>: who replicates it and who leads.
// The slices are shared; treat them as read-only.
type PartitionState struct {
	Partition         topic.Partition
	Leader            int32 // -1: nobody
	LeaderBrokerEpoch int64 // the leader leads only while this is its own broker epoch; without a leader, of the life in which one gave its part up, or 0
	LeaderEpoch       int32
	ISR               []int32
	ELR               []int32 // eligible leader replicas: have all committed data though not in ISR
	LastKnownLeader   int32   // -1, or the last of ISR and ELR that was stripped
	Replicas          []int32 // preferred leader first
	Adding            []int32
	Removing          []int32
	Recovering        bool  // elected uncleanly and still settling
	Rev               int64 // partition epoch: the revision that last wrote the record

	extra []byte
}

// TierHead is a partition's record x/<id>/<n>. Value belongs to tiering; metadata only compares Rev.
type TierHead struct {
	Value  []byte // read-only
	Rev    int64  // revision that last wrote it; 0: there is none
	Fields TierFields
}

// TierFields is what other packages need of a tier head without knowing its encoding.
type TierFields struct {
	LogStart int64 // first offset that still exists; meaningful for untiered partitions, too
	TierEnd  int64 // first offset not in the tier
	Bytes    int64 // stored in the tier
}

// ShardKind is a kind of coordinator shard.
type ShardKind int8

// The kinds of shards.
const (
	GroupShard ShardKind = iota
	TxnShard
	ShareShard
)

// ShardOwner is a shard's record co/<kind>/<shard>.
type ShardOwner struct {
	Broker      int32 // -1: nobody
	BrokerEpoch int64
	Epoch       int32 // grows with every change of owner
	Rev         int64 // the guard of the owner's writes; 0: no record

	extra []byte
}

// Settings is a record of settings given to a topic, a broker or the cluster: cfg/*.
type Settings struct {
	Values map[string]string // read-only
	Rev    int64             // 0: there is none

	extra []byte
}
