package segment

import (
	"errors"

	"firn/segment/vfs"
)

// Finding is something that Check found wrong.
type Finding struct {
	Path   string
	Offset int64  // byte position in the file
	What   string // what is wrong there
	// Harmless says that opening the disk repairs it without loss of what was durable: a torn tail,
	// an index that is behind, a file left over.
	Harmless bool
}

// Check verifies all files of a disk that no broker has open: every batch's frame and CRC, indexes
// against logs, snapshots, state and checkpoints. It changes nothing. ErrLocked if the disk is in use.
// An error is one that kept Check from going on; what is wrong with the data goes to report.
func Check(fs vfs.FS, dir string, report func(Finding)) error { return errors.ErrUnsupported }
