package drive

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"time"
)

// Message is what its sender says of a record, all of which a cluster has to keep as it is.
type Message struct {
	Key, Value []byte
	Headers    []Header
	Time       int64 // ms since 1970
}

// Header is one of a record's headers. A nil value is another than an empty one.
type Header struct {
	Key   string
	Value []byte
}

// A record's value begins with its number in the history, a checksum of all but this head, and one of the head so far.
const payloadHead = 16

// late is by how much a record may say that it is older than it is: those who look for a time find records in another
// order than they lie in.
const late = 3 * time.Second

// message is a record whose size and shape are drawn: no key or one, and up to two headers.
func message(value int64, rng *rand.Rand, maxSize int) Message {
	m := Message{Value: make([]byte, payloadHead+rng.IntN(maxSize+1)), Time: time.Now().UnixMilli()}
	if rng.IntN(4) == 0 {
		m.Time -= rng.Int64N(late.Milliseconds())
	}
	for i := range m.Value[payloadHead:] {
		m.Value[payloadHead+i] = byte(value) + byte(i%61)
	}
	if rng.IntN(2) == 0 {
		m.Key = []byte("key")[:rng.IntN(4)]
	}
	for i := range rng.IntN(3) {
		h := Header{Key: "header"[:rng.IntN(7)]}
		if i == 0 || rng.IntN(2) == 0 {
			h.Value = binary.AppendVarint(nil, value)
		}
		m.Headers = append(m.Headers, h)
	}
	binary.BigEndian.PutUint64(m.Value, uint64(value))
	binary.BigEndian.PutUint32(m.Value[8:], m.checksum())
	binary.BigEndian.PutUint32(m.Value[12:], crc32.ChecksumIEEE(m.Value[:12]))
	return m
}

// checksum is of everything but the value's head.
func (m *Message) checksum() uint32 {
	b := binary.AppendVarint(nil, m.Time)
	add := func(field []byte) {
		n := int64(len(field))
		if field == nil {
			n = -1
		}
		b = append(binary.AppendVarint(b, n), field...)
	}
	add(m.Key)
	for _, h := range m.Headers {
		add([]byte(h.Key))
		add(h.Value)
	}
	return crc32.Update(crc32.ChecksumIEEE(b), crc32.IEEETable, m.Value[payloadHead:])
}

// number is a record's value in the history. One of which anything was changed is another record: none that was sent.
func (m *Message) number() int64 {
	if len(m.Value) >= payloadHead && crc32.ChecksumIEEE(m.Value[:12]) == binary.BigEndian.Uint32(m.Value[12:]) &&
		m.checksum() == binary.BigEndian.Uint32(m.Value[8:]) {
		return int64(binary.BigEndian.Uint64(m.Value))
	}
	return -1 - int64(crc32.ChecksumIEEE(m.Value))
}

// perProcess is more records than one client sends.
const perProcess = 1_000_000_000
