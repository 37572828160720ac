package partition

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"firn/segment"
	"firn/segment/batch"
)

// rememberedBatches is how many batches of a producer are kept to recognise retries: clients have at most five in
// flight when they are idempotent.
const rememberedBatches = 5

// producers is what one replica remembers of its idempotent producers. Entries lie in one pointer-free slice, so that
// a million of them cost the garbage collector nothing. Safe for concurrent use, though the order of Apply is the
// caller's to keep.
//
// A producer is forgotten only when it has been silent for the expiry time, by the broker's clock: what a client says
// about time must not shorten the memory that keeps its retries from doubling.
type producers struct {
	now   func() int64  // ms since 1970
	total *atomic.Int64 // entries of all replicas

	mu    sync.Mutex
	index map[int64]int32 // by producer id, into slots
	slots []producer
	free  []int32
	// missed are unknown producers whose first batch could not be taken for now, with their epochs: those in flight
	// behind it must not be taken in its place. Whoever is pushed out by too many is unknown again, as to Kafka.
	missed map[int64]int16
	gone   bool // its replica serves nothing any more: nothing is remembered
}

// maxMissed bounds producers.missed.
const maxMissed = 1000

// producer is one producer id's state. The first n of batches are valid, oldest first, all of the same epoch.
type producer struct {
	id      int64
	seen    int64 // broker's clock at the last batch, ms
	batches [rememberedBatches]produced
	epoch   int16
	n       uint8
}

// produced is a batch that was appended.
type produced struct {
	lastOffset int64
	timestamp  int64 // largest of the batch, ms
	firstSeq   int32
	delta      int32 // last sequence minus first, and last offset minus first
}

func (b produced) lastSeq() int32 { return addSequence(b.firstSeq, b.delta) }

// addSequence counts sequence numbers on; they wrap from 2^31-1 to 0.
func addSequence(seq, n int32) int32 { return int32((uint32(seq) + uint32(n)) & math.MaxInt32) }

var _ segment.ProducerState = (*producers)(nil)

func newProducers(now func() int64, total *atomic.Int64) *producers {
	return &producers{now: now, total: total, index: map[int64]int32{}}
}

// check says whether b may be appended after everything that was applied. A batch that was appended before comes back
// as dup with isDup true.
func (p *producers) check(b batch.Batch, maxTotal int64) (dup produced, isDup bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id, epoch, first := b.ProducerID(), b.ProducerEpoch(), b.BaseSequence()
	slot, known := p.index[id]
	if !known {
		if p.total.Load() >= maxTotal {
			return produced{}, false, ErrTooManyProducers
		}
		if e, missed := p.missed[id]; missed && e == epoch && first != 0 {
			return produced{}, false, fmt.Errorf("%w: producer %d sent sequence %d, and 0 was not taken", ErrOutOfOrderSequence, id, first)
		}
		// Whatever its sequence: what this producer wrote before has been forgotten or deleted.
		return produced{}, false, nil
	}
	e := &p.slots[slot]
	switch {
	case epoch < e.epoch:
		return produced{}, false, fmt.Errorf("%w: producer %d has epoch %d, last seen %d", ErrProducerEpoch, id, epoch, e.epoch)
	case epoch > e.epoch:
		if first != 0 {
			return produced{}, false, fmt.Errorf("%w: producer %d starts epoch %d with sequence %d", ErrOutOfOrderSequence, id, epoch, first)
		}
		return produced{}, false, nil
	}
	delta := b.LastOffsetDelta()
	for _, old := range e.batches[:e.n] {
		if old.firstSeq == first && old.delta == delta {
			return old, true, nil
		}
	}
	if last := e.batches[e.n-1].lastSeq(); first != addSequence(last, 1) {
		return produced{}, false, fmt.Errorf("%w: producer %d sent sequence %d after %d", ErrOutOfOrderSequence, id, first, last)
	}
	return produced{}, false, nil
}

// miss notes that b, which was fit to be appended, was not and may come again.
func (p *producers) miss(b batch.Batch) {
	id := b.ProducerID()
	if id < 0 || b.BaseSequence() != 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.index[id]; known {
		return
	}
	if p.missed == nil || len(p.missed) >= maxMissed {
		p.missed = map[int64]int16{}
	}
	p.missed[id] = b.ProducerEpoch()
}

// Apply implements segment.ProducerState.
func (p *producers) Apply(b batch.Batch) {
	id := b.ProducerID()
	if id < 0 || b.Control() || b.BaseSequence() < 0 || b.ProducerEpoch() < 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return
	}
	e := p.entryLocked(id)
	if e.n > 0 && b.ProducerEpoch() != e.epoch {
		e.n = 0
	}
	if e.n == rememberedBatches {
		copy(e.batches[:], e.batches[1:])
		e.n--
	}
	e.batches[e.n] = produced{
		lastOffset: b.LastOffset(), timestamp: b.MaxTimestamp(),
		firstSeq: b.BaseSequence(), delta: b.LastOffsetDelta(),
	}
	e.n++
	e.epoch, e.seen = b.ProducerEpoch(), p.now()
}

// entryLocked returns the entry of id, making an empty one if need be.
func (p *producers) entryLocked(id int64) *producer {
	slot, ok := p.index[id]
	if !ok {
		if n := len(p.free); n > 0 {
			slot, p.free = p.free[n-1], p.free[:n-1]
		} else {
			slot = int32(len(p.slots))
			p.slots = append(p.slots, producer{})
		}
		p.slots[slot] = producer{id: id}
		p.index[id] = slot
		delete(p.missed, id)
		p.total.Add(1)
	}
	return &p.slots[slot]
}

// forget ends all remembering. An append may be under way, and hang for as long as its disk does.
func (p *producers) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resetLocked()
	p.gone = true
}

// Reset implements segment.ProducerState.
func (p *producers) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resetLocked()
}

func (p *producers) resetLocked() {
	p.total.Add(-int64(len(p.index)))
	clear(p.index)
	p.slots, p.free, p.missed = nil, nil, nil
}

// expire forgets producers silent since before the time given in ms. Those seen later than now, before the clock was set
// back, count as seen now.
func (p *producers) expire(before int64) (forgotten int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	for id, slot := range p.index {
		e := &p.slots[slot]
		if e.seen = min(e.seen, now); e.seen < before {
			delete(p.index, id)
			p.free = append(p.free, slot)
			forgotten++
		}
	}
	p.total.Add(-int64(forgotten))
	if len(p.index) == 0 {
		p.slots, p.free = nil, nil
	}
	return forgotten
}

// listedAtOnce is how many entries list looks at before it lets appends go on.
const listedAtOnce = 1000

// list returns the producers by id. Of those that come and go meanwhile it may have some.
func (p *producers) list() []Producer {
	var out []Producer
	for from, more := 0, true; more; from += listedAtOnce {
		out, more = p.listPart(out, from)
	}
	slices.SortStableFunc(out, func(a, b Producer) int { return cmp.Compare(a.ID, b.ID) })
	// Who was forgotten and came again meanwhile may have been met in two places.
	return slices.CompactFunc(out, func(a, b Producer) bool { return a.ID == b.ID })
}

// listPart adds the producers in the next slots to out, and reports whether there are more.
func (p *producers) listPart(out []Producer, from int) ([]Producer, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	to := min(from+listedAtOnce, len(p.slots)) // fewer than from after a reset
	for slot := from; slot < to; slot++ {
		e := &p.slots[slot]
		if at, known := p.index[e.id]; !known || int(at) != slot {
			continue // it is free
		}
		last := e.batches[e.n-1]
		out = append(out, Producer{ID: e.id, Epoch: e.epoch, LastSequence: last.lastSeq(), LastTimestamp: last.timestamp})
	}
	return out, to < len(p.slots)
}
