package broker

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"firn/broker/console"
	"firn/broker/partition"
	"firn/metadata"
	"firn/metadata/topic"
)

// tierStatus describes the hosted partitions of a topic, or of all topics if name is empty.
func (b *Broker) tierStatus(_ context.Context, name string) ([]console.TierPartition, error) {
	im := b.store.Image()
	if name != "" {
		if _, ok := im.Topic(name); !ok {
			return nil, fmt.Errorf("topic %q is not known", name)
		}
	}
	var list []console.TierPartition
	for r := range b.set.All() {
		t, ok := im.TopicByID(r.Partition().ID)
		if !ok || name != "" && t.Name != name {
			continue
		}
		list = append(list, b.describeTiers(im, t, r))
	}
	slices.SortFunc(list, func(x, y console.TierPartition) int {
		return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
	})
	return list, nil
}

func (b *Broker) describeTiers(im *metadata.Image, t *metadata.Topic, r *partition.Replica) console.TierPartition {
	tp, o := r.Partition(), r.Offsets()
	s := console.TierPartition{
		Topic: t.Name, TopicID: t.ID.String(), Partition: tp.Index, Leader: -1,
		LogStart: o.LogStart, LocalStart: o.LocalStart, TieredEnd: o.TierEnd, HighWatermark: o.HighWatermark, End: o.LogEnd,
	}
	if _, _, leads := r.LeaderEpoch(); leads {
		s.Leader = b.cfg.NodeID
	}
	if c, err := b.topicConfig(im, t.ID); err == nil {
		s.Tiered = c.Tier.Enabled
	}
	if l := r.Log(); l != nil {
		s.LocalBytes, s.LocalSegments = l.Size(), int64(len(l.Segments()))
	}
	if h := r.TierHead(); h != nil {
		s.TieredBytes, s.TieredSegments = h.StoredBytes, h.Segments
	}
	if err := r.Err(); err != nil {
		s.Error = err.Error()
	}
	if u := b.applier.upload(tp); u != nil {
		us := u.Status()
		s.LagBytes, s.LagSeconds, s.Failures = us.LagBytes, us.Lag.Seconds(), us.Failures
		if us.Err != nil {
			s.Error = us.Err.Error()
		}
	}
	return s
}

// topicNames answers groups which topics are live.
type topicNames struct{ store *metadata.Store }

// TopicName implements group.Topics.
func (n topicNames) TopicName(id [16]byte) (string, bool) {
	t, ok := n.store.Image().TopicByID(topic.ID(id))
	if !ok || !t.Live() {
		return "", false
	}
	return t.Name, true
}
