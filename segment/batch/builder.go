package batch

import "errors"

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

	producerID    int64 // plus 1, so that zero is none
	producerEpoch int16
	baseSequence  int32
	attributes    int16
}

// SetProducer makes the batch that of an idempotent producer.
func (w *Builder) SetProducer(id int64, epoch int16, baseSequence int32) {
	w.producerID, w.producerEpoch, w.baseSequence = id+1, epoch, baseSequence
}

// SetFlags marks the batch as part of a transaction, or as a control batch.
func (w *Builder) SetFlags(transactional, control bool) {}

// Add appends a record with the next offset and timestamp ts in ms. It copies what it is given.
func (w *Builder) Add(ts int64, key, value []byte, headers ...Header) {}

// AddAt is Add with an offset delta, larger than all before, for batches as compaction leaves them.
func (w *Builder) AddAt(offsetDelta int32, ts int64, key, value []byte, headers ...Header) {}

// Len is the number of records added since the last Build or Reset.
func (w *Builder) Len() int { return 0 }

// Build appends the batch to dst and forgets the records; the rest of the settings stay. It returns
// the extended slice. A batch of no records is one that compaction emptied.
func (w *Builder) Build(dst []byte) ([]byte, error) { return nil, errors.ErrUnsupported }
