package segment

import (
	"errors"
	"fmt"
	"slices"
)

// Verify reads the log and checks that its batches abut, that their leader epochs are the log's and their CRCs right: of all
// segments, oldest first, the active one as far as it goes when it is come to. After each batch it calls pace with the bytes read
// since; an error of that ends it. Damage is a *CorruptionError. The log may be written, cut and closed meanwhile.
func (l *Log) Verify(pace func(bytes int64) error) error {
	v := l.view.Load()
	if v == nil {
		return ErrClosed
	}
	for _, s := range v.sealed {
		err := l.verifySegment(s, pace)
		if errors.Is(err, errGone) || errors.Is(err, ErrCorrupt) && !slices.Contains(l.settled().sealed, s) {
			continue // cut off or dropped meanwhile, and other bytes may be where some were
		}
		if err != nil {
			return err
		}
	}
	if v = l.view.Load(); v == nil {
		return ErrClosed
	}
	err := l.verifySegment(v.active, pace)
	if errors.Is(err, errGone) || errors.Is(err, ErrCorrupt) && l.settled().active != v.active {
		return nil // as above; if it has become a sealed one, the next time tells
	}
	return err
}

// settled is the view once no change to it is under way, which may have its epochs in force already and the segments of before; an
// empty one of a closed log.
func (l *Log) settled() view {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v := l.view.Load(); v != nil {
		return *v
	}
	return view{}
}

func (l *Log) verifySegment(s *segment, pace func(bytes int64) error) error {
	end, size := s.bounds()
	epochs := epochList(l.Epochs()) // of no batch that is in by now any is missing
	h, err := s.acquire()
	if err != nil {
		return err
	}
	defer h.unref()
	r := newFrames(h.log, 0, size, s.base, &scanBuffers)
	defer r.close()
	for r.pos < size {
		b, n, err := r.head()
		if err != nil {
			return err
		}
		if want := epochs.at(b.BaseOffset()); want >= 0 && b.LeaderEpoch() != want { // which no CRC covers
			return r.bad(fmt.Errorf("%w: leader epoch %d, the state says %d", errChain, b.LeaderEpoch(), want))
		}
		next := b.NextOffset() // before its bytes are read, which overwrites the header
		if err := r.verify(b, n); err != nil {
			return err
		}
		r.pos, r.next = r.pos+n, next
		if err := pace(n); err != nil {
			return err
		}
	}
	if r.next != end {
		return r.bad(fmt.Errorf("%w: the segment ends at offset %d, want %d", errChain, r.next, end))
	}
	return nil
}
