package replication

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"firn/broker/partition"
	"firn/metadata/topic"
)

// fetcher fetches from one leader for some of the partitions that it leads.
type fetcher struct {
	all    *Fetchers
	leader int32
	log    *slog.Logger
	ctx    context.Context //nolint:containedctx // the life of its goroutine
	cancel context.CancelFunc
	wake   chan struct{} // something was marked
	heard  atomic.Int64  // when the leader last answered, Unix nanoseconds

	mu struct {
		sync.Mutex
		follows map[topic.Partition]*follow
		marked  []*follow // to be looked at
		gone    []topic.Partition
	}
}

// follow is one partition of a fetcher.
type follow struct {
	fetcher *fetcher
	tp      topic.Partition
	replica *partition.Replica

	// Guarded by the fetcher's lock.
	marked bool
	gone   bool
	begun  bool // its log has been begun anew or cut

	// The fetcher's goroutine's alone.
	list     list            // in which list of the session
	named    bool            // the leader's session has it
	told     bool            // the leader says nothing of it until it is named again
	say      bool            // there is something to name it for
	syncing  bool            // its disk is at work on what it was sent
	busy     bool            // it is being begun anew or cut
	copies   bool            // the session's copies have it
	place    partition.Place // as it was named last
	epochSeq uint64          // the first fetch that named it at that epoch
	retryAt  time.Time       // when it may be named again after an error
	pause    time.Duration   // the last one
}

// list is a list of a session's partitions.
type list int8

const (
	inNone  list = iota
	inReady      // it has something to say
	inLater      // it has to wait before it may
)

var _ partition.Fetcher = (*follow)(nil)

func newFetcher(all *Fetchers, leader int32) *fetcher {
	f := &fetcher{all: all, leader: leader, log: all.opts.Logger.With("leader", leader), wake: make(chan struct{}, 1)}
	f.ctx, f.cancel = context.WithCancel(all.ctx)
	f.mu.follows = map[topic.Partition]*follow{}
	return f
}

// add takes r in, or has it looked at again.
func (f *fetcher) add(r *partition.Replica) {
	f.mu.Lock()
	defer f.mu.Unlock()
	tp := r.Partition()
	p := f.mu.follows[tp]
	if p == nil || p.replica != r {
		if p != nil {
			p.gone = true
		}
		p = &follow{fetcher: f, tp: tp, replica: r}
		f.mu.follows[tp] = p
		r.SetFetcher(p)
	}
	f.markLocked(p)
}

// remove takes tp out and returns how many partitions are left.
func (f *fetcher) remove(tp topic.Partition) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.mu.follows[tp]; p != nil {
		p.gone = true
		p.replica.SetFetcher(nil)
		delete(f.mu.follows, tp)
		f.mu.gone = append(f.mu.gone, tp)
		f.nudge()
	}
	return len(f.mu.follows)
}

// Moved implements partition.Fetcher.
func (p *follow) Moved(*partition.Replica) { p.fetcher.mark(p) }

// Heard implements partition.Fetcher.
func (p *follow) Heard() time.Time { return time.Unix(0, p.fetcher.heard.Load()) }

func (f *fetcher) mark(p *follow) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.markLocked(p)
}

func (f *fetcher) markLocked(p *follow) {
	if p.marked || p.gone {
		return
	}
	p.marked = true
	f.mu.marked = append(f.mu.marked, p)
	f.nudge()
}

// begun says that p's log has been begun anew or cut, or could not be.
func (f *fetcher) begun(p *follow) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.begun = true
	f.markLocked(p)
}

func (f *fetcher) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run keeps a connection to the leader until there is nobody to fetch for.
func (f *fetcher) run() {
	pause := time.Duration(0)
	for f.ctx.Err() == nil {
		began := time.Now()
		err := f.connect()
		if f.ctx.Err() != nil {
			return
		}
		f.all.met.failures.Inc()
		if time.Since(began) > f.all.opts.Backoff {
			pause = 0
		}
		pause = f.all.longer(pause)
		f.log.Info("connection to leader", "error", err, "again_in", pause)
		select {
		case <-time.After(pause):
		case <-f.ctx.Done():
		}
	}
}

// longer is the pause after another failure.
func (f *Fetchers) longer(pause time.Duration) time.Duration {
	return min(max(2*pause, minBackoff), f.opts.Backoff)
}

// connect makes one connection and works on it until it breaks, which the error says.
func (f *fetcher) connect() error {
	ctx, cancel := context.WithTimeout(f.ctx, f.all.opts.Timeout)
	defer cancel()
	conn, err := f.all.opts.Dial(ctx, f.leader)
	if err != nil {
		return fmt.Errorf("connect to broker %d: %w", f.leader, err)
	}
	o := &f.all.opts
	l := newLink(conn, fmt.Sprintf("firn-broker-%d", o.BrokerID), o.MaxWait, o.Timeout)
	defer l.close()
	return newSession(f, l).run()
}
