package partition

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"firn/metadata/topic"
	"firn/segment/batch"
	"firn/segment/poison"
)

const (
	// magicAt is where the format of a batch stands, the same in all formats.
	magicAt = 16
	// maxRecordErrors bounds the answer to one bad batch.
	maxRecordErrors = 100
	// minDecodeBytes and decodeRatio bound what a batch may decompress to where its records have to be looked at:
	// whichever is more of so many bytes and so many times max.message.bytes.
	minDecodeBytes = 64 << 20
	decodeRatio    = 16
	// minRecordBytes is what the smallest record takes, decompressed.
	minRecordBytes = 7
)

func decodeLimit(conf *topic.Config) int {
	return max(minDecodeBytes, int(min(int64(conf.MaxMessageBytes)*decodeRatio, math.MaxInt32)))
}

// checkBatch checks a.Records by all rules that concern the batch alone and leaves the batch to append in a.batch. Of the
// records themselves only the number is checked, and that only uncompressed, unless a setting of the topic asks for more.
func (r *Replica) checkBatch(a *Append, conf *topic.Config, nowMs int64) error {
	b, err := parseOne(a.Records)
	if err != nil {
		return err
	}
	if len(b) > int(conf.MaxMessageBytes) {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrTooLarge, len(b), conf.MaxMessageBytes)
	}
	if err := b.VerifyCRC(); err != nil {
		return fmt.Errorf("%w: %w", ErrCorruptBatch, err)
	}
	if err := checkHeader(b, a.NoZstd); err != nil {
		return err
	}
	// Offsets are given by what the header claims, and a segment holds only so many.
	if most := decodeLimit(conf) / minRecordBytes; int(b.NumRecords()) > most {
		return fmt.Errorf("%w: a batch of %d records, at most %d can be", ErrInvalidRecord, b.NumRecords(), most)
	}
	if err := checkTime(b, conf, nowMs); err != nil || needsRecords(b, conf) {
		if a.RecordErrors, err = recordErrors(b, conf, nowMs, err); err != nil {
			return err
		}
	} else if err := b.CheckCount(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidRecord, err)
	}
	a.batch = b
	return a.recompress(conf)
}

// parseOne returns the one batch that a produced record set has to be. Less than a batch is a client's mistake, which
// sending again does not mend; only what was a batch and is spoilt is corrupt.
func parseOne(records []byte) (batch.Batch, error) {
	if len(records) == 0 {
		return nil, fmt.Errorf("%w: no batch, exactly one is allowed", ErrInvalidRecord)
	}
	b, rest, err := batch.Parse(records)
	switch {
	case errors.Is(err, batch.ErrMagic) && records[magicAt] > batch.Magic:
		return nil, fmt.Errorf("%w: %w", ErrCorruptBatch, err)
	case errors.Is(err, batch.ErrMagic), errors.Is(err, batch.ErrInvalid), errors.Is(err, batch.ErrShort):
		return nil, fmt.Errorf("%w: %w", ErrInvalidRecord, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrCorruptBatch, err)
	case len(rest) > 0:
		return nil, fmt.Errorf("%w: %d bytes after the batch, exactly one batch is allowed", ErrInvalidRecord, len(rest))
	}
	return b, nil
}

// checkHeader checks what a client may not write.
func checkHeader(b batch.Batch, noZstd bool) error {
	count, codec := b.NumRecords(), b.Codec()
	switch {
	case b.BaseOffset() != 0:
		return fmt.Errorf("%w: base offset is %d, must be 0", ErrInvalidRecord, b.BaseOffset())
	case count <= 0 || int64(count) != int64(b.LastOffsetDelta())+1:
		return fmt.Errorf("%w: %d records for a last offset delta of %d", ErrInvalidRecord, count, b.LastOffsetDelta())
	case !codec.Valid(), noZstd && codec == batch.Zstd:
		return fmt.Errorf("%w: %s", ErrCodec, codec)
	case b.Control():
		return fmt.Errorf("%w: clients may not write control batches", ErrInvalidRecord)
	case b.Transactional():
		return ErrTransactional
	case b.ProducerID() < batch.NoProducer:
		return fmt.Errorf("%w: producer id %d", ErrInvalidRecord, b.ProducerID())
	case b.ProducerID() >= 0 && (b.BaseSequence() < 0 || b.ProducerEpoch() < 0):
		return fmt.Errorf("%w: producer %d with epoch %d and sequence %d", ErrInvalidRecord, b.ProducerID(), b.ProducerEpoch(), b.BaseSequence())
	case b.LogAppendTime():
		return fmt.Errorf("%w: producers may not set log append time", ErrInvalidTimestamp)
	}
	return nil
}

// checkTime checks the largest timestamp that the header claims; readers find records by that one.
func checkTime(b batch.Batch, conf *topic.Config, nowMs int64) error {
	if !conf.Timestamp.LogAppendTime && !timeAllowed(b.MaxTimestamp(), conf, nowMs) {
		return fmt.Errorf("%w: largest timestamp is %d, now is %d", ErrInvalidTimestamp, b.MaxTimestamp(), nowMs)
	}
	return nil
}

// timeAllowed reports whether a record may have timestamp ts; -1 is none.
func timeAllowed(ts int64, conf *topic.Config, nowMs int64) bool {
	switch {
	case ts == -1:
		return true
	case ts < -1:
		return false
	case ts > nowMs:
		return ts-nowMs <= conf.Timestamp.AfterMaxMs
	}
	return nowMs-ts <= conf.Timestamp.BeforeMaxMs
}

// needsRecords says whether each record has to be looked at: for its key, or for a timestamp too far in the past, which
// the header does not tell.
func needsRecords(b batch.Batch, conf *topic.Config) bool {
	return conf.Cleanup.Compact || !conf.Timestamp.LogAppendTime && conf.Timestamp.BeforeMaxMs != math.MaxInt64
}

// recordErrors looks at every record and returns what is wrong with them and, if anything is, the error of the batch.
// headerErr is what the header alone has shown.
func recordErrors(b batch.Batch, conf *topic.Config, nowMs int64, headerErr error) ([]RecordError, error) {
	defer batch.Turn()()
	var (
		faults     []RecordError
		index      int32
		keyless    bool
		outOfRange bool
	)
	err := b.Each(nil, decodeLimit(conf), func(rec batch.Record) error {
		switch ts := b.Timestamp(rec); {
		case conf.Cleanup.Compact && rec.Key == nil:
			keyless = true
			if len(faults) < maxRecordErrors {
				faults = append(faults, RecordError{index, "a compacted topic takes no record without a key"})
			}
		case !conf.Timestamp.LogAppendTime && !timeAllowed(ts, conf, nowMs):
			outOfRange = true
			if len(faults) < maxRecordErrors {
				faults = append(faults, RecordError{index, fmt.Sprintf("timestamp %d is out of range", ts)})
			}
		}
		index++
		return nil
	})
	switch {
	case errors.Is(err, batch.ErrTooLarge):
		return nil, fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, batch.ErrInvalid):
		return nil, fmt.Errorf("%w: %w", ErrInvalidRecord, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrCorruptBatch, err)
	case outOfRange:
		return faults, fmt.Errorf("%w: the batch holds records that are too old or too far ahead", ErrInvalidTimestamp)
	case keyless:
		return faults, fmt.Errorf("%w: the batch holds records without a key, the topic is compacted", ErrInvalidRecord)
	}
	return nil, headerErr
}

// recompress replaces a.batch by one of the topic's codec if it has another.
func (a *Append) recompress(conf *topic.Config) error {
	if conf.Compression.Type == topic.CompressionProducer {
		return nil
	}
	codec := batch.Codec(conf.Compression.Type)
	if a.batch.Codec() == codec {
		return nil
	}
	defer batch.Turn()()
	mem := scratchPool.Get().(*[]byte)
	out, err := batch.Recompress((*mem)[:0], a.batch, codec, decodeLimit(conf))
	a.scratch = mem
	if err != nil {
		a.dropScratch()
		if errors.Is(err, batch.ErrTooLarge) {
			return fmt.Errorf("%w: %w", ErrTooLarge, err)
		}
		return fmt.Errorf("%w: recompress to %s: %w", ErrCorruptBatch, codec, err)
	}
	*mem, a.batch = out, out
	if len(out) > int(conf.MaxMessageBytes) {
		a.dropScratch()
		return fmt.Errorf("%w: %d bytes as %s, at most %d are allowed", ErrTooLarge, len(out), codec, conf.MaxMessageBytes)
	}
	return nil
}

// scratchPool holds memory for recompressed batches, as *[]byte.
var scratchPool = sync.Pool{New: func() any { return new([]byte) }}

// maxPooledScratch is the largest such memory that is kept.
const maxPooledScratch = 4 << 20

func (a *Append) dropScratch() {
	if a.scratch == nil {
		return
	}
	poison.Fill(*a.scratch)
	if cap(*a.scratch) <= maxPooledScratch {
		scratchPool.Put(a.scratch)
	}
	a.scratch = nil
}
