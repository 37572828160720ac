package tiering

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"firn/tiering/manifest"
)

// errLost says that the head moved without our edit: it was not made and never will be.
var errLost = errors.New("another write came first")

// edit makes an edit: it computes it from the head as known and swaps it in, again and again until the
// swap is decided one way or the other. make may be called several times; an error of it ends the edit.
func (a *Archive) edit(ctx context.Context, make func(ctx context.Context) (manifest.Edit, error)) error {
	if err := a.acquire(ctx); err != nil {
		return err
	}
	defer a.release()
	if !a.state.loaded {
		if err := a.load(ctx); err != nil {
			return err
		}
	}
	for {
		if a.fenced.Load() {
			return ErrFenced
		}
		e, err := make(ctx)
		if errors.Is(err, errLost) {
			continue
		}
		if err != nil || e == nil {
			return err
		}
		next, err := manifest.Apply(a.state.head, a.epoch, e)
		if errors.Is(err, manifest.ErrFenced) {
			a.fenced.Store(true)
			return ErrFenced
		}
		if err != nil {
			return err
		}
		if err := a.swap(ctx, next); !errors.Is(err, errLost) {
			return err
		}
	}
}

// maxSwaps is how often a swap with an unknown outcome is made again before its caller is told.
const maxSwaps = 8

// swap writes next over the head as known. nil means written, errLost that it never will be; in both cases
// the state is what the anchor has. ErrRefused means that the anchor did not take it. With any other error
// the outcome is open.
func (a *Archive) swap(ctx context.Context, next manifest.Head) error {
	raw := next.Encode()
	wait := newBackoff(50*time.Millisecond, 5*time.Second)
	for try := 1; ; try++ {
		rev, ok, err := a.s.o.Anchor.Swap(ctx, a.tp, a.state.rev, a.epoch, raw)
		if err == nil && ok {
			a.state.pending = false
			a.take(next, raw, rev)
			a.s.metrics.swaps.Inc()
			return nil
		}
		refused := err == nil || errors.Is(err, ErrRefused)
		if !refused {
			a.s.metrics.unknown.Inc()
			a.state.pending = true
			a.log.Warn("outcome of a tier head write is unknown", "error", err)
		}
		before := a.state.rev
		for {
			lerr := a.load(ctx)
			if lerr == nil {
				break
			}
			if ctx.Err() != nil || refused {
				return errors.Join(err, lerr)
			}
			if werr := wait.sleep(ctx); werr != nil {
				return errors.Join(err, werr)
			}
		}
		switch {
		case a.state.rev == before && refused:
			return fmt.Errorf("%w: %s at revision %d", ErrRefused, a.tp, before)
		case a.state.rev == before: // not decided yet: the same swap again
			if try == maxSwaps {
				return fmt.Errorf("write tier head of %s: %w", a.tp, err)
			}
			if werr := wait.sleep(ctx); werr != nil {
				return errors.Join(err, werr)
			}
		case bytes.Equal(a.state.raw, raw):
			return nil
		default:
			a.s.metrics.lost.Inc()
			return errLost
		}
	}
}
