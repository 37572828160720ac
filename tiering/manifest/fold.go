package manifest

import (
	"fmt"
	"slices"
)

// MaxTrash bounds the trash that one root holds, give or take a page, however many folds made it: what does
// not fit waits until there is room. So a retention that expires everything at once makes roots of moderate
// size and not one that is too large to be read.
const MaxTrash = 16384

// FoldInput is what Fold works on.
type FoldInput struct {
	Head Head
	Root *Root // that Head.Root names; nil if it names none
	// Expired holds the pages that PagesToFold asked for, with the Room that Emptied leaves.
	Expired []Page
	Now     int64 // ms since the epoch
	Grace   int64 // ms that readers of the older head are given
	// Emptied says which trash has been deleted from the bucket: all that was due at this time.
	Emptied int64
}

// Room returns how many segments a root's trash still takes, once all that is due at emptied is out of it.
func Room(r *Root, emptied int64) int {
	room := MaxTrash
	if r == nil {
		return room
	}
	for _, t := range r.Trash {
		if t.DeleteAfter > emptied {
			room--
		}
	}
	return room
}

// PagesToFold returns the pages that Fold needs to see: those with segments below the log start that are
// not in the trash yet, oldest first, as many as it takes to fill room.
func PagesToFold(h Head, r *Root, room int) []PageRef {
	if r == nil {
		return nil
	}
	var refs []PageRef
	for _, p := range r.Pages {
		if p.Base >= h.LogStart || len(refs)*PageSegments >= room {
			break
		}
		if p.End >= r.Floor {
			refs = append(refs, p)
		}
	}
	return refs
}

// Fold makes the root that takes the place of in.Root and of the head's tail. Segments below the log
// start go to the trash, with the pages that hold nothing else and with the old root. Its Open may be
// longer than a page; Spill takes pages off it.
func Fold(in FoldInput) (Root, Totals, error) {
	old := in.Root
	if old == nil {
		old = &Root{}
	}
	f := folder{in: in, floor: old.Floor}
	f.root = Root{Seq: in.Head.Root.Seq + 1, FoldedAt: in.Now}
	for _, t := range old.Trash {
		if t.DeleteAfter > in.Emptied {
			f.root.Trash = append(f.root.Trash, t)
		}
	}
	if !in.Head.Root.IsZero() {
		f.trash(Trash{Kind: TrashRoot, Root: in.Head.Root})
	}
	if err := f.pages(old.Pages); err != nil {
		return Root{}, Totals{}, err
	}
	for _, s := range old.Open {
		f.open(s)
	}
	for _, s := range in.Head.Tail {
		f.open(s)
	}
	f.root.Floor = f.floor
	return f.root, f.gone, nil
}

type folder struct {
	in    FoldInput
	root  Root
	gone  Totals
	floor int64
}

func (f *folder) trash(t Trash) {
	t.DeleteAfter = f.in.Now + f.in.Grace
	f.root.Trash = append(f.root.Trash, t)
}

// pages moves what is below the log start of each page to the trash, as far as the pages were read and
// the trash has room.
func (f *folder) pages(refs []PageRef) error {
	expired := f.in.Expired
	for _, ref := range refs {
		if ref.End < f.floor {
			return fmt.Errorf("%w: root %d keeps the page [%d, %d] below its floor %d", ErrCorrupt, f.in.Head.Root.Seq, ref.Base, ref.End, f.floor)
		}
		if ref.Base < f.in.Head.LogStart && len(expired) > 0 {
			page := expired[0]
			if len(page.Segments) == 0 || page.Segments[0].Base != ref.Base {
				return fmt.Errorf("%w: page [%d, %d] is not the one that was read", ErrCorrupt, ref.Base, ref.End)
			}
			expired = expired[1:]
			for _, s := range page.Segments {
				if s.End >= f.floor && s.End < f.in.Head.LogStart {
					f.drop(s)
				}
			}
		}
		if ref.End < f.floor {
			f.trash(Trash{Kind: TrashPage, Page: ref})
			continue
		}
		f.root.Pages = append(f.root.Pages, ref)
	}
	return nil
}

// open keeps a segment that is in no page, or drops it. Nothing is dropped behind something kept.
func (f *folder) open(s Segment) {
	if s.End < f.in.Head.LogStart && len(f.root.Pages) == 0 && len(f.root.Open) == 0 && len(f.root.Trash) < MaxTrash {
		f.drop(s)
		return
	}
	f.root.Open = append(f.root.Open, s)
}

func (f *folder) drop(s Segment) {
	f.gone.add(s)
	f.floor = s.Next()
	f.trash(Trash{Kind: TrashSegment, Segment: s})
}

// Spill takes the oldest page's worth of segments off the front of r.Open, if there are enough. The
// caller stores the page and gives its reference to AddPage before the next call.
func (r *Root) Spill() (Page, bool) {
	if len(r.Open) < PageSegments {
		return Page{}, false
	}
	p := Page{Segments: slices.Clone(r.Open[:PageSegments])}
	r.Open = slices.Clone(r.Open[PageSegments:])
	return p, true
}

// AddPage appends the reference of a page that Spill gave and that is encoded as object.
func (r *Root) AddPage(p Page, random uint32, object []byte) {
	r.Pages = append(r.Pages, p.Ref(random, object))
}

// Ref sums a page up; random is the random part of its name, object its encoded form.
func (p Page) Ref(random uint32, object []byte) PageRef {
	first, last := p.Segments[0], p.Segments[len(p.Segments)-1]
	ref := PageRef{
		Base: first.Base, End: last.End, Rand: random, Size: uint32(len(object)), CRC: Checksum(object),
		Segments: uint32(len(p.Segments)), MinTime: first.MinTime, MaxTime: first.MaxTime, MaxTimeBase: first.MaxTimeBase,
	}
	for _, s := range p.Segments {
		ref.RawBytes += s.RawBytes
		ref.StoredBytes += s.Size
		ref.MinTime = min(ref.MinTime, s.MinTime)
		if s.MaxTime > ref.MaxTime {
			ref.MaxTime, ref.MaxTimeBase = s.MaxTime, s.MaxTimeBase
		}
	}
	return ref
}

// Dead reports whether a fold would move segments to the trash. pages are what PagesToFold asked for with
// any room.
func Dead(h Head, r *Root, pages []Page) bool {
	if len(pages) > 0 {
		for _, s := range pages[0].Segments {
			if s.End >= r.Floor {
				return s.End < h.LogStart
			}
		}
		return true // only the page itself is left
	}
	switch {
	case r != nil && len(r.Pages) > 0:
		return false
	case r != nil && len(r.Open) > 0:
		return r.Open[0].End < h.LogStart
	case len(h.Tail) > 0:
		return h.Tail[0].End < h.LogStart
	}
	return false
}
