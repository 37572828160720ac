package manifest

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// version is the format that Encode writes. A decoder reads this and all older ones.
const version = 1

// The first three bytes of each kind of object; the fourth is the version.
const (
	magicHead = "FMH"
	magicRoot = "FMR"
	magicPage = "FMP"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum is the CRC-32C that references to roots and pages hold.
func Checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// open checks magic, version and the CRC-32C in the last four bytes, and returns what is between.
func open(what, magic string, b []byte) ([]byte, error) {
	if len(b) < len(magic)+1+crc32.Size || string(b[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: %d bytes are no %s", ErrCorrupt, len(b), what)
	}
	// The version comes first: a newer format may not even have the checksum in the same place.
	if v := b[len(magic)]; v > version {
		return nil, fmt.Errorf("%w: %s of version %d, this build reads up to %d", ErrVersion, what, v, version)
	} else if v == 0 {
		return nil, fmt.Errorf("%w: %s of version 0", ErrCorrupt, what)
	}
	end := len(b) - crc32.Size
	if got, want := Checksum(b[:end]), binary.BigEndian.Uint32(b[end:]); got != want {
		return nil, fmt.Errorf("%w: %s has checksum %08x, want %08x", ErrCorrupt, what, got, want)
	}
	return b[len(magic)+1 : end], nil
}

func seal(b []byte) []byte { return binary.BigEndian.AppendUint32(b, Checksum(b)) }

// writer appends the primitives of the format.
type writer struct{ b []byte }

func (w *writer) i64(v int64)      { w.b = binary.BigEndian.AppendUint64(w.b, uint64(v)) }
func (w *writer) i32(v int32)      { w.b = binary.BigEndian.AppendUint32(w.b, uint32(v)) }
func (w *writer) u32(v uint32)     { w.b = binary.BigEndian.AppendUint32(w.b, v) }
func (w *writer) u8(v uint8)       { w.b = append(w.b, v) }
func (w *writer) uvarint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }
func (w *writer) varint(v int64)   { w.b = binary.AppendVarint(w.b, v) }

// reader takes them off again. The first thing that does not fit sets bad, after which everything is 0.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || len(r.b) < n {
		r.bad = true
		return make([]byte, n)
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) i64() int64  { return int64(binary.BigEndian.Uint64(r.take(8))) }
func (r *reader) i32() int32  { return int32(binary.BigEndian.Uint32(r.take(4))) }
func (r *reader) u32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) u8() uint8   { return r.take(1)[0] }

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// natural reads a uvarint that must fit an int64.
func (r *reader) natural() int64 {
	v := r.uvarint()
	if v > math.MaxInt64 {
		r.bad = true
		return 0
	}
	return int64(v)
}

// small reads a uvarint that must fit a uint32.
func (r *reader) small() uint32 {
	v := r.uvarint()
	if v > math.MaxUint32 {
		r.bad = true
		return 0
	}
	return uint32(v)
}

// epoch reads a varint that must fit an int32.
func (r *reader) epoch() int32 {
	v := r.varint()
	if v < math.MinInt32 || v > math.MaxInt32 {
		r.bad = true
		return 0
	}
	return int32(v)
}

// count reads how many things of at least size bytes each follow.
func (r *reader) count(limit, size int) int {
	v := r.uvarint()
	if r.bad || v > uint64(limit) || v > uint64(len(r.b)/size) {
		r.bad = true
		return 0
	}
	return int(v)
}

// done returns the error for what: something did not fit, or bytes are left over.
func (r *reader) done(what string) error {
	if r.bad {
		return fmt.Errorf("%w: %s ends early or holds impossible values", ErrCorrupt, what)
	}
	if len(r.b) > 0 {
		return fmt.Errorf("%w: %d bytes left over in %s", ErrCorrupt, len(r.b), what)
	}
	return nil
}
