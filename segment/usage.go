package segment

import (
	"fmt"
	"sync/atomic"
)

// Fullness says what a disk's free space calls for.
type Fullness int

// The levels, each including those before it.
const (
	// Roomy: nothing to do.
	Roomy Fullness = iota
	// Low: segments that are in the tier may go before their local retention ends.
	Low
	// VeryLow: uploads go before everything else.
	VeryLow
	// Full: appends are refused with ErrFull.
	Full
)

// String returns the level as log lines have it.
func (f Fullness) String() string {
	return [...]string{"roomy", "low", "very low", "full"}[f]
}

// Threshold is a lower bound of free space: the smaller of a share of the disk and a number of bytes.
type Threshold struct {
	Percent int
	Bytes   int64
}

func (t Threshold) of(total int64) int64 {
	return min(total/100*int64(t.Percent), t.Bytes)
}

// Thresholds are where a disk's Fullness begins.
type Thresholds struct {
	Low, VeryLow, Full Threshold
}

// DefaultThresholds are those of a disk that is told nothing else.
var DefaultThresholds = Thresholds{
	Low:     Threshold{Percent: 10, Bytes: 10 << 30},
	VeryLow: Threshold{Percent: 5, Bytes: 4 << 30},
	Full:    Threshold{Percent: 2, Bytes: 1 << 30},
}

// Usage is how full a disk is, in bytes.
type Usage struct {
	Total, Free int64
	Fullness    Fullness
}

// maxUnwatched bounds what is appended between two looks at the free space: others use the disk too.
const maxUnwatched = 256 << 20

// space keeps appends from filling the disk without asking the file system at each of them.
type space struct {
	thresholds Thresholds
	left       atomic.Int64 // bytes that may be appended before the next look
}

// Usage asks the file system how full the disk is.
func (d *Disk) Usage() (Usage, error) {
	v, err := d.fs.Usage(d.dir)
	if err != nil {
		return Usage{}, fmt.Errorf("usage of disk %s: %w", d.dir, err)
	}
	t := d.space.thresholds
	u := Usage{Total: v.Total, Free: v.Free}
	switch full := t.Full.of(v.Total); {
	case v.Free < full:
		u.Fullness = Full
		d.space.left.Store(0)
	default:
		d.space.left.Store(min((v.Free-full)/2, maxUnwatched))
		if v.Free < t.VeryLow.of(v.Total) {
			u.Fullness = VeryLow
		} else if v.Free < t.Low.of(v.Total) {
			u.Fullness = Low
		}
	}
	return u, nil
}

// take asks for room for n bytes.
func (s *space) take(d *Disk, n int64) error {
	if s.left.Add(-n) >= 0 {
		return nil
	}
	u, err := d.Usage()
	if err != nil {
		return err
	}
	if u.Fullness == Full {
		return fmt.Errorf("%w: %d of %d bytes free in %s", ErrFull, u.Free, u.Total, d.dir)
	}
	return nil
}

// grant gives room for n bytes that may not be needed: never so much of it, to all logs together, that the disk is full.
func (s *space) grant(n int64) bool { return s.left.Load() >= n && s.left.Add(-n) >= 0 }
