package metadata

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// batch is one transaction of a Committer: for each shard in it, the commits it carries.
type batch struct {
	parts  []part
	txn    Txn
	bytes  int
	oldest time.Time // since when its oldest commit has waited for others
}

type part struct {
	slot    *slot
	shard   *Shard
	commits []*commit
}

// dispatch starts a transaction whenever there is something to write, a place for it in flight, and the
// oldest commit has waited for company long enough.
func (c *Committer) dispatch() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		c.mu.Lock()
		var wait time.Duration
		switch {
		case c.mu.closed && len(c.mu.ready) == 0:
			c.mu.Unlock()
			return
		case len(c.mu.ready) == 0:
			wait = time.Hour // until poked
		case c.mu.inFlight == commitsInFlight:
			// The key space may not answer at all; others must be told in time, too. A shard with much to write gets on with it.
			sl := c.mu.ready[0]
			if wait = time.Until(sl.since.Add(c.opts.Timeout)); wait <= 0 {
				c.end(sl, fmt.Errorf("no transaction could be begun in %v: %w", c.opts.Timeout, ErrUnavailable))
				c.mu.Unlock()
				continue
			}
		default:
			if wait = time.Until(c.mu.ready[0].since.Add(c.mu.pace.linger())); wait <= 0 {
				b := c.gather()
				c.mu.inFlight++
				c.mu.Unlock()
				c.running.Go(func() { c.run(b) })
				continue
			}
		}
		c.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-c.wake:
		case <-timer.C:
		}
	}
}

// gather takes commits off the ready slots, oldest first, until a limit is reached, and marks their slots
// busy. Committer.mu is held.
func (c *Committer) gather() *batch {
	b := &batch{}
	at := make(map[string]int) // key -> place in b.txn.Then
	for len(c.mu.ready) > 0 && len(b.parts) < commitShards {
		sl := c.mu.ready[0]
		p := part{slot: sl, shard: sl.open}
		for len(sl.queue) > 0 && b.takes(sl.queue[0]) {
			b.add(p.shard, sl.queue[0], at)
			p.commits = append(p.commits, sl.queue[0])
			sl.queue = sl.queue[1:]
		}
		if len(p.commits) == 0 {
			break // full
		}
		c.mu.ready = c.mu.ready[1:]
		sl.busy = make(chan struct{})
		b.parts = append(b.parts, p)
		for _, g := range p.shard.guards {
			b.txn.If = append(b.txn.If, g)
			b.txn.Else = append(b.txn.Else, g.Key)
		}
	}
	return b
}

func (b *batch) takes(cm *commit) bool {
	return len(b.txn.Then) == 0 ||
		len(b.txn.Then)+len(cm.edits) <= commitOps && b.bytes+cm.bytes <= MaxTxnBytes
}

// add takes a commit in; of several writes of a key the newest wins.
func (b *batch) add(sh *Shard, cm *commit, at map[string]int) {
	b.bytes += cm.bytes
	since := cm.since
	if sh.slot.since.After(since) {
		since = sh.slot.since // it waited for its own shard
	}
	if b.oldest.IsZero() || since.Before(b.oldest) {
		b.oldest = since
	}
	for _, e := range cm.edits {
		op := Op{Key: sh.root + e.Key, Value: e.Value, Delete: e.Delete}
		if i, ok := at[op.Key]; ok {
			b.txn.Then[i] = op
			continue
		}
		at[op.Key] = len(b.txn.Then)
		b.txn.Then = append(b.txn.Then, op)
	}
}

// run commits a batch and tells everyone in it.
func (c *Committer) run(b *batch) {
	start := time.Now()
	// What was sent late still gets time enough to come back from a key space that is well.
	deadline := b.oldest.Add(c.opts.Timeout)
	if least := start.Add(c.opts.Timeout / 4); deadline.Before(least) {
		deadline = least
	}
	ctx, cancel := context.WithDeadline(c.ctx, deadline)
	res, err := c.store.kv.Txn(ctx, b.txn)
	took := time.Since(start)
	cancel()
	c.metrics.observe(b, took, res.OK, err)

	c.mu.Lock()
	c.mu.inFlight--
	c.mu.pace.observe(time.Now(), took, b.bytes)
	c.poke()
	c.mu.Unlock()
	for i, p := range b.parts {
		c.settle(p, c.judge(p, res, err, i))
	}
}

// errAgain says that another shard of the batch was at fault.
var errAgain = errors.New("metadata: commit again")

// judge says how the i-th part of a batch ended.
func (c *Committer) judge(p part, res TxnResult, err error, i int) error {
	switch {
	case err == nil && res.OK:
		return nil
	case err == nil && (res.Else[2*i].ModRev != p.shard.guards[0].Rev || res.Else[2*i+1].ModRev != p.shard.guards[1].Rev):
		return ErrFenced
	case err == nil:
		return errAgain
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrNoSpace), errors.Is(err, ErrRefused), errors.Is(err, ErrTooLarge):
		return err
	case errors.Is(err, ErrUnknown):
		return err
	default:
		return errors.Join(ErrUnknown, err)
	}
}

// settle tells the commits of a part how they ended and makes the slot free for its next ones, in this
// order, so that the outcomes of a shard's commits are told in the order of the commits.
func (c *Committer) settle(p part, err error) {
	if !errors.Is(err, errAgain) {
		finish(p.commits, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	sl := p.slot
	switch {
	case errors.Is(err, errAgain) && sl.open == p.shard:
		sl.queue = append(p.commits, sl.queue...)
	case errors.Is(err, errAgain):
		go finish(p.commits, p.shard.err) // closed meanwhile
	case err != nil:
		sl.unsure = sl.unsure || errors.Is(err, ErrUnknown)
		if sl.open == p.shard {
			c.end(sl, err)
		}
	}
	close(sl.busy)
	sl.busy = nil
	if len(sl.queue) > 0 {
		c.enqueue(sl)
	}
}

// pace decides how long a batch waits for company: as long as the key space takes to answer, within
// bounds, and the upper bound while much is written.
type pace struct {
	min, max time.Duration
	latency  time.Duration // smoothed
	window   time.Time     // start of the second that bytes counts
	bytes    int
	busy     bool // the last full window was
}

func (p *pace) observe(now time.Time, took time.Duration, bytes int) {
	p.latency += (took - p.latency) / 8
	if age := now.Sub(p.window); age >= time.Second {
		p.busy = age < 2*time.Second && p.bytes > busyBytes
		p.window, p.bytes = now, 0
	}
	p.bytes += bytes
}

func (p *pace) linger() time.Duration {
	if p.busy {
		return p.max
	}
	return min(max(p.latency, p.min), p.max)
}
