package drive

import (
	"encoding/binary"
	"hash/crc32"
)

// A record's value is its number in the history, a checksum of what follows, and bytes that depend on the number.
const payloadHead = 16

func payload(value int64, size int) []byte {
	b := make([]byte, payloadHead+size)
	binary.BigEndian.PutUint64(b, uint64(value))
	for i := range size {
		b[payloadHead+i] = byte(value) + byte(i%61)
	}
	binary.BigEndian.PutUint32(b[8:], crc32.ChecksumIEEE(b[payloadHead:]))
	binary.BigEndian.PutUint32(b[12:], crc32.ChecksumIEEE(b[:12]))
	return b
}

// number is a record's value in the history. One whose bytes were changed is another record: none that was sent.
func number(b []byte) int64 {
	if len(b) >= payloadHead && crc32.ChecksumIEEE(b[:12]) == binary.BigEndian.Uint32(b[12:]) &&
		crc32.ChecksumIEEE(b[payloadHead:]) == binary.BigEndian.Uint32(b[8:]) {
		return int64(binary.BigEndian.Uint64(b))
	}
	return -1 - int64(crc32.ChecksumIEEE(b))
}

// perProcess is more records than one client sends.
const perProcess = 1_000_000_000
