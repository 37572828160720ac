package sim

import (
	"context"
	"fmt"

	"firn/broker/brokertest/history"
	"firn/broker/brokertest/history/drive"
	"firn/metadata"
	"firn/tiering"
)

// observeTier notes in a driver's history every entry of its topic's manifests.
func (s *sim) observeTier(ctx context.Context, d *drive.Driver, name string) error {
	archives := tiering.NewArchives(tiering.ArchiveOptions{
		Bucket: s.bucket, Anchor: s.store.TierHeads(0, func() int64 { return 0 }), Cluster: s.store.Image().Cluster().ID,
	})
	defer archives.Close()
	n := d.Recorder().Invoke(history.Op{Process: d.Process(), Func: history.Tier})
	seen := history.Op{Outcome: history.OK}
	for p := range s.partitionsOf(name) {
		view, err := archives.Archive(p.Partition, p.LeaderEpoch).View(ctx)
		if err != nil {
			return fmt.Errorf("manifest of %s-%d: %w", name, p.Partition.Index, err)
		}
		for _, e := range view.Oldest { // all there are: so few are in no page
			seen.Spans = append(seen.Spans, history.Span{Key: history.Key(p.Partition.Index), Start: e.Base, End: e.Next()})
		}
		seen.Positions = append(seen.Positions, history.Position{Key: history.Key(p.Partition.Index), Offset: view.Head.TierEnd})
	}
	d.Recorder().Complete(n, seen)
	s.log("%s has %d segments in the tier", name, len(seen.Spans))
	return nil
}

// partitionsOf are a topic's partitions as the key space has them.
func (s *sim) partitionsOf(name string) func(yield func(*metadata.PartitionState) bool) {
	return partitionsIn(s.store.Image(), name)
}

func partitionsIn(im *metadata.Image, name string) func(yield func(*metadata.PartitionState) bool) {
	return func(yield func(*metadata.PartitionState) bool) {
		t, ok := im.Topic(name)
		if !ok {
			return
		}
		for p := range im.Partitions() {
			if p.Partition.ID == t.ID && !yield(p) {
				return
			}
		}
	}
}
