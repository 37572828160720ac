package metadata

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// follow keeps the image up to date until ctx ends or the key space cannot be followed any more. rev is
// that of the present image. It is the only writer of s.cur.
func (s *Store) follow(ctx context.Context, rev int64) {
	pause := minRewatch
	var err error
	for {
		from := rev
		if err != nil {
			err = s.checkPast(ctx, rev)
		}
		if err == nil {
			err = s.watch(ctx, &rev)
		}
		if ctx.Err() == nil && (errors.Is(err, ErrCompacted) || errors.Is(err, errOutOfOrder)) {
			err = s.relist(ctx, &rev)
		}
		if ctx.Err() != nil {
			return
		}
		if fatal(err) {
			s.log.Error("metadata cannot be followed any more", "error", err)
			s.fail(err)
			return
		}
		if rev > from {
			pause = minRewatch
		}
		if err != nil {
			s.metrics.breaks.Inc()
			s.log.Warn("metadata watch broke", "rev", rev, "error", err)
			if !sleep(ctx, pause) {
				return
			}
			pause = min(2*pause, maxRewatch)
		}
	}
}

// errOutOfOrder says that a watch delivered what should have come before, so that it may have left out more.
var errOutOfOrder = errors.New("metadata: watch out of order")

// checkPast makes sure, before a watch that broke is taken up again, that the key space still is the one the image is
// of. One that was restored from a backup without raising its revision takes a watch from a revision it has yet to
// reach, and then silently lacks what came before.
func (s *Store) checkPast(ctx context.Context, rev int64) error {
	start, end := s.keys.imageRange()
	page, err := s.kv.Range(ctx, start, end, 0, 1)
	if err != nil {
		return fmt.Errorf("look for metadata revision %d: %w", rev, err)
	}
	if page.Rev < rev {
		return fmt.Errorf("key space is at revision %d after %d: %w", page.Rev, rev, ErrWentBack)
	}
	known := s.Image().newest
	if known.rev == 0 {
		return nil
	}
	found, err := s.revisionAt(ctx, known.key, rev)
	if err != nil {
		return err
	}
	same := found == known.rev && !known.deleted
	if known.deleted && found == 0 {
		// It must have been there until then, or it may never have been. Is that no longer kept, all is listed anew.
		before, err := s.revisionAt(ctx, known.key, known.rev-1)
		if err != nil {
			return err
		}
		same = before != 0
	}
	if !same {
		return fmt.Errorf("key space has %s of revision %d after %d: %w", known.key, found, known.rev, ErrWentBack)
	}
	return nil
}

// revisionAt returns the revision of a key as of rev; 0 if it was not there.
func (s *Store) revisionAt(ctx context.Context, key string, rev int64) (int64, error) {
	page, err := s.kv.Range(ctx, key, key+"\x00", rev, 1)
	if err != nil {
		return 0, fmt.Errorf("look for metadata revision %d: %w", rev, err)
	}
	if len(page.Entries) == 0 {
		return 0, nil
	}
	return page.Entries[0].ModRev, nil
}

// fatal reports whether an error of watching or listing will not go away by itself.
func fatal(err error) bool {
	return errors.Is(err, ErrNewerVersion) || errors.Is(err, ErrBadRecord) || errors.Is(err, ErrWentBack)
}

// watch publishes one image per batch of events after *rev, and moves *rev, until the watch breaks.
func (s *Store) watch(ctx context.Context, rev *int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	start, end := s.keys.imageRange()
	for batch := range s.kv.Watch(ctx, start, end, *rev+1) {
		if batch.Err != nil {
			return batch.Err
		}
		if len(batch.Events) > 0 {
			if err := s.applyBatch(batch, *rev); err != nil {
				return err
			}
		}
		*rev = max(*rev, batch.Rev)
	}
	return ErrUnavailable // only if ctx ended
}

// applyBatch publishes the image that follows the present one by the events of a batch.
func (s *Store) applyBatch(batch WatchBatch, rev int64) error {
	b := newBuilder(s.keys, s.Image(), s.opts.ReadTierHead)
	last := rev
	for _, ev := range batch.Events {
		// A revision's events come together, so none may be at or below what was delivered before.
		if ev.ModRev <= rev || ev.ModRev < last {
			return fmt.Errorf("watch delivered revision %d after %d: %w", ev.ModRev, last, errOutOfOrder)
		}
		last = ev.ModRev
		if err := b.apply(ev); err != nil {
			return err
		}
	}
	s.metrics.events.Add(float64(len(batch.Events)))
	s.publish(b.finish(batch.Rev))
	return nil
}

// relist replaces the image by a fresh list after the watch fell behind what the key space keeps.
func (s *Store) relist(ctx context.Context, rev *int64) error {
	s.metrics.relists.Inc()
	old := s.Image()
	img, err := s.list(ctx, old)
	if err != nil {
		return fmt.Errorf("list metadata anew: %w", err)
	}
	if img.rev < *rev {
		return fmt.Errorf("key space is at revision %d after %d: %w", img.rev, *rev, ErrWentBack)
	}
	if img.Cluster().ID != old.Cluster().ID && old.cluster != nil {
		return fmt.Errorf("cluster id is %q after %q: %w", img.Cluster().ID, old.Cluster().ID, ErrWentBack)
	}
	s.log.Info("metadata listed anew", "from", *rev, "rev", img.rev)
	*rev = img.rev
	s.publish(img)
	return nil
}

func (s *Store) publish(img *Image) {
	g := s.cur.Load()
	s.cur.Store(&generation{img: img, next: make(chan struct{})})
	close(g.next)
	s.metrics.revision.Set(float64(img.rev))
}

// sleep waits for d and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
