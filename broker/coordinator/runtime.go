package coordinator

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"firn/metadata"
)

var (
	// ErrNotCoordinator says that another broker owns the shard, or nobody does.
	ErrNotCoordinator = errors.New("coordinator: shard is not ours")
	// ErrLoading says that the shard's state is being read; ask again.
	ErrLoading = errors.New("coordinator: shard is loading")
	// ErrUnavailable says that the store could not take the command's writes, or may have; ask again.
	ErrUnavailable = errors.New("coordinator: store unavailable")
	// ErrBusy says that more commands wait for the shard than it may hold; ask again.
	ErrBusy = errors.New("coordinator: too many commands waiting")
	// ErrTooLarge says that what the command would write is more than the store takes at once.
	ErrTooLarge = errors.New("coordinator: write too large")
)

// maxWaiting bounds the commands that wait for one shard's loop, and apart from that those whose answers
// wait there for a write.
const maxWaiting = 4096

// Store is what a Runtime needs of the metadata store; *metadata.Committer is one.
type Store interface {
	Open(ctx context.Context, kind metadata.ShardKind, shard int32, own metadata.ShardOwner) (*metadata.Shard, []metadata.ShardEntry, error)
}

// Lease is this broker's registration; *metadata.Lease is one.
type Lease interface {
	// Holds says whether the registration of that broker epoch surely stands.
	Holds(epoch int64) bool
}

// Options configures a Runtime of machines of type M.
type Options[M Machine] struct {
	Kind   metadata.ShardKind
	Broker int32 // node.id
	New    func() M
	Store  Store
	Lease  Lease // nil if this broker is the only one there will ever be
	// RetryMin and RetryMax bound the pause between attempts to load a shard; 100 ms and 2 s if 0.
	RetryMin, RetryMax time.Duration
	Logger             *slog.Logger
	Registerer         prometheus.Registerer
}

// Runtime owns the shards of one kind that this broker coordinates. Safe for concurrent use.
type Runtime[M Machine] struct {
	opts   Options[M]
	met    *metrics
	ctx    context.Context
	stop   context.CancelFunc
	loops  sync.WaitGroup
	mu     sync.RWMutex
	shards map[int32]*shard[M]
	ends   map[int32]<-chan struct{} // closed when the newest loop of a shard, present or past, has ended
}

// NewRuntime returns a runtime that owns nothing yet; see Own.
func NewRuntime[M Machine](opts Options[M]) *Runtime[M] {
	if opts.RetryMin == 0 {
		opts.RetryMin = 100 * time.Millisecond
	}
	if opts.RetryMax == 0 {
		opts.RetryMax = 2 * time.Second
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Runtime[M]{opts: opts, met: newMetrics(opts.Registerer, opts.Kind), ctx: ctx, stop: stop, shards: map[int32]*shard[M]{}, ends: map[int32]<-chan struct{}{}}
}

// ShardOf is the shard that id belongs to, among n.
func ShardOf(id string, n int32) int32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return int32(h.Sum32() % uint32(n))
}

// Own takes over, keeps or gives up a shard, as the owner record says. A record that names this broker in
// an earlier life is not ours: the controller writes a new one.
func (r *Runtime[M]) Own(shard int32, own metadata.ShardOwner, brokerEpoch int64) {
	mine := own.Broker == r.opts.Broker && own.BrokerEpoch == brokerEpoch && own.Rev != 0
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return
	}
	old := r.shards[shard]
	if old != nil && mine && old.own.Rev == own.Rev {
		return
	}
	if old != nil {
		old.stop()
		delete(r.shards, shard)
		r.met.owned.Dec()
	}
	if !mine {
		return
	}
	s := newShard(r, shard, own, r.ends[shard])
	r.shards[shard], r.ends[shard] = s, s.ended
	r.met.owned.Inc()
	r.loops.Add(1)
	go func() {
		defer r.loops.Done()
		s.run()
	}()
}

// AwaitEnd returns when a shard that this broker does not own any more has given its last answer.
func (r *Runtime[M]) AwaitEnd(shard int32) {
	r.mu.RLock()
	ended := r.ends[shard]
	r.mu.RUnlock()
	if ended != nil {
		<-ended
	}
}

// Do runs fn on the shard's machine, in its loop. If it cannot, refuse is called instead, with the
// reason, perhaps before Do returns.
func (r *Runtime[M]) Do(shard int32, fn func(m M, now time.Time) Result, refuse func(error)) {
	r.do(shard, command[M]{fn: fn, refuse: refuse})
}

// DoInMemory is Do for commands whose answers need no store: they are also run while the shard cannot
// be sure of its own writes.
func (r *Runtime[M]) DoInMemory(shard int32, fn func(m M, now time.Time) Result, refuse func(error)) {
	r.do(shard, command[M]{fn: fn, refuse: refuse, inMemory: true})
}

func (r *Runtime[M]) do(shard int32, c command[M]) {
	r.mu.RLock()
	s := r.shards[shard]
	r.mu.RUnlock()
	if s == nil {
		r.met.refused.Inc()
		c.refuse(ErrNotCoordinator)
		return
	}
	s.waiting.submit(c)
}

// Serves reports whether the owner that a shard's record names may be asked: false if that is this broker and it does not
// own the shard.
func (r *Runtime[M]) Serves(shard int32, own metadata.ShardOwner) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return own.Broker != r.opts.Broker || r.shards[shard] != nil
}

// Owned lists the shards this broker owns at the moment, in no order.
func (r *Runtime[M]) Owned() []int32 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	list := make([]int32, 0, len(r.shards))
	for n := range r.shards {
		list = append(list, n)
	}
	return list
}

// Close gives up all shards, refusing what waits, and returns when their loops have ended.
func (r *Runtime[M]) Close() {
	r.stop()
	r.mu.Lock()
	for n, s := range r.shards {
		s.stop()
		delete(r.shards, n)
		r.met.owned.Dec()
	}
	r.mu.Unlock()
	r.loops.Wait()
}
