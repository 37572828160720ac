package fs

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"

	"firn/segment/vfs"
)

// durableDirs makes and removes the directories that keys imply. A file survives a power cut only if
// each directory above it does, whoever made that, so it remembers which ones are known to.
type durableDirs struct {
	fs   vfs.FS
	root string
	mu   struct {
		sync.Mutex
		known map[string]bool
	}
}

func newDurableDirs(fsys vfs.FS, root string) *durableDirs {
	d := &durableDirs{fs: fsys, root: root}
	d.mu.known = map[string]bool{root: true} // Open has made it
	return d
}

// ensure makes dir, which lies below the root, and returns once it and those above it survive a power
// cut.
func (d *durableDirs) ensure(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ensureLocked(dir)
}

func (d *durableDirs) ensureLocked(dir string) error {
	if d.mu.known[dir] {
		return nil
	}
	if err := d.ensureLocked(filepath.Dir(dir)); err != nil {
		return err
	}
	// This syncs the directory above even if there is nothing to make.
	err := d.fs.MkdirAll(dir)
	if err == nil {
		d.mu.known[dir] = true
	}
	return err
}

// forget is called when dir turns out to be gone, removed by another process.
func (d *durableDirs) forget(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forgetLocked(dir)
}

// forgetLocked forgets dir, what is below it, and what is above it but the root.
func (d *durableDirs) forgetLocked(dir string) {
	for known := range d.mu.known {
		if known != d.root && (isWithin(known, dir) || isWithin(dir, known)) {
			delete(d.mu.known, known)
		}
	}
}

func isWithin(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+string(filepath.Separator))
}

// prune removes dir if it is empty, then the one above it, and so on below the root. What cannot be
// removed stays; an empty directory is no object.
func (d *durableDirs) prune(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for ; dir != d.root; dir = filepath.Dir(dir) {
		// With the separator at its end the name can only mean a directory, should an object have
		// taken its place.
		err := d.fs.Remove(dir + string(filepath.Separator))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return
		}
		delete(d.mu.known, dir)
	}
}
