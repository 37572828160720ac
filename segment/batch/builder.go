package batch

import (
	"encoding/binary"
	"fmt"
)

// Header is a record header given to a Builder; a nil Value is Kafka's null.
type Header struct {
	Key   string
	Value []byte
}

// Builder makes a batch of records. The zero value builds an uncompressed batch at offset 0 without
// a producer. Not safe for concurrent use.
type Builder struct {
	// Codec compresses the records.
	Codec Codec
	// BaseOffset and LeaderEpoch are stamped into the header.
	BaseOffset  int64
	LeaderEpoch int32

	flags        byte
	hasProducer  bool
	producerID   int64
	epoch        int16
	baseSequence int32

	raw             []byte // records so far, uncompressed
	count           int32
	lastDelta       int32
	baseTime, maxTs int64
	err             error
}

// SetProducer makes the batch that of an idempotent producer.
func (w *Builder) SetProducer(id int64, epoch int16, baseSequence int32) {
	w.hasProducer = id != NoProducer
	w.producerID, w.epoch, w.baseSequence = id, epoch, baseSequence
}

// SetFlags marks the batch as part of a transaction, or as a control batch.
func (w *Builder) SetFlags(transactional, control bool) {
	w.flags = 0
	if transactional {
		w.flags |= transactionalFlag
	}
	if control {
		w.flags |= controlFlag
	}
}

// Add appends a record with the next offset and timestamp ts in ms. It copies what it is given.
func (w *Builder) Add(ts int64, key, value []byte, headers ...Header) {
	next := int32(0)
	if w.count > 0 {
		next = w.lastDelta + 1
	}
	w.AddAt(next, ts, key, value, headers...)
}

// AddAt is Add with an offset delta, larger than all before, for batches as compaction leaves them.
func (w *Builder) AddAt(offsetDelta int32, ts int64, key, value []byte, headers ...Header) {
	switch {
	case offsetDelta < 0 || w.count > 0 && offsetDelta <= w.lastDelta:
		w.err = fmt.Errorf("build batch: offset delta %d after %d", offsetDelta, w.lastDelta)
		return
	case w.count == 0:
		w.baseTime, w.maxTs = ts, ts
	}
	w.maxTs = max(w.maxTs, ts)
	w.lastDelta = offsetDelta
	w.count++

	tsDelta := ts - w.baseTime
	size := 1 + varintLen(tsDelta) + varintLen(int64(offsetDelta)) + bytesLen(key) + bytesLen(value) + varintLen(int64(len(headers)))
	for _, h := range headers {
		size += varintLen(int64(len(h.Key))) + len(h.Key) + bytesLen(h.Value)
	}
	p := binary.AppendVarint(w.raw, int64(size))
	p = append(p, 0) // attributes: none are defined
	p = binary.AppendVarint(p, tsDelta)
	p = binary.AppendVarint(p, int64(offsetDelta))
	p = appendBytes(p, key)
	p = appendBytes(p, value)
	p = binary.AppendVarint(p, int64(len(headers)))
	for _, h := range headers {
		p = binary.AppendVarint(p, int64(len(h.Key)))
		p = append(p, h.Key...)
		p = appendBytes(p, h.Value)
	}
	w.raw = p
}

// Len is the number of records added since the last Build.
func (w *Builder) Len() int { return int(w.count) }

// Build appends the batch to dst and forgets the records; the settings stay. It returns the extended
// slice. A batch of no records is one that compaction emptied.
func (w *Builder) Build(dst []byte) ([]byte, error) {
	defer w.reset()
	if w.err != nil {
		return dst, w.err
	}
	at := len(dst)
	var header [HeaderLen]byte
	out := append(dst, header[:]...)
	codec := w.Codec
	if w.count == 0 {
		codec = None
	}
	out, err := compress(out, w.raw, codec)
	if err != nil {
		return dst, fmt.Errorf("build batch: %w", err)
	}
	b := Batch(out[at:])
	w.putHeader(b, codec)
	if err := b.finish(); err != nil {
		return dst, fmt.Errorf("build batch: %w", err)
	}
	return out, nil
}

func (w *Builder) putHeader(b Batch, codec Codec) {
	id, epoch, sequence := int64(NoProducer), int16(-1), int32(-1)
	if w.hasProducer {
		id, epoch, sequence = w.producerID, w.epoch, w.baseSequence
	}
	base, maxTs := w.baseTime, w.maxTs
	if w.count == 0 {
		base, maxTs = -1, -1
	}
	be := binary.BigEndian
	be.PutUint64(b, uint64(w.BaseOffset))
	be.PutUint32(b[12:], uint32(w.LeaderEpoch))
	b[16] = Magic
	b[22] = byte(codec) | w.flags
	be.PutUint32(b[23:], uint32(w.lastDelta))
	be.PutUint64(b[27:], uint64(base))
	be.PutUint64(b[35:], uint64(maxTs))
	be.PutUint64(b[43:], uint64(id))
	be.PutUint16(b[51:], uint16(epoch))
	be.PutUint32(b[53:], uint32(sequence))
	be.PutUint32(b[57:], uint32(w.count))
}

func (w *Builder) reset() {
	w.raw, w.count, w.lastDelta, w.err = w.raw[:0], 0, 0, nil
}

func varintLen(v int64) int {
	n := 1
	for u := uint64(v<<1) ^ uint64(v>>63); u >= 0x80; u >>= 7 {
		n++
	}
	return n
}

// bytesLen is what appendBytes appends.
func bytesLen(p []byte) int {
	if p == nil {
		return 1
	}
	return varintLen(int64(len(p))) + len(p)
}

func appendBytes(dst, p []byte) []byte {
	if p == nil {
		return binary.AppendVarint(dst, -1)
	}
	dst = binary.AppendVarint(dst, int64(len(p)))
	return append(dst, p...)
}
