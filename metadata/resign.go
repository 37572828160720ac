package metadata

import (
	"context"
	"slices"

	"firn/metadata/topic"
)

// Resigned is a partition's state without a broker that cannot serve its replica: it neither leads nor is in sync nor
// eligible, and if nobody leads then it is not to be elected in this life. False if it is none of these, or the last one that
// could lead cleanly: then nobody gains by it.
func (p *PartitionState) Resigned(broker int32, brokerEpoch int64) (PartitionState, bool) {
	next, ok := p.without(broker)
	if !ok || len(next.ISR) == len(p.ISR) && len(next.ELR) == len(p.ELR) && p.Leader != broker {
		return *p, false
	}
	if next.Leader < 0 {
		next.LeaderBrokerEpoch = brokerEpoch
	}
	if p.Leader == broker {
		next.LeaderEpoch++
	}
	return next, true
}

// Yielded is a partition's state without a leader, which is a broker that cannot serve its replica though it is the last one that
// could lead cleanly: an unclean election may follow. It stays in sync, and its registration in the record says that it is not to
// be elected in this life. False if it does not lead in this one.
func (p *PartitionState) Yielded(broker int32, brokerEpoch int64) (PartitionState, bool) {
	next := *p
	if p.Leader != broker || p.LeaderBrokerEpoch != brokerEpoch {
		return next, false
	}
	next.Leader = -1
	next.LeaderEpoch++
	return next, true
}

// Disowned is a partition's state without a broker that is about to throw the log of its replica away. The leader epoch
// rises in any case: nothing that the replica has said before, be it in a fetch that is still on its way, makes it in
// sync again. False if the broker is the last one that could lead cleanly.
func (p *PartitionState) Disowned(broker int32) (PartitionState, bool) {
	next, ok := p.without(broker)
	if !ok {
		return *p, false
	}
	next.LeaderEpoch++
	return next, true
}

// without is the state without a broker, under the same leader epoch; false if nobody else could lead cleanly.
func (p *PartitionState) without(broker int32) (PartitionState, bool) {
	next := *p
	is := func(id int32) bool { return id == broker }
	next.ISR = slices.DeleteFunc(slices.Clone(p.ISR), is)
	next.ELR = slices.DeleteFunc(slices.Clone(p.ELR), is)
	if p.Leader == broker {
		next.Leader, next.LeaderBrokerEpoch = -1, 0
	}
	return next, len(next.ISR)+len(next.ELR) > 0
}

// Resign writes that a broker has no part any more in partitions that it cannot serve, of which the next states are Resigned or
// Yielded ones, in few round trips. The guards are each partition's revision and the broker's own epoch; verdicts are those of
// UpdatePartitions.
func (s *Store) Resign(ctx context.Context, broker int32, brokerEpoch int64, updates []PartitionUpdate) map[topic.Partition]PartitionVerdict {
	txns := make([]Txn, len(updates))
	for i, u := range updates {
		txns[i] = s.replace(broker, brokerEpoch, u.Known, &u.Next)
	}
	verdicts := make(map[topic.Partition]PartitionVerdict, len(updates))
	for i, v := range s.updatePartitions(ctx, brokerEpoch, txns) {
		verdicts[updates[i].Known.Partition] = v
	}
	return verdicts
}

// Disown makes a partition's state the Disowned one, which there must be. Once the verdict's Err is nil, and the image has
// its Rev, the broker may throw its log away. Guards and verdicts are those of Resign.
func (s *Store) Disown(ctx context.Context, broker int32, brokerEpoch int64, known *PartitionState) PartitionVerdict {
	next, ok := known.Disowned(broker)
	if !ok {
		panic("metadata: the last one that could lead disowns " + known.Partition.String())
	}
	return s.updatePartitions(ctx, brokerEpoch, []Txn{s.replace(broker, brokerEpoch, known, &next)})[0]
}

// RaiseEpoch writes a partition's state under a later leader epoch, as a broker whose replica knows that the one on record has been
// given before. Guards and verdicts are those of Resign.
func (s *Store) RaiseEpoch(ctx context.Context, broker int32, brokerEpoch int64, known *PartitionState, leaderEpoch int32) PartitionVerdict {
	next := *known
	next.LeaderEpoch = leaderEpoch
	return s.updatePartitions(ctx, brokerEpoch, []Txn{s.replace(broker, brokerEpoch, known, &next)})[0]
}

// replace is the transaction by which a broker writes the next state of a partition that it has a replica of.
func (s *Store) replace(broker int32, brokerEpoch int64, known, next *PartitionState) Txn {
	key, self := s.keys.Partition(known.Partition), s.keys.Broker(broker)
	return Txn{
		If: []Cmp{ModIs(key, known.Rev), CreatedAt(self, brokerEpoch)}, Then: []Op{Put(key, encodePartition(next))}, Else: []string{key, self},
	}
}
