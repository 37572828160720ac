package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"firn/segment/vfs"
	"firn/tiering/objstore"
)

const (
	// copySize is the unit in which a source is copied.
	copySize = 1 << 20
	// writeBackEvery keeps the kernel writing while we copy, so that the sync at the end is short.
	writeBackEvery = 8 << 20
	// keepCached is the size from which an object's pages leave the page cache once it is durable:
	// large ones are for later, and the cache is for what is read now.
	keepCached = 1 << 20
)

// buffers are as many as there are Puts at a time.
var buffers = sync.Pool{New: func() any { return new([copySize]byte) }}

// Put implements objstore.Bucket.
func (b *Bucket) Put(ctx context.Context, key string, src objstore.Source, cond objstore.Condition) (objstore.Info, error) {
	if err := objstore.CheckKey(key); err != nil {
		return objstore.Info{}, err
	}
	info, err := b.put(ctx, key, src, cond)
	if err != nil {
		return objstore.Info{}, fmt.Errorf("put %s: %w", key, err)
	}
	return info, nil
}

func (b *Bucket) put(ctx context.Context, key string, src objstore.Source, cond objstore.Condition) (info objstore.Info, err error) {
	if err := ctx.Err(); err != nil {
		return objstore.Info{}, err
	}
	// 1. The bytes are durable under a name that is no object's.
	temp, etag, err := b.write(ctx, src)
	if err != nil {
		return objstore.Info{}, err
	}
	// 2. The file gets its name in one step, if the condition holds then.
	dir := filepath.Dir(b.path(key))
	if err := b.publish(ctx, temp, key, cond); err != nil {
		return objstore.Info{}, errors.Join(err, b.fs.Remove(temp))
	}
	// 3. The name is durable, and so are the directories above it. One that is missing was removed
	// with our object in it, by a Delete that came after.
	if err := b.fs.SyncDir(dir); err != nil && !isMissing(err) {
		return objstore.Info{}, err
	}
	if err := b.dirs.ensure(dir); err != nil {
		return objstore.Info{}, err
	}
	return objstore.Info{Key: key, Size: src.Size(), ETag: etag}, nil
}

// write copies src to a temporary file, syncs it, and returns its path and etag.
func (b *Bucket) write(ctx context.Context, src objstore.Source) (path, tag string, err error) {
	f, err := b.temp.create()
	if err != nil {
		return "", "", err
	}
	tag, err = b.fill(ctx, f, src)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = b.fs.Remove(f.Name()) // else the next Open does
		return "", "", err
	}
	return f.Name(), tag, nil
}

func (b *Bucket) fill(ctx context.Context, f vfs.File, src objstore.Source) (tag string, err error) {
	if err := copyAll(ctx, f, src); err != nil {
		return "", err
	}
	if err := f.Sync(); err != nil {
		return "", err
	}
	st, err := b.fs.Stat(f.Name())
	if err != nil {
		return "", err
	}
	tag, err = etag(f, st)
	if src.Size() >= keepCached {
		f.DropCache(0, 0)
	}
	return tag, err
}

func copyAll(ctx context.Context, f vfs.File, src objstore.Source) error {
	buf := buffers.Get().(*[copySize]byte)
	defer buffers.Put(buf)
	size, started := src.Size(), int64(0)
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := buf[:min(copySize, size-off)]
		if n, err := src.ReadAt(p, off); n < len(p) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read source at %d: %w", off+int64(n), err)
		}
		if _, err := f.WriteAt(p, off); err != nil {
			return err
		}
		if off += int64(len(p)); off-started >= writeBackEvery {
			f.WriteBack(started, off-started)
			started = off
		}
	}
	return ctx.Err()
}

// publish renames temp to the key's name. Its directory may be removed at any moment, for being empty.
func (b *Bucket) publish(ctx context.Context, temp, key string, cond objstore.Condition) error {
	unlock, err := b.locks.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	if err := b.check(key, cond); err != nil {
		return err
	}
	path := b.path(key)
	const tries = 100
	for range tries {
		if err := b.dirs.ensure(filepath.Dir(path)); err != nil {
			return err
		}
		if err = b.fs.Rename(temp, path); !isMissing(err) {
			return err
		}
		if _, statErr := b.fs.Stat(temp); statErr != nil {
			return statErr // it is the temporary file that is missing: the bucket was closed
		}
		b.dirs.forget(filepath.Dir(path))
	}
	return err
}

// check tells whether the condition holds now. The key's lock keeps it so.
func (b *Bucket) check(key string, cond objstore.Condition) error {
	if cond == (objstore.Condition{}) {
		return nil
	}
	info, err := b.head(key)
	missing := errors.Is(err, objstore.ErrNotFound)
	switch {
	case err != nil && !missing:
		return err
	case cond.IfAbsent && !missing, cond.IfMatch != "" && (missing || info.ETag != cond.IfMatch):
		return objstore.ErrPrecondition
	}
	return nil
}
