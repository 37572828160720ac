package partition

import (
	"container/list"
	"context"
	"errors"
	"math"
	"sync/atomic"
	"time"
)

// Extent is a run of whole record batches that a response sends as it is: a range of a segment file or memory
// read back from the tier. Release ends its use, exactly once; the bytes do not change before.
type Extent interface {
	Len() int
	File() (fd uintptr, pos int64, ok bool)
	ReadAt(p []byte, off int64) (int, error)
	Release()
}

// Fetch is a read of many partitions at once. The caller owns it until Set.Fetch and again once Done is called. It may
// then be used for another fetch.
type Fetch struct {
	// MinBytes is how much to wait for, at most MaxWait. An error ends the wait too, unless it is one that asking
	// again at once cannot heal: those are told when the wait ends, so that no client spins on them.
	MinBytes int
	// MaxBytes bounds the whole answer, but the first batch found is returned whatever its size.
	MaxBytes int
	MaxWait  time.Duration
	// Parts are read in order; MaxBytes may leave nothing to the last ones. Set.Fetch may be called with none.
	Parts []FetchPart
	// Join, if set, is called before each reading and may add Parts: those whose Watches told their owner meanwhile.
	Join func(*Fetch)
	// Follower is the broker that asks as a follower, nil for a client.
	Follower *Follower
	// AnyReplica lets followers answer a client, up to the high watermark that they know of (KIP-392).
	AnyReplica bool
	// Near, if set, tells whether a broker is as near to the client as it gets. A leader that is not sends the client to
	// a follower that is. It must not block.
	Near func(broker int32) bool
	// Done is called exactly once, perhaps before Set.Fetch returns, with no lock held.
	Done func(*Fetch)

	set       *Set
	ctx       context.Context //nolint:containedctx // the life of the request that this is
	stopCtx   func() bool
	deadline  time.Time
	alarm     alarm
	state     atomic.Int32
	remaining atomic.Int64  // bytes until it is worth looking again
	hurried   atomic.Bool   // it may not wait any longer
	held      time.Duration // until a part that the throttle holds back may be read; 0 if none is
	joined    int           // parts that the reading knows
	watches   []Watch       // of parts that it waits for
}

// FetchPart is one partition of a Fetch.
type FetchPart struct {
	// Replica may be nil if Err is set already.
	Replica     *Replica
	Offset      int64
	MaxBytes    int
	LeaderEpoch int32 // the caller's; -1 for none
	LastEpoch   int32 // of the last batch the caller has; -1 for none
	// Of a follower: where its log starts, and the high watermark that it was told.
	Start, Told int64

	// The outcome. The offsets are -1 if there is an error that keeps them from being known. Extents are the
	// caller's to release.
	Err           error
	HighWatermark int64
	LastStable    int64
	LogStart      int64
	Diverging     EpochEnd // -1 and -1 for none
	Preferred     int32    // the broker that the client is to read from instead, without data; -1 for none
	Extents       []Extent
	Bytes         int

	fetch    *Fetch
	given    bool   // Err was set by the caller
	waiting  bool   // there is nothing more to read yet
	caughtUp bool   // for it stands where the log, or what may be read of it, ended
	more     bool   // there is more than was brought, or than fits, so waiting would be for nothing
	noted    bool   // the leader has taken in where the follower is
	serves   bool   // the follower has clients, which wait for the high watermark
	counted  bool   // what was read is taken from the throttle
	seen     uint64 // the replica's visible, or to a follower its appended, when it was read
	changes  uint64 // the replica's changes when it was read
	refused  error  // why a tier read failed while the fetch waited; told unless another one brings something
	cold     *coldRead
	crowded  bool          // there was no room for a read of the tier
	place    *list.Element // then, in the line of those that wait for some
}

// EpochEnd is a leader epoch and the offset behind its last record; -1 and -1 where there is none.
type EpochEnd struct {
	Epoch int32
	End   int64
}

// States of a Fetch.
const (
	fetchBusy    int32 = iota // its goroutine reads or enters it into lists
	fetchNudged               // the same, and it has to look again before it waits
	fetchWaiting              // whoever wakes it owns it
	fetchHeld                 // the same, and the plug wakes it soon
)

// Fetch reads many partitions, waiting for data as f says and no longer than ctx lives. It does not block.
func (s *Set) Fetch(ctx context.Context, f *Fetch) {
	f.set, f.ctx = s, ctx
	f.deadline = time.Now().Add(f.MaxWait)
	f.state.Store(fetchBusy)
	f.hurried.Store(false)
	if f.alarm.ring == nil {
		f.alarm.ring = f.wake
	}
	f.joined = 0
	if f.Follower != nil {
		f.Follower.ask()
	}
	f.run()
}

// join takes in the parts that have come since the last reading.
func (f *Fetch) join() {
	if f.Join != nil {
		f.Join(f)
	}
	for ; f.joined < len(f.Parts); f.joined++ {
		p := &f.Parts[f.joined]
		p.fetch, p.given, p.noted, p.serves = f, p.Err != nil, false, false
	}
}

// run reads until there is enough or the time is over, or leaves f waiting.
func (f *Fetch) run() {
	met := f.set.met // once it waits, f is another's
	for {
		f.join()
		enough, bytes := f.read()
		if enough || f.over() {
			f.finish()
			return
		}
		f.release()
		f.remaining.Store(int64(f.MinBytes - bytes))
		f.enter()
		f.set.wheel.set(&f.alarm, f.patience())
		f.stopCtx = context.AfterFunc(f.ctx, f.alarm.ring)
		if f.remaining.Load() > 0 && !f.over() && f.state.CompareAndSwap(fetchBusy, fetchWaiting) {
			met.fetchWaits.Inc()
			return
		}
		f.leave()
	}
}

// over reports whether f may not wait any longer.
func (f *Fetch) over() bool {
	return f.hurried.Load() || f.set.draining.Load() || f.ctx.Err() != nil || !time.Now().Before(f.deadline)
}

// enter puts f into the lists of all partitions that may have more soon, and takes into account what has happened since
// they were read.
func (f *Fetch) enter() {
	if len(f.watches) < len(f.Parts) {
		f.watches = make([]Watch, cap(f.Parts))
	}
	for i := range f.Parts {
		p := &f.Parts[i]
		if !p.waiting {
			continue
		}
		if p.cold != nil {
			if p.Err == nil {
				f.set.cold.attach(p.cold, f)
			}
			continue
		}
		if p.crowded {
			f.set.cold.stand(p)
		}
		r := p.Replica
		w := &f.watches[i]
		w.Owner = (*fetchWatcher)(f)
		r.waiters.Lock()
		r.waiters.listOf(f).add(w, r, f.Follower)
		if r.changes.Load() != p.changes || p.serves && p.Err == nil && r.hw.Load() > p.HighWatermark {
			f.remaining.Store(math.MinInt64 / 2)
		} else {
			f.remaining.Add(-int64(r.progress(f).Load() - p.seen))
		}
		r.waiters.Unlock()
	}
}

// leave takes f out of all lists it waits in.
func (f *Fetch) leave() {
	f.set.wheel.stop(&f.alarm)
	if f.stopCtx != nil {
		f.stopCtx()
		f.stopCtx = nil
	}
	for i := range f.Parts {
		p := &f.Parts[i]
		if p.cold != nil {
			f.set.cold.detach(p.cold, f)
			p.cold = nil
		}
		if p.crowded {
			f.set.cold.unstand(p)
		}
		f.watches[i].Stop()
	}
	f.state.Store(fetchBusy)
}

// release gives back what was read, because it is too little to answer yet.
func (f *Fetch) release() {
	for i := range f.Parts {
		f.Parts[i].release()
	}
}

func (p *FetchPart) release() {
	p.uncount()
	for i, e := range p.Extents {
		e.Release()
		p.Extents[i] = nil
	}
	p.Extents, p.Bytes = p.Extents[:0], 0
}

// finish answers.
func (f *Fetch) finish() {
	for i := range f.Parts {
		p := &f.Parts[i]
		if p.cold != nil && p.Bytes > 0 {
			f.set.cold.consumed(p.cold)
		}
		p.cold = nil
		if p.counted && p.Bytes > 0 {
			f.set.met.throttled.Add(float64(p.Bytes))
		}
		if p.Err != nil && !p.given {
			f.set.met.fetchErrors.Inc()
		}
	}
	f.Done(f)
}

// read reads every partition as far as the budget goes. It reports whether that is an answer, and how many bytes there
// are.
func (f *Fetch) read() (enough bool, bytes int) {
	now := false
	f.held = 0
	for i := range f.Parts {
		p := &f.Parts[i]
		if p.given {
			now = true
			continue
		}
		p.read(min(p.MaxBytes, f.MaxBytes-bytes), bytes == 0)
		bytes += p.Bytes
		if p.Err != nil && !persistent(p.Err) || p.Diverging.Epoch >= 0 || p.more || p.Preferred >= 0 && !p.waiting ||
			p.serves && p.HighWatermark > p.Told {
			now = true
		}
	}
	// Who asks for nothing waits for what Join adds, a follower for its next request.
	return now || len(f.Parts) == 0 && f.Follower == nil && f.Join == nil || bytes >= f.MinBytes, bytes
}

// persistent reports whether err will most likely be there again if the client asks again at once. Such an error waits
// with the fetch, so that a client which retries without a pause is slowed down to one try per MaxWait.
func persistent(err error) bool {
	return errors.Is(err, ErrStorage) || errors.Is(err, ErrCorruptData) || errors.Is(err, ErrTierUnavailable)
}

// read reads up to limit bytes, or one batch if that is larger and first is set.
func (p *FetchPart) read(limit int, first bool) {
	r := p.Replica
	p.Err, p.HighWatermark, p.LastStable, p.LogStart = nil, -1, -1, -1
	p.Diverging, p.Preferred = EpochEnd{Epoch: -1, End: -1}, -1
	p.waiting, p.caughtUp, p.more, p.counted, p.crowded, p.cold = false, false, false, false, false, nil
	// What comes after these are read is made up for when the fetch enters the lists.
	p.changes, p.seen = r.changes.Load(), r.progress(p.fetch).Load()
	ro, err := r.roleAt(p.LeaderEpoch)
	if err == nil && !ro.leads && (p.fetch.Follower != nil || !p.fetch.AnyReplica || ro.leader < 0) {
		err = ErrNotLeader
	}
	switch {
	case err != nil:
		p.Err, p.waiting = err, persistent(err)
	case p.fetch.Follower != nil:
		p.readAsFollower(ro, limit, first)
	case p.refer(ro):
	default:
		p.readAsClient(ro, limit, first)
	}
}

// readAsClient reads up to the high watermark, in both tiers.
func (p *FetchPart) readAsClient(ro *role, limit int, first bool) {
	r := p.Replica
	// Above its high watermark a follower's log proves nothing.
	if p.LastEpoch >= 0 && (ro.leads || p.Offset <= r.hw.Load()) && r.diverges(p) {
		switch {
		case !r.still(ro):
			p.Err = ErrNotLeader
		case p.LastEpoch > ro.epoch || p.Offset > r.log.Next():
			p.Err = r.lacks(ro, p.Err)
		}
		if p.Err != nil {
			p.Diverging = EpochEnd{Epoch: -1, End: -1}
		}
		return
	}
	for {
		local, hw := r.log.Start(), r.hw.Load()
		p.HighWatermark, p.LastStable, p.LogStart = hw, hw, r.startAbove(local)
		switch {
		case p.Offset < p.LogStart:
			p.Err = ErrOffsetOutOfRange
		case p.Offset > r.log.Next():
			p.Err = r.lacks(ro, ErrOffsetOutOfRange)
		case p.Offset < local:
			r.readCold(p, limit, first)
		case p.Offset >= hw:
			p.waiting, p.caughtUp = true, ro.leads // a follower has to be asked whether it still knows enough
		case limit > 0 || first:
			if again := r.readHot(p, hw, limit, first); again {
				continue
			}
		}
		return
	}
}

// readHot reads from the local log up to end, across its segments. It asks to be called again if the log's start has
// just passed the offset.
func (r *Replica) readHot(p *FetchPart, end int64, limit int, first bool) (again bool) {
	at := p.Offset
	for at < end {
		run := newFileRun()
		ext, err := r.log.Read(at, end, max(limit-p.Bytes, 0), first && p.Bytes == 0)
		run.ext = ext
		n := run.Len()
		if err != nil || n == 0 {
			run.Release()
			p.more = ext.Cut()
			if err == nil || p.Bytes > 0 {
				break // an error behind what there is comes with the next fetch
			}
			p.Err = r.storageError("read", err)
			if p.Offset < r.log.Start() { // it has just been dropped, perhaps because it is rotten
				p.Err = nil
				return true
			}
			p.waiting = persistent(p.Err)
			break
		}
		p.Extents = append(p.Extents, run)
		p.Bytes += n
		if at = run.ext.NextOffset(); p.Bytes >= limit || run.ext.Cut() {
			p.more = at < end
			break
		}
	}
	r.set.met.hotBytes.Add(float64(p.Bytes))
	p.waiting = p.waiting || at >= end // what comes now is more than there was
	return false
}
