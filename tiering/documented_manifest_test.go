package tiering_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pierrec/lz4/v4"

	"firn/tiering"
	"firn/tiering/manifest"
)

// docReader reads by the words of FORMAT.md alone.
type docReader struct {
	t *testing.T
	b []byte
}

func (r *docReader) take(n int) []byte {
	r.t.Helper()
	if len(r.b) < n {
		r.t.Fatal("content ends early")
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *docReader) u8() int64  { return int64(r.take(1)[0]) }
func (r *docReader) u32() int64 { return int64(binary.BigEndian.Uint32(r.take(4))) }
func (r *docReader) i32() int64 { return int64(int32(binary.BigEndian.Uint32(r.take(4)))) }
func (r *docReader) i64() int64 { return int64(binary.BigEndian.Uint64(r.take(8))) }

func (r *docReader) uvarint() int64 {
	v, shift := uint64(0), 0
	for {
		b := r.take(1)[0]
		v |= uint64(b&0x7f) << shift
		if shift += 7; b < 0x80 {
			return int64(v)
		}
	}
}

func (r *docReader) varint() int64 {
	u := uint64(r.uvarint())
	return int64(u>>1) ^ -int64(u&1)
}

// docSegment is a segment as the manifest describes it, in the order of the document.
type docSegment struct {
	base, end, leader, last, broker, attempt, size, footer, crc, raw, least, greatest, at int64
}

// segments reads n descriptions, field by field of each or by columns.
func (r *docReader) segments(n int, columns bool) []docSegment {
	ss := make([]docSegment, n)
	values := make([][13]int64, n)
	read := func(field int) int64 {
		switch field {
		case 0, 2, 3, 4, 10, 11:
			return r.varint()
		case 5, 8:
			return r.u32()
		}
		return r.uvarint()
	}
	for i := range n * 13 {
		if columns {
			values[i%n][i/n] = read(i / n)
		} else {
			values[i/13][i%13] = read(i % 13)
		}
	}
	var p docSegment
	for i, v := range values {
		s := docSegment{
			base: p.end + 1 + v[0], leader: p.leader + v[2], last: p.last + v[3], broker: p.broker + v[4],
			attempt: v[5], size: v[6], footer: v[7], crc: v[8], raw: v[9], least: p.least + v[10],
		}
		s.end, s.greatest, s.at = s.base+v[1], s.least+v[11], s.base+v[12]
		ss[i], p = s, s
	}
	return ss
}

// sealed checks what all three kinds begin and end with, and returns what is between.
func sealed(t *testing.T, magic string, b []byte) *docReader {
	t.Helper()
	end := len(b) - 4
	if string(b[:4]) != magic+"\x01" || binary.BigEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], crc32.MakeTable(crc32.Castagnoli)) {
		t.Fatalf("%s is not as documented: %x", magic, b[:4])
	}
	return &docReader{t, b[4:end]}
}

func unpacked(t *testing.T, magic string, b []byte) *docReader {
	t.Helper()
	r := sealed(t, magic, b)
	n := int(r.u32())
	if len(r.b) == n {
		return r
	}
	raw := make([]byte, n)
	if m, err := lz4.UncompressBlock(r.b, raw); err != nil || m != n || len(r.b) > n {
		t.Fatalf("%s: %d of %d bytes, %v", magic, m, n, err)
	}
	return &docReader{t, raw}
}

func (w *world) object(key string, size, crc int64) []byte {
	w.t.Helper()
	rc, err := w.raw.Get(context.Background(), key, 0, -1)
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := io.ReadAll(rc)
	if err != nil || int64(len(b)) != size || int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))) != crc {
		w.t.Fatalf("%s has %d bytes, want %d, or another checksum: %v", key, len(b), size, err)
	}
	return b
}

// A manifest of head, root and pages, with trash, read by FORMAT.md alone: it gives what was committed.
func TestManifestIsAsDocumented(t *testing.T) {
	t.Parallel()
	tp, ctx := partition(7), context.Background()
	w := newWorld(t)
	a := w.archives().Archive(tp, 5)
	var want []docSegment
	for i := range int64(manifest.PageSegments + 100) {
		s := manifest.Segment{
			Base: i * 10, End: i*10 + 9, LeaderEpoch: 5, LastEpoch: int32(1 + i/2000), BrokerEpoch: 1 << 40, Attempt: uint32(i * 2654435761),
			Size: 500 + i%7, FooterLen: uint32(100 + i%3), CRC: uint32(i * 40503), RawBytes: 1000 + i%9,
			MinTime: 1_700_000_000_000 + i*1000 - i%11, MaxTime: 1_700_000_000_000 + i*1000 + i%13, MaxTimeBase: i*10 + i%10,
		}
		if err := a.Commit(ctx, s); err != nil {
			t.Fatal(err)
		}
		want = append(want, docSegment{
			s.Base, s.End, int64(s.LeaderEpoch), int64(s.LastEpoch), s.BrokerEpoch, int64(s.Attempt), s.Size, int64(s.FooterLen),
			int64(s.CRC), s.RawBytes, s.MinTime, s.MaxTime, s.MaxTimeBase,
		})
	}
	const logStart = 35
	if _, err := a.SetLogStart(ctx, logStart); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if err := a.Fold(ctx, now); err != nil {
		t.Fatal(err)
	}
	last := manifest.Segment{Base: want[len(want)-1].end + 1, End: 1 << 33, LeaderEpoch: 5, LastEpoch: 5, Attempt: 9, Size: 1, RawBytes: 3, MinTime: -1, MaxTime: -1, MaxTimeBase: 1 << 32}
	if err := a.Commit(ctx, last); err != nil {
		t.Fatal(err)
	}
	want = append(want, docSegment{base: last.Base, end: last.End, leader: 5, last: 5, attempt: 9, size: 1, raw: 3, least: -1, greatest: -1, at: 1 << 32})

	raw, _, err := w.anchor.Load(ctx, tp)
	if err != nil {
		t.Fatal(err)
	}
	h := sealed(t, "FMH", raw)
	if start, end, batch, writer := h.i64(), h.i64(), h.i32(), h.i32(); start != logStart || end != last.End+1 || batch != 5 || writer != 5 {
		t.Errorf("head: %d %d %d %d", start, end, batch, writer)
	}
	seq, epoch, rnd, size, crc := h.uvarint(), h.i32(), h.u32(), h.u32(), h.u32()
	rawBytes, stored, count := h.uvarint(), h.uvarint(), h.uvarint()
	tail := h.segments(int(h.uvarint()), false)
	if len(h.b) != 0 || len(tail) != 1 {
		t.Errorf("head has %d segments and %d bytes more", len(tail), len(h.b))
	}
	var id [20]byte
	copy(id[:], tp.ID[:])
	binary.BigEndian.PutUint32(id[16:], uint32(tp.Index))
	prefix := fmt.Sprintf("%02x/%s/%x/%d/", byte(crc32.Checksum(id[:], crc32.MakeTable(crc32.Castagnoli))), cluster, tp.ID[:], tp.Index)
	rootKey := fmt.Sprintf("%sm/root-%010d-%d-%08x", prefix, seq, epoch, rnd)
	r := unpacked(t, "FMR", w.object(rootKey, size, crc))
	if got := r.uvarint(); got != seq {
		t.Errorf("root %d is %d", seq, got)
	}
	floor := r.uvarint()
	if at := r.varint(); at != now.UnixMilli() {
		t.Errorf("folded at %d, want %d", at, now.UnixMilli())
	}
	var got []docSegment
	prevEnd, prevLeast := int64(0), int64(0)
	for n := r.uvarint(); n > 0; n-- {
		base := prevEnd + r.varint()
		end := base + r.uvarint()
		rnd, crc, size := r.u32(), r.u32(), r.uvarint()
		segments, bytes, stored := r.uvarint(), r.uvarint(), r.uvarint()
		least := prevLeast + r.varint()
		greatest := least + r.varint()
		at := base + r.uvarint()
		prevEnd, prevLeast = end, least
		p := unpacked(t, "FMP", w.object(fmt.Sprintf("%sm/page-%020d-%020d-%08x", prefix, base, end, rnd), size, crc))
		page := p.segments(int(p.uvarint()), true)
		sum := [2]int64{}
		atTime := int64(0)
		for _, s := range page {
			sum[0] += s.raw
			sum[1] += s.size
			if s.greatest > atTime {
				atTime = s.greatest
			}
		}
		if int64(len(page)) != segments || page[0].base != base || page[len(page)-1].end != end || sum != [2]int64{bytes, stored} ||
			least != page[0].least || greatest != atTime || at < base || at > end || len(p.b) != 0 {
			t.Errorf("page [%d, %d] does not sum up its segments", base, end)
		}
		for _, s := range page {
			if s.end >= floor {
				got = append(got, s)
			}
		}
	}
	got = append(got, r.segments(int(r.uvarint()), true)...)
	got = append(got, tail...)
	checkTrash(t, r, want, seq, now.Add(tiering.DefaultGrace).UnixMilli())
	if d := cmp.Diff(want[3:], got, cmp.AllowUnexported(docSegment{})); d != "" { // three end below the log start
		t.Error(d)
	}
	total := docSegment{}
	for _, s := range got {
		total.raw += s.raw
		total.size += s.size
	}
	if total.raw != rawBytes || total.size != stored || int64(len(got)) != count {
		t.Errorf("sums %d %d %d, segments have %d %d %d", rawBytes, stored, count, total.raw, total.size, len(got))
	}
	w.checkHeadObject(prefix+"HEAD", seq, rootKey, size, crc)
}

// checkTrash reads the trash, which is all that is left of a root: the three expired segments and the roots
// before.
func checkTrash(t *testing.T, r *docReader, want []docSegment, seq, after int64) {
	t.Helper()
	segments, roots := 0, map[int64]bool{}
	for n := r.uvarint(); n > 0; n-- {
		kind, at := r.u8(), r.varint()
		if at > after {
			t.Errorf("trash may be deleted from %d on, want %d or before", at, after)
		}
		switch kind {
		case 1:
			base := r.uvarint()
			s := docSegment{base: base, end: base + r.uvarint(), leader: r.varint(), broker: r.varint(), attempt: r.u32(), size: r.uvarint()}
			w := want[segments]
			if s != (docSegment{base: w.base, end: w.end, leader: w.leader, broker: w.broker, attempt: w.attempt, size: w.size}) {
				t.Errorf("trash %+v, want %+v", s, w)
			}
			segments++
		case 3:
			roots[r.uvarint()] = true
			_, _, _, _ = r.i32(), r.u32(), r.u32(), r.u32()
		default:
			t.Fatalf("trash of kind %d", kind)
		}
	}
	if len(r.b) != 0 || segments != 3 || !roots[seq-1] {
		t.Errorf("%d segments and the roots %v in the trash, %d bytes more", segments, roots, len(r.b))
	}
}

func (w *world) checkHeadObject(key string, seq int64, root string, size, crc int64) {
	w.t.Helper()
	rc, err := w.raw.Get(context.Background(), key, 0, -1)
	if err != nil {
		w.t.Fatal(err)
	}
	var got struct {
		Seq    int64
		Root   string
		Size   int64
		CRC32C int64 `json:"crc32c"`
	}
	if err := json.NewDecoder(rc).Decode(&got); err != nil {
		w.t.Fatal(err)
	}
	if got.Seq != seq || got.Root != root || got.Size != size || got.CRC32C != crc {
		w.t.Errorf("HEAD says %+v, want %d %s %d %d", got, seq, root, size, crc)
	}
}
