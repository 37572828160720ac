package tiering

import (
	"encoding/binary"
	"fmt"
)

// FooterPos reads out of an object's last 64 bytes where its footer begins, for readers that do not
// know it from a manifest.
func FooterPos(trailer []byte, size int64) (int64, error) {
	if len(trailer) != trailerLen {
		return 0, fmt.Errorf("%w: trailer of %d bytes", errFormat, len(trailer))
	}
	be := binary.BigEndian
	if string(trailer[:8]) != trailerMagic {
		return 0, fmt.Errorf("%w: trailer begins with %q", errFormat, trailer[:8])
	}
	if got, want := checksum(trailer[:trailerLen-4]), be.Uint32(trailer[trailerLen-4:]); got != want {
		return 0, fmt.Errorf("%w: trailer has checksum %08x, want %08x", errFormat, got, want)
	}
	if v := be.Uint32(trailer[8:]); v > formatVersion {
		return 0, fmt.Errorf("%w: object of version %d, this build reads up to %d", ErrVersion, v, formatVersion)
	} else if v == 0 {
		return 0, fmt.Errorf("%w: object of version 0", errFormat)
	}
	if got := int64(be.Uint32(trailer[28:])); got != size {
		return 0, fmt.Errorf("%w: object of %d bytes says it has %d", errFormat, size, got)
	}
	pos := int64(be.Uint32(trailer[24:]))
	if pos > size-trailerLen-headerFixedLen {
		return 0, fmt.Errorf("%w: footer at %d in an object of %d bytes", errFormat, pos, size)
	}
	return pos, nil
}

// DecodeFooter reads an object's bytes from FooterPos to its end; size is the whole object's. The Footer
// aliases nothing of b.
func DecodeFooter(b []byte, size int64) (*Footer, error) {
	if len(b) < headerFixedLen+trailerLen || int64(len(b)) > size {
		return nil, fmt.Errorf("%w: footer of %d bytes in an object of %d", errFormat, len(b), size)
	}
	trailer := b[len(b)-trailerLen:]
	pos, err := FooterPos(trailer, size)
	if err != nil {
		return nil, err
	}
	if pos != size-int64(len(b)) {
		return nil, fmt.Errorf("%w: footer at %d, read from %d", errFormat, pos, size-int64(len(b)))
	}
	be := binary.BigEndian
	hpos, hlen := int64(be.Uint32(trailer[12:]))-pos, int64(be.Uint32(trailer[16:]))
	if hpos < 0 || hlen < headerFixedLen || hpos+hlen != int64(len(b)-trailerLen) {
		return nil, fmt.Errorf("%w: header of %d bytes at %d", errFormat, hlen, hpos)
	}
	header := b[hpos : hpos+hlen]
	if got, want := checksum(header), be.Uint32(trailer[20:]); got != want {
		return nil, fmt.Errorf("%w: header has checksum %08x, want %08x", errFormat, got, want)
	}
	f := &Footer{Size: size, CRC: be.Uint32(trailer[32:])}
	if err := f.decodeHeader(header, pos); err != nil {
		return nil, err
	}
	if err := f.decodeSections(header[headerFixedLen:], b, pos, hpos); err != nil {
		return nil, err
	}
	return f, f.check(be.Uint32(header[80:]))
}

func (f *Footer) decodeHeader(h []byte, footerPos int64) error {
	be := binary.BigEndian
	if string(h[:4]) != headerMagic || be.Uint32(h[4:]) != formatVersion {
		return fmt.Errorf("%w: header begins with %q", errFormat, h[:8])
	}
	copy(f.Partition.ID[:], h[8:])
	f.Partition.Index = int32(be.Uint32(h[24:]))
	f.LeaderEpoch = int32(be.Uint32(h[28:]))
	f.LastEpoch = int32(be.Uint32(h[32:]))
	for i, p := range []*int64{&f.BrokerEpoch, &f.Base, &f.End, &f.RawBytes, &f.StoredBytes} {
		*p = int64(be.Uint64(h[36+8*i:]))
	}
	f.Batches = be.Uint32(h[76:])
	for i, p := range []*int64{&f.Records, &f.MinTime, &f.MaxTime, &f.MaxTimeBase} {
		*p = int64(be.Uint64(h[84+8*i:]))
	}
	n := be.Uint32(h[116:])
	if n > maxSections || len(h) != headerFixedLen+int(n)*sectionEntryLen {
		return fmt.Errorf("%w: header of %d bytes with %d sections", errFormat, len(h), n)
	}
	if f.Base < 0 || f.End < f.Base || f.End-f.Base > maxObject || f.StoredBytes != footerPos || f.MaxTimeBase < f.Base || f.MaxTimeBase > f.End {
		return fmt.Errorf("%w: header with base %d, end %d and %d stored bytes before %d", errFormat, f.Base, f.End, f.StoredBytes, footerPos)
	}
	return nil
}

// decodeSections reads the section table and what it points to, all within b[:end], which lies at
// position pos of the object.
func (f *Footer) decodeSections(table, b []byte, pos, end int64) error {
	be := binary.BigEndian
	seen := map[uint32]bool{}
	for ; len(table) > 0; table = table[sectionEntryLen:] {
		kind, at, n := be.Uint32(table), int64(be.Uint32(table[4:]))-pos, int64(be.Uint32(table[8:]))
		if at < 0 || at+n > end {
			return fmt.Errorf("%w: section %d of %d bytes at %d", errFormat, kind, n, at+pos)
		}
		body := b[at : at+n]
		if got, want := checksum(body), be.Uint32(table[12:]); got != want {
			return fmt.Errorf("%w: section %d has checksum %08x, want %08x", errFormat, kind, got, want)
		}
		if seen[kind] {
			return fmt.Errorf("%w: section %d twice", errFormat, kind)
		}
		seen[kind] = true
		if err := f.decodeSection(kind, body); err != nil {
			return err
		}
	}
	if !seen[sectionBlocks] {
		return fmt.Errorf("%w: no block index", errFormat)
	}
	return nil
}

func (f *Footer) decodeSection(kind uint32, body []byte) error {
	be := binary.BigEndian
	unit := map[uint32]int{sectionBlocks: blockEntryLen, sectionAborted: abortedEntryLen, sectionEpochs: epochEntryLen}[kind]
	if unit > 0 && len(body)%unit != 0 {
		return fmt.Errorf("%w: section %d of %d bytes", errFormat, kind, len(body))
	}
	switch kind {
	case sectionBlocks:
		f.Blocks = make([]Block, len(body)/unit)
		for i := range f.Blocks {
			e := body[i*unit:]
			f.Blocks[i] = Block{
				First: be.Uint32(e), Last: be.Uint32(e[4:]), RawPos: be.Uint32(e[8:]), RawLen: be.Uint32(e[12:]),
				Pos: be.Uint32(e[16:]), Len: be.Uint32(e[20:]), MaxTime: int64(be.Uint64(e[24:])),
				CRC: be.Uint32(e[32:]), Codec: be.Uint32(e[36:]),
			}
		}
	case sectionAborted:
		for ; len(body) > 0; body = body[unit:] {
			f.Aborted = append(f.Aborted, AbortedTxn{
				ProducerID: int64(be.Uint64(body)), First: int64(be.Uint64(body[8:])),
				Last: int64(be.Uint64(body[16:])), LastStableOffset: int64(be.Uint64(body[24:])),
			})
		}
	case sectionProducers:
		if len(body) > 0 {
			f.Producers = append([]byte(nil), body...)
		}
	case sectionEpochs:
		for ; len(body) > 0; body = body[unit:] {
			f.Epochs = append(f.Epochs, EpochStart{Epoch: int32(be.Uint32(body)), Start: int64(be.Uint64(body[4:]))})
		}
	default:
		if kind&sectionCritical != 0 {
			return fmt.Errorf("%w: unknown section %#x, which must be understood", errFormat, kind)
		}
	}
	return nil
}

// check holds what every user of the block index relies on: blocks abut in the object, in the batches and
// nearly in offsets, and lie where the header says.
func (f *Footer) check(blocks uint32) error {
	if int(blocks) != len(f.Blocks) || len(f.Blocks) == 0 {
		return fmt.Errorf("%w: %d blocks, header says %d", errFormat, len(f.Blocks), blocks)
	}
	var raw, pos uint64
	next := uint64(0)
	for i, b := range f.Blocks {
		bad := uint64(b.RawPos) != raw || uint64(b.Pos) != pos || uint64(b.First) < next || b.Last < b.First || b.RawLen == 0 || b.Len == 0
		switch b.Codec {
		case codecRaw:
			bad = bad || b.Len != b.RawLen
		case codecLZ4: // no lz4 byte stands for more than 255
			bad = bad || b.Len >= b.RawLen || uint64(b.RawLen) > 255*uint64(b.Len)
		default:
			return fmt.Errorf("%w: block %d has unknown codec %d", errFormat, i, b.Codec)
		}
		if bad {
			return fmt.Errorf("%w: impossible block %d: %+v", errFormat, i, b)
		}
		raw, pos, next = raw+uint64(b.RawLen), pos+uint64(b.Len), uint64(b.Last)+1
	}
	if f.Blocks[0].First != 0 || int64(next) != f.End-f.Base+1 || int64(raw) != f.RawBytes || int64(pos) != f.StoredBytes {
		return fmt.Errorf("%w: blocks cover %d offsets and %d bytes, header says [%d, %d] and %d", errFormat, next, raw, f.Base, f.End, f.RawBytes)
	}
	return nil
}
