package fs

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"firn/segment/vfs"
)

// tempDir is where one open bucket writes files before they get their names. It is locked as long as
// the bucket is open, so that another process can tell a crashed writer's files from a living one's.
type tempDir struct {
	fs   vfs.FS
	path string
	lock io.Closer
	next atomic.Int64
}

// openTempDir removes the directories in dir that nobody holds any more and makes a new one.
func openTempDir(fsys vfs.FS, dir string) (*tempDir, error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if err := removeUnlocked(fsys, filepath.Join(dir, e.Name())); err != nil {
			return nil, fmt.Errorf("clean up after a crash: %w", err)
		}
	}
	const tries = 100 // each is lost only to another process that opens at the same moment
	for range tries {
		t := &tempDir{fs: fsys, path: filepath.Join(dir, rand.Text())}
		ok, err := t.open()
		if err != nil {
			return nil, err
		}
		if ok {
			return t, nil
		}
	}
	return nil, errors.New("others keep taking our temporary directory for a crashed writer's")
}

// open makes the directory and locks it. Between the two another process may take it for left over and
// remove it, lock file and all; then open returns false.
func (t *tempDir) open() (bool, error) {
	if err := t.fs.MkdirAll(t.path); err != nil {
		return false, err
	}
	lock, err := t.fs.Lock(filepath.Join(t.path, lockName))
	if errors.Is(err, vfs.ErrLocked) || errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if _, err := t.fs.Stat(filepath.Join(t.path, lockName)); err != nil {
		_ = lock.Close() // of a file without a name
		return false, nil
	}
	t.lock = lock
	return true, nil
}

// removeUnlocked removes a directory for temporary files unless its owner lives.
func removeUnlocked(fsys vfs.FS, path string) error {
	lock, err := fsys.Lock(filepath.Join(path, lockName))
	switch {
	case errors.Is(err, vfs.ErrLocked), isMissing(err):
		return nil // alive, or cleaned up by another already
	case err != nil:
		return err
	}
	return errors.Join(fsys.RemoveAll(path), lock.Close())
}

// create returns a new empty file.
func (t *tempDir) create() (vfs.File, error) {
	return t.fs.Create(filepath.Join(t.path, strconv.FormatInt(t.next.Add(1), 10)))
}

// close removes the directory.
func (t *tempDir) close() error {
	return errors.Join(t.fs.RemoveAll(t.path), t.lock.Close())
}
