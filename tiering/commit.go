package tiering

import (
	"context"
	"errors"
	"fmt"
	"time"

	"firn/tiering/manifest"
)

// ErrOrphan says that a segment was not committed and never can be: its object may be deleted.
var ErrOrphan = errors.New("tiering: segment was not committed")

// Commit appends a segment whose object is in the bucket. nil means committed. An error that is
// ErrOrphan means that it never will be; ErrFenced comes with it where a newer leader has written.
// On any other error the object must be left alone: a later Commit of the same segment may find it
// committed.
func (a *Archive) Commit(ctx context.Context, s manifest.Segment) error {
	committed := false
	err := a.edit(ctx, func(ctx context.Context) (manifest.Edit, error) {
		h := &a.state.head
		if h.TierEnd > s.Base {
			in, err := a.holds(ctx, h, s)
			if err != nil {
				return nil, err
			}
			if committed = in; in {
				return nil, nil
			}
		}
		e := manifest.Append{Segment: s}
		if _, err := manifest.Apply(*h, a.epoch, e); errors.Is(err, manifest.ErrFull) {
			root, err := a.s.tree.root(ctx, a.tp, h)
			if err == nil {
				err = a.foldRoot(ctx, root, time.Now(), 0) // the trash stays for retention to delete: uploads wait for the commit
			}
			if err != nil {
				return nil, err
			}
		}
		return e, nil
	})
	switch {
	case err == nil:
		if !committed {
			a.prove(ctx)
		}
		return nil
	case errors.Is(err, ErrFenced), errors.Is(err, manifest.ErrNotAbut):
		return a.judge(ctx, s, err)
	}
	return fmt.Errorf("commit [%d, %d] of %s: %w", s.Base, s.End, a.tp, err)
}

// prove reads the head once more, so that local bytes may go. Without it they only stay longer.
func (a *Archive) prove(ctx context.Context) {
	if _, err := a.Refresh(ctx); err != nil {
		a.log.Debug("read after commit", "error", err)
	}
}

// judge says what became of a segment that the head as known does not take: with a swap still open it may
// yet appear.
func (a *Archive) judge(ctx context.Context, s manifest.Segment, err error) error {
	if aerr := a.acquire(ctx); aerr != nil {
		return errors.Join(err, aerr)
	}
	defer a.release()
	if lerr := a.load(ctx); lerr != nil {
		return errors.Join(err, lerr)
	}
	if a.state.pending {
		// An edit before this one was left open. Writing the head as it is decides it.
		next, aerr := manifest.Apply(a.state.head, a.epoch, manifest.Fence{})
		if aerr == nil {
			aerr = a.swap(ctx, next)
		}
		if aerr != nil && !errors.Is(aerr, errLost) {
			return errors.Join(err, aerr)
		}
	}
	in, herr := a.holds(ctx, &a.state.head, s)
	if herr != nil {
		return errors.Join(err, herr)
	}
	if in && !errors.Is(err, ErrFenced) {
		return nil
	}
	if in {
		return err
	}
	return fmt.Errorf("commit [%d, %d] of %s: %w: %w", s.Base, s.End, a.tp, ErrOrphan, err)
}

// holds reports whether the manifest has the very segment, in the trash too.
func (a *Archive) holds(ctx context.Context, h *manifest.Head, s manifest.Segment) (bool, error) {
	for _, t := range h.Tail {
		if same(t, s) {
			return true, nil
		}
	}
	if h.Root.IsZero() {
		return false, nil
	}
	root, err := a.s.tree.root(ctx, a.tp, h)
	if err != nil {
		return false, err
	}
	key := a.s.keys.Segment(a.tp, s)
	if a.namesOutsidePages(h, root)[key] {
		return true, nil
	}
	return a.inPage(ctx, root, key)
}

// same compares what makes an object's name.
func same(a, b manifest.Segment) bool {
	return a.Base == b.Base && a.End == b.End && a.Attempt == b.Attempt && a.LeaderEpoch == b.LeaderEpoch && a.BrokerEpoch == b.BrokerEpoch
}
