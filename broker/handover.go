package broker

import (
	"context"
	"slices"
	"time"

	"firn/metadata"
)

// deregister gives the registration up, so that nobody need wait for its lease to end. It may be done twice.
func (b *Broker) deregister(ctx context.Context) {
	b.leaving.Store(true)
	// Without etcd this is not to be had: then the lease ends by itself.
	ctx, cancel := context.WithTimeout(ctx, deregisterTimeout)
	defer cancel()
	var err error
	for range deregisterTries { // the member of etcd that was asked may stop, too, together with its host
		if err = b.lease.Deregister(ctx); err == nil || !pause(ctx, deregisterRetry) {
			break
		}
	}
	if err != nil {
		b.log.Warn("deregister", "error", err)
	}
}

// handOver has others lead what this broker leads, and coordinate its groups, before it stops to serve: clients are told at
// once where to go, and what is not acknowledged yet goes there. Without other brokers there is nobody to hand over to, and it
// goes on to the end of what it has begun.
func (b *Broker) handOver(ctx context.Context) {
	if !b.hasOthers() {
		return
	}
	epoch := b.lease.Epoch()
	led := b.leadsAnything(epoch)
	b.deregister(ctx)
	ctx, cancel := context.WithTimeout(ctx, handOverTimeout)
	defer cancel()
	changed := make(chan struct{}, 1)
	stop := b.store.Subscribe(func(_, _ *metadata.Image) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	defer stop()
	for b.hasOthers() && b.leadsAnything(epoch) {
		select {
		case <-changed:
		case <-ctx.Done():
			b.log.Warn("others have not taken over everything in time")
			return
		}
	}
	select {
	case <-b.applier.rec.settled():
	case <-ctx.Done(): // some logs are still being opened, perhaps: whoever starts again goes on with that
	}
	if led {
		pause(ctx, tellingTime)
	}
}

// tellingTime is how long a broker that has handed over what it led goes on to answer: a client that asks meanwhile is told
// by it who does now. One that finds the connection closed has to ask for that, which some do only every few seconds.
const tellingTime = 500 * time.Millisecond

// hasOthers reports whether another broker is registered.
func (b *Broker) hasOthers() bool {
	return slices.ContainsFunc(b.store.Image().Brokers(), func(o *metadata.Broker) bool { return o.ID != b.cfg.NodeID })
}

// leadsAnything reports whether the metadata still names this broker as a leader, or as the coordinator of groups.
func (b *Broker) leadsAnything(epoch int64) bool {
	im, self := b.store.Image(), b.cfg.NodeID
	for n := range im.Shards(metadata.GroupShard) {
		if own := im.ShardOwner(metadata.GroupShard, n); own.Broker == self && own.BrokerEpoch == epoch {
			return true
		}
	}
	for p := range im.Partitions() {
		if p.Leader == self && p.LeaderBrokerEpoch == epoch {
			return true
		}
	}
	return false
}
