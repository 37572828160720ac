// Package fs is the object store driver that keeps objects as plain files in a directory: the default
// of an embedded broker. Several processes of one machine may share a directory.
//
// What belongs here: names, atomic and durable replacement, conditions between processes. What does
// not: any other view of the files; an object's file holds its bytes and nothing else.
//
// Lock order: a key's lock (keyLocks), then dirs.mu.
//
// Caveat: on a file system that takes "a" and "A" for one name, so does the bucket.
package fs

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/zeebo/xxh3"

	"firn/segment/vfs"
	"firn/tiering/objstore"
)

// Bucket is a directory of objects.
type Bucket struct {
	fs    vfs.FS
	root  string
	temp  *tempDir
	locks *keyLocks
	dirs  *durableDirs
}

var _ objstore.Bucket = (*Bucket)(nil)

// Open returns the bucket in dir, which is made if it is missing, and removes what writers that crashed
// have left in it.
func Open(fsys vfs.FS, dir string) (*Bucket, error) {
	root, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", dir, err)
	}
	for _, sub := range []string{tempName, locksName} {
		if err := fsys.MkdirAll(filepath.Join(root, controlName, sub)); err != nil {
			return nil, fmt.Errorf("open bucket %s: %w", root, err)
		}
	}
	temp, err := openTempDir(fsys, filepath.Join(root, controlName, tempName))
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", root, err)
	}
	return &Bucket{
		fs:    fsys,
		root:  root,
		temp:  temp,
		locks: newKeyLocks(fsys, filepath.Join(root, controlName, locksName)),
		dirs:  newDurableDirs(fsys, root),
	}, nil
}

// path is the file of a key that CheckKey has passed.
func (b *Bucket) path(key string) string {
	return filepath.Join(b.root, filepath.FromSlash(escapeKey(key)))
}

// open returns a key's file, ErrNotFound if it has none.
func (b *Bucket) open(key string) (vfs.File, error) {
	path := b.path(key)
	// Opening a directory for reading succeeds, so look first.
	st, err := b.fs.Stat(path)
	if err == nil && !st.Mode().IsRegular() {
		return nil, objstore.ErrNotFound
	}
	f, err := b.fs.Open(path)
	if isMissing(err) {
		return nil, objstore.ErrNotFound
	}
	return f, err
}

// isMissing reports whether there is no such file, for want of a directory perhaps.
func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// Get implements objstore.Bucket.
func (b *Bucket) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := objstore.CheckKey(key); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	f, err := b.open(key)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	size, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, errors.Join(err, f.Close()))
	}
	if off < 0 {
		off, n = max(0, size+off), -1
	}
	off = min(off, size)
	if n < 0 || n > size-off {
		n = size - off
	}
	return &body{ctx: ctx, file: f, off: off, end: off + n}, nil
}

// body reads a range of an open file, which stays whole whatever becomes of its name.
type body struct {
	ctx      context.Context // ends the reading, as it does over a network
	file     vfs.File
	off, end int64
}

func (b *body) Read(p []byte) (int, error) {
	if b.off == b.end {
		return 0, io.EOF
	}
	if err := b.ctx.Err(); err != nil {
		return 0, fmt.Errorf("read object: %w", err)
	}
	p = p[:min(int64(len(p)), b.end-b.off)]
	n, err := b.file.ReadAt(p, b.off)
	b.off += int64(n)
	switch {
	case n == len(p):
		return n, nil
	case err == nil || errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF // somebody cut the file
	}
	return n, fmt.Errorf("read object: %d bytes are missing: %w", b.end-b.off, err)
}

func (b *body) Close() error { return b.file.Close() }

// Head implements objstore.Bucket.
func (b *Bucket) Head(ctx context.Context, key string) (objstore.Info, error) {
	if err := objstore.CheckKey(key); err != nil {
		return objstore.Info{}, err
	}
	if err := ctx.Err(); err != nil {
		return objstore.Info{}, fmt.Errorf("head %s: %w", key, err)
	}
	info, err := b.head(key)
	if err != nil {
		return objstore.Info{}, fmt.Errorf("head %s: %w", key, err)
	}
	return info, nil
}

// head reads what a key's file is. The file can be replaced between the steps; then all is done anew.
func (b *Bucket) head(key string) (objstore.Info, error) {
	const most = 1000
	for range most {
		before, err := b.fs.Stat(b.path(key))
		if err != nil && !isMissing(err) {
			return objstore.Info{}, err
		}
		f, err := b.open(key)
		if err != nil {
			return objstore.Info{}, err
		}
		if before == nil {
			_ = f.Close()
			continue
		}
		etag, err := etag(f, before)
		if err := errors.Join(err, f.Close()); err != nil {
			return objstore.Info{}, err
		}
		after, err := b.fs.Stat(b.path(key))
		if err == nil && after.Size() == before.Size() && after.ModTime().Equal(before.ModTime()) {
			return objstore.Info{Key: key, Size: before.Size(), ETag: etag, Modified: before.ModTime()}, nil
		}
	}
	return objstore.Info{}, errors.New("the object is replaced all the time")
}

// etagEnd is how much of either end of a file goes into its etag. What Firn stores ends with checksums
// of the rest, and what it stores conditionally is smaller than this.
const etagEnd = 64 << 10

// etag tells a file's versions apart by size, time of change and the bytes of both ends. No store of
// attributes beside the file could be made to survive a power cut in one step with it.
func etag(f vfs.File, st fs.FileInfo) (string, error) {
	h := xxh3.New128()
	head := binary.BigEndian.AppendUint64(nil, uint64(st.Size()))
	head = binary.BigEndian.AppendUint64(head, uint64(st.ModTime().UnixNano()))
	_, _ = h.Write(head) // never fails
	for _, off := range []int64{0, max(etagEnd, st.Size()-etagEnd)} {
		r := io.NewSectionReader(f, off, min(etagEnd, max(0, st.Size()-off)))
		if _, err := io.Copy(h, r); err != nil {
			return "", err
		}
	}
	sum := h.Sum128().Bytes()
	return hex.EncodeToString(sum[:]), nil
}

// Delete implements objstore.Bucket.
func (b *Bucket) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := objstore.CheckKey(key); err != nil {
			return err
		}
	}
	var errs []error
	touched := map[string]bool{}
	for _, key := range keys {
		if err := b.remove(ctx, key, touched); err != nil {
			errs = append(errs, fmt.Errorf("delete %s: %w", key, err))
		}
	}
	for dir := range touched {
		if err := b.fs.SyncDir(dir); err != nil && !isMissing(err) {
			errs = append(errs, fmt.Errorf("delete: %w", err))
		}
		b.dirs.prune(dir)
	}
	return errors.Join(errs...)
}

func (b *Bucket) remove(ctx context.Context, key string, touched map[string]bool) error {
	unlock, err := b.locks.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	path := b.path(key)
	st, err := b.fs.Stat(path)
	if isMissing(err) || (err == nil && st.IsDir()) {
		return nil
	}
	if err == nil {
		err = b.fs.Remove(path)
	}
	if err != nil {
		return err
	}
	touched[filepath.Dir(path)] = true
	return nil
}

// String implements objstore.Bucket.
func (b *Bucket) String() string {
	return strings.TrimSuffix((&url.URL{Scheme: "file", Path: filepath.ToSlash(b.root)}).String(), "/")
}

// Close implements objstore.Bucket. Puts under way fail.
func (b *Bucket) Close() error { return b.temp.close() }
