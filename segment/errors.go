package segment

import (
	"errors"
	"fmt"
)

// Errors of OpenDisk.
var (
	// ErrLocked says that another process has the directory open.
	ErrLocked = errors.New("segment: directory is in use by another process")
	// ErrForeign says that the directory belongs to another cluster or broker, or has a format that
	// this version does not know.
	ErrForeign = errors.New("segment: directory belongs to another broker")
)

// Errors of a Disk and its Logs.
var (
	// ErrOffline says that the disk failed: a sync returned an error or a torn write could not be
	// undone. It stays so until the process starts anew.
	ErrOffline = errors.New("segment: disk is offline")
	// ErrFull says that the disk has less free space than DiskOptions.Thresholds.Full.
	ErrFull = errors.New("segment: disk is full")
	// ErrClosed says that the Log or Disk was closed or removed.
	ErrClosed = errors.New("segment: closed")
	// ErrOpen says that the partition is open already.
	ErrOpen = errors.New("segment: partition is open already")
	// ErrFileLimit says that the process may not have as many descriptors or mappings as one more
	// partition takes; the text names the limit.
	ErrFileLimit = errors.New("segment: too many partitions for the limit")
	// ErrCorrupt is what every *CorruptionError matches.
	ErrCorrupt = errors.New("segment: corrupt")
	// ErrOutOfRange is what every *RangeError matches.
	ErrOutOfRange = errors.New("segment: offset out of range")
	// ErrSequence says that batches handed to Append do not follow the log's end or each other, or
	// that their leader epoch is lower than the log's.
	ErrSequence = errors.New("segment: batches do not follow the log's end")
	// ErrTooLarge says that the batches of one Append do not fit in a segment of 2 GiB.
	ErrTooLarge = errors.New("segment: append too large")
)

// CorruptionError says that bytes that were synced are not what was written: the disk lies. The log is
// not served and its files are kept as they are.
type CorruptionError struct {
	Path   string
	Offset int64 // byte position in the file
	Err    error // what is wrong there
}

func (e *CorruptionError) Error() string {
	return fmt.Sprintf("segment %s: corrupt at byte %d: %v", e.Path, e.Offset, e.Err)
}

func (e *CorruptionError) Unwrap() error { return e.Err }

// Is makes the error match ErrCorrupt.
func (e *CorruptionError) Is(target error) bool { return target == ErrCorrupt }

// RangeError says that an offset is not in the log, which holds [Start, End).
type RangeError struct {
	Offset, Start, End int64
}

func (e *RangeError) Error() string {
	return fmt.Sprintf("segment: offset %d out of range [%d, %d)", e.Offset, e.Start, e.End)
}

// Is makes the error match ErrOutOfRange.
func (e *RangeError) Is(target error) bool { return target == ErrOutOfRange }
