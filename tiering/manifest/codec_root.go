package manifest

import (
	"encoding/binary"
	"fmt"

	"github.com/pierrec/lz4/v4"
)

// maxRaw bounds what a root or page may decompress to: a root of 65,536 pages with full trash.
const maxRaw = 16 << 20

// pack compresses an object's content behind magic and version:
// raw length u32 | lz4 block, or the content itself where that is not smaller | CRC-32C.
func pack(magic string, raw []byte) []byte {
	b := make([]byte, 0, len(raw)+16)
	b = append(b, magic...)
	b = append(b, version)
	b = binary.BigEndian.AppendUint32(b, uint32(len(raw)))
	if len(raw) > 0 {
		dst := make([]byte, len(raw)-1)
		if n, err := lz4.CompressBlock(raw, dst, nil); err == nil && n > 0 {
			return seal(append(b, dst[:n]...))
		}
	}
	return seal(append(b, raw...))
}

func unpack(what, magic string, b []byte) ([]byte, error) {
	b, err := open(what, magic, b)
	if err != nil {
		return nil, err
	}
	if len(b) < 4 {
		return nil, fmt.Errorf("%w: %s ends early", ErrCorrupt, what)
	}
	n := int(binary.BigEndian.Uint32(b))
	b = b[4:]
	if n == len(b) {
		return b, nil
	}
	// No lz4 byte stands for more than 255.
	if n > maxRaw || n < len(b) || n > 255*len(b) {
		return nil, fmt.Errorf("%w: %s claims %d bytes in %d", ErrCorrupt, what, n, len(b))
	}
	raw := make([]byte, n)
	if m, err := lz4.UncompressBlock(b, raw); err != nil || m != n {
		return nil, fmt.Errorf("%w: %s: decompressed %d of %d bytes: %w", ErrCorrupt, what, m, n, err)
	}
	return raw, nil
}

// Encode returns the root's object.
func (r Root) Encode() []byte {
	w := writer{b: make([]byte, 0, 64+64*(len(r.Pages)+len(r.Open)+len(r.Trash)))}
	w.uvarint(r.Seq)
	w.uvarint(uint64(r.Floor))
	w.varint(r.FoldedAt)
	w.uvarint(uint64(len(r.Pages)))
	var prev PageRef
	for _, p := range r.Pages {
		w.page(prev, p)
		prev = p
	}
	w.uvarint(uint64(len(r.Open)))
	w.columns(r.Open)
	w.uvarint(uint64(len(r.Trash)))
	for _, t := range r.Trash {
		w.trash(t)
	}
	return pack(magicRoot, w.b)
}

// DecodeRoot reads what Root.Encode wrote.
func DecodeRoot(b []byte) (Root, error) {
	raw, err := unpack("manifest root", magicRoot, b)
	if err != nil {
		return Root{}, err
	}
	d := reader{b: raw}
	r := Root{Seq: d.uvarint(), Floor: d.natural(), FoldedAt: d.varint()}
	var prev PageRef
	for n := d.count(maxRaw, minPageBytes); n > 0 && !d.bad; n-- {
		prev = d.page(prev)
		r.Pages = append(r.Pages, prev)
	}
	r.Open = d.columns(d.count(maxRaw, minSegmentBytes))
	for n := d.count(maxRaw, minTrashBytes); n > 0 && !d.bad; n-- {
		r.Trash = append(r.Trash, d.trash())
	}
	if err := d.done("manifest root"); err != nil {
		return Root{}, err
	}
	if err := r.check(); err != nil {
		return Root{}, err
	}
	return r, nil
}

func (r Root) check() error {
	last := int64(-1)
	for _, p := range r.Pages {
		if p.Base <= last || p.End < p.Base || p.Segments == 0 || p.Segments > PageSegments {
			return fmt.Errorf("%w: impossible page [%d, %d] in root %d", ErrCorrupt, p.Base, p.End, r.Seq)
		}
		last = p.End
	}
	if len(r.Open) > 0 && r.Open[0].Base <= last {
		return fmt.Errorf("%w: open segments at %d behind offset %d in root %d", ErrCorrupt, r.Open[0].Base, last, r.Seq)
	}
	return checkRun(r.Open)
}

const minPageBytes = 15

func (w *writer) page(prev, p PageRef) {
	w.varint(p.Base - prev.End)
	w.uvarint(uint64(p.End - p.Base))
	w.u32(p.Rand)
	w.u32(p.CRC)
	w.uvarint(uint64(p.Size))
	w.uvarint(uint64(p.Segments))
	w.uvarint(uint64(p.RawBytes))
	w.uvarint(uint64(p.StoredBytes))
	w.varint(p.MinTime - prev.MinTime)
	w.varint(p.MaxTime - p.MinTime)
	w.uvarint(uint64(p.MaxTimeBase - p.Base))
}

func (r *reader) page(prev PageRef) PageRef {
	var p PageRef
	p.Base = prev.End + r.varint()
	p.End = p.Base + r.natural()
	p.Rand, p.CRC = r.u32(), r.u32()
	p.Size, p.Segments = r.small(), r.small()
	p.RawBytes, p.StoredBytes = r.natural(), r.natural()
	p.MinTime = prev.MinTime + r.varint()
	p.MaxTime = p.MinTime + r.varint()
	p.MaxTimeBase = p.Base + r.natural()
	return p
}

const minTrashBytes = 11

func (w *writer) trash(t Trash) {
	w.u8(uint8(t.Kind))
	w.varint(t.DeleteAfter)
	switch t.Kind {
	case TrashSegment:
		s := t.Segment
		w.uvarint(uint64(s.Base))
		w.uvarint(uint64(s.End - s.Base))
		w.varint(int64(s.LeaderEpoch))
		w.varint(s.BrokerEpoch)
		w.u32(s.Attempt)
		w.uvarint(uint64(s.Size))
	case TrashPage:
		w.uvarint(uint64(t.Page.Base))
		w.uvarint(uint64(t.Page.End - t.Page.Base))
		w.u32(t.Page.Rand)
		w.u32(t.Page.Size)
	case TrashRoot:
		w.root(t.Root)
	}
}

func (r *reader) trash() Trash {
	t := Trash{Kind: TrashKind(r.u8()), DeleteAfter: r.varint()}
	switch t.Kind {
	case TrashSegment:
		s := &t.Segment
		s.Base = r.natural()
		s.End = s.Base + r.natural()
		s.LeaderEpoch, s.BrokerEpoch, s.Attempt = r.epoch(), r.varint(), r.u32()
		s.Size = r.natural()
	case TrashPage:
		t.Page.Base = r.natural()
		t.Page.End = t.Page.Base + r.natural()
		t.Page.Rand, t.Page.Size = r.u32(), r.u32()
	case TrashRoot:
		t.Root = r.root()
	default:
		r.bad = true
	}
	return t
}
