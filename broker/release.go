package broker

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"time"

	"firn/broker/partition"
	"firn/metadata"
	"firn/metadata/topic"
	"firn/segment"
)

const (
	// releaseRetry is the pause before a deleted topic is looked at again that could not be deleted or confirmed.
	releaseRetry = 5 * time.Second
	// releaseTimeout bounds one attempt to confirm.
	releaseTimeout = 10 * time.Second
)

// release confirms that this broker holds nothing of a deleted topic any more. In this order:
//
//  1. Every partition of the topic has been brought in line with metadata that says that it is deleted: none is opened
//     again.
//  2. No disk has a directory of it. Removing one is durable when it returns.
//  3. The topic's record says that this broker is done with it.
//
// A crash in between begins anew, with less to do. Only when all brokers are done, or have left for good, the record goes;
// without it a copy would be kept for ever.
func (a *applier) release(ctx context.Context, id topic.ID) {
	self := a.b.cfg.NodeID
	t, ok := a.b.store.Image().TopicByID(id)
	if !ok || t.Live() || slices.Contains(t.Released, self) {
		return
	}
	for i := range t.Partitions {
		if a.rec.busy(topic.Partition{ID: id, Index: i}) {
			a.releases.markAfter(id, releaseRetry) // who evicts it calls again, but may have done so a moment ago
			return
		}
	}
	left, err := a.stored(id)
	switch {
	case err != nil:
	case len(left) > 0:
		for _, tp := range left {
			a.rec.mark(tp)
		}
	default:
		try, cancel := context.WithTimeout(ctx, releaseTimeout)
		defer cancel()
		if err = a.b.store.ReleaseTopic(try, t, self, a.b.lease.Epoch()); err == nil {
			return
		}
	}
	if errors.Is(err, segment.ErrOffline) || errors.Is(err, metadata.ErrFenced) || ctx.Err() != nil {
		return // the next life of the disk, or the next epoch, looks at everything again
	}
	if err != nil {
		a.log.Warn("deletion of a topic is not confirmed yet", "topic", t.Name, "topic_id", id, "error", err)
	}
	a.releases.markAfter(id, releaseRetry)
}

// stored lists the partitions of a topic that have data on this broker's disks. A disk that has failed may have any.
func (a *applier) stored(id topic.ID) ([]topic.Partition, error) {
	var list []topic.Partition
	for _, d := range a.b.disks {
		if err := d.Offline(); err != nil {
			return nil, err
		}
		refs, err := d.Partitions()
		if err != nil {
			return nil, err
		}
		for _, ref := range refs {
			if ref.ID == id {
				list = append(list, topic.Partition{ID: ref.ID, Index: ref.Index})
			}
		}
	}
	return list, nil
}

// epochGap is how far beyond the leader epochs that a replica knows of a restored record is raised: other replicas may have been in
// later ones, and if one were given twice the two would pass for the same, though their records differ.
const epochGap = 1 << 16

// wentBack reports whether a partition's record is behind what its replica has been told before, or has in its log, as after etcd was
// restored from a backup: leader epochs that have been are given again then, or refused. The record is raised beyond them, for which
// the replica waits.
func (a *applier) wentBack(ctx context.Context, ps *metadata.PartitionState, r *partition.Replica, log *slog.Logger) bool {
	told, leader, _ := r.LeaderEpoch()
	has := max(told, r.Log().LastEpoch())
	given := ps.LeaderEpoch < has || ps.LeaderEpoch == told && leader >= 0 && ps.Leader >= 0 && leader != ps.Leader // to another
	if !given || has > math.MaxInt32-epochGap {
		return false
	}
	log.Error("the record of a partition is older than its replica, as if etcd was restored from a backup; its leader epoch is raised",
		"record", ps.LeaderEpoch, "replica", has)
	try, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	v := a.b.store.RaiseEpoch(try, a.b.cfg.NodeID, a.b.lease.Epoch(), ps, has+epochGap)
	if v.Err == nil || errors.Is(v.Err, metadata.ErrConflict) || errors.Is(v.Err, metadata.ErrFenced) {
		return true // the image is about to show something newer, and that is looked at
	}
	log.Warn("the leader epoch is not raised yet", "error", v.Err)
	a.later(r.Partition())
	return true
}

// moved reports whether a partition's record, which does not name this broker, is younger than the one that its replica follows:
// whoever stops being a replica does so under a new leader epoch. One that is far beyond may be an old one that another replica,
// which need not know of the newest epochs, has raised.
func moved(r *partition.Replica, ps *metadata.PartitionState) bool {
	epoch, _, _ := r.LeaderEpoch()
	return ps.LeaderEpoch > epoch && ps.LeaderEpoch-epoch < epochGap/2
}

// reportStrays names the partitions on disk that the metadata knows nothing of, or has given to other brokers while this one was
// away. They are kept, but nobody relies on them.
func (a *applier) reportStrays() {
	im := a.b.store.Image()
	for _, d := range a.b.disks {
		refs, err := d.Partitions()
		if err != nil {
			a.log.Warn("list partitions", "dir", d.Dir(), "error", err)
			continue
		}
		for _, ref := range refs {
			t, known := im.TopicByID(ref.ID)
			ps, placed := im.Partition(topic.Partition{ID: ref.ID, Index: ref.Index})
			switch {
			case !known:
				a.log.Warn("log directory holds a partition of a topic that the cluster does not know; it is kept",
					"dir", d.Dir(), "topic_id", topic.ID(ref.ID), "partition", ref.Index)
			case placed && !slices.Contains(ps.Replicas, a.b.cfg.NodeID):
				a.log.Warn("log directory holds a replica that was moved to other brokers; it is kept",
					"dir", d.Dir(), "topic", t.Name, "topic_id", t.ID, "partition", ref.Index, "replicas", ps.Replicas)
			case !placed && t.Live():
				a.log.Warn("log directory holds a partition that its topic does not have; it is kept",
					"dir", d.Dir(), "topic", t.Name, "topic_id", t.ID, "partition", ref.Index, "partitions", t.Partitions)
			default:
				continue
			}
			d.Forgo(ref)
		}
	}
}
