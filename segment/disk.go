package segment

import (
	"errors"
)

// Ref names a partition by its topic's id and its number.
type Ref struct {
	ID    [16]byte
	Index int32
}

// Disk is one log directory, locked for this process. All methods are safe for concurrent use.
type Disk struct{}

// OpenDisk opens a log directory, making it if need be. ErrLocked if another process has it, ErrForeign
// if it belongs to another broker.
func OpenDisk(o DiskOptions) (*Disk, error) { return nil, errors.ErrUnsupported }

// ID is the disk's own random id, made with the directory.
func (d *Disk) ID() [16]byte { return [16]byte{} }

// Dir is the directory.
func (d *Disk) Dir() string { return "" }

// LastBrokerEpoch is the epoch of the broker's previous run on this disk, -1 if none, and whether that
// run ended in order. If it did not, the disk may have lost what was appended but not durable.
func (d *Disk) LastBrokerEpoch() (epoch int64, clean bool) { return -1, false }

// SetBrokerEpoch records this run's broker epoch durably. It must be called before the first Append of
// a run.
func (d *Disk) SetBrokerEpoch(epoch int64) error { return errors.ErrUnsupported }

// Partitions lists the partitions that have a directory here, open or not, corrupt or not.
func (d *Disk) Partitions() ([]Ref, error) { return nil, errors.ErrUnsupported }

// Open makes the partition's log or recovers it: what it then holds is durable and verified past the
// last checkpoint. A torn tail is cut; a *CorruptionError says that bytes that were durable are damaged
// or missing, then nothing is changed. Different partitions may be opened in parallel and should be.
func (d *Disk) Open(id [16]byte, p int32, o Options) (*Log, error) { return nil, errors.ErrUnsupported }

// Remove closes the partition's log if it is open and deletes its directory; the files go in the
// background. It is gone for good once Remove returns nil. Readers keep what they hold.
func (d *Disk) Remove(id [16]byte, p int32) error { return errors.ErrUnsupported }

// Offline returns nil while the disk serves, else the error that took it offline, an ErrOffline.
func (d *Disk) Offline() error { return nil }

// Close closes all logs and releases the directory. With clean set it makes everything durable and
// notes that, so that the next start verifies nothing; without, it leaves things as a kill would.
func (d *Disk) Close(clean bool) error { return errors.ErrUnsupported }
