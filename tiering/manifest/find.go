package manifest

import "sort"

// Place is where to look for something: in a segment, or in a page that has to be read first.
type Place struct {
	Segment Segment
	Page    PageRef
	InPage  bool // Page is set, Segment is not
}

// Find returns the place of the segment that holds offset; r is the head's root, nil if it has none.
// ok is false if no segment that the head can see holds it.
func Find(h Head, r *Root, offset int64) (p Place, ok bool) {
	if offset < h.LogStart || offset >= h.TierEnd {
		return Place{}, false
	}
	if len(h.Tail) > 0 && (offset >= h.Tail[0].Base || r == nil) {
		s, ok := findSegment(h.Tail, offset)
		return Place{Segment: s}, ok
	}
	if r == nil {
		return Place{}, false
	}
	if len(r.Open) > 0 && offset >= r.Open[0].Base {
		s, ok := findSegment(r.Open, offset)
		return Place{Segment: s}, ok
	}
	i := sort.Search(len(r.Pages), func(i int) bool { return r.Pages[i].End >= offset })
	if i == len(r.Pages) || r.Pages[i].Base > offset {
		return Place{}, false
	}
	return Place{Page: r.Pages[i], InPage: true}, true
}

// NeedsRoot reports whether Find needs the root for this offset.
func NeedsRoot(h Head, offset int64) bool {
	return !h.Root.IsZero() && (len(h.Tail) == 0 || offset < h.Tail[0].Base)
}

// Find returns the segment of the page that holds offset.
func (p Page) Find(offset int64) (Segment, bool) { return findSegment(p.Segments, offset) }

func findSegment(ss []Segment, offset int64) (Segment, bool) {
	i := sort.Search(len(ss), func(i int) bool { return ss[i].End >= offset })
	if i == len(ss) || ss[i].Base > offset {
		return Segment{}, false
	}
	return ss[i], true
}

// FindTime returns the first place at or beyond offset from that may hold a record with a timestamp of at
// least ts. A segment it returns holds such a record, though perhaps below from.
func FindTime(h Head, r *Root, ts, from int64) (p Place, ok bool) {
	from = max(from, h.LogStart)
	if r != nil {
		for _, ref := range r.Pages {
			if ref.End >= from && ref.MaxTime >= ts {
				return Place{Page: ref, InPage: true}, true
			}
		}
		if s, ok := findTime(r.Open, ts, from); ok {
			return Place{Segment: s}, true
		}
	}
	s, ok := findTime(h.Tail, ts, from)
	return Place{Segment: s}, ok
}

// FindTime is FindTime within a page.
func (p Page) FindTime(ts, from int64) (Segment, bool) { return findTime(p.Segments, ts, from) }

func findTime(ss []Segment, ts, from int64) (Segment, bool) {
	i := sort.Search(len(ss), func(i int) bool { return ss[i].End >= from })
	for ; i < len(ss); i++ {
		if ss[i].MaxTime >= ts {
			return ss[i], true
		}
	}
	return Segment{}, false
}

// MaxTime returns the greatest timestamp of all segments at or beyond the log start, as far as it is
// known without reading: ok is false if there are none. The timestamp may be of a batch below the log
// start.
func MaxTime(h Head, r *Root) (ts int64, ok bool) {
	see := func(end, t int64) {
		if end >= h.LogStart && (!ok || t > ts) {
			ts, ok = t, true
		}
	}
	if r != nil {
		for _, p := range r.Pages {
			see(p.End, p.MaxTime)
		}
		for _, s := range r.Open {
			see(s.End, s.MaxTime)
		}
	}
	for _, s := range h.Tail {
		see(s.End, s.MaxTime)
	}
	return ts, ok
}

// Base is the first offset of the place.
func (p Place) Base() int64 {
	if p.InPage {
		return p.Page.Base
	}
	return p.Segment.Base
}

// MaxTime is the greatest timestamp that the place claims to hold.
func (p Place) MaxTime() int64 {
	if p.InPage {
		return p.Page.MaxTime
	}
	return p.Segment.MaxTime
}

// Places returns the pages, and the segments that are in none, that reach beyond the log start, in order; r is
// the head's root. A page may hold segments that do not.
func Places(h Head, r *Root) []Place {
	var places []Place
	if r != nil {
		for _, p := range r.Pages {
			if p.End >= h.LogStart {
				places = append(places, Place{Page: p, InPage: true})
			}
		}
		places = appendPlaces(places, h, r.Open)
	}
	return appendPlaces(places, h, h.Tail)
}

// Places returns the segments of the page that reach beyond the log start.
func (p Page) Places(h Head) []Place { return appendPlaces(nil, h, p.Segments) }

func appendPlaces(places []Place, h Head, ss []Segment) []Place {
	for _, s := range ss {
		if s.End >= h.LogStart {
			places = append(places, Place{Segment: s})
		}
	}
	return places
}

// Last returns the newest segment; ok is false if there is none outside of the trash. r is the head's
// root. If the newest is in a page, the place names the page.
func Last(h Head, r *Root) (p Place, ok bool) {
	if n := len(h.Tail); n > 0 {
		return Place{Segment: h.Tail[n-1]}, true
	}
	if r == nil {
		return Place{}, false
	}
	if n := len(r.Open); n > 0 {
		return Place{Segment: r.Open[n-1]}, true
	}
	if n := len(r.Pages); n > 0 {
		return Place{Page: r.Pages[n-1], InPage: true}, true
	}
	return Place{}, false
}
