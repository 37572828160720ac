package manifest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sampleSegments(n int) []Segment {
	ss := make([]Segment, n)
	next := int64(5)
	for i := range ss {
		ss[i] = Segment{
			Base: next, End: next + 99, LeaderEpoch: int32(i / 3), LastEpoch: int32(i / 4), BrokerEpoch: int64(i/5) * 1e9,
			Attempt: uint32(i) * 2654435761, Size: int64(i)*7 + 1000, FooterLen: 200, CRC: uint32(i) * 40503, RawBytes: int64(i) * 11,
			MinTime: 1_700_000_000_000 + int64(i)*1000, MaxTime: 1_700_000_000_999 + int64(i)*1000, MaxTimeBase: next + 90,
		}
		next += 100
	}
	return ss
}

func sampleRoot() Root {
	ss := sampleSegments(20)
	return Root{
		Seq: 9, Floor: 3, FoldedAt: 1_700_000_000_123,
		Pages: []PageRef{
			{Base: 0, End: 1, Rand: 3, Size: 70, CRC: 9, Segments: 2, RawBytes: 7, StoredBytes: 5, MinTime: -1, MaxTime: 6, MaxTimeBase: 1},
			{Base: 2, End: 4, Rand: 4, Size: 71, CRC: 8, Segments: 3, RawBytes: 8, StoredBytes: 6, MinTime: 5, MaxTime: 4, MaxTimeBase: 3},
		},
		Open: ss,
		Trash: []Trash{
			{Kind: TrashSegment, DeleteAfter: 77, Segment: Segment{Base: 1, End: 2, LeaderEpoch: 3, BrokerEpoch: 4, Attempt: 5, Size: 6}},
			{Kind: TrashPage, DeleteAfter: 78, Page: PageRef{Base: 1, End: 9, Rand: 6, Size: 7}},
			{Kind: TrashRoot, DeleteAfter: 79, Root: RootRef{Seq: 8, LeaderEpoch: 7, Rand: 6, Size: 5, CRC: 4}},
		},
	}
}

func sampleHead() Head {
	ss := sampleSegments(16)
	return Head{
		LogStart: 7, TierEnd: ss[15].Next(), TierEndEpoch: 4, WriterEpoch: 6, RawBytes: 1234, StoredBytes: 999, Segments: 5000,
		Root: RootRef{Seq: 12, LeaderEpoch: 5, Rand: 0xfeedface, Size: 3000, CRC: 0x01020304}, Tail: ss,
	}
}

func TestCodecRoundTrip(t *testing.T) {
	head := sampleHead()
	b := head.Encode()
	if len(b) > 1024 {
		t.Errorf("a full head takes %d bytes", len(b))
	}
	if got, err := DecodeHead(b); err != nil || cmp.Diff(head, got) != "" {
		t.Errorf("head: %v %s", err, cmp.Diff(head, got))
	}
	if got, err := DecodeHead(nil); err != nil || cmp.Diff(Head{}, got) != "" {
		t.Errorf("empty head: %+v %v", got, err)
	}
	root := sampleRoot()
	if got, err := DecodeRoot(root.Encode()); err != nil || cmp.Diff(root, got) != "" {
		t.Errorf("root: %v %s", err, cmp.Diff(root, got))
	}
	if got, err := DecodeRoot(Root{}.Encode()); err != nil || cmp.Diff(Root{}, got) != "" {
		t.Errorf("empty root: %+v %v", got, err)
	}
	page := Page{Segments: sampleSegments(PageSegments)}
	b = page.Encode()
	if len(b) > 100<<10 {
		t.Errorf("a page takes %d bytes", len(b))
	}
	if got, err := DecodePage(b); err != nil || cmp.Diff(page, got) != "" {
		t.Errorf("page: %v", err)
	}
}

// The bytes of version 1 as they are in buckets and etcd today.
func TestVersion1StaysReadable(t *testing.T) {
	for name, c := range map[string]struct {
		hex    string
		decode func([]byte) (any, error)
		want   any
	}{
		"head": {goldenHead, func(b []byte) (any, error) { return DecodeHead(b) }, Head{
			LogStart: 7, TierEnd: 105, TierEndEpoch: 0, WriterEpoch: 2, RawBytes: 10, StoredBytes: 9, Segments: 1,
			Root: RootRef{Seq: 3, LeaderEpoch: 1, Rand: 2, Size: 4, CRC: 5}, Tail: sampleSegments(1),
		}},
		"root": {goldenRoot, func(b []byte) (any, error) { return DecodeRoot(b) }, func() any {
			r := sampleRoot()
			r.Open = sampleSegments(1)
			return r
		}()},
		"page": {goldenPage, func(b []byte) (any, error) { return DecodePage(b) }, Page{Segments: sampleSegments(2)}},
	} {
		b, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.decode(b)
		if err != nil || cmp.Diff(c.want, got) != "" {
			t.Errorf("%s: %v %s\nnow encodes as %x", name, err, cmp.Diff(c.want, got), c.want.(interface{ Encode() []byte }).Encode())
		}
	}
}

func TestNewerVersionIsRefusedByName(t *testing.T) {
	head, root, page := sampleHead().Encode(), sampleRoot().Encode(), Page{Segments: sampleSegments(2)}.Encode()
	for _, b := range [][]byte{head, root, page} {
		b[3] = version + 1
	}
	_, err1 := DecodeHead(head)
	_, err2 := DecodeRoot(root)
	_, err3 := DecodePage(page)
	for i, err := range []error{err1, err2, err3} {
		if !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "version 2") {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestEveryFlippedBitIsSeen(t *testing.T) {
	head := sampleHead().Encode()
	for i := range len(head) * 8 {
		b := bytes.Clone(head)
		b[i/8] ^= 1 << (i % 8)
		if _, err := DecodeHead(b); err == nil {
			t.Fatalf("bit %d flipped unseen", i)
		}
	}
	root := sampleRoot().Encode()
	for i := range len(root) * 8 {
		b := bytes.Clone(root)
		b[i/8] ^= 1 << (i % 8)
		if _, err := DecodeRoot(b); err == nil {
			t.Fatalf("bit %d flipped unseen", i)
		}
	}
	for n := range len(root) {
		if _, err := DecodeRoot(root[:n]); err == nil {
			t.Fatalf("root cut at %d unseen", n)
		}
	}
}

// A head of sixteen segments with the longest possible numbers must not outgrow its bound: it is folded
// earlier.
func TestHeadNeverOutgrowsItsBound(t *testing.T) {
	h := Head{Root: RootRef{Seq: math.MaxInt64, LeaderEpoch: math.MaxInt32, Rand: 1, Size: 1, CRC: 1}}
	for i := range MaxTail + 1 {
		s := Segment{
			Base: h.TierEnd, End: h.TierEnd + math.MaxInt32, LeaderEpoch: int32(i%2) * math.MaxInt32, LastEpoch: 0,
			BrokerEpoch: int64(i%2) * math.MaxInt64, Size: 1 << 32, FooterLen: 1 << 31, RawBytes: 1 << 33,
			MinTime: int64(i%2) * math.MaxInt64, MaxTime: int64((i+1)%2) * math.MaxInt64, MaxTimeBase: h.TierEnd,
		}
		next, err := Apply(h, math.MaxInt32, Append{s})
		if err != nil {
			if !errors.Is(err, ErrFull) || i < 8 {
				t.Fatalf("segment %d: %v", i, err)
			}
			return
		}
		h = next
		if n := len(h.Encode()); n > MaxHeadBytes {
			t.Fatalf("head of %d segments takes %d bytes", i+1, n)
		}
	}
	t.Fatal("never full")
}

func FuzzDecode(f *testing.F) {
	f.Add(sampleHead().Encode())
	f.Add(sampleRoot().Encode())
	f.Add(Page{Segments: sampleSegments(5)}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		// The checksum would keep the fuzzer out: make it right.
		if len(b) > 8 {
			b = seal(b[: len(b)-4 : len(b)-4])
		}
		if h, err := DecodeHead(b); err == nil && len(b) > 0 {
			if again, err := DecodeHead(h.Encode()); err != nil || cmp.Diff(h, again) != "" {
				t.Errorf("head changes: %v", err)
			}
		}
		if r, err := DecodeRoot(b); err == nil {
			if again, err := DecodeRoot(r.Encode()); err != nil || cmp.Diff(r, again) != "" {
				t.Errorf("root changes: %v", err)
			}
		}
		if p, err := DecodePage(b); err == nil {
			if again, err := DecodePage(p.Encode()); err != nil || cmp.Diff(p, again) != "" {
				t.Errorf("page changes: %v", err)
			}
		}
	})
}
