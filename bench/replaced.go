package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	// paperSegment is what segments have on paper; those that are made for real are as small as paperScale makes them.
	paperSegment = 128 << 20
	paperScale   = 2048
)

// replaced takes a broker's disk away, which has a replica of a topic with long history in the tier, and measures what is
// copied until the broker is in sync again.
func (s *Suite) replaced(ctx context.Context) (*Section, error) {
	n := s.Cluster.TierSegments
	perPartition := n / producePartitions
	const segmentBytes = paperSegment / paperScale
	sec := &Section{
		Name: "a broker with an empty disk takes its place",
		Setting: fmt.Sprintf("flush: %s; RF 3, %d partitions with %d archived segments each: as many as %s GiB have in segments of %d MiB, here of %d KiB",
			Durable, producePartitions, perPartition, number(float64(n)*paperSegment/gib), paperSegment/mib, segmentBytes>>10),
	}
	values, err := s.values(Random)
	if err != nil {
		return nil, err
	}
	bucket := filepath.Join(s.Dir, "replaced-bucket")
	if err := os.MkdirAll(bucket, 0o755); err != nil {
		return nil, err
	}
	err = s.onTrio(ctx, "replaced", func(t *trio) error {
		const topic = "replaced"
		if err := t.createPlaced(ctx, topic, ledByAll(producePartitions), Durable, map[string]string{
			"segment.bytes": fmt.Sprint(segmentBytes), "local.retention.ms": "100",
		}); err != nil {
			return err
		}
		// Half a segment more than are to be archived is the tail.
		fill := &Produce{Cluster: t.cluster, Topic: topic, Values: values, Sending: Sending{BatchBytes: 4 << 10}, Bytes: int64(n)*segmentBytes + producePartitions*segmentBytes/2}
		if _, err := fill.Run(ctx); err != nil {
			return err
		}
		before, err := t.awaitArchived(ctx, topic)
		if err != nil {
			return err
		}
		segments, tail := int64(0), int64(0)
		for _, p := range before {
			segments, tail = segments+p.TieredSegments, tail+p.LagBytes
		}
		b := t.brokers[trioSize-1]
		b.kill()
		if err := os.RemoveAll(b.dir); err != nil {
			return err
		}
		if err := b.again(ctx); err != nil {
			return err
		}
		if err := t.awaitInSync(ctx, topic, producePartitions, trioSize); err != nil {
			return err
		}
		sec.figure("in sync after", "s").add(time.Since(b.began).Seconds())
		copied, err := b.metric(ctx, "firn_replication_fetch_bytes_total")
		if err != nil {
			return err
		}
		sec.figure("archived segments", "").add(float64(segments))
		sec.figure("archived on paper", "GiB").add(float64(segments) * paperSegment / gib)
		sec.figure("not archived", "bytes").add(float64(tail))
		sec.figure("copied", "bytes").add(copied)
		sec.check("copied / not archived", "", []float64{copied / float64(tail)}, limitCopied, true)
		return nil
	}, "tier.url=file://"+bucket, "log.retention.check.interval.ms=200")
	if err != nil {
		return nil, err
	}
	return sec, os.RemoveAll(bucket)
}

// awaitArchived waits until all sealed segments of a topic are in the tier and gone from the leaders' disks, and returns
// what the leaders say of the partitions.
func (t *trio) awaitArchived(ctx context.Context, topic string) ([]tierOf, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	var led []tierOf
	err := poll(ctx, 200*time.Millisecond, "the archive of "+topic, func() (bool, error) {
		led = led[:0]
		for i, b := range t.brokers {
			list, err := b.tiers(ctx, topic)
			if err != nil {
				return false, err
			}
			for _, p := range list {
				if p.Leader == int32(i+1) {
					led = append(led, p)
				}
			}
		}
		for _, p := range led {
			if p.LocalStart != p.TieredEnd || p.LocalBytes != p.LagBytes {
				return false, fmt.Errorf("partition %d: local from %d, archived to %d", p.Partition, p.LocalStart, p.TieredEnd)
			}
		}
		return len(led) == producePartitions, nil
	})
	return led, err
}
