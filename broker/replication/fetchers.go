package replication

import (
	"context"
	"hash/fnv"
	"sync"
	"sync/atomic"

	"firn/broker/partition"
	"firn/metadata/topic"
)

// startingAnew bounds how many replicas begin their logs anew at a time: each reads a footer from the tier.
const startingAnew = 4

// cuttingAtOnce bounds how many replicas cut their logs at a time: about as many as a disk syncs at once.
const cuttingAtOnce = 16

// anewLogGap is in seconds: without the tier all of them fail, over and over.
const anewLogGap = 10

// Fetchers fetch for all replicas of this broker that follow somebody. Safe for concurrent use.
type Fetchers struct {
	opts    Options
	met     *metrics
	ctx     context.Context //nolint:containedctx // the life of the goroutines it owns
	cancel  context.CancelFunc
	group   sync.WaitGroup
	anew    chan struct{} // slots for StartAnew
	cutting chan struct{} // slots for Truncate
	warned  atomic.Int64  // when a failed one was last logged, Unix seconds

	mu struct {
		sync.Mutex
		fetchers map[place]*fetcher
		places   map[topic.Partition]place
		closed   bool
	}
}

// place names a fetcher.
type place struct {
	leader int32
	shard  int
}

// New returns Fetchers that fetch for nobody yet.
func New(o Options) (*Fetchers, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	f := &Fetchers{opts: o, anew: make(chan struct{}, startingAnew), cutting: make(chan struct{}, cuttingAtOnce)}
	f.met = newMetrics(o.Registerer, f)
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.mu.fetchers, f.mu.places = map[place]*fetcher{}, map[topic.Partition]place{}
	return f, nil
}

// Follow has the records of r fetched from whom it follows by now. It is called after every change of that, and may be
// called without one.
func (f *Fetchers) Follow(r *partition.Replica) {
	at, follows := r.Place()
	if !follows || at.Leader == f.opts.BrokerID {
		f.Forget(r.Partition())
		return
	}
	tp := r.Partition()
	to := place{at.Leader, shardOf(tp, f.opts.Fetchers)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.closed {
		return
	}
	if old, ok := f.mu.places[tp]; ok && old != to {
		f.removeLocked(tp, old)
	}
	ft := f.mu.fetchers[to]
	if ft == nil {
		ft = newFetcher(f, at.Leader)
		f.mu.fetchers[to] = ft
		f.group.Go(ft.run)
	}
	f.mu.places[tp] = to
	ft.add(r)
}

// Forget ends fetching for tp.
func (f *Fetchers) Forget(tp topic.Partition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at, ok := f.mu.places[tp]; ok {
		f.removeLocked(tp, at)
	}
}

// removeLocked takes tp away from its fetcher, which ends with its last partition.
func (f *Fetchers) removeLocked(tp topic.Partition, at place) {
	delete(f.mu.places, tp)
	ft := f.mu.fetchers[at]
	if ft.remove(tp) == 0 {
		delete(f.mu.fetchers, at)
		ft.cancel()
	}
}

// Close ends all fetching and waits for it.
func (f *Fetchers) Close() error {
	f.mu.Lock()
	f.mu.closed = true
	f.mu.Unlock()
	f.cancel()
	f.group.Wait()
	return nil
}

func shardOf(tp topic.Partition, shards int) int {
	h := fnv.New32a()
	_, _ = h.Write(tp.ID[:])
	return int((h.Sum32() + uint32(tp.Index)) % uint32(shards))
}
