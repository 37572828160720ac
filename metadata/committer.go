package metadata

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Limits of one transaction of a Committer.
const (
	commitOps    = 100 // writes from several commits; a larger commit goes alone
	commitShards = 32  // with two guards each
	// commitsInFlight is how many transactions run at once. One shard is in one of them at most, so that
	// its writes apply in order.
	commitsInFlight = 2
	// busyBytes a second is where writing begins to cost etcd its history budget; batches then wait for
	// company as long as they may.
	busyBytes = 10 << 20
)

// MaxCommitOps bounds the edits of one Shard.Commit; their keys and values are bounded by MaxTxnBytes.
const MaxCommitOps = 1024

// Edit is one change of a shard's state. Keys are relative to the shard; build them with ShardKey.
type Edit struct {
	Key    string
	Value  []byte // must not be changed until the commit's done
	Delete bool
}

// ShardEntry is one key of a shard's state as loaded.
type ShardEntry struct {
	Key   string // relative to the shard, as in Edit
	Value []byte
}

// CommitterOptions configures a Committer.
type CommitterOptions struct {
	Linger    time.Duration // how long a batch waits for company; default 5 ms
	MaxLinger time.Duration // to which Linger grows while the key space is slow; default 50 ms
	// Timeout bounds how long a commit waits for its outcome, a quarter more if it is sent at the last moment, once those of
	// its shard before it have theirs; default 5 s.
	Timeout    time.Duration
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (o *CommitterOptions) ensureDefaults() {
	if o.Linger == 0 {
		o.Linger = 5 * time.Millisecond
	}
	if o.MaxLinger == 0 {
		o.MaxLinger = 50 * time.Millisecond
	}
	o.MaxLinger = max(o.MaxLinger, o.Linger)
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Committer writes the state of all coordinator shards a broker owns, in shared batches: about 100 writes
// and at most 1 MiB a transaction and two transactions in flight, each guarded by the ownership of every shard
// in it. Safe for concurrent use.
//
// A shard's writes are guarded by two keys: its co record, which the controller writes when the owner changes,
// and its fence, which the owner itself writes after a write whose outcome it does not know, so that this
// write cannot be applied after the shard has been read again.
type Committer struct {
	store   *Store
	opts    CommitterOptions
	metrics *committerMetrics
	ctx     context.Context // of transactions; ends only when Close has waited for them
	cancel  context.CancelFunc
	running sync.WaitGroup
	wake    chan struct{} // capacity 1: the dispatcher has something to look at

	mu struct {
		sync.Mutex
		closed   bool
		slots    map[slotKey]*slot
		ready    []*slot // with commits queued, none in flight, oldest first
		inFlight int
		pace     pace
	}
}

type slotKey struct {
	kind  ShardKind
	shard int32
}

// slot is what a Committer remembers of a shard for as long as it lives. Guarded by Committer.mu.
type slot struct {
	key   slotKey
	open  *Shard // nil: nobody may write
	queue []*commit
	since time.Time // when it was made ready last
	// busy is non-nil while a transaction with writes of this shard runs, and is closed after it.
	busy   chan struct{}
	unsure bool // a write of ours may be applied at any later time, until the fence has moved
}

type commit struct {
	edits []Edit
	bytes int
	done  func(error)
	since time.Time
}

// Shard is a coordinator shard open for writing. It is good until its first failure.
type Shard struct {
	c      *Committer
	slot   *slot
	guards [2]Cmp // of its co record and its fence
	root   string // of its keys
	err    error  // why it is over; guarded by Committer.mu
}

// NewCommitter returns a committer that writes through s's key space.
func (s *Store) NewCommitter(opts CommitterOptions) *Committer {
	opts.ensureDefaults()
	c := &Committer{store: s, opts: opts, metrics: newCommitterMetrics(opts.Registerer), wake: make(chan struct{}, 1)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.mu.slots = make(map[slotKey]*slot)
	c.mu.pace = pace{min: opts.Linger, max: opts.MaxLinger}
	c.running.Go(c.dispatch)
	return c
}

// Commit queues edits, which are applied together or not at all and in the order of calls. done is called
// exactly once, from another goroutine and without blocking it, with nil when they are committed.
//
// ErrTooLarge, and ErrInvalidTxn for an empty key, fail that commit alone. Any other failure ends the Shard,
// because its owner's state has run ahead of what is stored: everything queued and every later commit fails
// the same way, and the owner opens the shard again. The failures are ErrFenced (somebody else owns the
// shard), ErrUnknown (the edits may be applied), ErrUnavailable, ErrNoSpace and ErrRefused (nothing was
// written), and ErrClosed.
func (sh *Shard) Commit(edits []Edit, done func(error)) {
	cm := &commit{edits: edits, done: done, since: time.Now()}
	for _, e := range edits {
		if e.Key == "" {
			go done(fmt.Errorf("edit of an empty key: %w", ErrInvalidTxn))
			return
		}
		cm.bytes += len(sh.root) + len(e.Key) + len(e.Value)
	}
	if len(edits) > MaxCommitOps || cm.bytes > MaxTxnBytes {
		go done(fmt.Errorf("commit of %d edits and %d bytes: %w", len(edits), cm.bytes, ErrTooLarge))
		return
	}
	c, sl := sh.c, sh.slot
	c.mu.Lock()
	defer c.mu.Unlock()
	if sh.err != nil {
		go done(sh.err)
		return
	}
	sl.queue = append(sl.queue, cm)
	if len(sl.queue) == 1 && sl.busy == nil {
		c.enqueue(sl)
	}
}

// enqueue makes a slot with queued commits ready for the dispatcher. Committer.mu is held.
func (c *Committer) enqueue(sl *slot) {
	sl.since = time.Now()
	c.mu.ready = append(c.mu.ready, sl)
	c.poke()
}

func (c *Committer) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Close forgets the shard: what is queued fails with ErrClosed. It does not wait for what is in flight.
func (sh *Shard) Close() {
	sh.c.mu.Lock()
	defer sh.c.mu.Unlock()
	if sh.slot.open == sh {
		sh.c.end(sh.slot, ErrClosed)
	}
}

// end closes the slot's shard with err and fails what is queued. Committer.mu is held.
func (c *Committer) end(sl *slot, err error) {
	if sl.open == nil {
		return
	}
	sl.open.err = err
	sl.open = nil
	if len(sl.queue) == 0 {
		return
	}
	go finish(sl.queue, err)
	sl.queue = nil
	c.mu.ready = slices.DeleteFunc(c.mu.ready, func(r *slot) bool { return r == sl })
}

func finish(commits []*commit, err error) {
	for _, cm := range commits {
		cm.done(err)
	}
}

// Close fails what is queued with ErrClosed, waits for what is in flight and returns.
func (c *Committer) Close() error {
	c.mu.Lock()
	c.mu.closed = true
	for _, sl := range c.mu.slots {
		c.end(sl, ErrClosed)
	}
	c.mu.Unlock()
	c.poke()
	c.running.Wait()
	c.cancel()
	return nil
}
