package metadata

import (
	"context"
	"slices"

	"firn/metadata/topic"
)

// Resigned is a partition's state without a broker that cannot serve its replica: it neither leads nor is in sync nor
// eligible. False if it is none of these, or the last one that could lead cleanly: then nobody gains by it.
func (p *PartitionState) Resigned(broker int32) (PartitionState, bool) {
	next := *p
	is := func(id int32) bool { return id == broker }
	next.ISR = slices.DeleteFunc(slices.Clone(p.ISR), is)
	next.ELR = slices.DeleteFunc(slices.Clone(p.ELR), is)
	if len(next.ISR)+len(next.ELR) == 0 || len(next.ISR) == len(p.ISR) && len(next.ELR) == len(p.ELR) && p.Leader != broker {
		return *p, false
	}
	if p.Leader == broker {
		next.Leader, next.LeaderBrokerEpoch = -1, 0
		next.LeaderEpoch++
	}
	return next, true
}

// Resign takes a broker out of partitions that it cannot serve, each of which must have a Resigned state, in few round
// trips. The guards are each partition's revision and the broker's own epoch; verdicts are those of UpdatePartitions.
func (s *Store) Resign(ctx context.Context, broker int32, brokerEpoch int64, known []*PartitionState) map[topic.Partition]PartitionVerdict {
	txns := make([]Txn, len(known))
	for i, p := range known {
		next, ok := p.Resigned(broker)
		if !ok {
			panic("metadata: a broker resigns that has no part in " + p.Partition.String())
		}
		key, self := s.keys.Partition(p.Partition), s.keys.Broker(broker)
		txns[i] = Txn{
			If: []Cmp{ModIs(key, p.Rev), CreatedAt(self, brokerEpoch)}, Then: []Op{Put(key, encodePartition(&next))}, Else: []string{key, self},
		}
	}
	verdicts := make(map[topic.Partition]PartitionVerdict, len(known))
	for i, v := range s.updatePartitions(ctx, brokerEpoch, txns) {
		verdicts[known[i].Partition] = v
	}
	return verdicts
}
