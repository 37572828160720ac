package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
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
	later  []int32 // partitions that are in neither, because nobody leads them yet

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
func (r *reader) assigned(_ context.Context, at map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	list := at[r.opts.topic]
	r.mu.Lock()
	for p, o := range list {
		committed := o.EpochOffset().Offset
		begin := committed
		from, known := r.from[p]
		switch {
		case committed < 0 && known:
			begin = from
			list[p] = kgo.NewOffset().At(begin)
		case committed < 0 && slices.Contains(r.later, p):
			begin = 0
			list[p] = r.opts.from.later()
		case committed < 0: // a partition younger than this command
			begin = 0
			list[p] = kgo.NewOffset().AtStart()
		case committed < r.starts[p]:
			begin = r.starts[p]
			list[p] = kgo.NewOffset().At(begin)
			r.app.warn("records %d to %d of partition %d are gone, which group %s has not read", committed, begin-1, p, r.opts.group)
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
