package tiering

import (
	"time"

	"firn/segment"
)

// NewLogSource returns the Source of a local log. hw gives the partition's high watermark.
func NewLogSource(l *segment.Log, hw func() int64) Source {
	return &logSource{Log: l, hw: hw}
}

type logSource struct {
	*segment.Log
	hw func() int64
}

func (l *logSource) HighWatermark() int64 { return l.hw() }

func (l *logSource) Sealed(from int64) []SealedSegment {
	sealed := l.Log.Sealed(from)
	out := make([]SealedSegment, len(sealed))
	for i, s := range sealed {
		out[i] = sealedSegment{s}
	}
	return out
}

// Bytes counts a segment that from lies within by its share of offsets.
func (l *logSource) Bytes(from int64) int64 {
	sum := int64(0)
	for _, s := range l.Segments() {
		switch {
		case s.Base >= from:
			sum += s.Size
		case s.End > from:
			sum += int64(float64(s.Size) * float64(s.End-from) / float64(s.End-s.Base))
		}
	}
	return sum
}

func (l *logSource) Active() (base, size int64, since time.Time) { return l.Log.Active() }

func (l *logSource) Roll() error { return l.Log.Roll(segment.RollTier) }

// Damaged is for whoever puts such a log right: the log itself serves what is good of it.
func (l *logSource) Damaged(int64, int64, error) {}

type sealedSegment struct{ *segment.Sealed }

func (s sealedSegment) Epochs() []EpochStart {
	epochs := s.Sealed.Epochs()
	out := make([]EpochStart, len(epochs))
	for i, e := range epochs {
		out[i] = EpochStart(e)
	}
	return out
}
