package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"time"

	"github.com/zeebo/xxh3"

	"firn/segment/vfs"
)

// lockStripes is how many keys can change at a time. A lock is held for a look and a rename, not while
// bytes are written.
const lockStripes = 64

// lockPause is how long to wait for another process that holds the lock, which is rare and short.
const lockPause = 2 * time.Millisecond

// keyLocks are held while a key's file is replaced or removed, so that a condition holds at the moment
// of the rename, between the goroutines and the processes that share a directory.
type keyLocks struct {
	fs  vfs.FS
	dir string
	// held has room for one token each: a lock among goroutines whose wait ends with a context.
	held [lockStripes]chan struct{}
}

func newKeyLocks(fsys vfs.FS, dir string) *keyLocks {
	l := &keyLocks{fs: fsys, dir: dir}
	for i := range l.held {
		l.held[i] = make(chan struct{}, 1)
	}
	return l
}

// lock waits until nobody else holds the key.
func (l *keyLocks) lock(ctx context.Context, key string) (unlock func(), err error) {
	// The hash must be the same in every process.
	i := xxh3.HashString(key) % lockStripes
	select {
	case l.held[i] <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	file, err := l.lockFile(ctx, filepath.Join(l.dir, strconv.FormatUint(i, 10)))
	if err != nil {
		<-l.held[i]
		return nil, err
	}
	return func() {
		_ = file.Close() // which frees it in any case
		<-l.held[i]
	}, nil
}

func (l *keyLocks) lockFile(ctx context.Context, name string) (io.Closer, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		file, err := l.fs.Lock(name)
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, vfs.ErrLocked) {
			return nil, fmt.Errorf("lock key: %w", err)
		}
		pause := time.NewTimer(lockPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}
