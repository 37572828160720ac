package etcd

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"firn/metadata"
)

// defaultQuiet is how long a watch may hear nothing, though it asks for signs of life all the while, before it
// ends: a member that is frozen or cut off one way would otherwise keep us on an old image for as long as it
// takes gRPC to notice (12 s).
const defaultQuiet = 5 * time.Second

// Watch implements metadata.KV.
func (k *kv) Watch(ctx context.Context, start, end string, rev int64) <-chan metadata.WatchBatch {
	out := make(chan metadata.WatchBatch)
	go func() {
		defer close(out)
		err := k.watch(ctx, start, end, rev, out)
		if ctx.Err() == nil {
			send(ctx, out, metadata.WatchBatch{Err: err})
		}
	}()
	return out
}

func send(ctx context.Context, out chan<- metadata.WatchBatch, b metadata.WatchBatch) bool {
	select {
	case out <- b:
		return true
	case <-ctx.Done():
		return false
	}
}

// watch delivers batches until the watch ends and says why it did.
func (k *kv) watch(ctx context.Context, start, end string, rev int64, out chan<- metadata.WatchBatch) error {
	ctx, cancel := context.WithCancelCause(clientv3.WithRequireLeader(ctx))
	defer cancel(nil)
	// Without its stream it ends. etcd's client would take it up again, perhaps on an etcd that was restored from a backup
	// meanwhile: what that one has written in place of what it lacks would be missing.
	ctx = onStreamEnd(ctx, cancel)
	// A watcher of its own, for it is closed with its stream: a stream shared by watches stays, and keeps the
	// next watch waiting, when one of them is given up before etcd has answered it.
	watcher := clientv3.NewWatcher(k.client)
	defer watcher.Close()
	tooLong := time.AfterFunc(k.quiet, func() { cancel(nil) }) // Watch waits until etcd has answered
	responses := watcher.Watch(ctx, start, clientv3.WithRange(end), clientv3.WithRev(rev), clientv3.WithProgressNotify())
	if !tooLong.Stop() {
		return fmt.Errorf("watch from %s: not begun in %v: %w", start, k.quiet, metadata.ErrUnavailable)
	}
	ask := time.NewTicker(2 * k.quiet / 5)
	defer ask.Stop()
	heard := time.Now()
	for {
		select {
		case res, ok := <-responses:
			if !ok {
				return ended(ctx, start)
			}
			if res.CompactRevision != 0 {
				return fmt.Errorf("watch from %s at %d, compacted to %d: %w", start, rev, res.CompactRevision, metadata.ErrCompacted)
			}
			if err := res.Err(); err != nil {
				return fmt.Errorf("watch from %s: %w", start, classify(err, false))
			}
			if !res.Created && !send(ctx, out, batch(res)) {
				return ended(ctx, start)
			}
			heard = time.Now()
		case <-ask.C:
			if time.Since(heard) > k.quiet {
				return fmt.Errorf("watch from %s: nothing heard for %v: %w", start, k.quiet, metadata.ErrUnavailable)
			}
			// An error shows on the watch itself. On a stream that stands still this would wait with it.
			askCtx, cancelAsk := context.WithTimeout(ctx, k.quiet/5)
			_ = watcher.RequestProgress(askCtx)
			cancelAsk()
		case <-ctx.Done():
			return ended(ctx, start)
		}
	}
}

// ended says why a watch's context has ended, or that its watcher has without a reason.
func ended(ctx context.Context, start string) error {
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("watch from %s: %w", start, classify(err, false))
	}
	return fmt.Errorf("watch from %s: %w", start, metadata.ErrUnavailable)
}

func batch(res clientv3.WatchResponse) metadata.WatchBatch {
	b := metadata.WatchBatch{Rev: res.Header.Revision}
	if len(res.Events) == 0 {
		return b // progress: everything up to Rev was delivered
	}
	b.Events = make([]metadata.Event, len(res.Events))
	for i, ev := range res.Events {
		b.Events[i] = metadata.Event{Entry: entry(ev.Kv), Deleted: ev.Type == clientv3.EventTypeDelete}
		if b.Events[i].Deleted {
			b.Events[i].Value = nil
		}
	}
	// The header's revision is the store's, which may be ahead of what this response delivers.
	b.Rev = res.Events[len(res.Events)-1].Kv.ModRevision
	return b
}
