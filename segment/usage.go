package segment

import "errors"

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

// Threshold is a lower bound of free space: the smaller of a share of the disk and a number of bytes.
type Threshold struct {
	Percent int
	Bytes   int64
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

// Usage asks the file system how full the disk is.
func (d *Disk) Usage() (Usage, error) { return Usage{}, errors.ErrUnsupported }
