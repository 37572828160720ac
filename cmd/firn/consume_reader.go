package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// reader is one consume command at work: where it stands in each partition and where it will stop.
type reader struct {
	app  *app
	opts consumeOptions
	cl   *kgo.Client
	adm  *kadm.Client
	out  *bufio.Writer
	line []byte // memory for one formatted record
	bar  *progress
	// abort ends all that cl does.
	abort func()

	waiting *waiting
	// refusals are the fetches refused since the last record, or since a while without any. Only run uses it.
	refusals struct{ since, last time.Time }

	// What plan has found out; fixed once consuming begins.
	from   offsets // where partitions begin, for a group those without a commit
	starts offsets // log starts

	// io is held while records are written and flushed, so that a commit covers only what is out. It goes
	// before mu.
	io sync.Mutex
	mu sync.Mutex
	// Guarded by mu.
	parts   map[int32]*part // the partitions that are read
	until   offsets         // where they stop; nil while that is not known
	written int64
	wake    func() // ends the poll under way
}

// part is one partition being read.
type part struct {
	next      int64 // offset after the last one taken
	committed int64
	begin     int64
}

// plan finds out where to begin and to stop, and begins. What it leaves running ends with ctx.
func (r *reader) plan(ctx context.Context) error {
	o := &r.opts
	var err error
	if r.starts, err = resolve(ctx, r.adm, o.topic, o.partitions, position{kind: atEarliest}); err != nil {
		return err
	}
	if err := checkPartitions(o.topic, r.starts, o.partitions); err != nil {
		return err
	}
	if len(o.partitions) > 0 {
		maps.DeleteFunc(r.starts, func(p int32, _ int64) bool { return !slices.Contains(o.partitions, p) })
	}
	ends, err := resolve(ctx, r.adm, o.topic, o.partitions, position{kind: atLatest})
	if err != nil {
		return err
	}
	if r.from, err = resolve(ctx, r.adm, o.topic, o.partitions, o.from); err != nil {
		return err
	}
	r.bound(r.from, ends, o.from.kind == atOffset)
	if err := r.planUntil(ctx, ends); err != nil {
		return err
	}
	if o.group != "" {
		r.cl.AddConsumeTopics(o.topic)
		return nil
	}
	r.begin(r.from)
	if o.partitions == nil && !o.bounded {
		go r.follow(ctx)
	}
	return nil
}

// bound moves offsets into what the partitions hold, and says so if a person named them.
func (r *reader) bound(list, ends offsets, say bool) {
	for _, p := range slices.Sorted(maps.Keys(r.starts)) {
		at, in := list[p], min(max(list[p], r.starts[p]), ends[p])
		if at != in && say {
			r.app.warn("partition %d holds offsets %d to %d, so it is read from %d", p, r.starts[p], ends[p], in)
		}
		list[p] = in
	}
}

// planUntil finds out where to stop, at once or when the time has come.
func (r *reader) planUntil(ctx context.Context, ends offsets) error {
	o := &r.opts
	if !o.bounded {
		return nil
	}
	if wait := o.until.time.Sub(r.app.now()); o.until.kind == atTime && wait > 0 {
		timer := time.NewTimer(wait)
		go func() {
			defer timer.Stop()
			select {
			case <-ctx.Done():
			case <-timer.C:
				r.stopAt(ctx, o.until)
			}
		}()
		return nil
	}
	if o.until.kind == atLatest {
		r.until = ends
		return nil
	}
	until, err := resolve(ctx, r.adm, o.topic, o.partitions, o.until)
	r.until = until
	return err
}

// stopAt sets where to stop once that can be known. If the cluster does not answer, the records of now
// count as the last ones.
func (r *reader) stopAt(ctx context.Context, pos position) {
	until, err := resolve(ctx, r.adm, r.opts.topic, r.opts.partitions, pos)
	r.mu.Lock()
	if err != nil {
		until = offsets{}
		for p, part := range r.parts {
			until[p] = part.next
		}
	}
	r.until = until
	r.mu.Unlock()
	r.poke()
}

// begin adds partitions to what is read.
func (r *reader) begin(at offsets) {
	list := map[int32]kgo.Offset{}
	r.mu.Lock()
	for p, off := range at {
		if _, known := r.parts[p]; known {
			continue
		}
		if _, wanted := r.starts[p]; !wanted && r.opts.partitions != nil {
			continue
		}
		r.parts[p] = &part{next: off, committed: -1, begin: off}
		if !r.doneLocked(p) {
			list[p] = kgo.NewOffset().At(off)
		}
	}
	r.mu.Unlock()
	if len(list) > 0 {
		r.cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{r.opts.topic: list})
	}
}

// followEvery is how often a topic is looked at for new partitions, which is rare and may be late.
const followEvery = 30 * time.Second

// follow adds partitions that the topic gets while it is read, from their first record on.
func (r *reader) follow(ctx context.Context) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if starts, err := resolve(ctx, r.adm, r.opts.topic, nil, position{kind: atEarliest}); err == nil {
				r.begin(starts)
			}
		}
	}
}

// take decides about one record: want says to write it, full that no more is wanted at all.
func (r *reader) take(rec *kgo.Record) (want, full bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.opts.count != unlimited && r.written >= r.opts.count {
		return false, true
	}
	p := r.parts[rec.Partition]
	if p == nil || rec.Offset < p.next {
		return false, false
	}
	if end, ok := r.until[rec.Partition]; ok && rec.Offset >= end {
		p.next = max(p.next, end)
		return false, false
	}
	r.bar.add(rec.Offset + 1 - p.next)
	p.next = rec.Offset + 1
	if rec.Attrs.IsControl() {
		return false, false
	}
	r.written++
	return true, false
}

// finished reports whether everything wanted has been taken.
func (r *reader) finished() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.opts.count != unlimited && r.written >= r.opts.count {
		return true
	}
	if len(r.parts) == 0 {
		return false // a group that has no part of the topic yet
	}
	for p := range r.parts {
		if !r.doneLocked(p) {
			return false
		}
	}
	return true
}

func (r *reader) doneLocked(p int32) bool {
	end, ok := r.until[p]
	return ok && r.parts[p].next >= end || !ok && r.until != nil
}

// onWake sets what ends the poll that is about to begin.
func (r *reader) onWake(cancel func()) {
	r.mu.Lock()
	r.wake = cancel
	r.mu.Unlock()
}

// poke ends the poll under way, so that finished is asked again.
func (r *reader) poke() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wake()
}

// progress shows a bar while a bounded part of the topic is written to something that is no terminal.
func (r *reader) progress() *progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.until == nil || r.opts.group != "" || isTerminal(r.app.out) {
		return nil
	}
	var total int64
	for p, part := range r.parts {
		total += max(r.until[p]-part.next, 0)
	}
	if r.opts.count != unlimited {
		total = min(total, r.opts.count)
	}
	return r.app.newProgress("read", total, countUnit)
}

// groupOpts make the client a member of the group.
func (r *reader) groupOpts() []kgo.Opt {
	return []kgo.Opt{
		kgo.ConsumerGroup(r.opts.group),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.AdjustFetchOffsetsFn(r.assigned),
		kgo.OnPartitionsRevoked(func(ctx context.Context, _ *kgo.Client, m map[string][]int32) { r.revoked(ctx, m, true) }),
		kgo.OnPartitionsLost(func(ctx context.Context, _ *kgo.Client, m map[string][]int32) { r.revoked(ctx, m, false) }),
	}
}

// assigned is told the committed offsets of the partitions that are now ours and returns where to begin.
func (r *reader) assigned(ctx context.Context, at map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	list := at[r.opts.topic]
	var starts offsets
	for p := range list {
		if _, known := r.starts[p]; !known && starts == nil { // a partition younger than this command
			var err error
			if starts, err = resolve(ctx, r.adm, r.opts.topic, nil, position{kind: atEarliest}); err != nil {
				return nil, err
			}
		}
	}
	r.mu.Lock()
	for p, o := range list {
		committed := o.EpochOffset().Offset
		begin := committed
		from, known := r.from[p]
		switch {
		case committed < 0 && known:
			begin = from
		case committed < 0:
			begin = starts[p]
		case committed < r.starts[p]:
			begin = r.starts[p]
			r.app.warn("records %d to %d of partition %d are gone, which group %s has not read", committed, begin-1, p, r.opts.group)
		}
		if begin != committed {
			list[p] = kgo.NewOffset().At(begin)
		}
		r.parts[p] = &part{next: begin, committed: max(committed, -1), begin: begin}
	}
	r.mu.Unlock()
	r.poke()
	return at, nil
}

// revoked forgets partitions that are no longer ours, after a last commit while they still are.
func (r *reader) revoked(ctx context.Context, m map[string][]int32, ours bool) {
	if ours {
		if err := r.commit(ctx); err != nil && r.flush() == nil {
			r.app.warn("%v", err)
		}
	}
	r.mu.Lock()
	for _, p := range m[r.opts.topic] {
		delete(r.parts, p)
	}
	r.mu.Unlock()
}

// flush writes out what is buffered.
func (r *reader) flush() error {
	r.io.Lock()
	defer r.io.Unlock()
	return r.flushLocked()
}

func (r *reader) flushLocked() error {
	if err := r.out.Flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// commit commits what was taken, having written it out before. That the group has moved on meanwhile is no
// error: its next owner of a partition reads a little twice.
func (r *reader) commit(ctx context.Context) error {
	list, err := r.uncommitted()
	if err != nil || len(list) == 0 {
		return err
	}
	err = nil
	r.cl.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{r.opts.topic: list}, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, sendErr error) {
		err = commitError(resp, sendErr)
	})
	switch {
	case errors.Is(err, kerr.RebalanceInProgress), errors.Is(err, kerr.IllegalGeneration), errors.Is(err, kerr.UnknownMemberID):
		return nil
	case err != nil:
		return fmt.Errorf("commit offsets of group %s: %w", r.opts.group, brokerError(err, ""))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for p, o := range list {
		if part := r.parts[p]; part != nil {
			part.committed = o.Offset
		}
	}
	return nil
}

// uncommitted writes out what is buffered and returns where each partition then stands, if that is news.
func (r *reader) uncommitted() (map[int32]kgo.EpochOffset, error) {
	r.io.Lock()
	defer r.io.Unlock()
	if err := r.flushLocked(); err != nil {
		return nil, err
	}
	list := map[int32]kgo.EpochOffset{}
	r.mu.Lock()
	defer r.mu.Unlock()
	for p, part := range r.parts {
		if part.next > part.committed && part.next > part.begin {
			list[p] = kgo.EpochOffset{Epoch: -1, Offset: part.next}
		}
	}
	return list, nil
}

// commitError is the first error of a commit.
func commitError(resp *kmsg.OffsetCommitResponse, err error) error {
	if err != nil || resp == nil {
		return err
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}
