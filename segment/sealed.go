package segment

import (
	"errors"

	"firn/segment/batch"
)

// Sealed is a segment that no longer changes. It holds its files, even if the log drops the segment,
// until Release. Safe for concurrent use.
type Sealed struct{}

// Sealed returns the sealed segments that end above from, oldest first. The caller releases each.
func (l *Log) Sealed(from int64) []*Sealed { return nil }

// Base and End are the offsets [Base, End) that the segment covers.
func (s *Sealed) Base() int64 { return 0 }
func (s *Sealed) End() int64  { return 0 }

// Size is the number of bytes of batches.
func (s *Sealed) Size() int64 { return 0 }

// MaxTime is the largest timestamp, ms since 1970.
func (s *Sealed) MaxTime() int64 { return 0 }

// Path is the log file's.
func (s *Sealed) Path() string { return "" }

// Epochs are the leader epochs in force in [Base, End): the first may start below Base.
func (s *Sealed) Epochs() []Epoch { return nil }

// ProducerSnapshot is the producer state at End, nil where the log has no Producers.
func (s *Sealed) ProducerSnapshot() ([]byte, error) { return nil, errors.ErrUnsupported }

// Open returns a reader of the batches from the one that holds from up to the last that ends at or
// below to.
func (s *Sealed) Open(from, to int64) (*Reader, error) { return nil, errors.ErrUnsupported }

// DropCache tells the kernel that the file's pages will not be needed soon.
func (s *Sealed) DropCache() {}

// Release gives the files back, after which nothing else may be called.
func (s *Sealed) Release() {}

// Reader reads batches one after the other in bounded memory: a window of 1 MiB, or one batch if that
// is larger.
type Reader struct{}

// Next returns the next batch, CRC verified, good until the next call; io.EOF at the end, a
// *CorruptionError where the file is damaged.
func (r *Reader) Next() (batch.Batch, error) { return nil, errors.ErrUnsupported }

// Close gives the window back.
func (r *Reader) Close() error { return nil }
