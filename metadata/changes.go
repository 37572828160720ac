package metadata

import (
	"cmp"
	"slices"

	"firn/metadata/snapmap"
	"firn/metadata/topic"
)

// Changes is what differs between two images. Old or New is nil where the thing did not or does not
// exist. Several writes of one thing between the two images are one change. The lists are in order of id,
// partition or shard, except Topics, Partitions and TierHeads, which have none.
type Changes struct {
	Cluster    bool // cluster record or the run-time settings of all brokers
	Controller bool
	Brokers    []BrokerChange
	Nodes      []NodeChange
	// Topics holds topics created, deleted (New.State, or New nil once purged) and grown, and topics
	// whose settings changed.
	Topics []TopicChange
	// Partitions of topics that are live in either image: those of a topic just created are all here,
	// those of a topic just deleted, too, with New nil.
	Partitions []PartitionChange
	TierHeads  []topic.Partition
	Shards     []ShardChange
}

// BrokerChange is a broker that registered (again), left, or whose run-time settings changed.
type BrokerChange struct {
	ID       int32
	Old, New *Broker
	Settings bool // its overrides changed
}

// NodeChange is a broker whose lasting record changed.
type NodeChange struct {
	ID       int32
	Old, New *Node
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

// ShardChange is a shard whose owner record changed. A shard without a record has Broker -1.
type ShardChange struct {
	Kind     ShardKind
	Shard    int32
	Old, New ShardOwner
}

// Diff returns what changed from old to img; a nil old means from nothing. If img came from old by events,
// it costs what the changes cost, not what the images hold.
func (im *Image) Diff(old *Image) *Changes {
	if old == nil {
		old = newImage()
	}
	c := &Changes{
		Cluster:    old.cluster != im.cluster || old.clusterSettings != im.clusterSettings,
		Controller: old.controller != im.controller,
	}
	if old == im {
		return c
	}
	c.diffBrokers(old, im)
	topics := c.diffTopics(old, im)
	c.diffPartitions(old, im, topics)
	snapmap.Diff(old.heads, im.heads, func(tp topic.Partition, _ *TierHead, _ bool, _ *TierHead, _ bool) {
		c.TierHeads = append(c.TierHeads, tp)
	})
	c.diffShards(old, im)
	return c
}

func (c *Changes) diffBrokers(old, img *Image) {
	changed := map[int32]*BrokerChange{}
	diffSmall(old.brokers, img.brokers, func(id int32) { changed[id] = &BrokerChange{} })
	diffSmall(old.brokerSettings, img.brokerSettings, func(id int32) {
		if changed[id] == nil {
			changed[id] = &BrokerChange{}
		}
		changed[id].Settings = true
	})
	for id, ch := range changed {
		ch.ID, ch.Old, ch.New = id, old.brokers[id], img.brokers[id]
		c.Brokers = append(c.Brokers, *ch)
	}
	slices.SortFunc(c.Brokers, func(a, b BrokerChange) int { return cmp.Compare(a.ID, b.ID) })
	diffSmall(old.nodes, img.nodes, func(id int32) {
		c.Nodes = append(c.Nodes, NodeChange{id, old.nodes[id], img.nodes[id]})
	})
	slices.SortFunc(c.Nodes, func(a, b NodeChange) int { return cmp.Compare(a.ID, b.ID) })
}

// diffTopics returns where in c.Topics a topic is.
func (c *Changes) diffTopics(old, img *Image) map[topic.ID]int {
	at := map[topic.ID]int{}
	snapmap.Diff(old.topics, img.topics, func(id topic.ID, was *Topic, _ bool, now *Topic, _ bool) {
		at[id] = len(c.Topics)
		c.Topics = append(c.Topics, TopicChange{ID: id, Old: was, New: now})
	})
	snapmap.Diff(old.topicSettings, img.topicSettings, func(id topic.ID, _ *Settings, _ bool, _ *Settings, _ bool) {
		i, ok := at[id]
		if !ok {
			was, _ := old.topics.Get(id)
			now, _ := img.topics.Get(id)
			if was == nil && now == nil {
				return // left over from a topic that is gone
			}
			i = len(c.Topics)
			at[id] = i
			c.Topics = append(c.Topics, TopicChange{ID: id, Old: was, New: now})
		}
		c.Topics[i].Settings = true
	})
	return at
}

// diffPartitions reports partitions as a reader of Image.Partition sees them: those of a topic that came to
// life or died changed all together, whenever their records were written.
func (c *Changes) diffPartitions(old, img *Image, topics map[topic.ID]int) {
	flipped := func(id topic.ID) bool {
		i, ok := topics[id]
		return ok && alive(c.Topics[i].Old) != alive(c.Topics[i].New)
	}
	snapmap.Diff(old.partitions, img.partitions, func(tp topic.Partition, was *PartitionState, _ bool, now *PartitionState, _ bool) {
		if t, ok := img.topics.Get(tp.ID); ok && t.Live() && !flipped(tp.ID) {
			c.Partitions = append(c.Partitions, PartitionChange{tp, was, now})
		}
	})
	for _, t := range c.Topics {
		switch {
		case alive(t.New) && !alive(t.Old):
			for i := range t.New.Partitions {
				tp := topic.Partition{ID: t.ID, Index: i}
				if p, ok := img.partitions.Get(tp); ok {
					c.Partitions = append(c.Partitions, PartitionChange{tp, nil, p})
				}
			}
		case alive(t.Old) && !alive(t.New):
			for i := range t.Old.Partitions {
				tp := topic.Partition{ID: t.ID, Index: i}
				if p, ok := old.partitions.Get(tp); ok {
					c.Partitions = append(c.Partitions, PartitionChange{tp, p, nil})
				}
			}
		}
	}
}

func alive(t *Topic) bool { return t != nil && t.Live() }

func (c *Changes) diffShards(old, img *Image) {
	for kind := range img.shards {
		k := ShardKind(kind)
		diffSmall(old.shards[kind], img.shards[kind], func(n int32) {
			c.Shards = append(c.Shards, ShardChange{k, n, old.ShardOwner(k, n), img.ShardOwner(k, n)})
		})
	}
	slices.SortFunc(c.Shards, func(a, b ShardChange) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Shard, b.Shard))
	})
}

// diffSmall calls fn for the keys whose values are not the same pointer.
func diffSmall[V any](old, now map[int32]*V, fn func(int32)) {
	for id, v := range now {
		if old[id] != v {
			fn(id)
		}
	}
	for id := range old {
		if _, ok := now[id]; !ok {
			fn(id)
		}
	}
}
