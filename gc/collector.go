package gc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"firn/metadata/topic"
	"firn/tiering"
)

// Target is a partition that this broker leads and archives.
type Target struct {
	Archive *tiering.Archive
	// Policy returns what holds now. It is asked after the manifest was read, which may have taken long: what is to live longer
	// from some moment on does not expire by what was said before.
	Policy func() Policy
	// Untiered returns the number of local bytes beyond the tier's end; nil is none. It is asked after the manifest was
	// read: what is archived between the two is not counted, or else it would count twice, and too much would expire.
	Untiered func() int64
	// LocalStart returns the first offset on the local disk; nil is none to look at. Beyond the tier's end it says that the head
	// has lost what it knew, with a key space that was restored from a backup: objects that nothing names may be the only copies.
	LocalStart func() int64
}

// CollectorOptions configures a Collector.
type CollectorOptions struct {
	// Targets returns what to look after, as it is now.
	Targets func() []Target
	// Interval is how often each is looked at; default 60 s.
	Interval time.Duration
	// FoldAfter is how long the head's newest segments may wait for a root that says so in the
	// bucket; default 6 h.
	FoldAfter  time.Duration
	Now        func() time.Time // the wall clock; nil is time.Now
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Collector holds the partitions of a broker to their total retention and deletes what the manifests'
// trash names. It deletes nothing else.
type Collector struct {
	o       CollectorOptions
	log     *slog.Logger
	metrics *collectorMetrics

	mu    sync.Mutex
	dirty map[topic.Partition]time.Time // since when a head has had segments that are in no root
}

// Report says what a pass has done.
type Report struct {
	LogStart int64 // of the partition, after the pass
	Segments int64 // that have expired
	Bytes    int64 // of batches in them
	Folds    int
	Deleted  int   // objects out of the trash, or of a deleted topic
	Purged   int32 // partitions of a deleted topic, from the first on, of which nothing is left
}

// maxRounds bounds the folds of one pass over a partition. Each takes thousands of segments.
const maxRounds = 64

// NewCollector returns a Collector.
func NewCollector(o CollectorOptions) *Collector {
	if o.Interval <= 0 {
		o.Interval = time.Minute
	}
	if o.FoldAfter <= 0 {
		o.FoldAfter = 6 * time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Collector{o: o, log: o.Logger, metrics: newCollectorMetrics(o.Registerer), dirty: map[topic.Partition]time.Time{}}
}

// Run looks at all targets every interval until ctx is done.
func (c *Collector) Run(ctx context.Context) error {
	t := time.NewTicker(c.o.Interval)
	defer t.Stop()
	for {
		c.pass(ctx)
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

const (
	// passWorkers is how many partitions are looked at together: one that the bucket is slow about keeps no other
	// waiting.
	passWorkers = 4
	// collectTimeout ends the work on one that the bucket gives no answer about. The next pass goes on with it.
	collectTimeout = 5 * time.Minute
)

func (c *Collector) pass(ctx context.Context) {
	targets := c.o.Targets()
	var g errgroup.Group
	g.SetLimit(passWorkers)
	for _, t := range targets {
		g.Go(func() error {
			c.collect(ctx, t)
			return nil
		})
	}
	_ = g.Wait() // what fails is told and tried again
	c.forget(targets)
}

// collect is Collect within a time, with what came of it in the log.
func (c *Collector) collect(ctx context.Context, t Target) {
	if ctx.Err() != nil {
		return
	}
	try, cancel := context.WithTimeout(ctx, collectTimeout)
	defer cancel()
	r, err := c.Collect(try, t, c.o.Now())
	if err != nil && ctx.Err() == nil && !errors.Is(err, tiering.ErrFenced) {
		c.metrics.failures.Inc()
		c.log.Warn("retention in the tier", "partition", t.Archive.Partition(), "error", err)
	}
	if r.Segments > 0 || r.Deleted > 0 {
		c.log.Info("retention in the tier", "partition", t.Archive.Partition(), "log_start", r.LogStart,
			"expired_segments", r.Segments, "expired_bytes", r.Bytes, "deleted_objects", r.Deleted)
	}
}

// forget drops the notes about partitions that are no target any more.
func (c *Collector) forget(targets []Target) {
	keep := make(map[topic.Partition]bool, len(targets))
	for _, t := range targets {
		keep[t.Archive.Partition()] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for tp := range c.dirty {
		if !keep[tp] {
			delete(c.dirty, tp)
		}
	}
}

// Collect makes one pass over a partition. In order:
//
//  1. fold what is dead already, so that the sums are right;
//  2. move the log start to where the policy wants it: readers see that at once;
//  3. fold: what lies below goes to the trash, with the time from which it may be deleted;
//  4. delete the trash whose time has come, then take it out of the manifest.
//
// Each step can be made again; a crash between any two leaves work for the next pass.
func (c *Collector) Collect(ctx context.Context, t Target, now time.Time) (r Report, err error) {
	floor := int64(-1) // of the root that was folded last
	for range maxRounds {
		v, err := t.Archive.View(ctx)
		if err != nil {
			return r, fmt.Errorf("read manifest: %w", err)
		}
		r.LogStart = v.Head.LogStart
		if v.Dead {
			if v.Root != nil && v.Root.Floor == floor {
				break // the trash takes no more until what is in it may go
			}
			if v.Root != nil {
				floor = v.Root.Floor
			}
			if err := c.fold(ctx, t, v, &r, now); err != nil {
				return r, err
			}
			continue
		}
		untiered := int64(0)
		if t.Untiered != nil {
			untiered = t.Untiered()
		}
		start := Plan(v.Head, v.Oldest, untiered, t.Policy(), now)
		if start <= v.Head.LogStart {
			break
		}
		if _, err := t.Archive.SetLogStart(ctx, start); err != nil {
			return r, err
		}
	}
	if err := c.foldIfDue(ctx, t, &r, now); err != nil {
		return r, err
	}
	n, err := t.Archive.EmptyTrash(ctx, now)
	r.Deleted = n
	c.metrics.deleted.Add(float64(n))
	if err != nil {
		return r, fmt.Errorf("empty trash: %w", err)
	}
	return r, nil
}

func (c *Collector) fold(ctx context.Context, t Target, v tiering.View, r *Report, now time.Time) error {
	if err := t.Archive.Fold(ctx, now); err != nil {
		return fmt.Errorf("fold: %w", err)
	}
	r.Folds++
	after, ok := t.Archive.Known()
	if !ok {
		return nil
	}
	segments, bytes := v.Head.Segments-after.Segments, v.Head.RawBytes-after.RawBytes
	if segments > 0 { // unless more was committed meanwhile
		r.Segments += segments
		r.Bytes += bytes
		c.metrics.segments.Add(float64(segments))
		c.metrics.bytes.Add(float64(max(0, bytes)))
	}
	return nil
}

// foldIfDue folds a head whose newest segments have been in no root for long.
func (c *Collector) foldIfDue(ctx context.Context, t Target, r *Report, now time.Time) error {
	tp := t.Archive.Partition()
	h, ok := t.Archive.Known()
	c.mu.Lock()
	since, noted := c.dirty[tp]
	switch {
	case !ok || len(h.Tail) == 0 || r.Folds > 0:
		delete(c.dirty, tp)
	case !noted:
		c.dirty[tp] = now
	}
	c.mu.Unlock()
	if !noted || !ok || len(h.Tail) == 0 || now.Sub(since) < c.o.FoldAfter {
		return nil
	}
	if err := t.Archive.Fold(ctx, now); err != nil {
		return fmt.Errorf("fold: %w", err)
	}
	r.Folds++
	c.mu.Lock()
	delete(c.dirty, tp)
	c.mu.Unlock()
	return nil
}
