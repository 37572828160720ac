package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"
	"time"
)

// Remove closes the partition's log if it is open and deletes its directory, and what was set aside of it; the files go
// in the background. It is gone for good once Remove returns nil. Readers keep what they hold.
func (d *Disk) Remove(id [16]byte, p int32) error {
	ref := Ref{ID: id, Index: p}
	d.mu.Lock()
	aside := d.mu.aside[ref]
	d.mu.Unlock()
	var gone []string
	if aside != "" {
		moved := strings.TrimSuffix(aside, damagedSuffix) + deletedSuffix
		if err := d.fs.Rename(aside, moved); err == nil {
			gone = append(gone, moved)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return d.judge(fmt.Errorf("remove %s: %w", aside, err))
		}
	}
	dir, err := d.takeAway(ref, deletedSuffix)
	if err != nil {
		return err
	}
	if dir != "" {
		gone = append(gone, dir)
	} else if len(gone) > 0 {
		if err := d.fs.SyncDir(d.dir); err != nil {
			return d.judge(fmt.Errorf("remove %s: %w", dirName(ref), err))
		}
	}
	d.mu.Lock()
	delete(d.mu.aside, ref)
	d.mu.Unlock()
	for _, dir := range gone {
		d.deleteLater(dir)
	}
	return nil
}

// SetAside closes the partition's log if it is open and puts its directory away as damaged: nothing opens it any more,
// and it is kept for people until the partition is set aside again or removed. The next Open makes a new log. It is done
// for good once SetAside returns nil; after an error it may be called again. Readers keep what they hold.
func (d *Disk) SetAside(id [16]byte, p int32) error {
	ref := Ref{ID: id, Index: p}
	if _, err := d.takeAway(ref, asideSuffix); err != nil {
		return err
	}
	// 3. The directory gets the name that it keeps. That one does not say that the checkpoint may forget the
	// partition: should the new log's directory be missing some day, that is damage.
	return d.keepAside(&ref)
}

// takeAway closes the partition's log if it is open and renames its directory, to a name with the suffix, which it
// returns; empty if there was none. The steps:
//
//  1. One rename takes the directory away.
//  2. The checkpoint forgets the partition. Until then the renamed directory tells that it may.
//
// What is to happen to the directory is the caller's to do, now or after the next start.
func (d *Disk) takeAway(ref Ref, suffix string) (gone string, err error) {
	if err := d.touch(); err != nil {
		return "", err
	}
	d.mu.Lock()
	l, open := d.mu.logs[ref]
	if d.mu.closed || open && l == nil {
		d.mu.Unlock()
		return "", fmt.Errorf("remove %s: %w", dirName(ref), ErrClosed)
	}
	d.mu.Unlock()
	if l != nil {
		l.abandon()
	}
	name := d.file(dirName(ref))
	gone = fmt.Sprintf("%s.%d%s", name, time.Now().UnixNano(), suffix)
	err = d.fs.Rename(name, gone)
	if err == nil {
		err = d.fs.SyncDir(d.dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		gone, err = "", nil
	}
	if err != nil {
		return "", d.judge(fmt.Errorf("remove %s: %w", dirName(ref), err))
	}
	d.mu.Lock()
	_, known := d.mu.entries[ref]
	delete(d.mu.entries, ref)
	delete(d.mu.unread, ref)
	d.mu.Unlock()
	if known {
		err = d.writeCheckpoint()
	}
	return gone, err
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
		if !n.IsDir() || !strings.HasSuffix(n.Name(), deletedSuffix) && !strings.HasSuffix(n.Name(), asideSuffix) {
			continue
		}
		if strings.HasSuffix(n.Name(), deletedSuffix) {
			gone = append(gone, d.file(n.Name()))
		}
		ref, ok := parseTakenAway(n.Name())
		if _, known := d.mu.entries[ref]; ok && known && !there[dirName(ref)] {
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
	return d.keepAside(nil)
}

// keepAside gives what has been set aside of a partition, or of all, its lasting name, and leaves only the newest of
// each: a disk that goes on rotting must not fill itself with copies.
func (d *Disk) keepAside(only *Ref) error {
	names, err := d.fs.ReadDir(d.dir)
	if err != nil {
		return fmt.Errorf("set aside: %w", err)
	}
	aside := make(map[Ref]string)
	var older []string
	for _, n := range names { // in order of their names, and so of time
		ref, ok := parseTakenAway(n.Name())
		name := d.file(n.Name())
		switch {
		case !ok || !n.IsDir() || only != nil && ref != *only:
			continue
		case strings.HasSuffix(name, asideSuffix):
			kept := strings.TrimSuffix(name, asideSuffix) + damagedSuffix
			err := d.fs.Rename(name, kept)
			if err == nil {
				err = d.fs.SyncDir(d.dir)
			}
			if err != nil {
				return d.judge(fmt.Errorf("set aside %s: %w", name, err))
			}
			name = kept
		case !strings.HasSuffix(name, damagedSuffix):
			continue
		}
		if old := aside[ref]; old != "" {
			older = append(older, old)
		}
		aside[ref] = name
	}
	d.mu.Lock()
	maps.Copy(d.mu.aside, aside)
	d.mu.Unlock()
	for _, dir := range older {
		d.deleteLater(dir)
	}
	return nil
}

// asideCount is the number of damaged logs that are kept; people take them away while we run.
func (d *Disk) asideCount() float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, dir := range d.mu.aside {
		if _, err := d.fs.Stat(dir); err == nil {
			n++
		}
	}
	return float64(n)
}

// deleteLater deletes a directory in the background. What it leaves the next start deletes.
func (d *Disk) deleteLater(dir string) {
	d.background.Go(func() {
		if err := d.fs.RemoveAll(dir); err != nil {
			d.logger.Warn("directory of a removed partition is left", "path", dir, "error", err)
		}
	})
}
