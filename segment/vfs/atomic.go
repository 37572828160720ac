package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// tempSuffix marks a file that WriteAtomic had not finished; whoever lists a directory ignores it.
const tempSuffix = ".tmp"

// ErrUncertain says that a replacement was made but perhaps will not outlast a power cut.
var ErrUncertain = errors.New("vfs: it is not known which file a power cut would leave")

// WriteAtomic replaces the file name by data so that after a crash at any moment it holds either the
// old bytes or the new; once it returns nil it holds the new. With ErrUncertain it holds the new now
// and after a power cut either; with any other error, the old. One caller at a time for each name. A
// crash may leave NAME.tmp behind, which the next call replaces.
func WriteAtomic(fsys FS, name string, data []byte) (err error) {
	temp := name + tempSuffix
	defer func() {
		if err != nil {
			_ = fsys.Remove(temp) // on a full disk others need what it took
			err = fmt.Errorf("write %s atomically: %w", name, err)
		}
	}()
	if err := fsys.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// 1. The bytes are durable under the temporary name.
	f, err := fsys.Create(temp)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	// 2. The name changes hands in one step.
	if err := fsys.Rename(temp, name); err != nil {
		return err
	}
	// 3. The step is durable.
	if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("%w: %w", ErrUncertain, err)
	}
	return nil
}

// ReadFile returns the whole content of a file, which must be at most limit bytes.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("read %s: %d bytes, expected at most %d", name, size, limit)
	}
	data := make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if n < len(data) {
		return nil, err
	}
	return data, nil
}
