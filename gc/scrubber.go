package gc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"firn/metadata/topic"
	"firn/tiering"
	"firn/tiering/objstore"
)

// ScrubberOptions configures a Scrubber.
type ScrubberOptions struct {
	Bucket  objstore.Bucket
	Cluster string
	// MinAge is how old an object must be before it can be called an orphan; default and least 24 h. An
	// uploader gives up committing an object of half that age.
	MinAge time.Duration
	// Targets returns the archives of the partitions that this broker leads, as they are now.
	Targets func() []Target
	// Catalog, if set, names the deleted topics under which late uploads may have arrived.
	Catalog *Catalog
	// Confirm, if set, returns an error unless a topic that is marked as purged is no more, by a read of the metadata and not
	// of a cache: where that was restored from a backup, the topic may be alive again.
	Confirm func(ctx context.Context, id topic.ID) error
	// Interval is how often Run goes over everything; default 7 days.
	Interval   time.Duration
	Now        func() time.Time // the wall clock; nil is time.Now
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Scrubber deletes objects that no manifest names and none ever will: of uploads that failed or were never
// committed.
type Scrubber struct {
	o       ScrubberOptions
	keys    tiering.Keys
	log     *slog.Logger
	metrics *scrubMetrics
}

const leastAge = 24 * time.Hour

// scrubBatch is how many keys are listed before the manifest is read for them: it bounds memory.
const scrubBatch = 4096

// NewScrubber returns a Scrubber.
func NewScrubber(o ScrubberOptions) *Scrubber {
	o.MinAge = max(o.MinAge, leastAge)
	if o.Interval <= 0 {
		o.Interval = 7 * 24 * time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Scrubber{o: o, keys: tiering.Keys{Cluster: o.Cluster}, log: o.Logger, metrics: newScrubMetrics(o.Registerer)}
}

// firstPass is how long after its start a Scrubber begins at the latest: brokers may be restarted more often than
// they are to scrub, and what no run comes to would stay for ever.
const firstPass = time.Hour

// Run scrubs every interval until ctx is done, for the first time soon.
func (s *Scrubber) Run(ctx context.Context) error {
	t := time.NewTimer(min(s.o.Interval, firstPass))
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.pass(ctx)
			t.Reset(s.o.Interval)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Scrubber) pass(ctx context.Context) {
	note := func(what string, n int, err error) {
		if err != nil && ctx.Err() == nil && !errors.Is(err, tiering.ErrFenced) {
			s.metrics.failures.Inc()
			s.log.Warn("scrub", "what", what, "error", err)
		}
		if n > 0 {
			s.log.Info("orphans deleted", "what", what, "objects", n)
		}
	}
	for _, t := range s.o.Targets() {
		if ctx.Err() != nil {
			return
		}
		n, err := s.Scrub(ctx, t, s.o.Now())
		note(t.Archive.Partition().String(), n, err)
	}
	n, err := s.Purged(ctx, s.o.Now())
	note("deleted topics", n, err)
}

// Scrub deletes the orphans of one partition and returns how many there were. In order:
//
//  1. list; what is younger than MinAge is left alone;
//  2. touch the head: swaps that were sent before cannot happen any more;
//  3. read head, root, pages and trash: what they name is left alone;
//  4. delete the rest, if it is of no newer leader than the head's, and nothing if the head is behind what the local log relies on.
//
// The other order of 1 and 3 would take a fresh commit for an orphan.
func (s *Scrubber) Scrub(ctx context.Context, t Target, now time.Time) (deleted int, err error) {
	tp := t.Archive.Partition()
	for _, prefix := range []string{s.keys.Segments(tp), s.keys.Manifests(tp)} {
		after := ""
		for more := true; more; {
			var old []string
			if old, after, more, err = s.list(ctx, prefix, after, now); err != nil {
				return deleted, err
			}
			n, err := s.sweep(ctx, t, old)
			deleted += n
			if err != nil {
				return deleted, err
			}
		}
	}
	return deleted, nil
}

// list returns the next keys that are old enough, and where to go on.
func (s *Scrubber) list(ctx context.Context, prefix, after string, now time.Time) (old []string, last string, more bool, err error) {
	listed := 0
	err = s.o.Bucket.List(ctx, prefix, after, func(i objstore.Info) error {
		if listed++; now.Sub(i.Modified) >= s.o.MinAge {
			old = append(old, i.Key)
		}
		last = i.Key
		if listed == scrubBatch {
			return errBatchFull
		}
		return nil
	})
	s.metrics.listed.Add(float64(listed))
	if err != nil && !errors.Is(err, errBatchFull) {
		return nil, "", false, fmt.Errorf("list %s: %w", prefix, err)
	}
	return old, last, err != nil, nil
}

// sweep deletes those of the keys that are orphans.
func (s *Scrubber) sweep(ctx context.Context, t Target, old []string) (int, error) {
	if len(old) == 0 {
		return 0, nil
	}
	a := t.Archive
	// A look first, so that partitions without orphans are not written.
	unnamed, _, err := a.Unnamed(ctx, old)
	if err != nil || len(unnamed) == 0 {
		return 0, err
	}
	if err := a.Touch(ctx); err != nil {
		return 0, err
	}
	local := int64(0)
	if t.LocalStart != nil {
		local = t.LocalStart() // before the head is read: both rise together, the head first
	}
	unnamed, head, err := a.Unnamed(ctx, unnamed)
	if err != nil {
		return 0, err
	}
	if local > head.TierEnd {
		return 0, fmt.Errorf("%d objects that the manifest does not name are kept: %w: they may hold what lies between %d and %d",
			len(unnamed), tiering.ErrGap, head.TierEnd, local)
	}
	var orphans []string
	for _, key := range unnamed {
		if epoch, ok := s.epoch(a.Partition(), key); ok && epoch <= head.WriterEpoch {
			orphans = append(orphans, key)
		} else {
			s.log.Warn("object in the bucket that is neither named nor to be deleted", "key", key)
		}
	}
	n, err := deleteAll(ctx, s.o.Bucket, orphans)
	s.metrics.orphans.Add(float64(n))
	return n, err
}

// epoch returns the leader epoch in the name of a segment or root, -1 for a page; ok is false for names that
// are not ours.
func (s *Scrubber) epoch(tp topic.Partition, key string) (epoch int32, ok bool) {
	if seg, ok := s.keys.ParseSegment(tp, key); ok {
		return seg.LeaderEpoch, true
	}
	return s.keys.ParseManifest(tp, key)
}

// Purged deletes what uploads have left behind under deleted topics after their purge, and drops their
// markers after 30 days. A topic of which nothing is certain is left alone, and told of with the error.
func (s *Scrubber) Purged(ctx context.Context, now time.Time) (deleted int, err error) {
	if s.o.Catalog == nil {
		return 0, nil
	}
	marks, left := s.o.Catalog.Marks(ctx)
	if left != nil && !errors.Is(left, ErrDamaged) {
		return 0, left
	}
	for _, m := range marks {
		if m.State != Purged {
			continue
		}
		if s.o.Confirm != nil {
			if err := s.o.Confirm(ctx, m.ID); err != nil {
				left = errors.Join(left, fmt.Errorf("confirm that topic %s is no more: %w", m.ID, err))
				continue
			}
		}
		for n := range m.Partitions {
			d, err := deletePrefix(ctx, s.o.Bucket, s.keys.Partition(topic.Partition{ID: m.ID, Index: n}))
			deleted += d
			if err != nil {
				return deleted, err
			}
		}
		if now.Sub(m.At) >= purgedFor {
			if err := s.o.Catalog.forget(ctx, m.ID, true); err != nil {
				return deleted, err
			}
		}
	}
	s.metrics.orphans.Add(float64(deleted))
	return deleted, left
}
