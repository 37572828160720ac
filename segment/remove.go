package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// Remove closes the partition's log if it is open and deletes its directory; the files go in the
// background. It is gone for good once Remove returns nil. Readers keep what they hold.
func (d *Disk) Remove(id [16]byte, p int32) error {
	ref := Ref{ID: id, Index: p}
	if err := d.touch(); err != nil {
		return err
	}
	d.mu.Lock()
	l, open := d.mu.logs[ref]
	if d.mu.closed || open && l == nil {
		d.mu.Unlock()
		return fmt.Errorf("remove %s: %w", dirName(ref), ErrClosed)
	}
	d.mu.Unlock()
	if l != nil {
		l.abandon()
	}
	// 1. One rename takes the directory away.
	name := d.file(dirName(ref))
	gone := fmt.Sprintf("%s.%d%s", name, time.Now().UnixNano(), deletedSuffix)
	err := d.fs.Rename(name, gone)
	if err == nil {
		err = d.fs.SyncDir(d.dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d.judge(fmt.Errorf("remove %s: %w", dirName(ref), err))
	}
	// 2. The checkpoint forgets the partition. Until then the renamed directory tells that it may.
	d.mu.Lock()
	_, known := d.mu.entries[ref]
	delete(d.mu.entries, ref)
	d.mu.Unlock()
	if known {
		if err := d.writeCheckpoint(); err != nil {
			return err
		}
	}
	// 3. The files go, now or after the next start.
	if err == nil {
		d.deleteLater(gone)
	}
	return nil
}

// finishRemovals does what removals left undone: the checkpoint must forget the partitions before the
// directories go that say so.
func (d *Disk) finishRemovals() error {
	names, err := d.fs.ReadDir(d.dir)
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(names))
	for _, n := range names {
		there[n.Name()] = true
	}
	var gone []string
	forgotten := false
	for _, n := range names {
		if !n.IsDir() || !strings.HasSuffix(n.Name(), deletedSuffix) {
			continue
		}
		gone = append(gone, d.file(n.Name()))
		name, _, _ := strings.Cut(n.Name(), ".")
		ref, ok := parseDirName(name)
		if _, known := d.mu.entries[ref]; ok && known && !there[name] {
			delete(d.mu.entries, ref)
			forgotten = true
		}
	}
	if forgotten {
		if err := d.writeCheckpoint(); err != nil {
			return err
		}
	}
	for _, dir := range gone {
		d.deleteLater(dir)
	}
	return nil
}

// deleteLater deletes a directory in the background. What it leaves the next start deletes.
func (d *Disk) deleteLater(dir string) {
	d.background.Go(func() {
		if err := d.fs.RemoveAll(dir); err != nil {
			d.logger.Warn("directory of a removed partition is left", "path", dir, "error", err)
		}
	})
}
