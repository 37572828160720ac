package tiering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"firn/metadata/topic"
	"firn/segment/vfs"
	"firn/tiering/manifest"
	"firn/tiering/objstore"
)

// UploaderOptions configures an Uploader.
type UploaderOptions struct {
	Bucket  objstore.Bucket
	Anchor  Anchor
	Cluster string // cluster id, part of every key
	// Grace is how long trash stays; default DefaultGrace.
	Grace time.Duration
	// BrokerEpoch names this process in keys.
	BrokerEpoch func() int64
	// FS and SpoolDir say where compressed blocks wait for their upload; what an earlier process left
	// there is removed.
	FS       vfs.FS
	SpoolDir string
	// Concurrency is how many segments go up at a time; default 2. All but one may be of partitions whose last step failed.
	Concurrency int
	// BytesPerSecond paces all uploads together, in what is read from disk and in what is sent; 0
	// means no limit.
	BytesPerSecond int64
	// Describe, if set, is called before the first upload of a topic in this process; an error
	// delays the upload. The catalog hangs here.
	Describe func(ctx context.Context, id topic.ID) error
	// OnCommit, if set, is called after a commit whose head has been read back, from an uploader
	// goroutine. It must not close the Upload.
	OnCommit   func(tp topic.Partition, head manifest.Head)
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Uploader moves sealed segments of the partitions this broker leads into the tier. It is safe for
// concurrent use. It polls nothing: partitions come up when a segment was sealed, when the high watermark
// passed one, when data grows old, and when a pause after a failure is over.
type Uploader struct {
	o        UploaderOptions
	keys     Keys
	archives *Archives
	spool    *spool
	log      *slog.Logger
	metrics  *uploadMetrics
	disk     *pace // of reading segments
	net      *pace // of sending objects

	wake chan struct{} // one token lets one worker look at the queue
	mu   struct {
		sync.Mutex
		uploads map[*Upload]struct{}
		queue   []*Upload // that have something to do, first come first served
		failing int       // of those that run, whose last step failed
		// described are the topics whose Describe has succeeded.
		described map[topic.ID]bool
		// The store asked for less: nothing begins before notBefore.
		notBefore time.Time
		throttle  *backoff
		stopped   bool
	}
}

const (
	defaultConcurrency = 2
	// A pause after a failure, growing.
	retryMin, retryMax = 500 * time.Millisecond, time.Minute
	// An object older than this is not committed any more, so that the scrubber, which looks at
	// objects of a day, never meets one that still might be.
	maxCommitAge = 12 * time.Hour
	// askTimeout bounds what is asked of the store before a segment is sent, which holds one of few places.
	askTimeout = time.Minute
)

// NewUploader returns an Uploader; Run makes it work.
func NewUploader(o UploaderOptions) (*Uploader, error) {
	if o.Concurrency <= 0 {
		o.Concurrency = defaultConcurrency
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	sp, err := openSpool(o.FS, o.SpoolDir)
	if err != nil {
		return nil, err
	}
	u := &Uploader{
		o: o, keys: Keys{o.Cluster}, spool: sp, log: o.Logger,
		disk: newPace(o.BytesPerSecond), net: newPace(o.BytesPerSecond),
		wake: make(chan struct{}, o.Concurrency),
	}
	u.archives = NewArchives(ArchiveOptions{
		Bucket: o.Bucket, Anchor: o.Anchor, Cluster: o.Cluster, Grace: o.Grace, Logger: o.Logger, Registerer: o.Registerer,
	})
	u.mu.uploads = map[*Upload]struct{}{}
	u.mu.described = map[topic.ID]bool{}
	u.metrics = newUploadMetrics(o.Registerer, u)
	return u, nil
}

// Run uploads until ctx is done, then ends what is under way and waits for it. It is called once.
func (u *Uploader) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range u.o.Concurrency {
		wg.Add(1)
		go func() {
			defer wg.Done()
			u.work(ctx)
		}()
	}
	<-ctx.Done()
	u.mu.Lock()
	u.mu.stopped = true
	for p := range u.mu.uploads {
		p.cancel()
	}
	u.mu.Unlock()
	wg.Wait()
	u.archives.Close()
	return ctx.Err()
}

// work takes partitions off the queue until ctx is done.
func (u *Uploader) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-u.wake:
		}
		for ctx.Err() == nil {
			if err := u.holdBack(ctx); err != nil {
				return
			}
			p := u.next()
			if p == nil {
				break
			}
			more, err := p.step()
			u.finish(p, more, err)
		}
	}
}

// holdBack waits as long as the store has asked for.
func (u *Uploader) holdBack(ctx context.Context) error {
	u.mu.Lock()
	wait := time.Until(u.mu.notBefore)
	u.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// next takes the partition that has waited longest and marks it as running. Those whose last step failed leave a place to the
// others: each may hold its own for as long as the store gives no answer, and be back soon after.
func (u *Uploader) next() *Upload {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := 0; i < len(u.mu.queue); {
		p := u.mu.queue[i]
		failing := p.fails()
		if failing && u.mu.failing >= max(1, u.o.Concurrency-1) {
			i++
			continue
		}
		u.mu.queue = slices.Delete(u.mu.queue, i, i+1)
		if !p.run() {
			continue
		}
		p.failing = failing
		if failing {
			u.mu.failing++
		}
		return p
	}
	return nil
}

// enqueue puts p at the end of the queue. The caller has marked it as queued.
func (u *Uploader) enqueue(p *Upload) {
	u.mu.Lock()
	u.mu.queue = append(u.mu.queue, p)
	u.mu.Unlock()
	select {
	case u.wake <- struct{}{}:
	default: // as many tokens as workers are out already
	}
}

// finish deals with the outcome of a step. The worker looks at the queue again after it.
func (u *Uploader) finish(p *Upload, more bool, err error) {
	throttled := errors.Is(err, objstore.ErrThrottled)
	u.mu.Lock()
	if p.failing {
		u.mu.failing--
	}
	if throttled {
		if u.mu.throttle == nil {
			u.mu.throttle = newBackoff(retryMin, retryMax)
		}
		u.mu.notBefore = time.Now().Add(u.mu.throttle.delay())
	}
	u.mu.Unlock()
	if throttled {
		u.metrics.throttled.Inc()
	}
	p.ran(more, err)
}

// sent tells that the store takes uploads again.
func (u *Uploader) sent() {
	u.mu.Lock()
	u.mu.throttle = nil
	u.mu.Unlock()
}

// describe calls Describe once per topic.
func (u *Uploader) describe(ctx context.Context, id topic.ID) error {
	u.mu.Lock()
	done := u.o.Describe == nil || u.mu.described[id]
	u.mu.Unlock()
	if done {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := u.o.Describe(ctx, id); err != nil {
		return fmt.Errorf("describe topic %s in the catalog: %w", id, err)
	}
	u.mu.Lock()
	u.mu.described[id] = true
	u.mu.Unlock()
	return nil
}

// Archives makes the manifest writers of this broker.
func (u *Uploader) Archives() *Archives { return u.archives }

// Register begins to archive a partition that this broker leads at leaderEpoch. The Upload must be
// closed when that leadership ends.
func (u *Uploader) Register(tp topic.Partition, leaderEpoch int32, src Source, l Limits) *Upload {
	p := newUpload(u, tp, leaderEpoch, src, l)
	u.mu.Lock()
	u.mu.uploads[p] = struct{}{}
	if u.mu.stopped {
		p.cancel()
	}
	u.mu.Unlock()
	p.Sealed()
	return p
}

func (u *Uploader) forget(p *Upload) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.mu.uploads, p)
}

// SetUrgent lifts the pace for as long as it is set, for a disk that runs full.
func (u *Uploader) SetUrgent(on bool) {
	u.disk.lift(on)
	u.net.lift(on)
}

// Status returns the state of every registered partition.
func (u *Uploader) Status() []UploadStatus {
	u.mu.Lock()
	all := make([]*Upload, 0, len(u.mu.uploads))
	for p := range u.mu.uploads {
		all = append(all, p)
	}
	u.mu.Unlock()
	out := make([]UploadStatus, len(all))
	for i, p := range all {
		out[i] = p.Status()
	}
	return out
}
