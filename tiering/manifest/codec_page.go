package manifest

import "fmt"

// Encode returns the page's object.
func (p Page) Encode() []byte {
	w := writer{b: make([]byte, 0, 16+48*len(p.Segments))}
	w.uvarint(uint64(len(p.Segments)))
	w.columns(p.Segments)
	return pack(magicPage, w.b)
}

// DecodePage reads what Page.Encode wrote.
func DecodePage(b []byte) (Page, error) {
	raw, err := unpack("manifest page", magicPage, b)
	if err != nil {
		return Page{}, err
	}
	d := reader{b: raw}
	p := Page{Segments: d.columns(d.count(PageSegments, minSegmentBytes))}
	if err := d.done("manifest page"); err != nil {
		return Page{}, err
	}
	if len(p.Segments) == 0 {
		return Page{}, fmt.Errorf("%w: manifest page without segments", ErrCorrupt)
	}
	if err := checkRun(p.Segments); err != nil {
		return Page{}, err
	}
	return p, nil
}

// column writes one field of every segment; prev is the zero Segment for the first.
func (*writer) column(ss []Segment, put func(prev, s Segment)) {
	var prev Segment
	for _, s := range ss {
		put(prev, s)
		prev = s
	}
}

// columns writes segments field by field, each as the difference to the one before: like values stand
// together, so that lz4 finds them.
func (w *writer) columns(ss []Segment) {
	w.column(ss, func(p, s Segment) { w.varint(s.Base - p.Next()) })
	w.column(ss, func(_, s Segment) { w.uvarint(uint64(s.End - s.Base)) })
	w.column(ss, func(p, s Segment) { w.varint(int64(s.LeaderEpoch) - int64(p.LeaderEpoch)) })
	w.column(ss, func(p, s Segment) { w.varint(int64(s.LastEpoch) - int64(p.LastEpoch)) })
	w.column(ss, func(p, s Segment) { w.varint(s.BrokerEpoch - p.BrokerEpoch) })
	w.column(ss, func(_, s Segment) { w.u32(s.Attempt) })
	w.column(ss, func(_, s Segment) { w.uvarint(uint64(s.Size)) })
	w.column(ss, func(_, s Segment) { w.uvarint(uint64(s.FooterLen)) })
	w.column(ss, func(_, s Segment) { w.u32(s.CRC) })
	w.column(ss, func(_, s Segment) { w.uvarint(uint64(s.RawBytes)) })
	w.column(ss, func(p, s Segment) { w.varint(s.MinTime - p.MinTime) })
	w.column(ss, func(_, s Segment) { w.varint(s.MaxTime - s.MinTime) })
	w.column(ss, func(_, s Segment) { w.uvarint(uint64(s.MaxTimeBase - s.Base)) })
}

// column reads one field of every segment.
func (*reader) column(ss []Segment, take func(prev Segment, s *Segment)) {
	var prev Segment
	for i := range ss {
		take(prev, &ss[i])
		prev = ss[i]
	}
}

func (r *reader) columns(n int) []Segment {
	if n == 0 {
		return nil
	}
	ss := make([]Segment, n)
	// A base is relative to the end before it, which stands in the next column.
	gaps := make([]int64, n)
	for i := range gaps {
		gaps[i] = r.varint()
	}
	next := int64(1) // Next of the zero Segment
	for i := range ss {
		ss[i].Base = next + gaps[i]
		ss[i].End = ss[i].Base + r.natural()
		next = ss[i].Next()
	}
	r.column(ss, func(p Segment, s *Segment) { s.LeaderEpoch = p.LeaderEpoch + r.epoch() })
	r.column(ss, func(p Segment, s *Segment) { s.LastEpoch = p.LastEpoch + r.epoch() })
	r.column(ss, func(p Segment, s *Segment) { s.BrokerEpoch = p.BrokerEpoch + r.varint() })
	r.column(ss, func(_ Segment, s *Segment) { s.Attempt = r.u32() })
	r.column(ss, func(_ Segment, s *Segment) { s.Size = r.natural() })
	r.column(ss, func(_ Segment, s *Segment) { s.FooterLen = r.small() })
	r.column(ss, func(_ Segment, s *Segment) { s.CRC = r.u32() })
	r.column(ss, func(_ Segment, s *Segment) { s.RawBytes = r.natural() })
	r.column(ss, func(p Segment, s *Segment) { s.MinTime = p.MinTime + r.varint() })
	r.column(ss, func(_ Segment, s *Segment) { s.MaxTime = s.MinTime + r.varint() })
	r.column(ss, func(_ Segment, s *Segment) { s.MaxTimeBase = s.Base + r.natural() })
	return ss
}
