package partition

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
)

// A snapshot, big-endian:
//
//	u8 version (1) | u32 number of producers | producers, by rising id | u32 CRC-32C of all before
//
// and a producer:
//
//	i64 id | i16 epoch | i64 last seen, ms | u8 number of batches (1 to 5) | batches, oldest first
//
// and a batch:
//
//	i64 last offset | i64 largest timestamp, ms | i32 first sequence | i32 last sequence minus first
//
// It is written beside segments and into the footers of archived ones, so a version once written is read for ever.
const (
	snapshotVersion  = 1
	snapshotHeader   = 1 + 4
	snapshotProducer = 8 + 2 + 8 + 1
	snapshotBatch    = 8 + 8 + 4 + 4
	snapshotCRC      = 4
)

// errSnapshot says that bytes are no snapshot.
var errSnapshot = errors.New("bad producer snapshot")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Snapshot implements segment.ProducerState.
func (p *producers) Snapshot() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	ids := make([]int64, 0, len(p.index))
	size := snapshotHeader + snapshotCRC
	for id, slot := range p.index {
		ids = append(ids, id)
		size += snapshotProducer + int(p.slots[slot].n)*snapshotBatch
	}
	slices.Sort(ids)
	b := make([]byte, 0, size)
	b = append(b, snapshotVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(len(ids)))
	for _, id := range ids {
		b = appendProducer(b, &p.slots[p.index[id]])
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func appendProducer(b []byte, e *producer) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(e.id))
	b = binary.BigEndian.AppendUint16(b, uint16(e.epoch))
	b = binary.BigEndian.AppendUint64(b, uint64(e.seen))
	b = append(b, e.n)
	for _, l := range e.batches[:e.n] {
		b = binary.BigEndian.AppendUint64(b, uint64(l.lastOffset))
		b = binary.BigEndian.AppendUint64(b, uint64(l.timestamp))
		b = binary.BigEndian.AppendUint32(b, uint32(l.firstSeq))
		b = binary.BigEndian.AppendUint32(b, uint32(l.delta))
	}
	return b
}

// Load implements segment.ProducerState. On an error the state is empty.
func (p *producers) Load(snapshot []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resetLocked()
	err := p.loadLocked(snapshot)
	if err != nil || p.gone {
		p.resetLocked()
	}
	return err
}

func (p *producers) loadLocked(b []byte) error {
	if len(b) < snapshotHeader+snapshotCRC {
		return fmt.Errorf("%w: %d bytes", errSnapshot, len(b))
	}
	if b[0] != snapshotVersion {
		return fmt.Errorf("%w: version %d, this build knows %d", errSnapshot, b[0], snapshotVersion)
	}
	body := b[:len(b)-snapshotCRC]
	if got, want := crc32.Checksum(body, castagnoli), binary.BigEndian.Uint32(b[len(body):]); got != want {
		return fmt.Errorf("%w: CRC is %08x, should be %08x", errSnapshot, got, want)
	}
	count := binary.BigEndian.Uint32(body[1:])
	body = body[snapshotHeader:]
	if uint64(count) > uint64(len(body)/(snapshotProducer+snapshotBatch)) {
		return fmt.Errorf("%w: %d producers in %d bytes", errSnapshot, count, len(body))
	}
	p.slots = make([]producer, 0, count)
	last := int64(-1)
	for range count {
		e, rest, err := decodeProducer(body)
		if err != nil {
			return err
		}
		if e.id <= last {
			return fmt.Errorf("%w: producer %d after %d", errSnapshot, e.id, last)
		}
		*p.entryLocked(e.id) = e
		last, body = e.id, rest
	}
	if len(body) != 0 {
		return fmt.Errorf("%w: %d bytes left over", errSnapshot, len(body))
	}
	return nil
}

func decodeProducer(b []byte) (e producer, rest []byte, err error) {
	if len(b) < snapshotProducer {
		return e, nil, fmt.Errorf("%w: cut off in a producer", errSnapshot)
	}
	e.id = int64(binary.BigEndian.Uint64(b))
	e.epoch = int16(binary.BigEndian.Uint16(b[8:]))
	e.seen = int64(binary.BigEndian.Uint64(b[10:]))
	e.n = b[18]
	b = b[snapshotProducer:]
	if e.epoch < 0 || e.n == 0 || e.n > rememberedBatches || len(b) < int(e.n)*snapshotBatch {
		return e, nil, fmt.Errorf("%w: producer %d has epoch %d and %d batches", errSnapshot, e.id, e.epoch, e.n)
	}
	prev := int64(-1)
	for i := range int(e.n) {
		l := produced{
			lastOffset: int64(binary.BigEndian.Uint64(b)),
			timestamp:  int64(binary.BigEndian.Uint64(b[8:])),
			firstSeq:   int32(binary.BigEndian.Uint32(b[16:])),
			delta:      int32(binary.BigEndian.Uint32(b[20:])),
		}
		if l.firstSeq < 0 || l.delta < 0 || l.lastOffset == math.MaxInt64 || l.lastOffset-int64(l.delta) <= prev {
			return e, nil, fmt.Errorf("%w: producer %d, batch %d: %+v", errSnapshot, e.id, i, l)
		}
		prev = l.lastOffset
		e.batches[i] = l
		b = b[snapshotBatch:]
	}
	return e, b, nil
}
