package broker

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"firn/broker/partition"
	"firn/metadata"
)

// disownTimeout bounds one attempt to give a damaged replica up.
const disownTimeout = 10 * time.Second

// setAside has a replica whose log is damaged begin anew, from the tier and the leader, if others have all that is
// committed. It reports whether the replica is left alone until then; else it goes on with what is good of its log, for
// nobody else could take its part. In this order:
//
//  1. The partition's record does not count on this replica any more, and its leader epoch has risen: what the replica
//     has said before, of what it no longer has, cannot make it in sync again.
//  2. The image has that, so that nothing here acts on an older one.
//  3. The damaged log is put away. It is kept for people.
//  4. The partition is opened anew, empty, and follows.
//
// A crash before 3 leaves the damage to be found again; after it, an empty log that nobody counts on.
func (a *applier) setAside(ctx context.Context, im *metadata.Image, ps *metadata.PartitionState, r *partition.Replica, log *slog.Logger) bool {
	tp, self := r.Partition(), a.b.cfg.NodeID
	next, ok := ps.Disowned(self)
	serves := r.Err() == nil && ps.Leader == self
	heard := func(id int32, brokerEpoch int64) bool { return !serves || r.Heard(id, brokerEpoch) }
	if !ok || r.Disk().Offline() != nil || !hasHeir(im, &next, heard) {
		return false
	}
	try, cancel := context.WithTimeout(ctx, disownTimeout)
	defer cancel()
	v := a.b.store.Disown(try, self, a.b.lease.Epoch(), ps)
	if errors.Is(v.Err, metadata.ErrConflict) || errors.Is(v.Err, metadata.ErrFenced) {
		return true // the image is about to show something newer, and that is looked at
	}
	err := v.Err
	if err == nil {
		_, err = a.b.store.WaitRev(try, v.Rev)
	}
	if err == nil {
		a.b.fetchers.Forget(tp)
		a.archive(r, ps.LeaderEpoch, nil)
		err = a.b.set.SetAside(tp)
	}
	if err != nil {
		log.Warn("a damaged log is not set aside yet", "error", err)
		a.rec.markAfter(tp, reconcileRetry)
		return true
	}
	log.Error("a damaged log was set aside, and is fetched anew from others", "damage", r.Damage(), "dir", r.Disk().Dir())
	a.rec.mark(tp)
	return true
}

// hasHeir reports whether a broker could lead a partition cleanly now: it is alive, its registration is complete, and there is nothing
// that its disks may lack. What they lack it may have told in this life, and the controller not have acted on yet. A leader that still
// serves what is good goes on until it has heard the heir in that life: one that has just come may take long to open its log, or fail.
func hasHeir(im *metadata.Image, ps *metadata.PartitionState, heard func(id int32, brokerEpoch int64) bool) bool {
	return slices.ContainsFunc(slices.Concat(ps.ISR, ps.ELR), func(id int32) bool {
		b, alive := im.Broker(id)
		n, known := im.Node(id)
		return alive && known && n.LastEpoch == b.Epoch && n.Loss == metadata.LossNone && heard(id, b.Epoch)
	})
}
