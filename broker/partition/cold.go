package partition

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"firn/segment/batch"
	"firn/tiering"
	"firn/tiering/manifest"
)

const (
	// coldReadBytes is the most one tier read asks for: what one answer carries of one partition.
	coldReadBytes = 4 << 20
	// coldReadTimeout ends a tier read that gets nowhere; the client has asked again many times by then.
	coldReadTimeout = 30 * time.Second
	// coldKeep is how long a finished read waits for the fetch that wants it, coldKeepError how long a failed one
	// keeps others from trying the same.
	coldKeep      = 3 * time.Second
	coldKeepError = time.Second
)

// coldTable is the tier reads that are under way, or finished and not fetched yet. A fetch that may not wait any
// longer leaves its reads here and the client's next one finds them; fetches of the same offset share one.
type coldTable struct {
	set    *Set
	ctx    context.Context //nolint:containedctx // ends with the table, which owns the reads
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu struct {
		sync.Mutex
		reads  map[coldKey]*coldRead
		done   []*coldRead // finished ones, oldest first
		bytes  int64       // of finished ones
		closed bool
	}
}

type coldKey struct {
	replica *Replica
	offset  int64
}

// coldRead is one read of the tier. What it read stays in memory until the table and all runs have let go of it.
type coldRead struct {
	key   coldKey
	table *coldTable
	refs  atomic.Int32 // the table's and one for each run

	// Guarded by the table's lock; data and err do not change once finished is set.
	waiting  []*Fetch
	finished bool
	data     tiering.Data
	err      error
	alarm    alarm
}

func newColdTable(s *Set) *coldTable {
	t := &coldTable{set: s}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.mu.reads = map[coldKey]*coldRead{}
	return t
}

// close cancels what is under way and waits for it.
func (t *coldTable) close() {
	t.mu.Lock()
	t.mu.closed = true
	for len(t.mu.done) > 0 {
		t.dropLocked(t.mu.done[0])
	}
	t.mu.Unlock()
	t.cancel()
	t.group.Wait()
}

// get returns the read at the offset, beginning one if there is none; nil if there is no room for more.
func (t *coldTable) get(r *Replica, head *manifest.Head, offset int64, maxBytes int) *coldRead {
	key := coldKey{r, offset}
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.mu.reads[key]; c != nil {
		return c
	}
	if t.mu.closed || len(t.mu.reads) >= t.set.opts.ColdReads && !t.evictLocked() {
		return nil
	}
	c := &coldRead{key: key, table: t}
	c.refs.Store(1)
	c.alarm.ring = c.expire
	t.mu.reads[key] = c
	t.group.Add(1)
	go t.read(c, head, maxBytes)
	return c
}

func (t *coldTable) read(c *coldRead, head *manifest.Head, maxBytes int) {
	defer t.group.Done()
	ctx, cancel := context.WithTimeout(t.ctx, coldReadTimeout)
	defer cancel()
	r, met := c.key.replica, t.set.met
	began := time.Now()
	data, err := t.set.opts.Tier.Read(ctx, r.tp, head, c.key.offset, maxBytes)
	if err == nil && data.Len() == 0 {
		data.Release()
		err = fmt.Errorf("%w: nothing read", tiering.ErrMissing)
	}
	met.coldSeconds.Observe(time.Since(began).Seconds())
	if err != nil {
		met.coldFailures.Inc()
		data, err = tiering.Data{}, r.tierError("read", c.key.offset, err)
	} else {
		met.coldReads.Inc()
	}
	t.finish(c, data, err)
}

// finish makes a read's outcome known to whoever waits for it.
func (t *coldTable) finish(c *coldRead, data tiering.Data, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.finished, c.data, c.err = true, data, err
	t.mu.done = append(t.mu.done, c)
	t.mu.bytes += int64(data.Len())
	for _, f := range c.waiting {
		if err != nil {
			f.wake()
		} else {
			f.countDown(int64(data.Len()))
		}
	}
	if t.mu.closed {
		t.dropLocked(c)
		return
	}
	keep := coldKeep
	if err != nil {
		keep = coldKeepError
	}
	t.set.wheel.set(&c.alarm, keep)
	for t.mu.bytes > t.set.opts.ColdBytes && t.evictLocked() {
	}
}

// evictLocked drops the oldest finished read that nobody waits for, but the newest never.
func (t *coldTable) evictLocked() bool {
	for i, c := range t.mu.done {
		if len(c.waiting) == 0 && (i < len(t.mu.done)-1 || len(t.mu.reads) >= t.set.opts.ColdReads) {
			t.set.met.coldDropped.Inc()
			t.dropLocked(c)
			return true
		}
	}
	return false
}

// dropLocked takes a finished read out of the table.
func (t *coldTable) dropLocked(c *coldRead) {
	for i, d := range t.mu.done {
		if d == c {
			t.mu.done = append(t.mu.done[:i], t.mu.done[i+1:]...)
			delete(t.mu.reads, c.key)
			t.mu.bytes -= int64(c.data.Len())
			t.set.wheel.stop(&c.alarm)
			c.unref()
			return
		}
	}
}

// expire drops the read if it is still in the table. The wheel calls it.
func (c *coldRead) expire() {
	c.table.mu.Lock()
	defer c.table.mu.Unlock()
	c.table.dropLocked(c)
}

// attach has f told when c finishes; if it has, f looks again.
func (t *coldTable) attach(c *coldRead, f *Fetch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.finished {
		f.wake()
	}
	c.waiting = append(c.waiting, f)
}

// detach undoes attach.
func (t *coldTable) detach(c *coldRead, f *Fetch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, w := range c.waiting {
		if w == f {
			c.waiting = append(c.waiting[:i], c.waiting[i+1:]...)
			return
		}
	}
}

// consumed drops c, whose bytes are in an answer now, unless others wait for them too.
func (t *coldTable) consumed(c *coldRead) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(c.waiting) == 0 {
		t.dropLocked(c)
	}
}

// result returns c's outcome with a reference that the caller gives back by unref, or not ok while c is under way.
func (t *coldTable) result(c *coldRead) (data *tiering.Data, err error, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !c.finished {
		return nil, nil, false
	}
	if c.err != nil {
		return nil, c.err, true
	}
	if c.refs.Add(1) == 1 { // dropped since it was looked up
		c.refs.Add(-1)
		return nil, nil, false
	}
	return &c.data, nil, true
}

// unref lets go of the read's memory.
func (c *coldRead) unref() {
	if c.refs.Add(-1) == 0 {
		c.data.Release()
	}
}

// readCold takes what the tier read at p's offset has brought, beginning it if need be.
func (r *Replica) readCold(p *FetchPart, limit int, first bool) {
	head := r.head.Load()
	if r.set.opts.Tier == nil || !archived(head) || p.Offset >= head.TierEnd {
		p.Err = fmt.Errorf("read %s at offset %d: %w: it is neither on the disk nor in the tier", r.tp, p.Offset, ErrCorruptData)
		r.reportCorruption("read", p.Err)
		p.waiting = true
		return
	}
	if limit <= 0 && !first {
		return
	}
	t := r.set.cold
	c := t.get(r, head, p.Offset, max(1, min(p.MaxBytes, p.fetch.MaxBytes, coldReadBytes)))
	if c == nil {
		r.set.met.coldRefused.Inc()
		p.waiting = true
		return
	}
	data, err, ok := t.result(c)
	if p.cold = c; !ok {
		p.waiting = true
		return
	}
	if err != nil {
		p.Err, p.waiting = err, persistent(err)
		return
	}
	p.takeCold(c, data, limit, first)
	c.unref()
	r.set.met.coldBytes.Add(float64(p.Bytes))
}

// takeCold adds as many whole batches of data as fit into limit to p's extents, at least one if first is set.
func (p *FetchPart) takeCold(c *coldRead, data *tiering.Data, limit int, first bool) {
	for _, s := range data.Slabs {
		n := s.Len()
		if p.Bytes+n > limit {
			n = wholeBatches(s.Bytes(), limit-p.Bytes, first && p.Bytes == 0)
		}
		if n > 0 {
			c.refs.Add(1)
			p.Extents = append(p.Extents, &coldRun{read: c, slab: s, n: n})
			p.Bytes += n
		}
		if n < s.Len() {
			return
		}
	}
}

// wholeBatches returns the length of the batches at the beginning of b that fit into limit, of the first one at least if
// atLeastOne is set.
func wholeBatches(b []byte, limit int, atLeastOne bool) int {
	n := 0
	for n < len(b) {
		_, size, err := batch.ParseHeader(b[n:])
		if err != nil || n+size > len(b) || n+size > limit && (n > 0 || !atLeastOne) {
			break
		}
		n += size
	}
	return n
}

// coldRun is an extent of a tier read.
type coldRun struct {
	read *coldRead
	slab *tiering.Slab
	n    int
}

var _ Extent = (*coldRun)(nil)

func (c *coldRun) Len() int                               { return c.n }
func (c *coldRun) File() (fd uintptr, pos int64, ok bool) { return 0, 0, false }
func (c *coldRun) Release()                               { c.read.unref() }

func (c *coldRun) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(c.n) {
		return 0, io.ErrUnexpectedEOF
	}
	if int64(len(p)) > int64(c.n)-off {
		n, _ := c.slab.ReadAt(p[:int64(c.n)-off], off)
		return n, io.ErrUnexpectedEOF
	}
	return c.slab.ReadAt(p, off)
}

// tierError turns an error of the tier into one of ours.
func (r *Replica) tierError(doing string, offset int64, err error) error {
	var rangeErr *tiering.OutOfRangeError
	var corrupt *tiering.CorruptionError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &rangeErr) && offset >= 0 && offset < rangeErr.Start:
		return fmt.Errorf("%s %s in the tier: %w: %w", doing, r.tp, ErrOffsetOutOfRange, err)
	case errors.As(err, &corrupt), errors.Is(err, manifest.ErrCorrupt):
		r.reportCorruption(doing, err)
		return fmt.Errorf("%s %s in the tier: %w: %w", doing, r.tp, ErrCorruptData, err)
	case errors.Is(err, tiering.ErrMissing):
		r.reportCorruption(doing, err)
	}
	return fmt.Errorf("%s %s in the tier: %w: %w", doing, r.tp, ErrTierUnavailable, err)
}
