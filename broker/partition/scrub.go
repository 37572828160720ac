package partition

import (
	"context"
	"errors"
	"time"

	"firn/segment"
)

const (
	// scrubPause is how long the scrubber rests when it has read everything: where little is stored, looking at
	// thousands of logs is all that it does.
	scrubPause = 10 * time.Second
	// scrubBurst is how much it reads at once.
	scrubBurst = 64 << 10
)

// Scrub reads all hosted logs over and over, so many bytes in a second, and verifies them, until ctx
// ends: what nobody reads would rot unseen, and fetches do not look at what they send. Damage is dealt with as any is.
func (s *Set) Scrub(ctx context.Context, bytesPerSecond int64) error {
	unpaid := int64(0)
	pace := func(bytes int64) error {
		if unpaid += bytes; unpaid < scrubBurst {
			return ctx.Err()
		}
		wait := time.Duration(float64(unpaid) / float64(bytesPerSecond) * float64(time.Second))
		unpaid = 0
		return rest(ctx, wait)
	}
	for {
		for r := range s.All() {
			if r.scrub(pace); ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if err := rest(ctx, scrubPause); err != nil {
			return err
		}
	}
}

// rest waits, or returns why ctx has ended.
func rest(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// scrub verifies the log up to the first batch that is damaged.
func (r *Replica) scrub(pace func(bytes int64) error) {
	if r.failure() != nil || r.Damage() != nil {
		return
	}
	switch err := r.log.Verify(pace); {
	case errors.Is(err, segment.ErrCorrupt):
		_ = r.storageError("scrub", err) // which sees to it
	case err != nil && !errors.Is(err, segment.ErrClosed) && !errors.Is(err, context.Canceled):
		r.reportCorruption("scrub", err) // it cannot be read, which may pass
	}
}
