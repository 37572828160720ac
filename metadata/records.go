package metadata

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"firn/metadata/internal/pb"
	"firn/metadata/topic"
)

// recordVersion is written to every record and is the highest a reader here accepts.
const recordVersion = 1

type record interface {
	proto.Message
	GetVersion() uint32
}

// decode reads a record, refusing one of a newer version by its key.
func decode[R record](e Entry, into R) (unknown []byte, err error) {
	if err := proto.Unmarshal(e.Value, into); err != nil {
		return nil, fmt.Errorf("record %s at revision %d: %w: %w", e.Key, e.ModRev, ErrBadRecord, err)
	}
	if v := into.GetVersion(); v > recordVersion {
		return nil, fmt.Errorf("record %s at revision %d has version %d, this build reads up to %d: %w",
			e.Key, e.ModRev, v, recordVersion, ErrNewerVersion)
	} else if v == 0 {
		return nil, fmt.Errorf("record %s at revision %d has no version: %w", e.Key, e.ModRev, ErrBadRecord)
	}
	return slices.Clone(into.ProtoReflect().GetUnknown()), nil
}

func badRecord(e Entry, what string) error {
	return fmt.Errorf("record %s at revision %d: %w: %s", e.Key, e.ModRev, ErrBadRecord, what)
}

// encode writes a record together with the fields of a later version it came with.
func encode(m proto.Message, unknown []byte) []byte {
	if len(unknown) > 0 {
		m.ProtoReflect().SetUnknown(unknown)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		// Only invalid UTF-8 in a string field gets here, and names and settings are checked at the door.
		panic(fmt.Sprintf("metadata: record %T cannot be encoded: %v", m, err))
	}
	return b
}

func decodeUUIDs(e Entry, raw [][]byte) ([]UUID, error) {
	out := make([]UUID, len(raw))
	for i, b := range raw {
		if len(b) != len(out[i]) {
			return nil, badRecord(e, "an id that is not 16 bytes")
		}
		copy(out[i][:], b)
	}
	return out, nil
}

func encodeUUIDs(ids []UUID) [][]byte {
	out := make([][]byte, len(ids))
	for i := range ids {
		out[i] = ids[i][:]
	}
	return out
}

func decodeCluster(e Entry) (*Cluster, error) {
	var m pb.Cluster
	extra, err := decode(e, &m)
	if err != nil {
		return nil, err
	}
	if min(m.GroupShards, m.TxnShards, m.ShareShards) < 1 || max(m.GroupShards, m.TxnShards, m.ShareShards) > maxShards {
		return nil, badRecord(e, "a number of shards out of range")
	}
	return &Cluster{
		ID: m.Id, FeatureLevel: m.FeatureLevel,
		GroupShards: m.GroupShards, TxnShards: m.TxnShards, ShareShards: m.ShareShards,
		Rev: e.ModRev, extra: extra,
	}, nil
}

func encodeCluster(c *Cluster) []byte {
	return encode(&pb.Cluster{
		Version: recordVersion, Id: c.ID, FeatureLevel: c.FeatureLevel,
		GroupShards: c.GroupShards, TxnShards: c.TxnShards, ShareShards: c.ShareShards,
	}, c.extra)
}

func decodeBroker(e Entry, id int32) (*Broker, error) {
	var m pb.Broker
	extra, err := decode(e, &m)
	if err != nil {
		return nil, err
	}
	b := &Broker{
		ID: id, Epoch: e.CreateRev, Rack: m.Rack, Version: m.FirnVersion,
		Started: time.UnixMilli(m.StartedMs), Rev: e.ModRev, extra: extra,
	}
	if len(m.Incarnation) != len(b.Incarnation) {
		return nil, badRecord(e, "an incarnation that is not 16 bytes")
	}
	copy(b.Incarnation[:], m.Incarnation)
	for _, l := range m.Listeners {
		b.Listeners = append(b.Listeners, Listener{Name: l.Name, Protocol: l.Protocol, Host: l.Host, Port: l.Port})
	}
	b.Disks, err = decodeUUIDs(e, m.Disks)
	return b, err
}

func encodeBroker(b *Broker) []byte {
	m := &pb.Broker{
		Version: recordVersion, Incarnation: b.Incarnation[:], Rack: b.Rack, FirnVersion: b.Version,
		Disks: encodeUUIDs(b.Disks), StartedMs: b.Started.UnixMilli(),
	}
	for _, l := range b.Listeners {
		m.Listeners = append(m.Listeners, &pb.Listener{Name: l.Name, Protocol: l.Protocol, Host: l.Host, Port: l.Port})
	}
	return encode(m, b.extra)
}

func decodeNode(e Entry, id int32) (*Node, error) {
	var m pb.Node
	extra, err := decode(e, &m)
	if err != nil {
		return nil, err
	}
	n := &Node{
		ID: id, LastEpoch: m.LastEpoch, BootID: m.BootId, Rack: m.Rack,
		State: NodeState(m.State), Loss: Loss(m.Loss), Relaxed: m.Relaxed, Rev: e.ModRev, extra: extra,
	}
	n.Disks, err = decodeUUIDs(e, m.Disks)
	return n, err
}

func encodeNode(n *Node) []byte {
	return encode(&pb.Node{
		Version: recordVersion, LastEpoch: n.LastEpoch, BootId: n.BootID, Rack: n.Rack,
		Disks: encodeUUIDs(n.Disks), State: int32(n.State), Loss: int32(n.Loss), Relaxed: n.Relaxed,
	}, n.extra)
}

func decodeController(e Entry) (ControllerState, error) {
	var m pb.Controller
	_, err := decode(e, &m)
	return ControllerState{ID: m.Broker, BrokerEpoch: m.BrokerEpoch, Epoch: e.CreateRev}, err
}

func encodeController(c ControllerState) []byte {
	return encode(&pb.Controller{Version: recordVersion, Broker: c.ID, BrokerEpoch: c.BrokerEpoch}, nil)
}

func decodeTopicName(e Entry) (topic.ID, error) {
	var m pb.TopicName
	if _, err := decode(e, &m); err != nil {
		return topic.ID{}, err
	}
	if len(m.Id) != len(topic.ID{}) {
		return topic.ID{}, badRecord(e, "an id that is not 16 bytes")
	}
	return topic.ID(m.Id), nil
}

func encodeTopicName(id topic.ID) []byte {
	return encode(&pb.TopicName{Version: recordVersion, Id: id[:]}, nil)
}

func decodeTopic(e Entry, id topic.ID) (*Topic, error) {
	var m pb.Topic
	extra, err := decode(e, &m)
	if err != nil {
		return nil, err
	}
	return &Topic{
		ID: id, Name: m.Name, Partitions: m.Partitions, ReplicationFactor: int16(m.ReplicationFactor),
		State: TopicState(m.State), Released: m.Released, CreateRev: e.CreateRev, Rev: e.ModRev, extra: extra,
	}, nil
}

func encodeTopic(t *Topic) []byte {
	return encode(&pb.Topic{
		Version: recordVersion, Name: t.Name, Partitions: t.Partitions,
		ReplicationFactor: int32(t.ReplicationFactor), State: int32(t.State), Released: t.Released,
	}, t.extra)
}

func decodePartition(e Entry, tp topic.Partition) (*PartitionState, error) {
	var m pb.Partition
	extra, err := decode(e, &m)
	if err != nil {
		return nil, err
	}
	return &PartitionState{
		Partition: tp, Leader: m.Leader, LeaderBrokerEpoch: m.LeaderBrokerEpoch, LeaderEpoch: m.LeaderEpoch,
		ISR: m.Isr, ELR: m.Elr, LastKnownLeader: m.LastKnownLeader, Replicas: m.Replicas,
		Adding: m.Adding, Removing: m.Removing, Recovering: m.Recovering, Rev: e.ModRev, extra: extra,
	}, nil
}

func encodePartition(p *PartitionState) []byte {
	return encode(&pb.Partition{
		Version: recordVersion, Leader: p.Leader, LeaderBrokerEpoch: p.LeaderBrokerEpoch, LeaderEpoch: p.LeaderEpoch,
		Isr: p.ISR, Elr: p.ELR, LastKnownLeader: p.LastKnownLeader, Replicas: p.Replicas,
		Adding: p.Adding, Removing: p.Removing, Recovering: p.Recovering,
	}, p.extra)
}

// decodeHead keeps the value as it is: what it says is tiering's, which read knows how to read.
func decodeHead(e Entry, read func([]byte) (TierFields, error)) (*TierHead, error) {
	h := &TierHead{Value: e.Value, Rev: e.ModRev}
	if read == nil {
		return h, nil
	}
	var err error
	if h.Fields, err = read(e.Value); err != nil {
		return nil, fmt.Errorf("record %s at revision %d: %w: %w", e.Key, e.ModRev, ErrBadRecord, err)
	}
	return h, nil
}

func decodeSettings(e Entry) (*Settings, error) {
	var m pb.Settings
	extra, err := decode(e, &m)
	if err != nil {
		return nil, err
	}
	return &Settings{Values: m.Values, Rev: e.ModRev, extra: extra}, nil
}

func encodeSettings(s *Settings) []byte {
	return encode(&pb.Settings{Version: recordVersion, Values: s.Values}, s.extra)
}

func decodeShardOwner(e Entry) (*ShardOwner, error) {
	var m pb.ShardOwner
	extra, err := decode(e, &m)
	if err != nil {
		return nil, err
	}
	return &ShardOwner{Broker: m.Broker, BrokerEpoch: m.BrokerEpoch, Epoch: m.Epoch, Rev: e.ModRev, extra: extra}, nil
}

func encodeShardOwner(o *ShardOwner) []byte {
	return encode(&pb.ShardOwner{
		Version: recordVersion, Broker: o.Broker, BrokerEpoch: o.BrokerEpoch, Epoch: o.Epoch,
	}, o.extra)
}

func decodeProducerIDs(e Entry) (next int64, unknown []byte, err error) {
	var m pb.ProducerIds
	unknown, err = decode(e, &m)
	return m.Next, unknown, err
}

func encodeProducerIDs(next int64, unknown []byte) []byte {
	return encode(&pb.ProducerIds{Version: recordVersion, Next: next}, unknown)
}
