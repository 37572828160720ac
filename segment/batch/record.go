package batch

import (
	"errors"
	"iter"
)

// Record is one record of a batch. Its bytes alias the batch or the Buffer given to Each and are
// good only until fn returns.
type Record struct {
	Attributes     int8
	OffsetDelta    int32 // offset minus the batch's BaseOffset
	TimestampDelta int64 // timestamp minus the batch's BaseTimestamp, in ms
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
	return func(yield func(key, value []byte) bool) {}
}

// Buffer is memory that Each decompresses into, kept from call to call. The zero value is ready. It
// must not be used by two calls at once.
type Buffer struct {
	b []byte
}

// Each calls fn for every record in order and stops at its first error, which it returns as it is.
// buf may be nil, then pooled memory is used. It checks everything the header claims of the records:
// their framing, that offset deltas rise strictly and stay within LastOffsetDelta, and their number.
// Compressed records may decompress to maxBytes at most; beyond that it fails with ErrTooLarge, having
// used no more memory than that. It does not verify the CRC, nor that deltas have no gaps: compacted
// batches have.
func (b Batch) Each(buf *Buffer, maxBytes int, fn func(Record) error) error {
	return errors.ErrUnsupported
}

// Timestamp is the record's timestamp within b: the batch's where that is log append time.
func (b Batch) Timestamp(r Record) int64 {
	if b.LogAppendTime() {
		return b.MaxTimestamp()
	}
	return b.BaseTimestamp() + r.TimestampDelta
}

// Recompress appends to dst the batch b with its records compressed by codec to, after checking them
// as Each does, and returns the extended slice; what was appended is a Batch with its own CRC.
func Recompress(dst []byte, b Batch, to Codec, maxBytes int) ([]byte, error) {
	return nil, errors.ErrUnsupported
}
