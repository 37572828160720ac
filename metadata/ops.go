package metadata

import (
	"context"
	"fmt"

	"firn/metadata/topic"
)

// The writes below keep the fields of a later version that a record was read with. Strings in them must be
// valid UTF-8.

// PutTopic writes a topic's record.
func (k Keys) PutTopic(t *Topic) Op { return Put(k.Topic(t.ID), encodeTopic(t)) }

// PutTopicName gives a name to a live topic.
func (k Keys) PutTopicName(name string, id topic.ID) Op {
	return Put(k.TopicName(name), encodeTopicName(id))
}

// PutPartition writes a partition's state.
func (k Keys) PutPartition(p *PartitionState) Op {
	return Put(k.Partition(p.Partition), encodePartition(p))
}

// PutSettings writes a settings record under one of the settings keys, or removes it if it is empty.
func (k Keys) PutSettings(key string, s Settings) Op {
	if len(s.Values) == 0 && len(s.extra) == 0 {
		return Delete(key)
	}
	return Put(key, encodeSettings(&s))
}

// PutShardOwner writes who owns a shard.
func (k Keys) PutShardOwner(kind ShardKind, shard int32, o *ShardOwner) Op {
	return Put(k.ShardOwner(kind, shard), encodeShardOwner(o))
}

// PutNode writes a broker's lasting record.
func (k Keys) PutNode(n *Node) Op { return Put(k.Node(n.ID), encodeNode(n)) }

// PurgeTopic removes the records of a deleted topic once nothing of it is left anywhere: partitions, tier
// heads, settings and last the topic itself. A topic that has no record is purged already; one that is live
// is ErrConflict.
func (s *Store) PurgeTopic(ctx context.Context, id topic.ID) error {
	key := s.keys.Topic(id)
	entries, _, err := s.kv.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("purge topic %v: %w", id, err)
	}
	if !entries[0].Exists() {
		return nil
	}
	t, err := decodeTopic(entries[0], id)
	if err != nil {
		return err
	}
	if t.Live() {
		return fmt.Errorf("purge topic %v: it is live: %w", id, ErrConflict)
	}
	partitions, heads := s.keys.root+"p/"+id.String()+"/", s.keys.root+"x/"+id.String()+"/"
	_, err = s.kv.Txn(ctx, Txn{
		If: []Cmp{ModIs(key, t.Rev)}, // nobody writes a deleted topic but to purge it
		Then: []Op{
			DeleteRange(partitions, PrefixEnd(partitions)), DeleteRange(heads, PrefixEnd(heads)),
			Delete(s.keys.TopicSettings(id)), Delete(key),
		},
	})
	if err != nil {
		return fmt.Errorf("purge topic %v: %w", id, err)
	}
	return nil
}

// ConfirmDeleted returns nil if a linearizable read finds that the topic is marked as deleted, ErrConflict if it
// is live and ErrNotFound if there is no record of it, which proves nothing.
func (s *Store) ConfirmDeleted(ctx context.Context, id topic.ID) error {
	entries, _, err := s.kv.Get(ctx, s.keys.Topic(id))
	if err != nil {
		return fmt.Errorf("read topic %v: %w", id, err)
	}
	if !entries[0].Exists() {
		return fmt.Errorf("topic %v: %w", id, ErrNotFound)
	}
	t, err := decodeTopic(entries[0], id)
	if err != nil {
		return err
	}
	if t.Live() {
		return fmt.Errorf("topic %v is live: %w", id, ErrConflict)
	}
	return nil
}
