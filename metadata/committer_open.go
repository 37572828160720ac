package metadata

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	guards, err := c.confirm(ctx, sl, own)
	if err != nil {
		return nil, nil, err
	}
	sh := &Shard{c: c, slot: sl, guards: guards, root: c.store.keys.shardState(kind, shard)}
	entries, err := c.store.loadShard(ctx, sh.root)
	if err != nil {
		return nil, nil, err
	}
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

// confirm checks that the ownership is still on record and returns the guards of its writes. If an earlier
// write's outcome is unknown, it moves the fence first, so that the write's guards can never hold again.
func (c *Committer) confirm(ctx context.Context, sl *slot, own ShardOwner) (guards [2]Cmp, err error) {
	co := c.store.keys.ShardOwner(sl.key.kind, sl.key.shard)
	fence := c.store.keys.shardFence(sl.key.kind, sl.key.shard)
	entries, _, err := c.store.kv.Get(ctx, co, fence)
	if err != nil {
		return guards, err
	}
	if entries[0].ModRev != own.Rev || own.Rev == 0 {
		return guards, ErrFenced
	}
	guards = [2]Cmp{ModIs(co, own.Rev), ModIs(fence, entries[1].ModRev)}
	c.mu.Lock()
	unsure := sl.unsure
	c.mu.Unlock()
	if !unsure {
		return guards, nil
	}
	// Its own copy of the guards, for an attempt given up may still be under way when they change below.
	res, err := Settle(ctx, c.store.kv, Txn{If: slices.Clone(guards[:]), Then: []Op{Put(fence, encodeShardOwner(&own))}})
	if err != nil {
		return guards, err
	}
	if !res.OK {
		return guards, ErrFenced
	}
	guards[1].Rev = res.Rev
	c.mu.Lock()
	sl.unsure = false
	c.mu.Unlock()
	return guards, nil
}

// loadShard reads everything under root at one revision.
func (s *Store) loadShard(ctx context.Context, root string) ([]ShardEntry, error) {
	var out []ShardEntry
	start, end, rev := root, PrefixEnd(root), int64(0)
	for {
		page, err := s.kv.Range(ctx, start, end, rev, relistPage)
		if err != nil {
			return nil, err
		}
		rev = page.Rev
		for _, e := range page.Entries {
			out = append(out, ShardEntry{Key: e.Key[len(root):], Value: e.Value})
		}
		if !page.More {
			return out, nil
		}
		start = page.Entries[len(page.Entries)-1].Key + "\x00"
	}
}
