package tiering

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff grows from min to max with a quarter of jitter.
type backoff struct{ next, max time.Duration }

func newBackoff(min, max time.Duration) *backoff { return &backoff{min, max} }

// delay returns the next wait.
func (b *backoff) delay() time.Duration {
	d := b.next
	b.next = min(2*b.next, b.max)
	return d - d/4 + rand.N(d/2+1)
}

func (b *backoff) sleep(ctx context.Context) error {
	t := time.NewTimer(b.delay())
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
