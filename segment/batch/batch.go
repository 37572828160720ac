// Package batch reads, checks and rewrites Kafka record batches of format v2.
//
// What belongs here: the batch header in place, the CRC, records with their compression, and a
// Builder. What does not: files, offsets' meaning, producer state, Kafka's messages.
//
// Layout of a batch, big-endian:
//
//	 0  i64  base offset              35  i64  max timestamp (ms)
//	 8  i32  bytes after this field   43  i64  producer id, -1 = none
//	12  i32  partition leader epoch   51  i16  producer epoch
//	16  i8   magic, 2                 53  i32  base sequence
//	17  u32  CRC-32C of bytes 21..    57  i32  number of records
//	21  i16  attributes               61       records, perhaps compressed
//	23  i32  last offset delta
//	27  i64  base timestamp (ms)
package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

const (
	// HeaderLen is the size of a batch's header in bytes; the records follow it.
	HeaderLen = 61
	// Magic is the only batch format this package knows.
	Magic = 2
	// NoProducer is the producer id of a batch that has none.
	NoProducer = -1

	lengthEnd    = 12 // the length field counts the bytes after itself
	crcStart     = 21 // the CRC covers everything from here
	minRecordLen = 7  // length, attributes, two deltas, key, value and header count, a byte each

	codecMask         = 0x07
	logAppendTimeFlag = 0x08
	transactionalFlag = 0x10
	controlFlag       = 0x20
)

var (
	// ErrCorrupt says that bytes are not a valid batch: an impossible length, a wrong CRC, an
	// unknown codec, compressed data or records that do not decode. Every error of this package
	// but ErrShort, ErrMagic and ErrTooLarge is an ErrCorrupt.
	ErrCorrupt = errors.New("batch: corrupt")
	// ErrInvalid is the ErrCorrupt of a batch that is whole but whose header is at odds with
	// itself or with its records: a negative or impossible count, offsets that do not rise.
	ErrInvalid = fmt.Errorf("%w: header and records disagree", ErrCorrupt)
	// ErrShort says that there are fewer bytes than the header has or its length field asks for.
	ErrShort = errors.New("batch: short")
	// ErrMagic says that the bytes are a message set of another format than v2.
	ErrMagic = errors.New("batch: magic is not 2")
	// ErrTooLarge says that the records are larger, decompressed, than the caller's bound.
	ErrTooLarge = errors.New("batch: records exceed the size allowed")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is one whole v2 batch, header and records. It aliases the bytes it was parsed from, and its
// methods do not allocate. Get one from Parse, or a header-only one from ParseHeader: on other bytes
// the methods may panic.
type Batch []byte

// Parse returns the first batch of b and what follows it. It checks length, magic and the counts,
// not the CRC and not the records. With ErrShort the batch may be completed by more bytes; with any
// other error it never will.
func Parse(b []byte) (first Batch, rest []byte, err error) {
	h, size, err := ParseHeader(b)
	if err != nil {
		return nil, nil, err
	}
	if size > len(b) {
		return nil, nil, fmt.Errorf("%w: %d of %d bytes", ErrShort, len(b), size)
	}
	first = Batch(b[:size:size])
	if h.Codec() == None && int64(h.NumRecords())*minRecordLen > int64(size-HeaderLen) {
		return nil, nil, fmt.Errorf("%w: %d records in %d bytes", ErrInvalid, h.NumRecords(), size-HeaderLen)
	}
	return first, b[size:], nil
}

// ParseHeader checks the header that b begins with and returns a Batch of those HeaderLen bytes
// alone, and the size of the whole batch in bytes, which may be larger than len(b). Only the header
// methods of h may be used: its Records are empty, its CRC cannot be verified.
func ParseHeader(b []byte) (h Batch, size int, err error) {
	if len(b) < HeaderLen {
		return nil, 0, fmt.Errorf("%w: %d bytes of a %d byte header", ErrShort, len(b), HeaderLen)
	}
	h = Batch(b[:HeaderLen:HeaderLen])
	if m := int8(h[16]); m != Magic {
		return nil, 0, fmt.Errorf("%w but %d", ErrMagic, m)
	}
	n := int32(binary.BigEndian.Uint32(h[8:]))
	if n < HeaderLen-lengthEnd || n > math.MaxInt32-lengthEnd {
		return nil, 0, fmt.Errorf("%w: length field is %d", ErrCorrupt, n)
	}
	base, delta, count := h.BaseOffset(), h.LastOffsetDelta(), h.NumRecords()
	switch {
	case base < 0 || base > math.MaxInt64-1-math.MaxInt32:
		return nil, 0, fmt.Errorf("%w: base offset is %d", ErrInvalid, base)
	case delta < 0:
		return nil, 0, fmt.Errorf("%w: last offset delta is %d", ErrInvalid, delta)
	case count < 0 || int64(count) > int64(delta)+1:
		return nil, 0, fmt.Errorf("%w: %d records, last offset delta %d", ErrInvalid, count, delta)
	}
	return h, int(n) + lengthEnd, nil
}

// Size is the whole batch in bytes, as its length field says.
func (b Batch) Size() int { return int(int32(binary.BigEndian.Uint32(b[8:]))) + lengthEnd }

// BaseOffset is the offset that the records' deltas count from.
func (b Batch) BaseOffset() int64 { return int64(binary.BigEndian.Uint64(b)) }

// LastOffset is the offset of the last record, or in a compacted batch of the last one it once had.
func (b Batch) LastOffset() int64 { return b.BaseOffset() + int64(b.LastOffsetDelta()) }

// NextOffset is the offset that follows the batch.
func (b Batch) NextOffset() int64 { return b.LastOffset() + 1 }

// LeaderEpoch is the epoch of the leader that appended the batch.
func (b Batch) LeaderEpoch() int32 { return int32(binary.BigEndian.Uint32(b[12:])) }

// CRC is the checksum that the header states.
func (b Batch) CRC() uint32 { return binary.BigEndian.Uint32(b[17:]) }

// Attributes are the raw attribute bits.
func (b Batch) Attributes() int16 { return int16(binary.BigEndian.Uint16(b[21:])) }

// Codec is how the records are compressed; it may be one that Valid calls unknown.
func (b Batch) Codec() Codec { return Codec(b[22] & codecMask) }

// LogAppendTime says that MaxTimestamp, set by the broker, is the timestamp of every record.
func (b Batch) LogAppendTime() bool { return b[22]&logAppendTimeFlag != 0 }

// Transactional says that the batch is part of a transaction.
func (b Batch) Transactional() bool { return b[22]&transactionalFlag != 0 }

// Control says that the batch is a marker written by a broker.
func (b Batch) Control() bool { return b[22]&controlFlag != 0 }

// LastOffsetDelta is LastOffset minus BaseOffset, at least 0.
func (b Batch) LastOffsetDelta() int32 { return int32(binary.BigEndian.Uint32(b[23:])) }

// BaseTimestamp is what the records' timestamp deltas count from, in ms since 1970; -1 is none.
func (b Batch) BaseTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[27:])) }

// MaxTimestamp is the largest timestamp of the records, as the header claims it, in ms since 1970.
func (b Batch) MaxTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[35:])) }

// ProducerID is the idempotent producer's id or NoProducer.
func (b Batch) ProducerID() int64 { return int64(binary.BigEndian.Uint64(b[43:])) }

// ProducerEpoch is the idempotent producer's epoch, -1 without one.
func (b Batch) ProducerEpoch() int16 { return int16(binary.BigEndian.Uint16(b[51:])) }

// BaseSequence is the sequence number of the first record, -1 without a producer id.
func (b Batch) BaseSequence() int32 { return int32(binary.BigEndian.Uint32(b[53:])) }

// LastSequence is the sequence number of the last record; sequences wrap from 2^31-1 to 0. It is -1
// where BaseSequence is.
func (b Batch) LastSequence() int32 {
	base := b.BaseSequence()
	if base < 0 {
		return base
	}
	return int32((uint32(base) + uint32(b.LastOffsetDelta())) & math.MaxInt32)
}

// NumRecords is how many records the header claims, between 0 and LastOffsetDelta+1. A batch fresh
// from a producer has exactly LastOffsetDelta+1, a compacted one may have fewer.
func (b Batch) NumRecords() int32 { return int32(binary.BigEndian.Uint32(b[57:])) }

// Records are the bytes after the header, compressed as Codec says.
func (b Batch) Records() []byte { return b[HeaderLen:] }

// VerifyCRC compares the CRC-32C of the batch with the one its header states.
func (b Batch) VerifyCRC() error {
	if got, want := crc32.Checksum(b[crcStart:], castagnoli), b.CRC(); got != want {
		return fmt.Errorf("%w: CRC is %08x, header says %08x", ErrCorrupt, got, want)
	}
	return nil
}

// SetBaseOffset moves the batch to offset off in place. The CRC does not cover it.
func (b Batch) SetBaseOffset(off int64) { binary.BigEndian.PutUint64(b, uint64(off)) }

// SetLeaderEpoch stamps the leader's epoch in place. The CRC does not cover it.
func (b Batch) SetLeaderEpoch(epoch int32) { binary.BigEndian.PutUint32(b[12:], uint32(epoch)) }

// SetLogAppendTime gives every record the timestamp ms by setting the header's flag and maximum, and
// makes the CRC anew.
func (b Batch) SetLogAppendTime(ms int64) {
	b[22] |= logAppendTimeFlag
	binary.BigEndian.PutUint64(b[35:], uint64(ms))
	b.setCRC()
}

func (b Batch) setCRC() {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[crcStart:], castagnoli))
}
