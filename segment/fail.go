package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"firn/segment/vfs"
)

// Offline returns nil while the disk serves, else the error that took it offline, an ErrOffline.
func (d *Disk) Offline() error {
	if err := d.offline.Load(); err != nil {
		return *err
	}
	return nil
}

// fail takes the disk offline because of err and returns an ErrOffline. It may be called with locks
// held: everyone is told from other goroutines.
func (d *Disk) fail(err error) error {
	err = fmt.Errorf("%w: %w", ErrOffline, err)
	if !d.offline.CompareAndSwap(nil, &err) {
		return d.Offline()
	}
	d.metrics.offline.Set(1)
	d.logger.Error("disk is offline", "dir", d.dir, "error", err)
	d.markFailed()
	d.background.Go(func() {
		for _, l := range d.openLogs() {
			l.Commit()
		}
	})
	if d.onOffline != nil {
		go d.onOffline(err) // not waited for by Close, which it may call
	}
	return err
}

// markFailed leaves word for the next run, in the same boot, too: the page cache no longer tells what it held when a
// sync failed. It need not be durable, as a power cut tells the same. A disk on which not even this works does not take
// the next run's epoch either.
func (d *Disk) markFailed() {
	mark := func() error {
		f, err := d.fs.Create(d.file(failedName))
		if err != nil {
			return err
		}
		return f.Close()
	}
	err := mark()
	if noRoom(err) { // the spare would let the next run's epoch in as well
		_ = d.fs.Remove(d.file(spareName))
		err = mark()
	}
	if err != nil {
		d.logger.Error("note that the disk has failed", "dir", d.dir, "error", err)
	}
}

// forgetFailure removes the mark of an earlier run.
func (d *Disk) forgetFailure() error {
	if err := removeIfThere(d.fs, d.file(failedName)); err != nil {
		return d.judge(fmt.Errorf("remove mark of a failure: %w", err))
	}
	if d.Offline() != nil {
		d.markFailed() // it failed meanwhile, and the mark may have been the new one
	}
	return nil
}

// judge decides about an error in writing one of our own files, where it is not known how far the
// write got: only where something ran out is it survivable, for that stops a write before it changes
// anything, unless it stopped the last step of it.
func (d *Disk) judge(err error) error {
	if err == nil || errors.Is(err, ErrOffline) || ranOut(err) && !errors.Is(err, vfs.ErrUncertain) {
		return err
	}
	return d.fail(err)
}

// ranOut says that there was no more of something: space, descriptors, mappings.
func ranOut(err error) bool {
	for _, e := range [...]error{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// noRoom says that the disk is full.
func noRoom(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

func removeIfThere(fsys vfs.FS, name string) error {
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
