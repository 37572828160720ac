package tiering

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"firn/metadata/topic"
	"firn/tiering/chunkcache"
	"firn/tiering/manifest"
	"firn/tiering/objstore"
)

// ReaderOptions configures a Reader.
type ReaderOptions struct {
	Bucket  objstore.Bucket
	Cluster string
	// Anchor is read only to tell a stale head from a lost object.
	Anchor Anchor
	// Cache, if set, keeps chunks on disk. The Reader does not close it.
	Cache *chunkcache.Cache
	// Memory bounds decoded bytes, read ahead and in responses together; default 64 MiB.
	Memory int64
	// ManifestMemory bounds roots and pages, FooterMemory footers; default 64 and 32 MiB.
	ManifestMemory, FooterMemory int64
	// Gets bounds the chunks that are being read, of which one partition has half at most; default 16.
	Gets       int
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (o *ReaderOptions) ensureDefaults() {
	if o.Memory <= 0 {
		o.Memory = 64 << 20
	}
	if o.ManifestMemory <= 0 {
		o.ManifestMemory = 64 << 20
	}
	if o.FooterMemory <= 0 {
		o.FooterMemory = 32 << 20
	}
	if o.Gets <= 0 {
		o.Gets = 16
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Reader reads batches back from the tier. It is safe for concurrent use.
//
// What it reads it reads by chunks of up to sixteen blocks, one GET each. A chunk that anybody waits for
// goes on being read when they have gone, so that who comes back finds it. Who reads on where he stopped
// is a stream, for which the Reader reads ahead.
type Reader struct {
	o       ReaderOptions
	keys    Keys
	log     *slog.Logger
	metrics *readMetrics
	tree    *tree
	remotes *loader[remoteKey, *remote]
	mem     *slabs
	gets    *turns

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu struct {
		sync.Mutex
		chunks   map[chunkKey][]*chunk
		order    list.List // of *chunk, the last to be evicted in front
		streams  streams
		seen     seen
		closed   bool
		trimming *time.Timer
		lastUse  time.Time
	}
}

type remoteKey struct {
	tp      topic.Partition
	segment manifest.Segment
}

// NewReader returns a Reader.
func NewReader(o ReaderOptions) (*Reader, error) {
	if o.Bucket == nil || o.Anchor == nil {
		return nil, errors.New("tiering: a reader needs a bucket and an anchor")
	}
	o.ensureDefaults()
	r := &Reader{o: o, keys: Keys{o.Cluster}, log: o.Logger, gets: newTurns(o.Gets)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.tree = newTree(r.ctx, &r.wg, o.Bucket, r.keys, o.ManifestMemory)
	r.remotes = newLoader(r.ctx, &r.wg, o.FooterMemory, r.loadRemote)
	r.mem = &slabs{limit: o.Memory, reclaim: func() bool { return r.reclaim(true) }}
	r.mu.chunks = map[chunkKey][]*chunk{}
	r.mu.streams.init()
	r.metrics = newReadMetrics(o.Registerer, r)
	return r, nil
}

// Close cancels what is under way and waits for it. Data that is out stays readable.
func (r *Reader) Close() error {
	r.mu.Lock()
	r.mu.closed = true
	if r.mu.trimming != nil {
		r.mu.trimming.Stop()
	}
	r.mu.Unlock()
	r.tree.close()
	r.remotes.close()
	r.cancel()
	r.wg.Wait()
	r.evictAll()
	return nil
}

// Wanted reports whether a read waits for memory that answers hold.
func (r *Reader) Wanted() bool { return r.mem.wanted() }

// Read returns whole batches, the first of which holds offset (or, where that was removed, the next
// one), of at most maxBytes, but at least one. It waits for the first block as long as ctx lasts, for more
// only a moment, and answers with ErrNotReady if nothing has come; the read goes on all the same. Offsets outside of
// [head.LogStart, head.TierEnd) give an *OutOfRangeError. The caller releases the Data.
func (r *Reader) Read(ctx context.Context, tp topic.Partition, head *manifest.Head, offset int64, maxBytes int) (Data, error) {
	d, err := r.read(ctx, tp, head, offset, maxBytes)
	if errors.Is(err, objstore.ErrNotFound) {
		err = r.again(ctx, tp, head, err, func(h *manifest.Head) error {
			d, err = r.read(ctx, tp, h, offset, maxBytes)
			return err
		})
	}
	if err != nil {
		return Data{}, r.outcome(ctx, err)
	}
	r.metrics.bytes.Add(float64(d.Len()))
	return d, nil
}

// outcome turns the ends of contexts into ErrNotReady and ErrClosed.
func (r *Reader) outcome(ctx context.Context, err error) error {
	if r.ctx.Err() != nil {
		return ErrClosed
	}
	if cerr := ctx.Err(); cerr != nil && errors.Is(err, cerr) {
		return fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	return err
}

// again deals with an object that is not there. A head that is older than a deletion explains it: then
// the newer head says what is right. An object that the newest head still names is lost, which is never
// the same as an offset out of range.
func (r *Reader) again(ctx context.Context, tp topic.Partition, old *manifest.Head, lost error, retry func(*manifest.Head) error) error {
	raw, _, err := r.o.Anchor.Load(ctx, tp)
	if err != nil {
		return errors.Join(lost, fmt.Errorf("read tier head: %w", err))
	}
	head, err := manifest.DecodeHead(raw)
	if err != nil {
		return errors.Join(lost, err)
	}
	if head.LogStart != old.LogStart || head.Root != old.Root || head.TierEnd != old.TierEnd {
		if err := retry(&head); !errors.Is(err, objstore.ErrNotFound) {
			return err
		}
	}
	r.metrics.missing.Inc()
	return fmt.Errorf("%w: %w", ErrMissing, lost)
}

func (r *Reader) read(ctx context.Context, tp topic.Partition, head *manifest.Head, offset int64, maxBytes int) (Data, error) {
	obj, err := r.resolve(ctx, tp, head, offset)
	if err != nil {
		return Data{}, err
	}
	block, ok := obj.footer.blockAt(offset)
	if !ok {
		return Data{}, &CorruptionError{Key: obj.key, Block: -1, Pos: -1, Offset: offset, Err: errFormat}
	}
	st, sequential := r.follow(tp, offset)
	want := -1
	if !sequential {
		want = max(maxBytes, firstRead)
	}
	c, err := r.chunkFor(obj, block, want)
	if err != nil {
		return Data{}, err
	}
	defer c.release()
	if sequential {
		r.readAhead(st, head, obj, block)
	} else {
		r.maybeAdmit(c)
	}
	d, err := r.collect(ctx, head, c, block, offset, maxBytes)
	if err != nil {
		return Data{}, err
	}
	r.advance(st, head, offset, d.Next, int64(d.Len()))
	return d, nil
}

// firstRead is how much is read at least where a reader begins: the first answers of a stream, without
// all that stands behind them.
const firstRead = 1 << 20

// resolve returns the object that holds offset, with its footer.
func (r *Reader) resolve(ctx context.Context, tp topic.Partition, head *manifest.Head, offset int64) (*remote, error) {
	if offset < head.LogStart || offset >= head.TierEnd {
		return nil, &OutOfRangeError{Offset: offset, Start: head.LogStart, End: head.TierEnd}
	}
	s, err := r.tree.find(ctx, tp, head, offset)
	if err != nil {
		return nil, err
	}
	return r.remotes.get(ctx, remoteKey{tp, s})
}

// loadRemote reads a footer. Its length is in the manifest: one GET.
func (r *Reader) loadRemote(ctx context.Context, k remoteKey) (*remote, int64, error) {
	key := r.keys.Segment(k.tp, k.segment)
	f, err := readFooter(ctx, r.o.Bucket, key, k.tp, k.segment)
	if err != nil {
		return nil, 0, err
	}
	r.metrics.footers.Inc()
	f.Producers = nil // only Tail needs them, and they can be large
	obj := newRemote(k.tp, k.segment, key, f)
	return obj, f.memory() + int64(8*len(obj.groups)), nil
}

// readFooter reads and checks the footer of an object that a manifest names.
func readFooter(ctx context.Context, bucket objstore.Bucket, key string, tp topic.Partition, s manifest.Segment) (*Footer, error) {
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	rc, err := bucket.Get(ctx, key, s.Size-int64(s.FooterLen), int64(s.FooterLen))
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	defer rc.Close()
	b := make([]byte, s.FooterLen)
	if n, err := readFull(rc, b); err != nil {
		return nil, readError(key, -1, s.Size-int64(s.FooterLen)+int64(n), -1, err)
	}
	f, err := DecodeFooter(b, s.Size)
	if err == nil {
		err = f.matches(tp, s)
	}
	if errors.Is(err, ErrVersion) {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if err != nil {
		return nil, &CorruptionError{Key: key, Block: -1, Pos: s.Size - int64(s.FooterLen), Offset: -1, Err: err}
	}
	return f, nil
}
