package metadata

import (
	"context"
	"errors"
	"fmt"
)

// Open loads a shard and opens it for writing, as its owner by the record own. Nothing that was acknowledged
// by an earlier owner, or by us, is missing from what it returns, and nothing that an earlier owner, or an
// earlier Shard of ours, has tried to write can be applied any more. An earlier Shard still open ends with
// ErrClosed. ErrFenced if own is no longer the ownership on record.
func (c *Committer) Open(ctx context.Context, kind ShardKind, shard int32, own ShardOwner) (*Shard, []ShardEntry, error) {
	sh, entries, err := c.openShard(ctx, kind, shard, own)
	if err != nil {
		return nil, nil, fmt.Errorf("open %v shard %d: %w", kind, shard, err)
	}
	return sh, entries, nil
}

func (c *Committer) openShard(ctx context.Context, kind ShardKind, shard int32, own ShardOwner) (*Shard, []ShardEntry, error) {
	sl, err := c.quiesce(ctx, slotKey{kind, shard})
	if err != nil {
		return nil, nil, err
	}
	// Whoever owns the shard by a later record makes the writes fail on their guard; this only spares the
	// load what the image knows already.
	if img := c.store.Image(); own.Rev == 0 || img.Rev() >= own.Rev && img.ShardOwner(kind, shard).Rev != own.Rev {
		return nil, nil, ErrFenced
	}
	moved, err := c.moveFence(ctx, sl, own)
	if err != nil {
		return nil, nil, err
	}
	root := c.store.keys.shardState(kind, shard)
	entries, fence, err := c.store.loadShard(ctx, root)
	if err != nil {
		return nil, nil, err
	}
	if moved != 0 && fence != moved {
		return nil, nil, ErrFenced
	}
	guards := [2]Cmp{ModIs(c.store.keys.ShardOwner(kind, shard), own.Rev), ModIs(root, fence)}
	sh := &Shard{c: c, slot: sl, guards: guards, root: root}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return nil, nil, ErrClosed
	}
	if sl.open != nil || sl.busy != nil {
		return nil, nil, fmt.Errorf("opened by someone else meanwhile: %w", ErrConflict)
	}
	sl.open = sh
	return sh, entries, nil
}

// quiesce ends the shard's earlier life and waits for its writes in flight.
func (c *Committer) quiesce(ctx context.Context, key slotKey) (*slot, error) {
	c.mu.Lock()
	sl := c.mu.slots[key]
	if sl == nil {
		sl = &slot{key: key}
		c.mu.slots[key] = sl
	}
	c.end(sl, ErrClosed)
	for sl.busy != nil {
		busy := sl.busy
		c.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, errors.Join(ErrUnavailable, context.Cause(ctx))
		}
		c.mu.Lock()
	}
	defer c.mu.Unlock()
	if c.mu.closed {
		return nil, ErrClosed
	}
	return sl, nil
}

// moveFence makes sure that no write of an earlier Shard, whose outcome is unknown, can be applied any more. It
// returns the fence's new revision, or 0 if there is no such write.
func (c *Committer) moveFence(ctx context.Context, sl *slot, own ShardOwner) (rev int64, err error) {
	c.mu.Lock()
	unsure := sl.unsure
	c.mu.Unlock()
	if !unsure {
		return 0, nil
	}
	fence := c.store.keys.shardState(sl.key.kind, sl.key.shard)
	entries, _, err := c.store.kv.Get(ctx, fence)
	if err != nil {
		return 0, err
	}
	res, err := Settle(ctx, c.store.kv, Txn{
		If: []Cmp{
			ModIs(c.store.keys.ShardOwner(sl.key.kind, sl.key.shard), own.Rev),
			ModIs(fence, entries[0].ModRev),
		},
		Then: []Op{Put(fence, encodeShardOwner(&own))},
	})
	if err != nil {
		return 0, err
	}
	if !res.OK {
		return 0, ErrFenced
	}
	c.mu.Lock()
	sl.unsure = false
	c.mu.Unlock()
	return res.Rev, nil
}

// loadShard reads everything under root at one revision, and the revision of the fence, which is the key root
// itself.
func (s *Store) loadShard(ctx context.Context, root string) (out []ShardEntry, fence int64, err error) {
	start, end, rev := root, PrefixEnd(root), int64(0)
	for {
		page, err := s.kv.Range(ctx, start, end, rev, relistPage)
		if err != nil {
			return nil, 0, err
		}
		rev = page.Rev
		for _, e := range page.Entries {
			if e.Key == root {
				fence = e.ModRev
				continue
			}
			out = append(out, ShardEntry{Key: e.Key[len(root):], Value: e.Value})
		}
		if !page.More {
			return out, fence, nil
		}
		start = page.Entries[len(page.Entries)-1].Key + "\x00"
	}
}
