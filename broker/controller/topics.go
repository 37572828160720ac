package controller

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"unicode/utf8"

	"firn/metadata"
	"firn/metadata/topic"
)

// maxPartitions bounds the partitions that one change makes, because they are made in one transaction.
const maxPartitions = 4000

// NewTopic is a topic to create.
type NewTopic struct {
	Name              string
	Partitions        int32             // -1: default
	ReplicationFactor int16             // -1: default
	Assignment        map[int32][]int32 // partition -> replicas, preferred leader first; then the two above are -1
	Settings          map[string]string
}

// topicPlan is what a created topic's records say.
type topicPlan struct {
	topic      metadata.Topic
	partitions []metadata.PartitionState
	settings   map[string]string
}

// planTopic decides what a new topic looks like, or why it cannot be. taken maps the collision keys of the
// topics there are, and of those created in the same request, to their names.
func (c *Controller) planTopic(img *metadata.Image, taken map[string]string, t NewTopic) (topicPlan, error) {
	if err := topic.ValidateName(t.Name); err != nil {
		return topicPlan{}, err
	}
	if name, ok := taken[topic.CollisionKey(t.Name)]; ok {
		if name == t.Name {
			return topicPlan{}, fmt.Errorf("%w: %q", ErrTopicExists, name)
		}
		return topicPlan{}, fmt.Errorf("%w: %q and %q would be the same in names of metrics", ErrTopicNameCollision, t.Name, name)
	}
	plan := topicPlan{topic: metadata.Topic{ID: topic.NewID(), Name: t.Name}, settings: t.Settings}
	assignment, err := c.assign(img, plan.topic.ID, t)
	if err != nil {
		return topicPlan{}, err
	}
	if err := c.checkTopicSettings(img, t.Settings); err != nil {
		return topicPlan{}, err
	}
	plan.topic.Partitions, plan.topic.ReplicationFactor = int32(len(assignment)), int16(len(assignment[0]))
	plan.partitions, err = newPartitions(img, plan.topic.ID, 0, assignment, c.minInsync(img, t.Settings))
	return plan, err
}

// assign returns the replicas of a new topic's partitions.
func (c *Controller) assign(img *metadata.Image, id topic.ID, t NewTopic) ([][]int32, error) {
	if len(t.Assignment) > 0 {
		if t.Partitions != -1 || t.ReplicationFactor != -1 {
			return nil, fmt.Errorf("%w: an assignment together with a number of partitions or a replication factor", ErrRequest)
		}
		list := make([][]int32, len(t.Assignment))
		for i := range list {
			replicas, ok := t.Assignment[int32(i)]
			if !ok {
				return nil, fmt.Errorf("%w: it has %d partitions but none numbered %d", ErrAssignment, len(list), i)
			}
			list[i] = slices.Clone(replicas)
		}
		return list, checkAssignment(img, list, len(list[0]))
	}
	n, factor := t.Partitions, t.ReplicationFactor
	if n == -1 {
		n = c.opts.NumPartitions
	}
	if factor == -1 {
		factor = c.opts.ReplicationFactor
	}
	if n < 1 {
		return nil, fmt.Errorf("%w: %d, want at least 1", ErrPartitions, n)
	}
	if n > maxPartitions {
		return nil, tooMany(int(n))
	}
	return spread(img, int(n), int(factor), topicSeed(id))
}

// spread places replicas of n partitions on brokers that are alive and, only where these are too few, behind them on others that
// are registered, which copy what there is by the time that they are back.
func spread(img *metadata.Image, n, factor int, seed uint64) ([][]int32, error) {
	alive, away := placeable(img), absent(img)
	if all := len(alive) + len(away); factor > all {
		return nil, fmt.Errorf("%w: %d, with %d brokers to place replicas on", ErrReplicationFactor, factor, all)
	}
	first := min(factor, len(alive))
	list, err := place(alive, n, first, seed)
	if err != nil || first == factor {
		return list, err
	}
	placeBehind(list, alive, away, factor, seed)
	return list, nil
}

// absent are the brokers that are to stay but are not alive.
func absent(img *metadata.Image) []candidate {
	var out []candidate
	for _, n := range img.Nodes() {
		if _, alive := img.Broker(n.ID); !alive && n.State == metadata.NodeLive {
			out = append(out, candidate{n.ID, n.Rack})
		}
	}
	return out
}

// topicSeed spreads topics over the brokers at random, and gives a topic that grows the placement that it
// would have had from the start, as long as the brokers are the same.
func topicSeed(id topic.ID) uint64 { return binary.BigEndian.Uint64(id[8:]) }

func tooMany(n int) error {
	return fmt.Errorf("%w: %d in one request, at most %d are allowed; grow the topic in steps", ErrPartitions, n, maxPartitions)
}

func placeable(img *metadata.Image) []candidate {
	var out []candidate
	for _, b := range eligible(img) {
		out = append(out, candidate{b.ID, b.Rack})
	}
	return out
}

// checkAssignment reports what is wrong with explicit replicas.
func checkAssignment(img *metadata.Image, list [][]int32, factor int) error {
	if len(list) > maxPartitions {
		return tooMany(len(list))
	}
	for i, replicas := range list {
		if len(replicas) == 0 {
			return fmt.Errorf("%w: partition %d has no replicas", ErrAssignment, i)
		}
		if len(replicas) != factor {
			return fmt.Errorf("%w: partition %d has %d replicas, others have %d", ErrAssignment, i, len(replicas), factor)
		}
		for j, id := range replicas {
			if slices.Contains(replicas[:j], id) {
				return fmt.Errorf("%w: partition %d has broker %d twice", ErrAssignment, i, id)
			}
			switch n, ok := img.Node(id); {
			case !ok || n.State == metadata.NodeGone:
				return fmt.Errorf("%w: partition %d is to be on broker %d, which is not registered", ErrAssignment, i, id)
			case n.State != metadata.NodeLive:
				return fmt.Errorf("%w: partition %d is to be on broker %d, which is about to leave", ErrAssignment, i, id)
			}
		}
	}
	return nil
}

// minInsync is the min.insync.replicas of a topic with these settings.
func (c *Controller) minInsync(img *metadata.Image, settings map[string]string) int {
	conf, _ := topic.ParseConfig(settings, c.topicDefaults(img)) // as in elector.config
	return int(conf.MinInsync)
}

// topicDefaults is what topic settings fall back to where no broker has its own.
func (c *Controller) topicDefaults(img *metadata.Image) topic.Defaults {
	d := c.opts.Defaults
	d.Cluster = img.ClusterOverrides()
	return d
}

// newPartitions returns the first records of partitions numbered from first on. All replicas that live are in sync. The others lack
// nothing either: should there be too few in sync for anything to be committed, they are eligible as if they had left then (KIP-966).
func newPartitions(img *metadata.Image, id topic.ID, first int32, assignment [][]int32, minInsync int) ([]metadata.PartitionState, error) {
	away := func(id int32) bool { _, ok := img.Broker(id); return !ok }
	out := make([]metadata.PartitionState, len(assignment))
	for i, replicas := range assignment {
		p := metadata.PartitionState{
			Partition: topic.Partition{ID: id, Index: first + int32(i)}, Replicas: replicas,
			ISR:    without(replicas, away),
			Leader: -1, LastKnownLeader: -1,
		}
		if len(p.ISR) == 0 {
			return nil, fmt.Errorf("%w: no replica of partition %d is alive", ErrAssignment, p.Partition.Index)
		}
		if len(p.ISR) < minInsync {
			p.ELR = without(replicas, func(id int32) bool { return !away(id) })
		}
		at := max(slices.IndexFunc(p.ISR, func(id int32) bool { return ready(img, id) }), 0)
		leader, _ := img.Broker(p.ISR[at])
		p.Leader, p.LeaderBrokerEpoch = leader.ID, leader.Epoch
		out[i] = p
	}
	return out, nil
}

// checkTopicSettings validates the settings of a topic as a whole.
func (c *Controller) checkTopicSettings(img *metadata.Image, values map[string]string) error {
	if err := checkText(values); err != nil {
		return err
	}
	return topic.Validate(values, c.topicDefaults(img))
}

// maxSettingLen is the longest value of a setting in bytes, as in Kafka. All settings of a topic are one value in etcd.
const maxSettingLen = math.MaxInt16

// checkText refuses what cannot be stored.
func checkText(values map[string]string) error {
	for _, k := range slices.Sorted(maps.Keys(values)) {
		if len(values[k]) > maxSettingLen {
			return fmt.Errorf("%w: %.100q has a value of %d bytes, at most %d are allowed", ErrConfig, k, len(values[k]), maxSettingLen)
		}
		if !utf8.ValidString(k) || !utf8.ValidString(values[k]) {
			return fmt.Errorf("%w: %q is not valid UTF-8", ErrConfig, k)
		}
	}
	return nil
}

// collisions maps the collision keys of all live topics to their names.
func collisions(img *metadata.Image) map[string]string {
	taken := make(map[string]string, img.NumTopics())
	for t := range img.Topics() {
		if t.Live() {
			taken[topic.CollisionKey(t.Name)] = t.Name
		}
	}
	return taken
}

// txn returns the transaction that makes the topic.
func (p *topicPlan) txn(c *Controller) metadata.Txn {
	name := c.keys.TopicName(p.topic.Name)
	txn := metadata.Txn{
		If:   []metadata.Cmp{c.mine(), metadata.Absent(name)},
		Then: []metadata.Op{c.keys.PutTopicName(p.topic.Name, p.topic.ID), c.keys.PutTopic(&p.topic)},
		Else: []string{c.keys.Controller(), name},
	}
	if len(p.settings) > 0 {
		txn.Then = append(txn.Then, c.keys.PutSettings(c.keys.TopicSettings(p.topic.ID), metadata.Settings{Values: p.settings}))
	}
	for i := range p.partitions {
		txn.Then = append(txn.Then, c.keys.PutPartition(&p.partitions[i]))
	}
	return txn
}
