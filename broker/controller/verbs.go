package controller

import (
	"bytes"
	"context"
	"fmt"

	"firn/metadata"
	"firn/metadata/topic"
)

// CreatedTopic is the outcome of one NewTopic.
type CreatedTopic struct {
	Topic metadata.Topic // with validateOnly what would be made, without an id
	Err   error
}

// CreateTopics creates topics, each atomically; one that fails does not hinder the others. Outcomes come in
// the order of topics. With validateOnly everything is checked and nothing written.
//
// Errors: ErrNotController, topic.ErrName, ErrTopicExists, ErrTopicNameCollision, ErrPartitions,
// ErrReplicationFactor, ErrAssignment, ErrRequest, ErrConfig, *topic.Error, and metadata's.
func (c *Controller) CreateTopics(ctx context.Context, topics []NewTopic, validateOnly bool) []CreatedTopic {
	out := make([]CreatedTopic, len(topics))
	errs := c.verb(ctx, "create_topics", len(topics), func(ctx context.Context, errs []error) {
		img := c.store.Image()
		taken := collisions(img)
		plans, txns := make([]topicPlan, len(topics)), make([]metadata.Txn, len(topics))
		for i, t := range topics {
			if plans[i], errs[i] = c.planTopic(img, taken, t); errs[i] != nil {
				continue
			}
			out[i].Topic = plans[i].topic
			taken[topic.CollisionKey(t.Name)] = t.Name
			txns[i] = plans[i].txn(c)
		}
		if validateOnly {
			for i := range out {
				out[i].Topic.ID = topic.ID{}
			}
			return
		}
		c.commitEach(ctx, txns, errs, func(i int, res metadata.TxnResult) error {
			if bytes.Equal(res.Else[1].Value, txns[i].Then[0].Value) {
				return nil // by an attempt of ours, and something of it has been changed since
			}
			return fmt.Errorf("%w: %q", ErrTopicExists, topics[i].Name) // by a controller we have not heard of
		})
		img = c.store.Image()
		for i := range out {
			if t, ok := img.TopicByID(out[i].Topic.ID); ok {
				out[i].Topic = *t
			}
		}
	})
	for i := range out {
		if out[i].Err = errs[i]; out[i].Err != nil {
			out[i].Topic = metadata.Topic{}
		}
	}
	return out
}

// DeleteTopics deletes topics by id; one error (or nil) per id. A deleted topic's name is free at once, its
// record stays, marked as being deleted, until what it left behind is gone.
//
// Errors: ErrNotController, ErrUnknownTopicID and metadata's.
func (c *Controller) DeleteTopics(ctx context.Context, ids []topic.ID) []error {
	return c.verb(ctx, "delete_topics", len(ids), func(ctx context.Context, errs []error) {
		img := c.store.Image()
		txns := make([]metadata.Txn, len(ids))
		seen := make(map[topic.ID]bool)
		for i, id := range ids {
			t, ok := img.TopicByID(id)
			if !ok || !t.Live() || seen[id] {
				errs[i] = fmt.Errorf("%w: %v", ErrUnknownTopicID, id)
				continue
			}
			seen[id] = true
			next := *t
			next.State = metadata.TopicDeleting
			txns[i] = metadata.Txn{
				If:   []metadata.Cmp{c.mine(), metadata.ModIs(c.keys.Topic(id), t.Rev)},
				Then: []metadata.Op{c.keys.PutTopic(&next), metadata.Delete(c.keys.TopicName(t.Name))},
				Else: []string{c.keys.Controller()},
			}
		}
		c.commitEach(ctx, txns, errs, conflict)
	})
}

// MorePartitions grows a topic to Total partitions.
type MorePartitions struct {
	Name       string
	Total      int32
	Assignment [][]int32 // of the new partitions, in order; nil: placed by the controller
}

// CreatePartitions grows topics; one error (or nil) per entry.
//
// Errors: ErrNotController, ErrUnknownTopic, ErrPartitions, ErrAssignment, ErrReplicationFactor, ErrRequest and
// metadata's.
func (c *Controller) CreatePartitions(ctx context.Context, more []MorePartitions, validateOnly bool) []error {
	return c.verb(ctx, "create_partitions", len(more), func(ctx context.Context, errs []error) {
		img := c.store.Image()
		txns := make([]metadata.Txn, len(more))
		seen := make(map[string]bool)
		for i, m := range more {
			if seen[m.Name] {
				errs[i] = fmt.Errorf("%w: topic %q is named twice", ErrRequest, m.Name)
				continue
			}
			seen[m.Name] = true
			txns[i], errs[i] = c.planGrowth(img, m)
		}
		if !validateOnly {
			c.commitEach(ctx, txns, errs, conflict)
		}
	})
}

// conflict is the outcome of a change whose record somebody else wrote, which only a controller does.
func conflict(int, metadata.TxnResult) error { return metadata.ErrConflict }

// planGrowth returns the transaction that grows a topic.
func (c *Controller) planGrowth(img *metadata.Image, m MorePartitions) (metadata.Txn, error) {
	t, ok := img.Topic(m.Name)
	if !ok {
		return metadata.Txn{}, fmt.Errorf("%w: %q", ErrUnknownTopic, m.Name)
	}
	added := int(m.Total) - int(t.Partitions)
	switch {
	case added < 0:
		return metadata.Txn{}, fmt.Errorf("%w: topic %q has %d, which is more than %d", ErrPartitions, m.Name, t.Partitions, m.Total)
	case added == 0:
		return metadata.Txn{}, fmt.Errorf("%w: topic %q has %d already", ErrPartitions, m.Name, t.Partitions)
	case added > maxPartitions:
		return metadata.Txn{}, tooMany(added)
	}
	// The topic's own record says what it was made with; it may have been reassigned since.
	factor := int(t.ReplicationFactor)
	if p, ok := img.Partition(topic.Partition{ID: t.ID}); ok {
		factor = len(p.Replicas) - len(p.Removing)
	}
	assignment, err := m.Assignment, error(nil)
	if assignment == nil {
		all, perr := spread(img, int(m.Total), factor, topicSeed(t.ID))
		if perr != nil {
			return metadata.Txn{}, perr
		}
		assignment = all[t.Partitions:]
	} else if len(assignment) != added {
		err = fmt.Errorf("%w: %d partitions are added but %d assigned", ErrAssignment, added, len(assignment))
	} else {
		err = checkAssignment(img, assignment, factor)
	}
	if err != nil {
		return metadata.Txn{}, err
	}
	states, err := newPartitions(img, t.ID, t.Partitions, assignment, c.minInsync(img, img.TopicOverrides(t.ID)))
	if err != nil {
		return metadata.Txn{}, err
	}
	next := *t
	next.Partitions = m.Total
	txn := metadata.Txn{
		If:   []metadata.Cmp{c.mine(), metadata.ModIs(c.keys.Topic(t.ID), t.Rev)},
		Then: []metadata.Op{c.keys.PutTopic(&next)},
		Else: []string{c.keys.Controller()},
	}
	for i := range states {
		txn.Then = append(txn.Then, c.keys.PutPartition(&states[i]))
	}
	return txn, nil
}
