package coordinator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"firn/metadata"
)

// shard is one owned shard and its loop. Only the loop touches what is not a channel or immutable.
type shard[M Machine] struct {
	r       *Runtime[M]
	n       int32
	own     metadata.ShardOwner
	ctx     context.Context
	stop    context.CancelFunc
	after   <-chan struct{} // an earlier loop of this shard must have ended before this one reads it; may be nil
	ended   chan struct{}
	waiting waiting[M]
	writes  chan writeDone // holds the outcome of the write in flight
	loads   chan loadDone[M]
	loading sync.WaitGroup

	machine M
	known   bool            // machine holds a loaded state, if perhaps an uncertain one
	sure    bool            // what machine holds is what is stored, but for the writes in flight
	refusal error           // of what can't be served at the moment
	store   *metadata.Shard // nil while not sure
	flight  []Reply         // answers that wait for the write in flight
	writing bool
	queued  []Result      // results behind the write in flight
	retry   time.Duration // pause before the next load after a failure; zero again once a write succeeds
}

type writeDone struct {
	store *metadata.Shard
	err   error
}

type loadDone[M Machine] struct {
	store   *metadata.Shard
	machine M
	err     error
}

func newShard[M Machine](r *Runtime[M], n int32, own metadata.ShardOwner, after <-chan struct{}) *shard[M] {
	s := &shard[M]{
		r: r, n: n, own: own, after: after, ended: make(chan struct{}), refusal: ErrLoading,
		waiting: waiting[M]{wake: make(chan struct{}, 1)}, writes: make(chan writeDone, 1), loads: make(chan loadDone[M]),
	}
	s.ctx, s.stop = context.WithCancel(r.ctx)
	return s
}

func (s *shard[M]) run() {
	defer close(s.ended)
	if s.after != nil {
		<-s.after // it was stopped, and waits for nothing that does not end at once
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	s.load(0)
	for s.ctx.Err() == nil {
		select {
		case <-s.ctx.Done():
		case <-s.waiting.wake:
			for _, c := range s.waiting.take(false) {
				s.serve(c)
			}
		case d := <-s.writes:
			s.written(d)
		case d := <-s.loads:
			s.loaded(d)
		case <-timer.C:
			if s.sure && s.doubtful() == nil {
				s.accept(s.machine.Tick(time.Now()))
			}
		}
		s.arm(timer)
	}
	s.doubt(ErrNotCoordinator)
	for _, c := range s.waiting.take(true) {
		c.refuse(ErrNotCoordinator)
	}
	s.loading.Wait()
}

// arm sets the timer to the machine's deadline. While the state is in doubt nothing expires, and nothing does once the lease
// is over: a broker that was asleep would take members for dead who are well with the next owner, and who would hear it from
// here, by the answer to a heartbeat, before the write by which they go is refused.
func (s *shard[M]) arm(timer *time.Timer) {
	timer.Stop()
	if !s.sure {
		return
	}
	at := s.machine.Deadline()
	if at.IsZero() {
		return
	}
	wait := time.Until(at)
	if wait <= 0 && s.doubtful() != nil {
		wait = s.r.opts.RetryMin // and then look again
	}
	timer.Reset(wait)
}

func (s *shard[M]) serve(c command[M]) {
	switch {
	case s.sure && (c.inMemory || len(s.queued) < maxWaiting):
		s.accept(c.fn(s.machine, time.Now()))
	case s.sure:
		s.r.met.refused.Inc()
		c.refuse(ErrBusy)
	case s.known && c.inMemory:
		for _, f := range c.fn(s.machine, time.Now()).AtOnce {
			f()
		}
	default:
		s.r.met.refused.Inc()
		c.refuse(s.refusal)
	}
}

// accept takes a machine's result in: what can go out at once does, the rest queues behind earlier
// writes.
func (s *shard[M]) accept(res Result) {
	for _, f := range res.AtOnce {
		f()
	}
	switch {
	case len(res.Edits) == 0 && len(res.Replies) == 0:
	case len(res.Edits) == 0 && !s.writing:
		reply(res.Replies, s.doubtful())
	default:
		s.queued = append(s.queued, res)
		s.write()
	}
}

// doubtful says why an answer may not rest on this broker's memory alone: once its lease is over, another may
// own the shard, and have written to it, without this one having heard of it.
func (s *shard[M]) doubtful() error {
	if l := s.r.opts.Lease; l != nil && !l.Holds(s.own.BrokerEpoch) {
		return ErrUnavailable
	}
	return nil
}

// write sends what is queued to the store, unless a write is in flight.
func (s *shard[M]) write() {
	if s.writing || len(s.queued) == 0 {
		return
	}
	batch := pieces(s.queued)
	for _, res := range s.queued {
		s.flight = append(s.flight, res.Replies...)
	}
	s.queued = nil
	if len(batch) == 0 {
		if s.doubtful() == nil {
			s.settle()
			return
		}
		batch = [][]metadata.Edit{nil} // the write before may have been committed long ago, but the store knows whose the shard is
	}
	s.writing = true
	done := s.outcome(len(batch))
	for _, piece := range batch {
		s.store.Commit(piece, done)
	}
}

// outcome returns what n commits are to call: it tells the loop of the first error when the last has ended.
// Commits end in their order, but tell so from several goroutines.
func (s *shard[M]) outcome(n int) func(error) {
	var mu sync.Mutex
	d := writeDone{store: s.store}
	return func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if d.err == nil {
			d.err = err
		}
		if n--; n == 0 {
			s.writes <- d // has room: there is one write in flight
		}
	}
}

// settle lets the answers out whose writes are committed.
func (s *shard[M]) settle() {
	flight := s.flight
	s.flight = nil
	reply(flight, nil)
}

func reply(replies []Reply, err error) {
	for _, f := range replies {
		f(err)
	}
}

func (s *shard[M]) written(d writeDone) {
	if d.store != s.store {
		return // of a state that has been given up
	}
	s.writing = false
	if d.err == nil {
		s.retry = 0
		s.settle()
		s.write()
		return
	}
	s.r.met.writeErrors.Inc()
	s.r.opts.Logger.Warn("coordinator write failed, loading the shard again", "kind", s.r.opts.Kind, "shard", s.n, "error", d.err)
	switch {
	case errors.Is(d.err, metadata.ErrFenced):
		s.fenced()
		s.doubt(ErrNotCoordinator)
	case errors.Is(d.err, metadata.ErrTooLarge):
		s.doubt(ErrTooLarge)
	default:
		s.doubt(ErrUnavailable)
	}
	s.load(s.retry)
	s.longer()
}

// longer makes the next pause longer.
func (s *shard[M]) longer() {
	s.retry = min(max(2*s.retry, s.r.opts.RetryMin), s.r.opts.RetryMax)
}

// fenced takes note that somebody else owns the shard now, so that not even heartbeats are answered. The
// image will name the new owner, or this broker's new record, by which a new loop begins.
func (s *shard[M]) fenced() { s.refusal = ErrNotCoordinator }

// doubt stops believing in the machine's state and refuses all that rests on it, and whoever is parked. The
// machine stays for what needs no store.
func (s *shard[M]) doubt(err error) {
	if s.store != nil {
		s.store.Close()
	}
	s.store, s.sure, s.writing = nil, false, false
	flight, queued := s.flight, s.queued
	s.flight, s.queued = nil, nil
	reply(flight, err)
	for _, res := range queued {
		reply(res.Replies, err)
	}
	if s.known {
		s.machine.Abandon(err)
	}
	s.known = s.known && !errors.Is(s.refusal, ErrNotCoordinator)
}

// load reads the shard, after a pause, in a goroutine of its own.
func (s *shard[M]) load(pause time.Duration) {
	s.loading.Go(func() {
		wait := time.NewTimer(pause)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-s.ctx.Done():
			return
		}
		start := time.Now()
		d := s.read()
		s.r.met.loaded(start, d.err)
		select {
		case s.loads <- d:
		case <-s.ctx.Done():
			if d.store != nil {
				d.store.Close()
			}
		}
	})
}

func (s *shard[M]) read() loadDone[M] {
	store, entries, err := s.r.opts.Store.Open(s.ctx, s.r.opts.Kind, s.n, s.own)
	if err != nil {
		return loadDone[M]{err: err}
	}
	m := s.r.opts.New()
	if err := m.Load(entries, time.Now()); err != nil {
		store.Close()
		return loadDone[M]{err: fmt.Errorf("shard %d: %w", s.n, err)}
	}
	return loadDone[M]{store: store, machine: m}
}

func (s *shard[M]) loaded(d loadDone[M]) {
	switch {
	case d.err == nil:
		s.store, s.machine, s.known, s.sure, s.refusal = d.store, d.machine, true, true, ErrLoading
		return
	case s.ctx.Err() != nil:
		return
	case errors.Is(d.err, metadata.ErrFenced):
		s.fenced()
		s.doubt(ErrNotCoordinator)
	}
	s.longer()
	s.r.opts.Logger.Warn("coordinator shard not loaded, trying again", "kind", s.r.opts.Kind, "shard", s.n, "error", d.err, "pause", s.retry)
	s.load(s.retry)
}
