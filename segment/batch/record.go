package batch

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
)

// Record is one record of a batch. Its bytes alias the batch or the Buffer given to Each and are
// good only until fn returns.
type Record struct {
	Attributes     int8
	OffsetDelta    int32  // offset minus the batch's BaseOffset
	TimestampDelta int64  // timestamp minus the batch's BaseTimestamp, in ms
	Key, Value     []byte // nil is Kafka's null
	Headers        Headers
}

// Headers are a record's headers in wire form, already checked.
type Headers struct {
	n   int
	raw []byte
}

// Len is the number of headers.
func (h Headers) Len() int { return h.n }

// All yields each header's key and value in order; a nil value is Kafka's null.
func (h Headers) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		c := cursor{b: h.raw}
		for range h.n {
			key, value := c.bytes(), c.bytes()
			if c.bad || !yield(key, value) {
				return
			}
		}
	}
}

// Timestamp is the record's timestamp within b, in ms since 1970: the batch's where that is log
// append time.
func (b Batch) Timestamp(r Record) int64 {
	if b.LogAppendTime() {
		return b.MaxTimestamp()
	}
	return b.BaseTimestamp() + r.TimestampDelta
}

// Each calls fn for every record in order and stops at its first error, which it returns as it is.
// buf may be nil, then pooled memory is used. It checks everything the header claims of the records:
// their framing, that offset deltas rise strictly and stay within LastOffsetDelta, and their number;
// what is wrong behind a record shows only after fn had it. Compressed records may decompress to
// maxBytes at most; beyond that it fails with ErrTooLarge, having used little more memory than that.
// It does not verify the CRC, nor that deltas have no gaps: those of compacted batches have.
func (b Batch) Each(buf *Buffer, maxBytes int, fn func(Record) error) error {
	if b.Codec() != None && buf == nil {
		buf = buffers.Get().(*Buffer)
		defer putBuffer(buf)
	} else if buf != nil {
		defer buf.release()
	}
	raw, err := b.plain(buf, maxBytes)
	if err != nil {
		return err
	}
	return eachRecord(raw, b.NumRecords(), b.LastOffsetDelta(), fn)
}

// CheckCount checks that uncompressed records are as many as the header says, by their lengths, which must lead from the
// first byte to the last: a few ns a record. It looks at nothing else of them, and at nothing of compressed ones.
func (b Batch) CheckCount() error {
	if b.Codec() != None {
		return nil
	}
	raw, count := b.Records(), int(b.NumRecords())
	rest := raw
	for i := range count {
		var size uint
		var n int
		switch {
		case len(rest) > 0 && rest[0] < 0x80:
			size, n = uint(rest[0]), 1
		case len(rest) > 1 && rest[1] < 0x80:
			size, n = uint(rest[0]&0x7f)|uint(rest[1])<<7, 2
		default:
			u, m := binary.Uvarint(rest)
			size, n = uint(u), m
		}
		if n <= 0 || size&1 != 0 || size>>1 > uint(len(rest)-n) { // odd numbers are negative lengths
			return fmt.Errorf("%w: record %d of %d is malformed near byte %d", ErrInvalid, i, count, len(raw)-len(rest))
		}
		rest = rest[n+int(size>>1):]
	}
	if len(rest) > 0 {
		return fmt.Errorf("%w: %d bytes after the last of %d records", ErrInvalid, len(rest), count)
	}
	return nil
}

// plain returns the records uncompressed, in b's or buf's memory.
func (b Batch) plain(buf *Buffer, maxBytes int) ([]byte, error) {
	raw, codec := b.Records(), b.Codec()
	if codec == None || len(raw) == 0 {
		return raw, nil
	}
	return buf.decompress(codec, raw, min(max(maxBytes, 0), math.MaxInt32))
}

func eachRecord(raw []byte, count, lastDelta int32, fn func(Record) error) error {
	c := cursor{b: raw}
	prev := int32(-1)
	for i := range count {
		r, ok := c.record()
		switch {
		case !ok:
			return fmt.Errorf("%w: record %d of %d is malformed near byte %d", ErrInvalid, i, count, len(raw)-len(c.b))
		case r.OffsetDelta <= prev || r.OffsetDelta > lastDelta:
			return fmt.Errorf("%w: record %d has offset delta %d after %d, last is %d", ErrInvalid, i, r.OffsetDelta, prev, lastDelta)
		}
		prev = r.OffsetDelta
		if err := fn(r); err != nil {
			return err
		}
	}
	if len(c.b) > 0 {
		return fmt.Errorf("%w: %d bytes after the last of %d records", ErrInvalid, len(c.b), count)
	}
	return nil
}

// cursor reads from the front of b. Once something did not decode, bad is set and every later read
// gives zeros.
type cursor struct {
	b   []byte
	bad bool
}

// record reads one record, its headers checked; ok is false when it is malformed.
func (c *cursor) record() (r Record, ok bool) {
	size := c.varint()
	if c.bad || size < 0 || int(size) > len(c.b) {
		return Record{}, false
	}
	body := cursor{b: c.b[:size:size]}
	c.b = c.b[size:]

	r.Attributes = body.int8()
	r.TimestampDelta = body.varlong()
	r.OffsetDelta = body.varint()
	r.Key = body.bytes()
	r.Value = body.bytes()
	n := body.varint()
	if body.bad || n < 0 {
		return Record{}, false
	}
	r.Headers = Headers{n: int(n), raw: body.b}
	for range n {
		if key := body.bytes(); key == nil { // null, or there is no more
			return Record{}, false
		}
		body.bytes()
	}
	return r, !body.bad && len(body.b) == 0
}

func (c *cursor) fail() { c.bad, c.b = true, nil }

func (c *cursor) int8() int8 {
	if len(c.b) == 0 {
		c.fail()
		return 0
	}
	v := int8(c.b[0])
	c.b = c.b[1:]
	return v
}

// varint reads a zigzag varint of at most 32 bits.
func (c *cursor) varint() int32 {
	if len(c.b) > 0 && c.b[0] < 0x80 {
		u := uint32(c.b[0])
		c.b = c.b[1:]
		return int32(u>>1) ^ -int32(u&1)
	}
	u, n := binary.Uvarint(c.b)
	if n <= 0 || u > math.MaxUint32 {
		c.fail()
		return 0
	}
	c.b = c.b[n:]
	return int32(uint32(u)>>1) ^ -int32(u&1)
}

// varlong reads a zigzag varint of at most 64 bits.
func (c *cursor) varlong() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.b = c.b[n:]
	return v
}

// bytes reads a length and as many bytes; length -1 gives nil, any other a non-nil slice unless bad.
func (c *cursor) bytes() []byte {
	n := c.varint()
	if c.bad || n == -1 {
		return nil
	}
	if n < 0 || int(n) > len(c.b) {
		c.fail()
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}
