package coordinator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"firn/metadata"
)

type command[M Machine] struct {
	fn       func(m M, now time.Time) Result
	refuse   func(error)
	inMemory bool
}

// shard is one owned shard and its loop. Only the loop touches what is not a channel or immutable.
type shard[M Machine] struct {
	r     *Runtime[M]
	n     int32
	own   metadata.ShardOwner
	ctx   context.Context
	stop  context.CancelFunc
	after *shard[M] // its loop must have ended before this one reads the shard
	ended chan struct{}

	waiting waiting[M]
	writes  chan writeDone
	loads   chan loadDone[M]

	machine M
	known   bool            // machine holds a loaded state, if perhaps an uncertain one
	sure    bool            // what machine holds is what is stored, but for the writes in flight
	store   *metadata.Shard // nil while not sure
	flight  []Reply         // answers that wait for the write in flight
	writing bool
	queued  []Result // results behind the write in flight
	retry   time.Duration
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

func newShard[M Machine](r *Runtime[M], n int32, own metadata.ShardOwner, after *shard[M]) *shard[M] {
	s := &shard[M]{
		r: r, n: n, own: own, after: after, ended: make(chan struct{}),
		waiting: waiting[M]{wake: make(chan struct{}, 1)}, writes: make(chan writeDone, 1), loads: make(chan loadDone[M], 1),
	}
	s.ctx, s.stop = context.WithCancel(r.ctx)
	return s
}

// waiting is the queue of commands in front of a loop.
type waiting[M Machine] struct {
	mu   sync.Mutex
	list []command[M]
	shut bool
	wake chan struct{} // holds a token while list may have something
}

// submit hands a command to the loop without waiting.
func (s *shard[M]) submit(c command[M]) {
	w := &s.waiting
	w.mu.Lock()
	var err error
	switch {
	case w.shut:
		err = ErrNotCoordinator
	case len(w.list) >= maxWaiting:
		err = ErrBusy
	default:
		w.list = append(w.list, c)
	}
	w.mu.Unlock()
	if err != nil {
		c.refuse(err)
		return
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take empties the queue; with shut nothing enters it any more.
func (w *waiting[M]) take(shut bool) []command[M] {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.list
	w.list = nil
	w.shut = w.shut || shut
	return list
}

func (s *shard[M]) refuseWaiting() {
	for _, c := range s.waiting.take(true) {
		c.refuse(ErrNotCoordinator)
	}
}

func (s *shard[M]) run() {
	defer s.refuseWaiting()
	defer close(s.ended)
	if s.after != nil {
		<-s.after.ended
		s.after = nil
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	s.load(0)
	for {
		select {
		case <-s.ctx.Done():
			s.doubt(ErrNotCoordinator)
			if s.known {
				s.machine.Abandon(ErrNotCoordinator)
			}
			return
		case <-s.waiting.wake:
			for _, c := range s.waiting.take(false) {
				s.serve(c)
			}
		case d := <-s.writes:
			s.written(d)
		case d := <-s.loads:
			s.loaded(d)
		case <-timer.C:
			if s.sure {
				s.accept(s.machine.Tick(time.Now()))
			}
		}
		s.arm(timer)
	}
}

// arm sets the timer to the machine's deadline. While the state is in doubt nothing expires.
func (s *shard[M]) arm(timer *time.Timer) {
	timer.Stop()
	if !s.sure {
		return
	}
	if at := s.machine.Deadline(); !at.IsZero() {
		timer.Reset(time.Until(at))
	}
}

func (s *shard[M]) serve(c command[M]) {
	switch {
	case s.sure:
		s.accept(c.fn(s.machine, time.Now()))
	case s.known && c.inMemory:
		for _, f := range c.fn(s.machine, time.Now()).AtOnce {
			f()
		}
	default:
		c.refuse(ErrLoading)
	}
}

// accept takes a machine's result in: what can go out at once does, the rest queues behind earlier
// writes.
func (s *shard[M]) accept(res Result) {
	for _, f := range res.AtOnce {
		f()
	}
	if len(res.Edits) == 0 && len(res.Replies) == 0 {
		return
	}
	if !s.writing && len(res.Edits) == 0 {
		reply(res.Replies, nil)
		return
	}
	s.queued = append(s.queued, res)
	s.write()
}

// write sends what is queued to the store, unless a write is in flight.
func (s *shard[M]) write() {
	if s.writing || len(s.queued) == 0 {
		return
	}
	var edits []metadata.Edit
	for _, res := range s.queued {
		edits = append(edits, res.Edits...)
		s.flight = append(s.flight, res.Replies...)
	}
	s.queued = nil
	if len(edits) == 0 {
		flight := s.flight
		s.flight = nil
		reply(flight, nil)
		return
	}
	s.writing = true
	store, pieces := s.store, split(newest(edits))
	left := len(pieces)
	var first error
	results := make(chan error, left) // commits of one shard complete in order, perhaps in several goroutines
	for _, p := range pieces {
		store.Commit(p, func(err error) { results <- err })
	}
	go func() {
		for range left {
			if err := <-results; err != nil && first == nil {
				first = err
			}
		}
		select {
		case s.writes <- writeDone{store, first}:
		case <-s.ended:
		}
	}()
}

// newest keeps the last edit of each key, in the order in which those were made.
func newest(edits []metadata.Edit) []metadata.Edit {
	last := make(map[string]int, len(edits))
	for i, e := range edits {
		last[e.Key] = i
	}
	out := edits[:0]
	for i, e := range edits {
		if last[e.Key] == i {
			out = append(out, e)
		}
	}
	return out
}

// maxPiece bounds the bytes of one piece; the store takes 1 MiB.
const maxPiece = 512 << 10

// split cuts edits into pieces that the store takes in one write each.
func split(edits []metadata.Edit) [][]metadata.Edit {
	var pieces [][]metadata.Edit
	start, size := 0, 0
	for i, e := range edits {
		n := len(e.Key) + len(e.Value)
		if i > start && (i-start == maxEdits || size+n > maxPiece) {
			pieces = append(pieces, edits[start:i])
			start, size = i, 0
		}
		size += n
	}
	return append(pieces, edits[start:])
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
		flight := s.flight
		s.flight = nil
		reply(flight, nil)
		s.write()
		return
	}
	s.r.opts.Logger.Warn("coordinator write failed, loading the shard again", "kind", s.r.opts.Kind, "shard", s.n, "error", d.err)
	switch {
	case errors.Is(d.err, metadata.ErrFenced):
		// The image will name the new owner, or this broker's new record.
		s.doubt(ErrNotCoordinator)
	case errors.Is(d.err, metadata.ErrTooLarge):
		s.doubt(ErrTooLarge)
	default:
		s.doubt(ErrUnavailable)
	}
	s.load(0)
}

// doubt stops believing in the machine's state and refuses all that rests on it. The machine stays for
// what needs no store; members parked in it are let go when it is replaced.
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
}

// load reads the shard, after a pause, in a goroutine of its own.
func (s *shard[M]) load(pause time.Duration) {
	go func() {
		d := loadDone[M]{}
		wait := time.NewTimer(pause)
		defer wait.Stop()
		select {
		case <-wait.C:
			d = s.read()
		case <-s.ctx.Done():
			d.err = s.ctx.Err()
		}
		select {
		case s.loads <- d:
		case <-s.ended:
			if d.store != nil {
				d.store.Close()
			}
		}
	}()
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
	if d.err == nil {
		s.store, s.machine, s.known, s.sure, s.retry = d.store, d.machine, true, true, 0
		return
	}
	if s.ctx.Err() != nil {
		return
	}
	s.retry = min(max(2*s.retry, s.r.opts.RetryMin), s.r.opts.RetryMax)
	s.r.opts.Logger.Warn("coordinator shard not loaded, trying again", "kind", s.r.opts.Kind, "shard", s.n, "error", d.err, "pause", s.retry)
	s.load(s.retry)
}
