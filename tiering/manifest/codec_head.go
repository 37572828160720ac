package manifest

import "fmt"

// Encode returns the head's durable form. Its first 24 bytes behind magic and version are LogStart,
// TierEnd, TierEndEpoch and WriterEpoch, big-endian.
func (h Head) Encode() []byte {
	w := writer{b: make([]byte, 0, 128+64*len(h.Tail))}
	w.b = append(w.b, magicHead...)
	w.u8(version)
	w.i64(h.LogStart)
	w.i64(h.TierEnd)
	w.i32(h.TierEndEpoch)
	w.i32(h.WriterEpoch)
	w.root(h.Root)
	w.uvarint(uint64(h.RawBytes))
	w.uvarint(uint64(h.StoredBytes))
	w.uvarint(uint64(h.Segments))
	w.uvarint(uint64(len(h.Tail)))
	var prev Segment
	for _, s := range h.Tail {
		w.segment(prev, s)
		prev = s
	}
	return seal(w.b)
}

// DecodeHead reads what Encode wrote. No bytes at all are the zero Head. It keeps nothing of b.
func DecodeHead(b []byte) (Head, error) {
	if len(b) == 0 {
		return Head{}, nil
	}
	b, err := open("tier head", magicHead, b)
	if err != nil {
		return Head{}, err
	}
	r := reader{b: b}
	h := Head{LogStart: r.i64(), TierEnd: r.i64(), TierEndEpoch: r.i32(), WriterEpoch: r.i32()}
	h.Root = r.root()
	h.RawBytes, h.StoredBytes, h.Segments = r.natural(), r.natural(), r.natural()
	h.Tail = r.segments(r.count(MaxTail, minSegmentBytes))
	if err := r.done("tier head"); err != nil {
		return Head{}, err
	}
	if h.LogStart < 0 || h.TierEnd < h.LogStart {
		return Head{}, fmt.Errorf("%w: tier head with log start %d and tier end %d", ErrCorrupt, h.LogStart, h.TierEnd)
	}
	if err := checkRun(h.Tail); err != nil {
		return Head{}, err
	}
	return h, nil
}

// minSegmentBytes is the least that an encoded segment takes: two fixed words and eleven varints.
const minSegmentBytes = 19

// segment appends s as the difference to the segment before it.
func (w *writer) segment(prev, s Segment) {
	w.varint(s.Base - prev.Next())
	w.uvarint(uint64(s.End - s.Base))
	w.varint(int64(s.LeaderEpoch) - int64(prev.LeaderEpoch))
	w.varint(int64(s.LastEpoch) - int64(prev.LastEpoch))
	w.varint(s.BrokerEpoch - prev.BrokerEpoch)
	w.u32(s.Attempt)
	w.uvarint(uint64(s.Size))
	w.uvarint(uint64(s.FooterLen))
	w.u32(s.CRC)
	w.uvarint(uint64(s.RawBytes))
	w.varint(s.MinTime - prev.MinTime)
	w.varint(s.MaxTime - s.MinTime)
	w.uvarint(uint64(s.MaxTimeBase - s.Base))
}

func (r *reader) segment(prev Segment) Segment {
	var s Segment
	s.Base = prev.Next() + r.varint()
	s.End = s.Base + r.natural()
	s.LeaderEpoch = prev.LeaderEpoch + r.epoch()
	s.LastEpoch = prev.LastEpoch + r.epoch()
	s.BrokerEpoch = prev.BrokerEpoch + r.varint()
	s.Attempt = r.u32()
	s.Size = r.natural()
	s.FooterLen = r.small()
	s.CRC = r.u32()
	s.RawBytes = r.natural()
	s.MinTime = prev.MinTime + r.varint()
	s.MaxTime = s.MinTime + r.varint()
	s.MaxTimeBase = s.Base + r.natural()
	return s
}

func (r *reader) segments(n int) []Segment {
	if n == 0 {
		return nil
	}
	ss := make([]Segment, n)
	var prev Segment
	for i := range ss {
		ss[i] = r.segment(prev)
		prev = ss[i]
	}
	return ss
}

// checkRun tells nonsense from a run of segments in order.
func checkRun(ss []Segment) error {
	for i, s := range ss {
		if err := s.check(); err != nil {
			return err
		}
		if i > 0 && s.Base <= ss[i-1].End {
			return fmt.Errorf("%w: segment [%d, %d] behind offset %d", ErrCorrupt, s.Base, s.End, ss[i-1].End)
		}
	}
	return nil
}

func (w *writer) root(r RootRef) {
	w.uvarint(r.Seq)
	if r.Seq == 0 {
		return
	}
	w.i32(r.LeaderEpoch)
	w.u32(r.Rand)
	w.u32(r.Size)
	w.u32(r.CRC)
}

func (r *reader) root() RootRef {
	ref := RootRef{Seq: r.uvarint()}
	if ref.Seq == 0 {
		return ref
	}
	ref.LeaderEpoch, ref.Rand, ref.Size, ref.CRC = r.i32(), r.u32(), r.u32(), r.u32()
	return ref
}
