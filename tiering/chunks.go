package tiering

import (
	"context"
	"errors"
	"time"

	"firn/metadata/topic"
	"firn/tiering/objstore"
)

const (
	// getTimeout bounds one GET of at most a chunk.
	getTimeout = time.Minute
	// getAttempts is how often a chunk is asked for before those who wait are told. A damaged block is
	// asked for twice: the way to it may have been at fault.
	getAttempts   = 4
	damagedTwice  = 2
	trimAfterIdle = time.Minute
)

func (r *Reader) key(obj *remote, lo int) chunkKey {
	return chunkKey{tp: obj.tp, base: obj.segment.Base, attempt: obj.segment.Attempt, epoch: obj.segment.LeaderEpoch, group: lo}
}

// chunkFor returns the chunk with the block, with a reference for the caller; if there is none it begins to
// read one, from the block on. want is about how many bytes are wanted, negative for all of the chunk.
func (r *Reader) chunkFor(obj *remote, block, want int) (*chunk, error) {
	lo, hi := obj.group(block)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.closed {
		return nil, ErrClosed
	}
	key := r.key(obj, lo)
	for _, c := range r.mu.chunks[key] {
		if c.lo <= block && block < c.hi {
			c.unread = false
			r.mu.order.MoveToFront(c.elem)
			c.retain()
			r.metrics.hits.Inc()
			return c, nil
		}
	}
	if want >= 0 {
		end := block + 1
		for end < hi && obj.rawBytes(block, end) < want {
			end++
		}
		hi = end
	}
	c := r.beginLocked(obj, key, block, hi, nil)
	c.retain()
	return c, nil
}

// beginLocked puts a new chunk into the table and begins to fill it, into slab if that is given, with a turn then.
func (r *Reader) beginLocked(obj *remote, key chunkKey, lo, hi int, slab []byte) *chunk {
	c := &chunk{obj: obj, lo: lo, hi: hi, key: key, owner: r}
	c.mu.ready, c.mu.slab, c.mu.wake = lo, slab, make(chan struct{})
	c.refs.Store(2) // the table's and the filler's
	c.elem = r.mu.order.PushFront(c)
	r.mu.chunks[key] = append(r.mu.chunks[key], c)
	r.usedLocked()
	r.wg.Add(1)
	go r.fill(c)
	return c
}

// prefetch begins to read blocks [lo, hi), which are a whole chunk, as far as they are not there; false if
// there is no turn or no memory to spare.
func (r *Reader) prefetch(st *stream, obj *remote, lo, hi int) bool {
	key := r.key(obj, lo)
	r.mu.Lock()
	closed := r.mu.closed
	lo = r.missingLocked(key, lo)
	r.mu.Unlock()
	if lo >= hi {
		return true
	}
	slab := r.spare(obj.tp, obj.rawBytes(lo, hi), closed)
	if slab == nil {
		return false
	}
	r.mu.Lock()
	closed = r.mu.closed
	if closed || r.missingLocked(key, lo) > lo { // another reader has begun it meanwhile
		r.mu.Unlock()
		r.mem.put(slab)
		r.gets.done(obj.tp)
		return !closed
	}
	c := r.beginLocked(obj, key, lo, hi, slab)
	c.unread, c.stream = true, st
	r.mu.Unlock()
	r.metrics.ahead.Inc()
	return true
}

// spare returns a turn of the partition and memory of at least size bytes that nobody else has a use for, or nil.
func (r *Reader) spare(tp topic.Partition, size int, closed bool) []byte {
	if !r.gets.tryTake(tp) {
		return nil
	}
	slab := r.mem.tryGet(size)
	for slab == nil && !closed && r.reclaim(false) {
		slab = r.mem.tryGet(size)
	}
	if slab == nil {
		r.gets.done(tp)
	}
	return slab
}

// missingLocked returns the first block from lo on that is in no chunk: one may begin where another ends.
func (r *Reader) missingLocked(key chunkKey, lo int) int {
	for again := true; again; {
		again = false
		for _, c := range r.mu.chunks[key] {
			if c.lo <= lo && lo < c.hi {
				lo, again = c.hi, true
			}
		}
	}
	return lo
}

// fill reads a chunk, from the disk cache or the bucket.
func (r *Reader) fill(c *chunk) {
	defer r.wg.Done()
	defer c.release()
	ahead := c.mu.slab != nil // then it has its turn, too
	if r.fromCache(c) {
		if ahead {
			r.gets.done(c.key.tp)
		}
		return
	}
	slab, err := r.room(c)
	if err != nil {
		r.fail(c, c.lo, err)
		return
	}
	ready, err := r.fetch(c, slab)
	r.gets.done(c.key.tp)
	if err != nil {
		r.fail(c, ready, err)
		return
	}
	c.progress(c.hi, true, nil)
	r.mu.Lock()
	admit := c.admit
	r.mu.Unlock()
	if admit {
		r.toCache(c)
	}
}

// room waits for the chunk's turn, and only then for memory: what waits for a turn of a partition that hangs keeps no memory
// from others, and who has memory waits for nobody. What is read ahead has both.
func (r *Reader) room(c *chunk) ([]byte, error) {
	if slab := c.mu.slab; slab != nil {
		return slab, nil
	}
	if err := r.gets.take(r.ctx, c.key.tp); err != nil {
		return nil, err
	}
	slab, err := r.mem.get(r.ctx, c.obj.rawBytes(c.lo, c.hi))
	if err != nil {
		r.gets.done(c.key.tp)
		return nil, err
	}
	c.keepIn(slab)
	return slab, nil
}

// fetch gets the chunk from the bucket and returns the number of the block it got to. What went wrong on
// the way is tried again from there.
func (r *Reader) fetch(c *chunk, slab []byte) (ready int, err error) {
	ready = c.lo
	wait := newBackoff(50*time.Millisecond, 2*time.Second)
	for attempt := 1; ; attempt++ {
		before := ready
		ready, err = r.get(c, ready, slab)
		if err == nil {
			return ready, nil
		}
		if ready > before {
			attempt = 1
		}
		var damaged *CorruptionError
		if r.ctx.Err() != nil || attempt == getAttempts || errors.Is(err, objstore.ErrNotFound) ||
			errors.As(err, &damaged) && attempt == damagedTwice {
			return ready, err
		}
		r.metrics.retries.Inc()
		r.log.Debug("read a chunk again", "key", c.obj.key, "block", ready, "error", err)
		if serr := wait.sleep(r.ctx); serr != nil {
			return ready, err
		}
	}
}

// get makes one GET for what is missing of the chunk from block lo on.
func (r *Reader) get(c *chunk, lo int, slab []byte) (ready int, err error) {
	ctx, cancel := context.WithTimeout(r.ctx, getTimeout)
	defer cancel()
	blocks := c.obj.footer.Blocks
	from, to := int64(blocks[lo].Pos), int64(blocks[c.hi-1].Pos)+int64(blocks[c.hi-1].Len)
	r.metrics.gets.Inc()
	rc, err := r.o.Bucket.Get(ctx, c.obj.key, from, to-from)
	if err != nil {
		return lo, err
	}
	defer rc.Close()
	r.metrics.fetched.Add(float64(to - from))
	return c.decode(rc, lo, slab)
}

// fail tells those who wait, and takes the chunk out of the table so that the next one tries again.
func (r *Reader) fail(c *chunk, ready int, err error) {
	r.metrics.failures.Inc()
	r.mu.Lock()
	r.dropLocked(c)
	r.mu.Unlock()
	c.progress(ready, true, err)
}

// dropLocked takes a chunk out of the table.
func (r *Reader) dropLocked(c *chunk) {
	if c.elem == nil {
		return
	}
	r.mu.order.Remove(c.elem)
	c.elem = nil
	list := r.mu.chunks[c.key]
	for i := range list {
		if list[i] == c {
			list[i] = list[len(list)-1]
			list = list[:len(list)-1]
			break
		}
	}
	if len(list) == 0 {
		delete(r.mu.chunks, c.key)
	} else {
		r.mu.chunks[c.key] = list
	}
	c.unref()
}

// consumed tells that a stream has read the chunk to its end: it goes before others do.
func (r *Reader) consumed(c *chunk) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.elem != nil {
		r.mu.order.MoveToBack(c.elem)
	}
}
