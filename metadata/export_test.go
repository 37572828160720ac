package metadata

import (
	"fmt"
	"sort"
	"strings"
)

// Dump writes everything an image holds as text, in an order of its own.
func Dump(im *Image) string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if im.cluster != nil {
		add("cluster %+v", *im.cluster)
	}
	add("controller %+v", im.controller)
	for id, b := range im.brokers {
		add("broker %d %+v", id, *b)
	}
	for id, n := range im.nodes {
		add("node %d %+v", id, *n)
	}
	for name, id := range im.names.All() {
		add("name %s %v", name, id)
	}
	for id, t := range im.topics.All() {
		add("topic %v %+v", id, *t)
	}
	for tp, p := range im.partitions.All() {
		add("partition %v %+v", tp, *p)
	}
	for tp, h := range im.heads.All() {
		add("head %v %+v", tp, *h)
	}
	if im.clusterSettings != nil {
		add("settings %+v", *im.clusterSettings)
	}
	for id, s := range im.brokerSettings {
		add("settings of broker %d %+v", id, *s)
	}
	for id, s := range im.topicSettings.All() {
		add("settings of topic %v %+v", id, *s)
	}
	for kind := range im.shards {
		for n, o := range im.shards[kind] {
			add("shard %d/%d %+v", kind, n, *o)
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// Apply builds an image from events on an empty one, as a store of a cluster with these keys would.
func Apply(keys Keys, events ...Event) (*Image, error) {
	b := newBuilder(keys, newImage(), nil)
	var rev int64
	for _, ev := range events {
		if err := b.apply(ev); err != nil {
			return nil, err
		}
		rev = max(rev, ev.ModRev)
	}
	return b.finish(rev), nil
}

// LossOf exports lossOf.
func LossOf(n *Node, r *Registration) Loss { return lossOf(n, r) }

// BootTime exports bootTime.
var BootTime = bootTime

// ParseKey parses a key and builds it again.
func ParseKey(k Keys, key string) (string, error) {
	p, err := k.parse(key)
	if err != nil {
		return "", err
	}
	switch p.kind {
	case keyCluster:
		return k.Cluster(), nil
	case keyController:
		return k.Controller(), nil
	case keyBroker:
		return k.Broker(p.num), nil
	case keyNode:
		return k.Node(p.num), nil
	case keyTopicName:
		return k.TopicName(p.name), nil
	case keyTopic:
		return k.Topic(p.tp.ID), nil
	case keyPartition:
		return k.Partition(p.tp), nil
	case keyTierHead:
		return k.TierHead(p.tp), nil
	case keyClusterSettings:
		return k.ClusterSettings(), nil
	case keyBrokerSettings:
		return k.BrokerSettings(p.num), nil
	case keyTopicSettings:
		return k.TopicSettings(p.tp.ID), nil
	case keyShardOwner:
		return k.ShardOwner(p.shard, p.num), nil
	case keyOther:
	}
	return "", nil
}
