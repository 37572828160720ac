package vfs

import "errors"

// OS is the host's file system.
func OS() FS { panic(errors.ErrUnsupported) }

// Mem is a file system in memory that can be copied as a power cut would leave it.
type Mem struct{ FS }

// NewMem returns an empty Mem whose root is "/".
func NewMem() *Mem { return &Mem{} }

// CrashClone returns a copy of the file system as a power cut at this moment could leave it. What was
// synced is kept. Of the rest each directory change and each 4 KiB page of each file is kept with the
// given probability and else lost, and a file's size is anything between the old and the new. The
// outcome is a function of seed and history.
func (m *Mem) CrashClone(seed uint64, percentOfUnsyncedKept int) *Mem { return &Mem{} }

// SetCapacity makes writes fail with ENOSPC once files hold n bytes; 0 is no limit.
func (m *Mem) SetCapacity(n int64) {}

// WriteAtomic replaces the file name by data so that after a power cut at any moment it holds either
// the old bytes or the new; on a nil error it holds the new.
func WriteAtomic(fsys FS, name string, data []byte) error { return errors.ErrUnsupported }
