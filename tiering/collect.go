package tiering

import (
	"context"
	"errors"
	"fmt"
	"time"

	"firn/segment/batch"
	"firn/tiering/manifest"
)

// maxRead bounds the memory that one answer holds, whatever its reader asks for, so that one slow
// connection cannot hold all of the budget.
const maxRead = 16 << 20

// linger is how long an answer that has its first block waits for more. A store that is slower than a client
// is patient would otherwise give nothing for many requests, and then all at once.
const linger = 100 * time.Millisecond

// collect gives the batches from the one that holds offset on, as much as maxBytes allows of what is in c
// and in the chunks behind it that are there already. It waits for the first block as long as ctx lasts, for
// the others for linger.
func (r *Reader) collect(ctx context.Context, head *manifest.Head, c *chunk, block int, offset int64, maxBytes int) (Data, error) {
	maxBytes = min(maxBytes, maxRead)
	if _, _, err := c.wait(ctx, block); err != nil {
		return Data{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, linger)
	defer cancel()
	var d Data
	first := true
	for {
		s, err := c.take(ctx, block, offset, maxBytes-d.Len(), first)
		if err != nil {
			if first {
				return Data{}, err
			}
			return d, nil // what is there is good; the next read meets the error
		}
		if s.slab == nil {
			return d, nil
		}
		if first {
			d.First = s.first
		}
		first = false
		d.Next = s.next
		c.retain()
		d.Slabs = append(d.Slabs, &Slab{c: c, b: s.slab})
		if s.block < c.hi {
			return d, nil
		}
		r.consumed(c)
		if c = r.following(head, c); c == nil {
			return d, nil
		}
		// The table may drop it now; the reference that take needs is taken by following.
		defer c.release()
		block, offset = c.lo, c.obj.footer.Base+int64(c.obj.footer.Blocks[c.lo].First)
	}
}

// following returns the chunk behind c if it is in memory with its first block, with a reference. It begins to
// read nothing: who jumped here may not go on, and for a stream the read-ahead has done it.
func (r *Reader) following(head *manifest.Head, c *chunk) *chunk {
	obj, block := c.obj, c.hi
	if block == len(obj.footer.Blocks) {
		if obj.segment.Next() >= head.TierEnd {
			return nil
		}
		s, ok := r.tree.have(obj.tp, head, obj.segment.Next())
		if !ok {
			return nil
		}
		if obj, ok = r.remotes.have(remoteKey{obj.tp, s}); !ok {
			return nil
		}
		block = 0
	}
	lo, _ := obj.group(block)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, next := range r.mu.chunks[r.key(obj, lo)] {
		if next.lo != block {
			continue
		}
		next.mu.Lock()
		ready := next.mu.ready > block
		next.mu.Unlock()
		if !ready {
			return nil
		}
		next.unread = false
		next.retain()
		return next
	}
	return nil
}

// taken is a run of batches in a slab.
type taken struct {
	slab        []byte
	first, next int64
	block       int // where it ends: the number of the block behind the last one taken whole
}

// take returns the batches of a chunk from the one that holds offset, which is in block, of at most
// maxBytes; with atLeastOne the first even if it is larger. It waits for block, and while ctx lasts for
// those behind it.
func (c *chunk) take(ctx context.Context, block int, offset int64, maxBytes int, atLeastOne bool) (taken, error) {
	ready, slab, err := c.wait(ctx, block)
	if err != nil {
		return taken{}, err
	}
	blocks := c.obj.footer.Blocks
	end := func(i int) int { return c.at(i) + int(blocks[i].RawLen) }
	from, b, err := c.seek(slab, c.at(block), end(block), block, offset)
	if err != nil {
		return taken{}, err
	}
	t := taken{first: b.BaseOffset(), block: block}
	to := from
	for t.block < c.hi && end(t.block)-from <= maxBytes {
		if t.block >= ready {
			if ready, _, err = c.wait(ctx, t.block); err != nil {
				break // what is here is good
			}
		}
		to = end(t.block)
		t.next = c.obj.footer.Base + int64(blocks[t.block].Last) + 1
		t.block++
	}
	if t.block < c.hi && t.block < ready {
		// A part of the next block still fits, or the first batch has to.
		part := slab[max(to, c.at(t.block)):end(t.block)]
		n, next, err := c.fill(part, t.block, maxBytes-(to-from), atLeastOne && to == from)
		if err != nil {
			return taken{}, err
		}
		if n > 0 {
			to, t.next = max(to, c.at(t.block))+n, next
		}
	}
	if to > from {
		t.slab = slab[from:to:to]
		c.mu.Lock()
		c.mu.hintAt, c.mu.hintOffset = to, t.next
		c.mu.Unlock()
	}
	return t, nil
}

// seek returns where in the slab the first batch of a block, which is in slab[from:to], begins that ends at
// or beyond offset. Who reads on in small steps does not walk through the block each time.
func (c *chunk) seek(slab []byte, from, to, block int, offset int64) (int, batch.Batch, error) {
	pos := from
	c.mu.Lock()
	if c.mu.hintOffset <= offset && from < c.mu.hintAt && c.mu.hintAt < to {
		pos = c.mu.hintAt
	}
	c.mu.Unlock()
	for pos < to {
		b, err := c.parse(slab[pos:to], block, pos-from)
		if err != nil {
			return 0, nil, err
		}
		if b.LastOffset() >= offset {
			return pos, b, nil
		}
		pos += b.Size()
	}
	return 0, nil, c.corrupt(block, fmt.Errorf("%w: block ends before offset %d", errFormat, offset))
}

// fill returns how many bytes of the front of p are whole batches of at most maxBytes, and the offset behind
// them.
func (c *chunk) fill(p []byte, block, maxBytes int, atLeastOne bool) (n int, next int64, err error) {
	for n < len(p) {
		b, err := c.parse(p[n:], block, n)
		if err != nil {
			return 0, 0, err
		}
		if n+b.Size() > maxBytes && (n > 0 || !atLeastOne) {
			break
		}
		n += b.Size()
		next = b.NextOffset()
	}
	return n, next, nil
}

// parse reads the batch at the front of p, a part of a block whose checksum was right: what is wrong now was
// wrong when it was uploaded.
func (c *chunk) parse(p []byte, block, pos int) (batch.Batch, error) {
	b, _, err := batch.Parse(p)
	if err != nil {
		return nil, c.corrupt(block, fmt.Errorf("batch at byte %d of the block: %w", pos, err))
	}
	return b, nil
}

func (c *chunk) corrupt(block int, err error) error {
	b := c.obj.footer.Blocks[block]
	return &CorruptionError{Key: c.obj.key, Block: block, Pos: int64(b.Pos), Offset: c.obj.footer.Base + int64(b.First), Err: err}
}

// errStop ends an Each early.
var errStop = errors.New("stop")
