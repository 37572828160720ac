package tiering

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"firn/metadata/topic"
	"firn/segment/batch"
	"firn/tiering/manifest"
	"firn/tiering/objstore"
)

// Stamp is a record's place and time.
type Stamp struct {
	Offset    int64
	Timestamp int64 // ms
	Epoch     int32 // leader epoch of its batch
}

// FindTime returns the first record at or beyond offset from whose timestamp is at least ts; ok is false
// if there is none in the tier. With the manifest in memory it takes two GETs, a footer and a chunk, which
// is the one that a read from there begins with.
func (r *Reader) FindTime(ctx context.Context, tp topic.Partition, head *manifest.Head, ts, from int64) (s Stamp, ok bool, err error) {
	from = max(from, head.LogStart)
	s, ok, err = r.findTime(ctx, tp, head, ts, from)
	if errors.Is(err, objstore.ErrNotFound) {
		err = r.again(ctx, tp, head, err, func(h *manifest.Head) error {
			s, ok, err = r.findTime(ctx, tp, h, ts, max(from, h.LogStart))
			return err
		})
	}
	if err != nil {
		return Stamp{}, false, r.outcome(ctx, err)
	}
	return s, ok, nil
}

func (r *Reader) findTime(ctx context.Context, tp topic.Partition, head *manifest.Head, ts, from int64) (Stamp, bool, error) {
	root, err := r.tree.root(ctx, tp, head)
	if err != nil {
		return Stamp{}, false, err
	}
	for {
		place, ok := manifest.FindTime(*head, root, ts, from)
		if !ok {
			return Stamp{}, false, nil
		}
		if place.InPage {
			page, err := r.tree.page(ctx, tp, place.Page)
			if err != nil {
				return Stamp{}, false, err
			}
			if place.Segment, ok = page.FindTime(ts, from); !ok {
				from = place.Page.End + 1
				continue
			}
		}
		obj, err := r.remotes.get(ctx, remoteKey{tp, place.Segment})
		if err != nil {
			return Stamp{}, false, err
		}
		s, ok, err := r.searchObject(ctx, obj, ts, from)
		if ok || err != nil {
			return s, ok, err
		}
		from = place.Segment.Next() // its late records all lie below from
	}
}

// searchObject looks for the first record at or beyond from with a timestamp of at least ts.
func (r *Reader) searchObject(ctx context.Context, obj *remote, ts, from int64) (Stamp, bool, error) {
	block, _ := obj.footer.blockAt(from)
	for ; block < len(obj.footer.Blocks); block++ {
		if obj.footer.Blocks[block].MaxTime < ts {
			continue
		}
		s, ok, err := r.searchBlock(ctx, obj, block, ts, from)
		if ok || err != nil {
			return s, ok, err
		}
	}
	return Stamp{}, false, nil
}

func (r *Reader) searchBlock(ctx context.Context, obj *remote, block int, ts, from int64) (s Stamp, ok bool, err error) {
	err = r.eachBatch(ctx, obj, block, func(b batch.Batch) bool {
		if b.LastOffset() >= from && b.MaxTimestamp() >= ts {
			s, ok = searchBatch(b, ts, from)
		}
		return !ok
	})
	if err != nil {
		return Stamp{}, false, err
	}
	return s, ok, nil
}

// eachBatch calls fn for the batches of a block while it returns true.
func (r *Reader) eachBatch(ctx context.Context, obj *remote, block int, fn func(b batch.Batch) bool) error {
	c, err := r.chunkFor(obj, block, firstRead)
	if err != nil {
		return err
	}
	defer c.release()
	_, slab, err := c.wait(ctx, block)
	if err != nil {
		return err
	}
	p := slab[c.at(block) : c.at(block)+int(obj.footer.Blocks[block].RawLen)]
	for pos := 0; pos < len(p); {
		b, err := c.parse(p[pos:], block, pos)
		if err != nil {
			return err
		}
		pos += b.Size()
		if !fn(b) {
			return nil
		}
	}
	return nil
}

// searchBatch returns the first record of a batch at or beyond from with a timestamp of at least ts. The batch's CRC
// holds, so if its records do not decode that is how they were sent, and the batch as its header has it is the answer,
// as it was before it was archived.
func searchBatch(b batch.Batch, ts, from int64) (s Stamp, ok bool) {
	defer batch.Turn()()
	err := b.Each(nil, batch.LookBytes(len(b)), func(rec batch.Record) error {
		offset, t := b.BaseOffset()+int64(rec.OffsetDelta), b.Timestamp(rec)
		if offset < from || t < ts {
			return nil
		}
		s, ok = Stamp{Offset: offset, Timestamp: t, Epoch: b.LeaderEpoch()}, true
		return errStop
	})
	if err != nil && !ok {
		return Stamp{Offset: max(b.BaseOffset(), from), Timestamp: b.MaxTimestamp(), Epoch: b.LeaderEpoch()}, true
	}
	return s, ok
}

// MaxTime returns the first record with the greatest timestamp in the tier; ok is false if it is empty.
func (r *Reader) MaxTime(ctx context.Context, tp topic.Partition, head *manifest.Head) (s Stamp, ok bool, err error) {
	s, ok, err = r.maxTime(ctx, tp, head)
	if errors.Is(err, objstore.ErrNotFound) {
		err = r.again(ctx, tp, head, err, func(h *manifest.Head) error {
			s, ok, err = r.maxTime(ctx, tp, h)
			return err
		})
	}
	if err != nil {
		return Stamp{}, false, r.outcome(ctx, err)
	}
	return s, ok, nil
}

// maxTime asks for the greatest timestamp that the manifest knows. Where that one belongs to a record below
// the log start, or a batch claims more than its records hold, it asks for the next smaller one.
func (r *Reader) maxTime(ctx context.Context, tp topic.Partition, head *manifest.Head) (Stamp, bool, error) {
	root, err := r.tree.root(ctx, tp, head)
	if err != nil {
		return Stamp{}, false, err
	}
	ts, ok := manifest.MaxTime(*head, root)
	if !ok {
		return Stamp{}, false, nil
	}
	s, ok, err := r.findTime(ctx, tp, head, ts, head.LogStart)
	if ok || err != nil {
		return s, ok, err
	}
	return r.maxTimeBySegments(ctx, tp, head, root)
}

// maxTimeBySegments looks into pages and segments by the greatest timestamp that each claims, of equal ones into
// the first, until none is left that claims more than was found. A page may claim that of a segment below the log
// start.
func (r *Reader) maxTimeBySegments(ctx context.Context, tp topic.Partition, head *manifest.Head, root *manifest.Root) (best Stamp, found bool, err error) {
	places := manifest.Places(*head, root)
	for len(places) > 0 {
		next := 0
		for i, p := range places {
			if p.MaxTime() > places[next].MaxTime() {
				next = i
			}
		}
		p := places[next]
		if found && (p.MaxTime() < best.Timestamp || p.MaxTime() == best.Timestamp && p.Base() > best.Offset) {
			break
		}
		if p.InPage {
			page, err := r.tree.page(ctx, tp, p.Page)
			if err != nil {
				return Stamp{}, false, err
			}
			places = slices.Replace(places, next, next+1, page.Places(*head)...)
			continue
		}
		places = slices.Delete(places, next, next+1)
		obj, err := r.remotes.get(ctx, remoteKey{tp, p.Segment})
		if err != nil {
			return Stamp{}, false, err
		}
		s, ok, err := r.maxTimeOf(ctx, obj, head.LogStart)
		if err != nil {
			return Stamp{}, false, err
		}
		if ok && (!found || s.after(best)) {
			best, found = s, true
		}
	}
	return best, found, nil
}

// maxTimeOf returns the first record with the greatest timestamp at or beyond from in one object. It looks into
// blocks by the greatest timestamp that each claims, and at each record once.
func (r *Reader) maxTimeOf(ctx context.Context, obj *remote, from int64) (best Stamp, found bool, err error) {
	first, _ := obj.footer.blockAt(from)
	blocks := obj.footer.Blocks
	order := make([]int, 0, len(blocks)-first)
	for i := first; i < len(blocks); i++ {
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(blocks[b].MaxTime, blocks[a].MaxTime) })
	for _, i := range order {
		if found && (blocks[i].MaxTime < best.Timestamp || blocks[i].MaxTime == best.Timestamp && obj.footer.Base+int64(blocks[i].First) > best.Offset) {
			continue
		}
		err := r.eachBatch(ctx, obj, i, func(b batch.Batch) bool {
			if b.LastOffset() < from || found && b.MaxTimestamp() < best.Timestamp {
				return true
			}
			if s, ok := newestOf(b, from); ok && (!found || s.after(best)) {
				best, found = s, true
			}
			return true
		})
		if err != nil {
			return Stamp{}, false, err
		}
	}
	return best, found, nil
}

// after reports whether s is the newer of two records, of equally new ones the first.
func (s Stamp) after(o Stamp) bool {
	return s.Timestamp > o.Timestamp || s.Timestamp == o.Timestamp && s.Offset < o.Offset
}

// newestOf returns the first record of a batch with the greatest timestamp at or beyond from. What does not decode
// counts as for searchBatch.
func newestOf(b batch.Batch, from int64) (s Stamp, ok bool) {
	defer batch.Turn()()
	err := b.Each(nil, batch.LookBytes(len(b)), func(rec batch.Record) error {
		offset, t := b.BaseOffset()+int64(rec.OffsetDelta), b.Timestamp(rec)
		if offset >= from && (!ok || t > s.Timestamp) {
			s, ok = Stamp{Offset: offset, Timestamp: t, Epoch: b.LeaderEpoch()}, true
		}
		return nil
	})
	if err != nil {
		return Stamp{Offset: max(b.BaseOffset(), from), Timestamp: b.MaxTimestamp(), Epoch: b.LeaderEpoch()}, true
	}
	return s, ok
}
