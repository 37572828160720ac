package partition

import (
	"fmt"
	"io"

	"firn/segment/batch"
	"firn/tiering"
)

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
		p.waiting, p.crowded = true, true
		return
	}
	data, ok, err := t.result(c)
	if p.cold = c; !ok {
		// A read that failed before is the answer still, or a client whose MaxWait always ends in the next
		// try would never hear why it gets nothing.
		p.Err, p.waiting = p.refused, true
		return
	}
	if err != nil {
		p.Err, p.waiting = err, persistent(err)
		p.refused = err
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
			p.more = true
			return
		}
	}
	p.more = data.Next < p.HighWatermark
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

// Memory gives the bytes themselves, so that they are written without another copy.
func (c *coldRun) Memory() []byte { return c.slab.Bytes()[:c.n:c.n] }

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
