package tiering

import (
	"context"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// pace holds work to a number of bytes per second.
type pace struct {
	limiter *rate.Limiter // nil: no limit
	lifted  atomic.Bool
}

// paceBurst is how much may go at once: a block with a large batch, not more.
const paceBurst = 1 << 20

func newPace(bytesPerSecond int64) *pace {
	p := &pace{}
	if bytesPerSecond > 0 {
		p.limiter = rate.NewLimiter(rate.Limit(bytesPerSecond), paceBurst)
	}
	return p
}

func (p *pace) lift(on bool) { p.lifted.Store(on) }

// wait lets n bytes pass.
func (p *pace) wait(ctx context.Context, n int) error {
	for n > 0 && p.limiter != nil && !p.lifted.Load() {
		step := min(n, paceBurst)
		if err := p.limiter.WaitN(ctx, step); err != nil {
			return err
		}
		n -= step
	}
	return ctx.Err()
}

// pacedSource is an object whose bytes are sent at a pace: each pays once, however often a retry reads it.
type pacedSource struct {
	*object
	ctx  context.Context
	pace *pace
	paid []atomic.Bool // by paidUnit of the object
}

const paidUnit = 256 << 10

func newPacedSource(ctx context.Context, o *object, p *pace) *pacedSource {
	return &pacedSource{object: o, ctx: ctx, pace: p, paid: make([]atomic.Bool, (o.Size()+paidUnit-1)/paidUnit)}
}

// ReadAt implements objstore.Source.
func (s *pacedSource) ReadAt(p []byte, off int64) (int, error) {
	if s.pace.limiter != nil && off >= 0 && len(p) > 0 {
		for i := off / paidUnit; i <= (off+int64(len(p))-1)/paidUnit && i < int64(len(s.paid)); i++ {
			if s.paid[i].CompareAndSwap(false, true) {
				if err := s.pace.wait(s.ctx, paidUnit); err != nil {
					return 0, err
				}
			}
		}
	}
	return s.object.ReadAt(p, off)
}
