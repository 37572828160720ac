package tiering

import (
	"fmt"
	"path/filepath"
	"sync/atomic"

	"firn/segment/vfs"
)

// spool makes the files in which compressed blocks wait for their upload. Nothing in them outlives the
// process.
type spool struct {
	fs   vfs.FS
	dir  string
	next atomic.Int64
}

// openSpool makes the directory and removes what an earlier process left in it.
func openSpool(fs vfs.FS, dir string) (*spool, error) {
	if err := fs.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("make spool directory %s: %w", dir, err)
	}
	left, err := fs.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read spool directory %s: %w", dir, err)
	}
	for _, e := range left {
		if filepath.Ext(e.Name()) != spoolExt {
			continue
		}
		if err := fs.Remove(filepath.Join(dir, e.Name())); err != nil {
			return nil, fmt.Errorf("remove left-over spool file: %w", err)
		}
	}
	return &spool{fs: fs, dir: dir}, nil
}

const spoolExt = ".blocks"

func (s *spool) create() (vfs.File, error) {
	return s.fs.Create(filepath.Join(s.dir, fmt.Sprintf("%d%s", s.next.Add(1), spoolExt)))
}

// discard closes and removes a file. If that does not work the next start does it.
func (s *spool) discard(f vfs.File) {
	_ = f.Close()
	_ = s.fs.Remove(f.Name())
}
