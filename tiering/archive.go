package tiering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"firn/metadata/topic"
	"firn/tiering/manifest"
	"firn/tiering/objstore"
)

// DefaultGrace is how long an object stays after nothing refers to it any more: longer than a remote read
// may take plus the time until every reader has seen the newer head.
const DefaultGrace = 15 * time.Minute

// ArchiveOptions are what the archives of a broker share.
type ArchiveOptions struct {
	// Bucket may be nil for partitions that have nothing in the tier: then only SetLogStart works.
	Bucket     objstore.Bucket
	Anchor     Anchor
	Cluster    string
	Grace      time.Duration // default DefaultGrace
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Archives makes the archives of a broker.
type Archives struct {
	o       ArchiveOptions
	keys    Keys
	tree    *tree
	metrics *archiveMetrics

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// archiveMemory bounds the roots and pages that the writers of a broker keep. They read pages only to
// expire them.
const archiveMemory = 16 << 20

// NewArchives returns a maker of archives.
func NewArchives(o ArchiveOptions) *Archives {
	if o.Grace <= 0 {
		o.Grace = DefaultGrace
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Archives{o: o, keys: Keys{o.Cluster}, metrics: newArchiveMetrics(o.Registerer)}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	s.tree = newTree(ctx, &s.wg, o.Bucket, s.keys, archiveMemory)
	return s
}

// Close cancels what is under way for all archives and waits for it.
func (s *Archives) Close() {
	s.tree.close()
	s.cancel()
	s.wg.Wait()
}

// Archive is the one writer of a partition's manifest under one leadership. A new leader epoch gets a
// new Archive, so nothing cached survives the change. It is safe for concurrent use; edits happen one
// after the other.
type Archive struct {
	s     *Archives
	tp    topic.Partition
	epoch int32
	log   *slog.Logger

	// lock holds a token while an edit is under way; it guards the fields of state. Waiting for it
	// ends with the caller's context.
	lock  chan struct{}
	state struct {
		loaded bool
		head   manifest.Head
		raw    []byte // head as the anchor has it
		rev    int64
		// pending says that a swap against rev has an unknown outcome: until rev moves it may
		// still happen.
		pending bool
	}

	head   atomic.Pointer[manifest.Head]
	proven atomic.Int64
	fenced atomic.Bool
}

// Archive returns the writer of a partition for one leader epoch.
func (s *Archives) Archive(tp topic.Partition, leaderEpoch int32) *Archive {
	a := &Archive{s: s, tp: tp, epoch: leaderEpoch, lock: make(chan struct{}, 1)}
	a.log = s.o.Logger.With("partition", tp, "epoch", leaderEpoch)
	a.proven.Store(-1)
	return a
}

// Partition is the partition whose manifest this is.
func (a *Archive) Partition() topic.Partition { return a.tp }

// ProvenTierEnd is the greatest end of the tier that a read of the anchor has proven, -1 before the
// first. Local bytes below it may be dropped.
func (a *Archive) ProvenTierEnd() int64 { return a.proven.Load() }

// Fenced reports whether a newer leader has been seen. Then nothing works any more.
func (a *Archive) Fenced() bool { return a.fenced.Load() }

// Known returns the head as last read or written, without waiting; ok is false before the first read.
func (a *Archive) Known() (h manifest.Head, ok bool) {
	if p := a.head.Load(); p != nil {
		return *p, true
	}
	return manifest.Head{}, false
}

// Head returns the head as last read or written, reading it first if there was no read yet.
func (a *Archive) Head(ctx context.Context) (manifest.Head, error) {
	if h, ok := a.Known(); ok {
		return h, nil
	}
	return a.Refresh(ctx)
}

// Refresh reads the head from the anchor.
func (a *Archive) Refresh(ctx context.Context) (manifest.Head, error) {
	if err := a.acquire(ctx); err != nil {
		return manifest.Head{}, err
	}
	defer a.release()
	if err := a.load(ctx); err != nil {
		return manifest.Head{}, err
	}
	return a.state.head, nil
}

func (a *Archive) acquire(ctx context.Context) error {
	select {
	case a.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *Archive) release() { <-a.lock }

// load reads the head and takes it as proven.
func (a *Archive) load(ctx context.Context) error {
	raw, rev, err := a.s.o.Anchor.Load(ctx, a.tp)
	if err != nil {
		return fmt.Errorf("load tier head of %s: %w", a.tp, err)
	}
	h, err := manifest.DecodeHead(raw)
	if err != nil {
		return fmt.Errorf("tier head of %s at revision %d: %w", a.tp, rev, err)
	}
	if rev != a.state.rev {
		a.state.pending = false
	}
	a.take(h, raw, rev)
	if h.WriterEpoch > a.epoch {
		a.fenced.Store(true)
	}
	a.proven.Store(max(a.proven.Load(), h.TierEnd))
	return nil
}

func (a *Archive) take(h manifest.Head, raw []byte, rev int64) {
	a.state.loaded, a.state.head, a.state.raw, a.state.rev = true, h, raw, rev
	a.head.Store(&h)
}

// begin has the tier go on at start, where the local log begins. With nothing in the tier the log simply begins there: it was not tiered
// before. Otherwise something is lost, and nobody but an operator can say what that means: ErrGap. But first the head is read: it
// is by a newer one than is known here, which a write of another leader has made, that the local log may have been cut. And one that
// knows of nothing may be of a backup: then the bucket has what lies between.
func (a *Archive) begin(ctx context.Context, start int64) error {
	if _, err := a.Refresh(ctx); err != nil {
		return err
	}
	return a.edit(ctx, func(context.Context) (manifest.Edit, error) {
		h := a.state.head
		if h.TierEnd >= start {
			return nil, nil
		}
		gap := fmt.Errorf("%w: tier of %s ends at %d, local log begins at %d", ErrGap, a.tp, h.TierEnd, start)
		if h.TierEnd > h.LogStart {
			return nil, gap
		}
		key, err := a.between(ctx, h.TierEnd, start)
		if err != nil {
			return nil, err
		}
		if key != "" {
			return nil, fmt.Errorf("%w, and the bucket has %s", gap, key)
		}
		return manifest.Start{Offset: start}, nil
	})
}

// errEnough ends a listing.
var errEnough = errors.New("enough")

// between returns the key of a segment in the bucket, whether a manifest names it or not, that begins below to and does not end below
// from; empty if there is none.
func (a *Archive) between(ctx context.Context, from, to int64) (found string, err error) {
	if a.s.o.Bucket == nil {
		return "", nil
	}
	prefix := a.s.keys.Segments(a.tp)
	err = a.s.o.Bucket.List(ctx, prefix, "", func(i objstore.Info) error {
		s, ok := a.s.keys.ParseSegment(a.tp, i.Key)
		switch {
		case ok && s.Base >= to: // keys come in the order of bases
			return errEnough
		case ok && s.End >= from:
			found = i.Key
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return "", fmt.Errorf("list %s: %w", prefix, err)
	}
	return found, nil
}

// SetLogStart moves the log start forward, as DeleteRecords and retention do, and returns the head after
// it. Beyond the end of the tier it moves that end, too. An offset at or below the log start changes
// nothing.
func (a *Archive) SetLogStart(ctx context.Context, offset int64) (manifest.Head, error) {
	var h manifest.Head
	err := a.edit(ctx, func(context.Context) (manifest.Edit, error) {
		h = a.state.head
		if offset <= h.LogStart {
			return nil, nil
		}
		return manifest.Start{Offset: offset}, nil
	})
	if err != nil {
		return manifest.Head{}, fmt.Errorf("set log start of %s to %d: %w", a.tp, offset, err)
	}
	h, _ = a.Known()
	return h, nil
}
