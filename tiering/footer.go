package tiering

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sort"

	"firn/metadata/topic"
	"firn/tiering/manifest"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// Block is one block of an object: whole batches.
type Block struct {
	First, Last uint32 // offsets of its first and last record, relative to the object's Base
	RawPos      uint32 // where it begins in the batches of the object
	RawLen      uint32
	Pos         uint32 // where it begins in the object
	Len         uint32
	MaxTime     int64 // greatest batch timestamp in it, ms
	CRC         uint32
	Codec       uint32
}

// AbortedTxn is an aborted transaction that overlaps the object.
type AbortedTxn struct {
	ProducerID       int64
	First, Last      int64 // offsets of its first record and of its marker
	LastStableOffset int64
}

// Footer is everything in an object but its blocks. It is immutable once made.
type Footer struct {
	Partition   topic.Partition
	Base, End   int64 // inclusive
	LeaderEpoch int32 // of the leader that made the object
	LastEpoch   int32 // of the last batch
	BrokerEpoch int64
	RawBytes    int64
	StoredBytes int64 // of the blocks
	Batches     uint32
	Records     int64
	MinTime     int64
	MaxTime     int64
	MaxTimeBase int64
	Blocks      []Block
	Aborted     []AbortedTxn
	Epochs      []EpochStart
	Producers   []byte // producer state at End+1
	Size        int64  // of the object
	CRC         uint32 // of the object up to its trailer
}

// errFormat is wrapped by what DecodeFooter finds wrong.
var errFormat = errors.New("bad format")

// encodeFooter returns the bytes behind the blocks, trailer included. crc is the CRC-32C of the blocks.
// It sets f.Size and f.CRC.
func encodeFooter(f *Footer, crc uint32) ([]byte, error) {
	size := f.StoredBytes + int64(blockEntryLen*len(f.Blocks)+abortedEntryLen*len(f.Aborted)+len(f.Producers)+
		epochEntryLen*len(f.Epochs)+headerFixedLen+4*sectionEntryLen+trailerLen)
	if size > maxObject {
		return nil, fmt.Errorf("object of %d bytes is too large for its format", size)
	}
	be := binary.BigEndian
	b := make([]byte, 0, size-f.StoredBytes)
	var sections []byte
	section := func(kind uint32, body []byte) {
		sections = be.AppendUint32(sections, kind)
		sections = be.AppendUint32(sections, uint32(f.StoredBytes)+uint32(len(b)))
		sections = be.AppendUint32(sections, uint32(len(body)))
		sections = be.AppendUint32(sections, checksum(body))
		b = append(b, body...)
	}
	section(sectionBlocks, appendBlocks(nil, f.Blocks))
	var aborted, epochs []byte
	for _, t := range f.Aborted {
		for _, v := range []int64{t.ProducerID, t.First, t.Last, t.LastStableOffset} {
			aborted = be.AppendUint64(aborted, uint64(v))
		}
	}
	section(sectionAborted, aborted)
	section(sectionProducers, f.Producers)
	for _, e := range f.Epochs {
		epochs = be.AppendUint32(epochs, uint32(e.Epoch))
		epochs = be.AppendUint64(epochs, uint64(e.Start))
	}
	section(sectionEpochs, epochs)

	headerPos := len(b)
	b = appendHeader(b, f, sections)
	header := b[headerPos:]
	f.Size = size
	f.CRC = crc32.Update(crc, castagnoli, b)
	t := make([]byte, 0, trailerLen)
	t = append(t, trailerMagic...)
	for _, v := range []uint32{
		formatVersion, uint32(f.StoredBytes) + uint32(headerPos), uint32(len(header)), checksum(header),
		uint32(f.StoredBytes), uint32(size), f.CRC,
	} {
		t = be.AppendUint32(t, v)
	}
	t = t[:trailerLen-4]
	return append(b, be.AppendUint32(t, checksum(t))...), nil
}

func appendBlocks(b []byte, blocks []Block) []byte {
	be := binary.BigEndian
	for _, e := range blocks {
		for _, v := range []uint32{e.First, e.Last, e.RawPos, e.RawLen, e.Pos, e.Len} {
			b = be.AppendUint32(b, v)
		}
		b = be.AppendUint64(b, uint64(e.MaxTime))
		b = be.AppendUint32(b, e.CRC)
		b = be.AppendUint32(b, e.Codec)
	}
	return b
}

func appendHeader(b []byte, f *Footer, sections []byte) []byte {
	be := binary.BigEndian
	b = append(b, headerMagic...)
	b = be.AppendUint32(b, formatVersion)
	b = append(b, f.Partition.ID[:]...)
	b = be.AppendUint32(b, uint32(f.Partition.Index))
	b = be.AppendUint32(b, uint32(f.LeaderEpoch))
	b = be.AppendUint32(b, uint32(f.LastEpoch))
	for _, v := range []int64{f.BrokerEpoch, f.Base, f.End, f.RawBytes, f.StoredBytes} {
		b = be.AppendUint64(b, uint64(v))
	}
	b = be.AppendUint32(b, f.Batches)
	b = be.AppendUint32(b, uint32(len(f.Blocks)))
	for _, v := range []int64{f.Records, f.MinTime, f.MaxTime, f.MaxTimeBase} {
		b = be.AppendUint64(b, uint64(v))
	}
	b = be.AppendUint32(b, uint32(len(sections)/sectionEntryLen))
	return append(b, sections...)
}

// matches tells whether the footer belongs to the object that a manifest names.
func (f *Footer) matches(tp topic.Partition, s manifest.Segment) error {
	if f.Partition != tp || f.Base != s.Base || f.End != s.End || f.LeaderEpoch != s.LeaderEpoch || f.BrokerEpoch != s.BrokerEpoch || f.CRC != s.CRC {
		return fmt.Errorf("%w: object is of %s [%d, %d] epoch %d checksum %08x, manifest says %s [%d, %d] epoch %d checksum %08x", errFormat,
			f.Partition, f.Base, f.End, f.LeaderEpoch, f.CRC, tp, s.Base, s.End, s.LeaderEpoch, s.CRC)
	}
	return nil
}

// blockAt returns the number of the block with the first record at or beyond offset.
func (f *Footer) blockAt(offset int64) (int, bool) {
	i := sort.Search(len(f.Blocks), func(i int) bool { return f.Base+int64(f.Blocks[i].Last) >= offset })
	return i, i < len(f.Blocks)
}

// memory is about what the footer takes.
func (f *Footer) memory() int64 {
	return int64(256 + 40*len(f.Blocks) + 32*len(f.Aborted) + 16*len(f.Epochs) + len(f.Producers))
}
