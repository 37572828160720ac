package manifest

import (
	"fmt"
	"slices"
)

// Edit is a change of a head: Append, Start, Fence or Folded.
type Edit interface {
	edit(h *Head) error
}

// Apply returns the head after an edit by a writer of the given leader epoch. An older writer than the
// head has seen gets ErrFenced. h is not changed.
func Apply(h Head, epoch int32, e Edit) (Head, error) {
	if epoch < h.WriterEpoch {
		return Head{}, fmt.Errorf("%w: epoch %d, have %d", ErrFenced, h.WriterEpoch, epoch)
	}
	h.WriterEpoch = epoch
	h.Tail = slices.Clone(h.Tail)
	if err := e.edit(&h); err != nil {
		return Head{}, err
	}
	return h, nil
}

// Append adds the segment behind the end of the tier.
type Append struct {
	Segment Segment
}

func (e Append) edit(h *Head) error {
	s := e.Segment
	if err := s.check(); err != nil {
		return err
	}
	// A log start inside of a batch moves the tier's end there, too; then the next object begins with
	// that batch, at a lower offset.
	inside := s.Base < h.TierEnd && h.TierEnd <= s.End && h.LogStart >= h.TierEnd
	if s.Base != h.TierEnd && !inside {
		return fmt.Errorf("%w: segment [%d, %d], tier ends at %d", ErrNotAbut, s.Base, s.End, h.TierEnd)
	}
	if n := len(h.Tail); n > 0 && s.Base <= h.Tail[n-1].End {
		return fmt.Errorf("%w: segment [%d, %d] overlaps the one that ends at %d", ErrNotAbut, s.Base, s.End, h.Tail[n-1].End)
	}
	if s.LastEpoch < h.TierEndEpoch {
		return fmt.Errorf("%w: last batch of epoch %d behind epoch %d", ErrNotAbut, s.LastEpoch, h.TierEndEpoch)
	}
	if len(h.Tail) >= MaxTail {
		return ErrFull
	}
	h.Tail = append(h.Tail, s)
	h.TierEnd, h.TierEndEpoch = s.Next(), s.LastEpoch
	h.Segments++
	h.RawBytes += s.RawBytes
	h.StoredBytes += s.Size
	if len(h.Tail) > 1 && len(h.Encode()) > MaxHeadBytes {
		return ErrFull
	}
	return nil
}

// check tells nonsense from a segment.
func (s Segment) check() error {
	if s.Base < 0 || s.End < s.Base || s.Size <= 0 || int64(s.FooterLen) > s.Size || s.RawBytes < 0 ||
		s.MaxTimeBase < s.Base || s.MaxTimeBase > s.End {
		return fmt.Errorf("%w: impossible segment %+v", ErrCorrupt, s)
	}
	return nil
}

// Start moves the log start forward; beyond the end of the tier it takes that along. Backward it does
// nothing.
type Start struct {
	Offset int64
}

func (e Start) edit(h *Head) error {
	if e.Offset <= h.LogStart {
		return nil
	}
	h.LogStart = e.Offset
	h.TierEnd = max(h.TierEnd, e.Offset)
	return nil
}

// Fence only writes the writer's epoch, so that older writers' swaps fail.
type Fence struct{}

func (Fence) edit(*Head) error { return nil }

// Folded puts a root made by Fold in place of the one before it and of the tail.
type Folded struct {
	Root RootRef
	// Gone sums up what went to the trash in it.
	Gone Totals
}

// Totals sums up segments.
type Totals struct {
	Segments, RawBytes, StoredBytes int64
}

func (t *Totals) add(s Segment) {
	t.Segments++
	t.RawBytes += s.RawBytes
	t.StoredBytes += s.Size
}

func (e Folded) edit(h *Head) error {
	if e.Root.Seq != h.Root.Seq+1 {
		return fmt.Errorf("%w: root %d follows root %d", ErrNotAbut, e.Root.Seq, h.Root.Seq)
	}
	h.Root = e.Root
	h.Tail = nil
	h.Segments -= e.Gone.Segments
	h.RawBytes -= e.Gone.RawBytes
	h.StoredBytes -= e.Gone.StoredBytes
	return nil
}
