// Package mem is an object store in memory, for tests and simulation.
//
// What belongs here: the contract of objstore.Bucket, kept exactly and without IO, time or goroutines
// of its own, so that it runs inside a synctest bubble. What does not: faults (package faulty).
package mem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"firn/tiering/objstore"
)

// Bucket is a bucket in memory.
type Bucket struct {
	mu struct {
		sync.Mutex
		objects map[string]object // data is never changed, only replaced
		version int64
	}
}

type object struct {
	data     []byte
	etag     string
	modified time.Time
}

var _ objstore.Bucket = (*Bucket)(nil)

// New returns an empty bucket.
func New() *Bucket {
	b := &Bucket{}
	b.mu.objects = map[string]object{}
	return b
}

// Put implements objstore.Bucket.
func (b *Bucket) Put(ctx context.Context, key string, src objstore.Source, cond objstore.Condition) (objstore.Info, error) {
	if err := objstore.CheckKey(key); err != nil {
		return objstore.Info{}, err
	}
	data := make([]byte, src.Size())
	for read := 0; read < len(data); {
		// In steps, so that a cancelled Put ends early here as it does elsewhere.
		if err := ctx.Err(); err != nil {
			return objstore.Info{}, fmt.Errorf("put %s: %w", key, err)
		}
		step := min(1<<20, len(data)-read)
		n, err := src.ReadAt(data[read:read+step], int64(read))
		if n < step {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return objstore.Info{}, fmt.Errorf("put %s: read source at %d: %w", key, read+n, err)
		}
		read += n
	}
	if err := ctx.Err(); err != nil {
		return objstore.Info{}, fmt.Errorf("put %s: %w", key, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old, exists := b.mu.objects[key]
	if (cond.IfAbsent && exists) || (cond.IfMatch != "" && old.etag != cond.IfMatch) {
		return objstore.Info{}, fmt.Errorf("put %s: %w", key, objstore.ErrPrecondition)
	}
	b.mu.version++
	o := object{data: data, etag: strconv.FormatInt(b.mu.version, 10), modified: time.Now()}
	b.mu.objects[key] = o
	return objstore.Info{Key: key, Size: int64(len(data)), ETag: o.etag}, nil
}

// Get implements objstore.Bucket.
func (b *Bucket) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	o, err := b.find(ctx, "get", key)
	if err != nil {
		return nil, err
	}
	size := int64(len(o.data))
	if off < 0 {
		off, n = max(0, size+off), -1
	}
	off = min(off, size)
	if n < 0 || n > size-off {
		n = size - off
	}
	return &body{ctx: ctx, r: bytes.NewReader(o.data[off : off+n])}, nil
}

// Head implements objstore.Bucket.
func (b *Bucket) Head(ctx context.Context, key string) (objstore.Info, error) {
	o, err := b.find(ctx, "head", key)
	if err != nil {
		return objstore.Info{}, err
	}
	return o.info(key), nil
}

// List implements objstore.Bucket. It lists what was there when it was called.
func (b *Bucket) List(ctx context.Context, prefix, startAfter string, fn func(objstore.Info) error) error {
	var all []objstore.Info
	b.mu.Lock()
	for key, o := range b.mu.objects {
		if strings.HasPrefix(key, prefix) && key > startAfter {
			all = append(all, o.info(key))
		}
	}
	b.mu.Unlock()
	slices.SortFunc(all, func(a, b objstore.Info) int { return strings.Compare(a.Key, b.Key) })
	for _, info := range all {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("list %q: %w", prefix, err)
		}
		if err := fn(info); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Delete implements objstore.Bucket.
func (b *Bucket) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := objstore.CheckKey(key); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range keys {
		delete(b.mu.objects, key)
	}
	return nil
}

// String implements objstore.Bucket.
func (b *Bucket) String() string { return "mem:" }

// Close implements objstore.Bucket. The objects stay, as they do in a real bucket.
func (b *Bucket) Close() error { return nil }

func (b *Bucket) find(ctx context.Context, op, key string) (object, error) {
	if err := objstore.CheckKey(key); err != nil {
		return object{}, err
	}
	if err := ctx.Err(); err != nil {
		return object{}, fmt.Errorf("%s %s: %w", op, key, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	o, ok := b.mu.objects[key]
	if !ok {
		return object{}, fmt.Errorf("%s %s: %w", op, key, objstore.ErrNotFound)
	}
	return o, nil
}

func (o object) info(key string) objstore.Info {
	return objstore.Info{Key: key, Size: int64(len(o.data)), ETag: o.etag, Modified: o.modified}
}

// body is a reader that ends with its context, as one over a network does.
type body struct {
	ctx context.Context
	r   *bytes.Reader
}

func (b *body) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.r.Read(p)
}

func (b *body) Close() error { return nil }
