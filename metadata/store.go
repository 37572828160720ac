package metadata

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// relistPage is the number of keys a page of a list holds: at 1.5 KiB a tier head 3 MiB.
	relistPage = 2000
	// The pause before a broken watch is tried again grows between these.
	minRewatch = 50 * time.Millisecond
	maxRewatch = time.Second
)

// Options configures a Store.
type Options struct {
	// Cluster is the cluster's name in the key space. Default "firn".
	Cluster string
	// Shards is used when the cluster is made: the number of coordinator shards of each kind, for ever.
	// Default 256 group, 64 transaction and 64 share shards.
	Shards [3]int32
	// ReadTierHead reads the fields of a tier head. Nil leaves them zero.
	ReadTierHead func(value []byte) (TierFields, error)
	Logger       *slog.Logger          // nil: none
	Registerer   prometheus.Registerer // nil: no metrics
}

func (o *Options) ensureDefaults() {
	if o.Cluster == "" {
		o.Cluster = "firn"
	}
	for i, n := range [...]int32{256, 64, 64} {
		if o.Shards[i] == 0 {
			o.Shards[i] = n
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Store keeps an Image of the cluster's metadata up to date and writes typed records with the guards they
// need. Safe for concurrent use.
type Store struct {
	kv      KV
	keys    Keys
	opts    Options
	log     *slog.Logger
	metrics *metrics

	stop    context.CancelFunc
	stopped <-chan struct{} // closed by stop
	failed  chan struct{}   // closed once mu.err is set
	running sync.WaitGroup

	mu struct {
		sync.Mutex
		err    error
		closed bool // nothing may be added to running any more
	}

	cur atomic.Pointer[generation]
}

// generation is one image in the chain of all images; next is closed once a later one is current.
type generation struct {
	img  *Image
	next chan struct{}
}

// Open reads the cluster record (making it if this is the first broker ever), loads the image and starts
// to follow the key space. It does not own kv.
func Open(ctx context.Context, kv KV, opts Options) (*Store, error) {
	opts.ensureDefaults()
	keys, err := NewKeys(opts.Cluster)
	if err != nil {
		return nil, err
	}
	s := &Store{kv: kv, keys: keys, opts: opts, log: opts.Logger, failed: make(chan struct{})}
	img, err := s.list(ctx, newImage())
	for errors.Is(err, ErrCompacted) { // while the pages were read
		img, err = s.list(ctx, newImage())
	}
	if err != nil {
		return nil, fmt.Errorf("load metadata of cluster %q: %w", opts.Cluster, err)
	}
	s.cur.Store(&generation{img: img, next: make(chan struct{})})
	s.metrics = newMetrics(opts.Registerer) // not before, so that Open can be tried again
	s.metrics.revision.Set(float64(img.rev))

	bg, stop := context.WithCancel(context.Background())
	s.stop, s.stopped = stop, bg.Done()
	s.running.Go(func() { s.follow(bg, img.rev) })
	if img.cluster == nil {
		if err := s.bootstrap(ctx); err != nil {
			s.Close()
			return nil, fmt.Errorf("make cluster %q: %w", opts.Cluster, err)
		}
	}
	return s, nil
}

// bootstrap makes the cluster record, unless another broker is faster, and waits until it is in the image.
func (s *Store) bootstrap(ctx context.Context) error {
	c := &Cluster{
		ID: newClusterID(), FeatureLevel: featureLevel,
		GroupShards: s.opts.Shards[GroupShard], TxnShards: s.opts.Shards[TxnShard], ShareShards: s.opts.Shards[ShareShard],
	}
	key := s.keys.Cluster()
	res, err := Settle(ctx, s.kv, Txn{
		If: []Cmp{Absent(key)}, Then: []Op{Put(key, encodeCluster(c))}, Else: []string{key},
	})
	if err != nil {
		return err
	}
	if res.OK {
		s.log.Info("cluster made", "cluster", s.opts.Cluster, "id", c.ID)
	} else {
		res.Rev = res.Else[0].ModRev
	}
	_, err = s.WaitRev(ctx, res.Rev)
	return err
}

// list reads everything in the image's range at one revision. What old holds of the same revision is kept.
func (s *Store) list(ctx context.Context, old *Image) (*Image, error) {
	start, end := s.keys.imageRange()
	b := newBuilder(s.keys, newImage(), s.opts.ReadTierHead)
	b.old = old
	var rev int64
	for {
		page, err := s.kv.Range(ctx, start, end, rev, relistPage)
		if err != nil {
			return nil, err
		}
		if rev == 0 {
			rev = page.Rev
		}
		for _, e := range page.Entries {
			if err := b.apply(Event{Entry: e}); err != nil {
				return nil, err
			}
		}
		if !page.More {
			return b.finish(rev), nil
		}
		start = page.Entries[len(page.Entries)-1].Key + "\x00"
	}
}

// Image returns the newest image. It costs one atomic load.
func (s *Store) Image() *Image { return s.cur.Load().img }

// KV returns the key space the store reads.
func (s *Store) KV() KV { return s.kv }

// Keys returns the keys of the store's cluster.
func (s *Store) Keys() Keys { return s.keys }

// WaitRev returns the first image at or past rev, for reading one's own writes.
func (s *Store) WaitRev(ctx context.Context, rev int64) (*Image, error) {
	for {
		g := s.cur.Load()
		if g.img.rev >= rev {
			return g.img, nil
		}
		select {
		case <-g.next:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for metadata revision %d, at %d: %w: %w", rev, g.img.rev, ErrUnavailable, context.Cause(ctx))
		case <-s.failed:
			return nil, s.Err()
		case <-s.stopped:
			return nil, ErrClosed
		}
	}
}

// Subscribe calls fn with successive images until stop is called or the store closes: every call's old is
// the new of the one before, the first call's old is nil. Calls come from one goroutine per subscriber; a
// slow fn delays only itself and then sees several changes as one. stop waits for a running fn, so it
// must not be called from inside it.
func (s *Store) Subscribe(fn func(old, img *Image)) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return func() {}
	}
	quit := make(chan struct{})
	var done sync.WaitGroup
	s.running.Add(1)
	done.Go(func() {
		defer s.running.Done()
		var old *Image
		for {
			g := s.cur.Load()
			if g.img != old {
				fn(old, g.img)
				old = g.img
			}
			select {
			case <-g.next:
			case <-quit:
				return
			case <-s.stopped:
				return
			}
		}
	})
	var once sync.Once
	return func() {
		once.Do(func() { close(quit) })
		done.Wait()
	}
}

// Failed is closed when the store can no longer follow the key space (ErrNewerVersion, ErrBadRecord,
// ErrWentBack); Err then says why. The last image stays.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Err returns why the store failed, or nil.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.err
}

func (s *Store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.err == nil {
		s.mu.err = err
		close(s.failed)
	}
}

// Close stops following the key space and waits for subscribers to return.
func (s *Store) Close() error {
	s.mu.Lock()
	s.mu.closed = true
	s.mu.Unlock()
	s.stop()
	s.running.Wait()
	return nil
}
