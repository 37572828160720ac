package tiering

import (
	"context"

	"firn/metadata/topic"
	"firn/segment/vfs"
	"firn/tiering/manifest"
	"firn/tiering/objstore"
)

// EncodedObject is an encoded segment.
type EncodedObject interface {
	objstore.Source
	Close()
}

// Encode encodes a segment; fs nil means without compression.
func Encode(s SealedSegment, from int64, meta Footer, fs vfs.FS, dir string) (EncodedObject, *Footer, error) {
	var sp *spool
	if fs != nil {
		var err error
		if sp, err = openSpool(fs, dir); err != nil {
			return nil, nil, err
		}
	}
	o, err := encode(s, from, meta, sp, nil)
	if err != nil {
		return nil, nil, err
	}
	return o, o.footer, nil
}

// ReadFooter reads the footer of an object.
func ReadFooter(ctx context.Context, b objstore.Bucket, k Keys, tp topic.Partition, s manifest.Segment) (*Footer, error) {
	return readFooter(ctx, b, k.Segment(tp, s), tp, s)
}

// Marks returns how many segments' ages the Upload remembers.
func (p *Upload) Marks() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.mu.marks)
}

// Memory returns the Reader's slab accounting.
func (r *Reader) Memory() (used, idle int64) { return r.mem.inUse() }

// Streams returns how many streams the Reader knows.
func (r *Reader) Streams() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.streams.order.Len()
}

// Windows returns the windows of the streams of a partition.
func (r *Reader) Windows() (w []int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for e := r.mu.streams.order.Front(); e != nil; e = e.Next() {
		w = append(w, e.Value.(*stream).window)
	}
	return w
}

// Names for tests.
const (
	TrailerLen   = trailerLen
	MaxCommitAge = maxCommitAge
)
