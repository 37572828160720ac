package partition

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

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
	// coldReportGap is how often it is logged that the bucket cannot be read.
	coldReportGap = 30 * time.Second
)

// coldTable is the tier reads that are under way, or finished and not fetched yet. A fetch that may not wait any
// longer leaves its reads here and the client's next one finds them; fetches of the same offset share one.
type coldTable struct {
	set    *Set
	ctx    context.Context //nolint:containedctx // ends with the table, which owns the reads
	cancel context.CancelFunc
	group  sync.WaitGroup

	reported atomic.Int64 // Unix time of the last failure logged

	mu struct {
		sync.Mutex
		reads   map[coldKey]*coldRead
		running map[*Replica]int // reads under way
		busy    int              // of all replicas
		done    []*coldRead      // finished ones, oldest first
		bytes   int64            // of finished ones
		line    list.List        // of *FetchPart, those that found no room and wait for it, the first to be told in front
		closed  bool
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
	t.mu.reads, t.mu.running = map[coldKey]*coldRead{}, map[*Replica]int{}
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

// get returns the read at the offset, beginning one if there is none; nil if there is no room for more. A replica begins
// another one only while it has fewer under way than are left, so that one about which the bucket gives no answer leaves
// some to the others, at however many places it is read.
func (t *coldTable) get(r *Replica, head *manifest.Head, offset int64, maxBytes int) *coldRead {
	key := coldKey{r, offset}
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.mu.reads[key]; c != nil {
		return c
	}
	most := t.set.opts.ColdReads
	if t.mu.closed || t.mu.running[r] >= most-t.mu.busy || len(t.mu.reads) >= most && !t.evictLocked() {
		return nil
	}
	t.mu.running[r]++
	t.mu.busy++
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
		t.report(r, c.key.offset, err)
	} else {
		met.coldReads.Inc()
	}
	t.finish(c, data, err)
}

// report logs that the bucket cannot be read, at most once in coldReportGap for all partitions: clients try again
// without end while it is away.
func (t *coldTable) report(r *Replica, offset int64, err error) {
	if t.ctx.Err() != nil || !errors.Is(err, ErrTierUnavailable) {
		return
	}
	now, last := time.Now().Unix(), t.reported.Load()
	if now-last >= int64(coldReportGap.Seconds()) && t.reported.CompareAndSwap(last, now) {
		r.logger.Warn("read of the tier failed", "offset", offset, "error", err)
	}
}

// finish makes a read's outcome known to whoever waits for it.
func (t *coldTable) finish(c *coldRead, data tiering.Data, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.finished, c.data, c.err = true, data, err
	t.mu.busy--
	if t.mu.running[c.key.replica]--; t.mu.running[c.key.replica] == 0 {
		delete(t.mu.running, c.key.replica)
	}
	t.mu.done = append(t.mu.done, c)
	t.mu.bytes += int64(data.Len())
	for _, f := range c.waiting {
		f.wake()
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
	t.tellLocked()
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

// stand puts p, which found no room, into the line of those that wait for it.
func (t *coldTable) stand(p *FetchPart) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.place = t.mu.line.PushBack(p)
	t.tellLocked() // some may have come since p was refused
}

// unstand undoes stand.
func (t *coldTable) unstand(p *FetchPart) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.line.Remove(p.place) // if it is still in it
}

// tellLocked has the first fetch in line look again that finds room now without what finished reads hold for others.
func (t *coldTable) tellLocked() {
	most := t.set.opts.ColdReads
	if t.mu.closed || len(t.mu.reads) >= most {
		return
	}
	for e := t.mu.line.Front(); e != nil; e = e.Next() {
		if p := e.Value.(*FetchPart); t.mu.running[p.Replica] < most-t.mu.busy {
			t.mu.line.Remove(e)
			p.fetch.wake()
			return
		}
	}
}

// expire drops the read if it is still in the table. The wheel calls it.
func (c *coldRead) expire() {
	c.table.mu.Lock()
	defer c.table.mu.Unlock()
	c.table.dropLocked(c)
	c.table.tellLocked()
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
		t.tellLocked()
	}
}

// result returns c's outcome, if there are data with a reference that the caller gives back by unref; not ok while c is
// under way.
func (t *coldTable) result(c *coldRead) (data *tiering.Data, ok bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !c.finished {
		return nil, false, nil
	}
	if c.err != nil {
		return nil, true, c.err
	}
	if c.refs.Add(1) == 1 { // dropped since it was looked up
		c.refs.Add(-1)
		return nil, false, nil
	}
	return &c.data, true, nil
}

// unref lets go of the read's memory.
func (c *coldRead) unref() {
	if c.refs.Add(-1) == 0 {
		c.data.Release()
	}
}
