package tiering

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"firn/metadata/topic"
	"firn/tiering/manifest"
	"firn/tiering/objstore"
)

// tree reads the immutable storeys of manifests: roots and pages.
type tree struct {
	bucket objstore.Bucket
	keys   Keys
	roots  *loader[rootKey, *manifest.Root]
	pages  *loader[pageKey, *manifest.Page]
}

type rootKey struct {
	tp  topic.Partition
	ref manifest.RootRef
}

type pageKey struct {
	tp  topic.Partition
	ref manifest.PageRef
}

// newTree keeps roots and pages of at most memory bytes. Loads run under ctx and are counted in wg.
func newTree(ctx context.Context, wg *sync.WaitGroup, bucket objstore.Bucket, keys Keys, memory int64) *tree {
	t := &tree{bucket: bucket, keys: keys}
	t.roots = newLoader(ctx, wg, memory/4, t.loadRoot)
	t.pages = newLoader(ctx, wg, memory-memory/4, t.loadPage)
	return t
}

func (t *tree) close() {
	t.roots.close()
	t.pages.close()
}

// segmentBytes is about what a manifest.Segment takes in memory.
const segmentBytes = 104

func (t *tree) loadRoot(ctx context.Context, k rootKey) (*manifest.Root, int64, error) {
	key := t.keys.Root(k.tp, k.ref)
	b, err := getWhole(ctx, t.bucket, key, k.ref.Size, k.ref.CRC)
	if err != nil {
		return nil, 0, err
	}
	r, err := manifest.DecodeRoot(b)
	if err == nil && r.Seq != k.ref.Seq {
		err = fmt.Errorf("%w: root %d in the place of root %d", manifest.ErrCorrupt, r.Seq, k.ref.Seq)
	}
	if err != nil {
		return nil, 0, decodeError(key, err)
	}
	return &r, int64(segmentBytes*(len(r.Open)+len(r.Pages)) + 200*len(r.Trash)), nil
}

func (t *tree) loadPage(ctx context.Context, k pageKey) (*manifest.Page, int64, error) {
	key := t.keys.Page(k.tp, k.ref)
	b, err := getWhole(ctx, t.bucket, key, k.ref.Size, k.ref.CRC)
	if err != nil {
		return nil, 0, err
	}
	p, err := manifest.DecodePage(b)
	if err == nil && (len(p.Segments) != int(k.ref.Segments) || p.Segments[0].Base != k.ref.Base || p.Segments[len(p.Segments)-1].End != k.ref.End) {
		err = fmt.Errorf("%w: page of %d segments is not the one that was referred to", manifest.ErrCorrupt, len(p.Segments))
	}
	if err != nil {
		return nil, 0, decodeError(key, err)
	}
	return &p, int64(segmentBytes * len(p.Segments)), nil
}

// decodeError tells a newer format from damage.
func decodeError(key string, err error) error {
	if errors.Is(err, manifest.ErrVersion) {
		return fmt.Errorf("%s: %w", key, err)
	}
	return &CorruptionError{Key: key, Block: -1, Pos: 0, Offset: -1, Err: err}
}

// root returns the head's root, nil if it has none.
func (t *tree) root(ctx context.Context, tp topic.Partition, h *manifest.Head) (*manifest.Root, error) {
	if h.Root.IsZero() {
		return nil, nil
	}
	return t.roots.get(ctx, rootKey{tp, h.Root})
}

func (t *tree) page(ctx context.Context, tp topic.Partition, ref manifest.PageRef) (*manifest.Page, error) {
	return t.pages.get(ctx, pageKey{tp, ref})
}

// find returns the segment that holds offset, which lies within the head's range.
func (t *tree) find(ctx context.Context, tp topic.Partition, h *manifest.Head, offset int64) (manifest.Segment, error) {
	var root *manifest.Root
	if manifest.NeedsRoot(*h, offset) {
		var err error
		if root, err = t.root(ctx, tp, h); err != nil {
			return manifest.Segment{}, err
		}
	}
	place, ok := manifest.Find(*h, root, offset)
	if ok && place.InPage {
		page, err := t.page(ctx, tp, place.Page)
		if err != nil {
			return manifest.Segment{}, err
		}
		place.Segment, ok = page.Find(offset)
	}
	if !ok {
		return manifest.Segment{}, fmt.Errorf("%w: manifest of %s has no segment for offset %d in [%d, %d)", manifest.ErrCorrupt, tp, offset, h.LogStart, h.TierEnd)
	}
	return place.Segment, nil
}

// peek is find without waiting: what is not in memory is begun to be read.
func (t *tree) peek(tp topic.Partition, h *manifest.Head, offset int64) (manifest.Segment, bool) {
	return lookup(tp, h, offset, t.roots.peek, t.pages.peek)
}

// have is find in what is in memory: nothing is begun.
func (t *tree) have(tp topic.Partition, h *manifest.Head, offset int64) (manifest.Segment, bool) {
	return lookup(tp, h, offset, t.roots.have, t.pages.have)
}

func lookup(tp topic.Partition, h *manifest.Head, offset int64, roots func(rootKey) (*manifest.Root, bool), pages func(pageKey) (*manifest.Page, bool)) (manifest.Segment, bool) {
	var root *manifest.Root
	if manifest.NeedsRoot(*h, offset) {
		var ok bool
		if root, ok = roots(rootKey{tp, h.Root}); !ok {
			return manifest.Segment{}, false
		}
	}
	place, ok := manifest.Find(*h, root, offset)
	if ok && place.InPage {
		page, ready := pages(pageKey{tp, place.Page})
		if !ready {
			return manifest.Segment{}, false
		}
		place.Segment, ok = page.Find(offset)
	}
	return place.Segment, ok
}

// getWhole reads a small object of known size and checksum.
func getWhole(ctx context.Context, bucket objstore.Bucket, key string, size, crc uint32) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	rc, err := bucket.Get(ctx, key, 0, int64(size))
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	defer rc.Close()
	b := make([]byte, size)
	if n, err := readFull(rc, b); err != nil {
		return nil, readError(key, -1, int64(n), -1, err)
	}
	if got := manifest.Checksum(b); got != crc {
		return nil, &CorruptionError{Key: key, Block: -1, Pos: 0, Offset: -1, Err: fmt.Errorf("checksum %08x, want %08x", got, crc)}
	}
	return b, nil
}

// errEnds says that an object is shorter than it must be.
var errEnds = errors.New("object ends early")

// readFull fills p. Unlike io.ReadFull it tells an object that ends (errEnds) from a connection that
// broke, which drivers may report as io.ErrUnexpectedEOF.
func readFull(r io.Reader, p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m, err := r.Read(p[n:])
		n += m
		if err == io.EOF && n < len(p) {
			return n, errEnds
		}
		if err != nil && n < len(p) {
			return n, err
		}
	}
	return n, nil
}

// readError names the place where reading an object failed: a fault of the object, or of the way to it.
func readError(key string, block int, pos, offset int64, err error) error {
	if errors.Is(err, errEnds) {
		return &CorruptionError{Key: key, Block: block, Pos: pos, Offset: offset, Err: err}
	}
	return fmt.Errorf("get %s: at byte %d: %w", key, pos, err)
}
