package index

import (
	"encoding/binary"
	"hash/crc32"
)

// The file, big-endian. While it is appended to it is entries alone; Seal adds the rest.
//
//	entry          16 B   u32 last offset, less the base   u32 position   i64 largest timestamp
//	...                   256 of them are a page
//	page directory 20 B for each page:   its first entry   u32 CRC-32C of the page's bytes
//	trailer        36 B   u32 "FIX1"   u32 number of entries   i64 base offset   last entry
//	                      u32 CRC-32C of the page directory and the trailer up to here
const (
	// EntrySize is the size of an entry in the file in bytes.
	EntrySize = 16

	pageSize    = 4096
	pageEntries = pageSize / EntrySize
	dirSize     = EntrySize + 4
	trailerSize = 36
	magic       = 0x46495831
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// packed is an entry as the file has it.
type packed struct {
	rel, pos uint32
	maxTime  int64
}

func (x *Index) pack(e Entry) packed {
	return packed{rel: uint32(e.LastOffset - x.base), pos: uint32(e.Pos), maxTime: e.MaxTime}
}

func (x *Index) unpack(p packed) Entry {
	return Entry{LastOffset: x.base + int64(p.rel), Pos: int64(p.pos), MaxTime: p.maxTime}
}

func (p packed) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, p.rel)
	b = binary.BigEndian.AppendUint32(b, p.pos)
	return binary.BigEndian.AppendUint64(b, uint64(p.maxTime))
}

func decode(b []byte) packed {
	_ = b[EntrySize-1]
	return packed{
		rel:     binary.BigEndian.Uint32(b),
		pos:     binary.BigEndian.Uint32(b[4:]),
		maxTime: int64(binary.BigEndian.Uint64(b[8:])),
	}
}

// follows says whether p may come after q in an index.
func (p packed) follows(q packed) bool {
	return p.pos > q.pos && p.rel > q.rel && p.maxTime >= q.maxTime
}

// pagesOf is how many pages count entries fill.
func pagesOf(count int64) int64 { return (count + pageEntries - 1) / pageEntries }

// entriesOn is how many of count entries are on a page.
func entriesOn(page, count int64) int64 { return min(count-page*pageEntries, pageEntries) }
