package manifest

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// store is a manifest with its objects: what a bucket and an anchor would hold.
type store struct {
	t     *testing.T
	rng   *rand.Rand
	head  Head
	roots map[RootRef][]byte
	pages map[uint32][]byte
	gone  map[uint32]bool // attempts that went to the trash
}

func newStore(t *testing.T, seed uint64) *store {
	return &store{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)),
		roots: map[RootRef][]byte{}, pages: map[uint32][]byte{}, gone: map[uint32]bool{},
	}
}

func (s *store) root() *Root {
	if s.head.Root.IsZero() {
		return nil
	}
	r, err := DecodeRoot(s.roots[s.head.Root])
	if err != nil {
		s.t.Fatal(err)
	}
	return &r
}

func (s *store) page(ref PageRef) Page {
	p, err := DecodePage(s.pages[ref.Rand])
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (s *store) apply(epoch int32, e Edit) error {
	h, err := Apply(s.head, epoch, e)
	if err != nil {
		return err
	}
	again, err := DecodeHead(h.Encode())
	if err != nil {
		s.t.Fatalf("decode of %+v: %v", h, err)
	}
	if !reflect.DeepEqual(h, again) { // cmp is slow, and this is called tens of thousands of times
		s.t.Fatalf("head changed by its codec: %s", cmp.Diff(h, again))
	}
	s.head = h
	return nil
}

func (s *store) fold(epoch int32, now int64) {
	in := FoldInput{Head: s.head, Root: s.root(), Now: now, Grace: 1000, Emptied: now}
	for _, ref := range PagesToFold(in.Head, in.Root, Room(in.Root, now)) {
		in.Expired = append(in.Expired, s.page(ref))
	}
	root, gone, err := Fold(in)
	if err != nil {
		s.t.Fatal(err)
	}
	for {
		p, ok := root.Spill()
		if !ok {
			break
		}
		random, object := s.rng.Uint32(), p.Encode()
		s.pages[random] = object
		root.AddPage(p, random, object)
	}
	for _, t := range root.Trash {
		if t.Kind == TrashSegment {
			s.gone[t.Segment.Attempt] = true
		}
	}
	object := root.Encode()
	ref := RootRef{Seq: root.Seq, LeaderEpoch: epoch, Rand: s.rng.Uint32(), Size: uint32(len(object)), CRC: Checksum(object)}
	s.roots[ref] = object
	if err := s.apply(epoch, Folded{Root: ref, Gone: gone}); err != nil {
		s.t.Fatal(err)
	}
}

// live returns every segment outside of the trash, oldest first.
func (s *store) live() []Segment {
	var all []Segment
	if r := s.root(); r != nil {
		for _, ref := range r.Pages {
			for _, seg := range s.page(ref).Segments {
				if seg.End >= r.Floor {
					all = append(all, seg)
				}
			}
		}
		all = append(all, r.Open...)
	}
	return append(all, s.head.Tail...)
}

// check holds the invariants: what is visible abuts, ends at the tier's end, belongs to one lineage, and
// the totals are right.
func (s *store) check() {
	s.t.Helper()
	var sum Totals
	next, epoch := int64(-1), int32(-1)
	for _, seg := range s.live() {
		sum.add(seg)
		if s.gone[seg.Attempt] {
			s.t.Fatalf("segment [%d, %d] is listed and in the trash", seg.Base, seg.End)
		}
		if seg.LastEpoch < epoch || seg.LeaderEpoch > s.head.WriterEpoch {
			s.t.Fatalf("lineage broken at [%d, %d]", seg.Base, seg.End)
		}
		epoch = seg.LastEpoch
		if seg.End < s.head.LogStart {
			continue
		}
		if next >= 0 && seg.Base != next {
			s.t.Fatalf("segment at %d, want %d", seg.Base, next)
		}
		if next < 0 && seg.Base > s.head.LogStart {
			s.t.Fatalf("first visible segment at %d, log starts at %d", seg.Base, s.head.LogStart)
		}
		next = seg.Next()
	}
	if next >= 0 && next != s.head.TierEnd || next < 0 && s.head.LogStart != s.head.TierEnd {
		s.t.Fatalf("segments end at %d, tier at %d", next, s.head.TierEnd)
	}
	if want := (Totals{s.head.Segments, s.head.RawBytes, s.head.StoredBytes}); sum != want {
		s.t.Fatalf("totals are %+v, head says %+v", sum, want)
	}
}

// find resolves an offset the way a reader does.
func (s *store) find(offset int64) (Segment, bool) {
	var r *Root
	if NeedsRoot(s.head, offset) {
		r = s.root()
	}
	p, ok := Find(s.head, r, offset)
	if ok && p.InPage {
		return s.page(p.Page).Find(offset)
	}
	return p.Segment, ok
}

func (s *store) findTime(ts, from int64) (Segment, bool) {
	for {
		p, ok := FindTime(s.head, s.root(), ts, from)
		if !ok || !p.InPage {
			return p.Segment, ok
		}
		if seg, ok := s.page(p.Page).FindTime(ts, from); ok {
			return seg, true
		}
		from = p.Page.End + 1
	}
}

func (s *store) checkLookups() {
	s.t.Helper()
	all := s.live()
	for range 20 {
		offset := s.rng.Int64N(s.head.TierEnd + 10)
		got, ok := s.find(offset)
		if visible := offset >= s.head.LogStart && offset < s.head.TierEnd; ok != visible || ok && (got.Base > offset || got.End < offset) {
			s.t.Fatalf("find %d in [%d, %d): %+v %v", offset, s.head.LogStart, s.head.TierEnd, got, ok)
		}
		ts, from := s.rng.Int64N(s.head.TierEnd+10), max(s.head.LogStart, s.rng.Int64N(s.head.TierEnd+1))
		var want Segment
		for _, seg := range all {
			if seg.End >= from && seg.MaxTime >= ts {
				want = seg
				break
			}
		}
		if got, ok := s.findTime(ts, from); got != want || ok != (want != Segment{}) {
			s.t.Fatalf("find time %d from %d: %+v %v, want %+v", ts, from, got, ok, want)
		}
	}
	if p, ok := Last(s.head, s.root()); ok {
		last := p.Segment
		if p.InPage {
			page := s.page(p.Page)
			last = page.Segments[len(page.Segments)-1]
		}
		if last != all[len(all)-1] {
			s.t.Fatalf("last segment is %+v, want %+v", last, all[len(all)-1])
		}
	}
}

func (s *store) randomSegment(epoch int32) Segment {
	n := 1 + s.rng.Int64N(50)
	base := s.head.TierEnd
	seg := Segment{
		Base: base, End: base + n - 1, LeaderEpoch: epoch, LastEpoch: epoch, BrokerEpoch: 1000 + int64(epoch)*17,
		Attempt: s.rng.Uint32(), Size: 100 + s.rng.Int64N(1<<20), FooterLen: 64, CRC: s.rng.Uint32(), RawBytes: s.rng.Int64N(1 << 22),
		MinTime: base, MaxTime: base + n + s.rng.Int64N(200),
	}
	seg.MaxTimeBase = base + s.rng.Int64N(n)
	return seg
}

func TestManifestKeepsItsInvariantsUnderRandomEdits(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for round := range uint64(6) {
		s := newStore(t, seed+round)
		epoch, now := int32(0), int64(0)
		for range 2000 {
			now += s.rng.Int64N(100)
			switch k := s.rng.IntN(100); {
			case k < 2:
				epoch++
			case k < 4:
				s.mustEdit(epoch, Start{Offset: s.head.LogStart + s.rng.Int64N(100)})
			case k == 4:
				s.mustEdit(epoch, Start{Offset: s.head.TierEnd + s.rng.Int64N(5)})
			case k == 5:
				s.fold(epoch, now)
			case k == 6 && epoch > 0 && s.head.WriterEpoch > 0:
				if err := s.apply(s.head.WriterEpoch-1, Append{s.randomSegment(epoch)}); !errors.Is(err, ErrFenced) {
					t.Fatalf("old writer got %v", err)
				}
			default:
				if err := s.apply(epoch, Append{s.randomSegment(epoch)}); errors.Is(err, ErrFull) {
					s.fold(epoch, now)
				} else if err != nil {
					t.Fatal(err)
				}
			}
			if s.rng.IntN(50) == 0 {
				s.check()
				s.checkLookups()
			}
		}
		s.check()
	}
}

func (s *store) mustEdit(epoch int32, e Edit) {
	s.t.Helper()
	if err := s.apply(epoch, e); err != nil {
		s.t.Fatal(err)
	}
}

// Pages come and go: more segments than two pages hold, then the log start walks through them.
func TestPagesFillAndExpire(t *testing.T) {
	t.Parallel()
	s := newStore(t, 7)
	for range 2*PageSegments + 500 {
		if err := s.apply(1, Append{s.randomSegment(1)}); errors.Is(err, ErrFull) {
			s.fold(1, 5)
			s.mustEdit(1, Append{s.randomSegment(1)})
		} else if err != nil {
			t.Fatal(err)
		}
	}
	s.fold(1, 5)
	s.check()
	s.checkLookups()
	if n := len(s.root().Pages); n != 2 {
		t.Fatalf("%d pages, want 2", n)
	}
	for _, size := range []int{len(s.pages[s.root().Pages[0].Rand])} {
		if size > 128<<10 {
			t.Errorf("page of %d bytes", size)
		}
	}
	end := s.head.TierEnd
	for step := int64(1); step <= 20; step++ {
		s.mustEdit(1, Start{Offset: end * step / 20})
		s.fold(1, 5+step)
		s.check()
		s.checkLookups()
	}
	if s.head.Segments != 0 || len(s.root().Pages) != 0 || len(s.root().Open) != 0 {
		t.Fatalf("expired manifest still holds %d segments, root %+v", s.head.Segments, s.root())
	}
	if len(s.gone) != 2*PageSegments+500 {
		t.Fatalf("%d segments went through the trash", len(s.gone))
	}
}

// A log start that jumps over everything fills the trash in more than one fold.
func TestTrashIsBounded(t *testing.T) {
	t.Parallel()
	s := newStore(t, 8)
	const segments = MaxTrash + PageSegments
	for range segments {
		if err := s.apply(1, Append{s.randomSegment(1)}); errors.Is(err, ErrFull) {
			s.fold(1, 0)
			s.mustEdit(1, Append{s.randomSegment(1)})
		} else if err != nil {
			t.Fatal(err)
		}
	}
	s.mustEdit(1, Start{Offset: s.head.TierEnd})
	for now := int64(2000); ; now += 2000 {
		s.fold(1, now)
		s.check()
		root := s.root()
		if len(root.Trash) > MaxTrash+2*PageSegments {
			t.Fatalf("%d pieces of trash", len(root.Trash))
		}
		var first []Page
		for _, ref := range PagesToFold(s.head, root, 1) {
			first = append(first, s.page(ref))
		}
		if !Dead(s.head, root, first) {
			break
		}
	}
	if s.head.Segments != 0 || len(s.gone) != segments {
		t.Fatalf("%d segments left, %d gone", s.head.Segments, len(s.gone))
	}
}

// Folds that come while nothing of the trash may be deleted yet put no more into it than it holds, and go on
// when there is room again.
func TestFullTrashWaits(t *testing.T) {
	t.Parallel()
	s := newStore(t, 10)
	const segments = MaxTrash + 3*PageSegments
	for range segments {
		if err := s.apply(1, Append{s.randomSegment(1)}); errors.Is(err, ErrFull) {
			s.fold(1, 0)
			s.mustEdit(1, Append{s.randomSegment(1)})
		} else if err != nil {
			t.Fatal(err)
		}
	}
	s.mustEdit(1, Start{Offset: s.head.TierEnd})
	for range 20 { // all at one time: nothing gets due
		s.fold(1, 2000)
		s.check()
		if n := len(s.root().Trash); n > MaxTrash+PageSegments {
			t.Fatalf("%d pieces of trash", n)
		}
	}
	if s.head.Segments == 0 || s.head.Segments > 3*PageSegments {
		t.Fatalf("%d segments left", s.head.Segments)
	}
	s.fold(1, 3001)
	s.check()
	if s.head.Segments != 0 || len(s.gone) != segments {
		t.Fatalf("%d segments left, %d gone", s.head.Segments, len(s.gone))
	}
}

// DeleteRecords into the middle of a batch that is not uploaded yet: the next object begins with it.
func TestStartInsideABatch(t *testing.T) {
	t.Parallel()
	s := newStore(t, 9)
	s.mustEdit(3, Append{Segment{Base: 0, End: 49, Size: 100, LeaderEpoch: 3, LastEpoch: 2, MaxTimeBase: 40, Attempt: 1}})
	s.mustEdit(3, Start{Offset: 55})
	if s.head.TierEnd != 55 {
		t.Fatalf("tier ends at %d", s.head.TierEnd)
	}
	for _, bad := range []Segment{
		{Base: 49, End: 60, Size: 1, LastEpoch: 3, MaxTimeBase: 50}, // overlaps
		{Base: 56, End: 60, Size: 1, LastEpoch: 3, MaxTimeBase: 56}, // leaves a hole
		{Base: 50, End: 54, Size: 1, LastEpoch: 3, MaxTimeBase: 50}, // ends before the tier does
		{Base: 50, End: 60, Size: 1, LastEpoch: 1, MaxTimeBase: 50}, // falls back to an older epoch
	} {
		if err := s.apply(3, Append{bad}); !errors.Is(err, ErrNotAbut) {
			t.Errorf("append [%d, %d]: %v", bad.Base, bad.End, err)
		}
	}
	s.mustEdit(3, Append{Segment{Base: 50, End: 60, Size: 100, LeaderEpoch: 3, LastEpoch: 3, MaxTimeBase: 50}})
	if seg, ok := s.find(55); !ok || seg.Base != 50 {
		t.Fatalf("find 55: %+v %v", seg, ok)
	}
	if _, ok := s.find(54); ok {
		t.Fatal("found what is below the log start")
	}
	s.check()
	s.fold(3, 1)
	s.check()
	if n := len(s.root().Trash); n != 1 {
		t.Fatalf("%d pieces of trash", n)
	}
}
