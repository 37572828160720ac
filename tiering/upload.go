package tiering

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"firn/metadata/topic"
	"firn/tiering/manifest"
)

// Limits are the settings of a partition that bear on uploads. They may change at any time.
type Limits struct {
	MaxLag   time.Duration // tier.max.lag.ms; default 10 minutes
	MinBytes int64         // tier.min.bytes
	// Paused stops new uploads (remote.log.copy.disable).
	Paused bool
	// Ended stops them for good: the topic is not archived any more (remote.storage.enable), and what is
	// local only is no lag. The Upload then stands for the manifest of what was archived before.
	Ended bool
}

// defaultMaxLag is tier.max.lag.ms where nothing is said; smallLag is how long fewer than MinBytes wait.
const (
	defaultMaxLag = 10 * time.Minute
	smallLag      = 24 * time.Hour
)

// Upload is one partition's archiving under one leadership. Its methods do not block, but for Close.
type Upload struct {
	u       *Uploader
	tp      topic.Partition
	src     Source
	archive *Archive
	log     *slog.Logger
	ctx     context.Context // ends with Close or the Uploader
	cancel  context.CancelFunc

	// wantHW is the high watermark that the next segment waits for, MaxInt64 if none does.
	wantHW atomic.Int64
	// armed says that the age timer runs or that a step will set it.
	armed atomic.Bool

	mu struct {
		sync.Mutex
		limits   Limits
		queued   bool
		running  bool
		again    bool // something happened while running
		closed   bool
		idle     *sync.Cond // signalled when running ends
		timer    *time.Timer
		backoff  *backoff
		failures int
		err      error
		retryAt  time.Time
		marks    []mark
	}
	// left is a segment whose object is in the bucket and whose commit is open. Only the running
	// step uses it.
	left *leftover
	// failing says that the running step counts in Uploader.mu.failing, and is guarded by that lock.
	failing bool
}

// mark says when the batch at an offset was appended.
type mark struct {
	offset int64
	at     time.Time
}

type leftover struct {
	segment manifest.Segment
	since   time.Time
}

func newUpload(u *Uploader, tp topic.Partition, epoch int32, src Source, l Limits) *Upload {
	p := &Upload{u: u, tp: tp, src: src, archive: u.archives.Archive(tp, epoch)}
	p.log = u.log.With("partition", tp, "epoch", epoch)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.wantHW.Store(math.MaxInt64)
	p.mu.limits = l
	p.mu.idle = sync.NewCond(&p.mu)
	return p
}

// Archive is the partition's manifest writer.
func (p *Upload) Archive() *Archive { return p.archive }

// Sealed tells that a segment was sealed.
func (p *Upload) Sealed() {
	p.armed.Store(false) // the next segment gets its own timer
	p.wakeUp()
}

// HighWatermark tells that the high watermark has risen to hw. It is cheap enough for every append.
func (p *Upload) HighWatermark(hw int64) {
	if hw >= p.wantHW.Load() || !p.armed.Load() {
		p.armed.Store(true)
		p.wakeUp()
	}
}

// SetLimits changes the settings.
func (p *Upload) SetLimits(l Limits) {
	p.mu.Lock()
	p.mu.limits = l
	p.mu.Unlock()
	p.wakeUp()
}

func (p *Upload) limits() Limits {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.mu.limits
	if l.MaxLag <= 0 {
		l.MaxLag = defaultMaxLag
	}
	return l
}

// wakeUp queues the partition, unless it is queued or its pause after a failure lasts.
func (p *Upload) wakeUp() {
	p.mu.Lock()
	if p.mu.closed || p.mu.queued || p.mu.failures > 0 && time.Now().Before(p.mu.retryAt) {
		p.mu.Unlock()
		return
	}
	if p.mu.running {
		p.mu.again = true
		p.mu.Unlock()
		return
	}
	p.mu.queued = true
	p.mu.Unlock()
	p.u.enqueue(p)
}

// fails reports whether the last step failed.
func (p *Upload) fails() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.failures > 0
}

// run is called by the worker that took p off the queue; false if p is closed.
func (p *Upload) run() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.queued = false
	if p.mu.closed {
		return false
	}
	p.mu.running = true
	return true
}

// ran ends what run began, with the outcome of the step.
func (p *Upload) ran(more bool, err error) {
	p.mu.Lock()
	p.mu.running = false
	p.mu.idle.Broadcast()
	more = more || p.mu.again
	p.mu.again = false
	stop := p.mu.closed || p.archive.Fenced() || p.ctx.Err() != nil
	switch {
	case stop:
		more = false
	case err != nil:
		more = false
		if p.mu.backoff == nil {
			p.mu.backoff = newBackoff(retryMin, retryMax)
		}
		wait := p.mu.backoff.delay()
		p.mu.failures++
		p.mu.err, p.mu.retryAt = err, time.Now().Add(wait)
		p.setTimerLocked(wait)
	case more || p.mu.failures > 0:
		p.mu.failures, p.mu.err, p.mu.backoff = 0, nil, nil
	}
	p.mu.queued = more
	failures := p.mu.failures
	p.mu.Unlock()
	if more {
		p.u.enqueue(p)
	}
	if err != nil && !stop {
		p.u.metrics.failures.Inc()
		p.log.Warn("upload failed", "error", err, "failures", failures)
	}
	if errors.Is(err, ErrFenced) {
		p.log.Info("upload stopped by a newer leader")
	}
}

// setTimerLocked makes the partition come up after d, instead of when an earlier call said.
func (p *Upload) setTimerLocked(d time.Duration) {
	if p.mu.timer != nil {
		p.mu.timer.Stop()
	}
	if p.mu.closed {
		return
	}
	p.mu.timer = time.AfterFunc(d, func() {
		p.mu.Lock()
		p.mu.retryAt = time.Time{}
		p.mu.Unlock()
		p.wakeUp()
	})
}

// Close ends archiving under this leadership and waits until nothing of it runs. A commit that is under
// way may still happen: the next leader finds it in the head.
func (p *Upload) Close() {
	p.cancel()
	p.mu.Lock()
	p.mu.closed = true
	if p.mu.timer != nil {
		p.mu.timer.Stop()
	}
	for p.mu.running {
		p.mu.idle.Wait()
	}
	p.mu.Unlock()
	p.u.forget(p)
}
