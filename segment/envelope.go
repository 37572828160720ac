package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"firn/segment/vfs"
)

// Every small file is one envelope: a header that says what it is, a payload, a CRC over both.
const (
	envelopeMagic   = 0x4649524e // "FIRN"
	envelopeVersion = 1
	envelopeHeader  = 12 // magic u32, kind u8, version u8, zero u16, payload length u32
	envelopeExtra   = envelopeHeader + 4

	// maxSmallFile bounds what is read of a small file. The largest is the state of a log with very
	// many segments, 40 bytes each, or a snapshot of very many producers.
	maxSmallFile = 256 << 20
)

type kind uint8

const (
	kindMeta kind = iota + 1
	kindClean
	kindCheckpoint
	kindState
	kindSnapshot
)

var (
	errEnvelope = errors.New("not a whole file of this kind")
	errPayload  = errors.New("payload does not decode")
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
)

// wrap returns payload in an envelope.
func wrap(k kind, payload []byte) []byte {
	b := make([]byte, 0, len(payload)+envelopeExtra)
	b = binary.BigEndian.AppendUint32(b, envelopeMagic)
	b = append(b, byte(k), envelopeVersion, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	b = append(b, payload...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// unwrap returns the payload of the envelope that b begins with. Bytes after it are not looked at: a
// checkpoint file is overwritten in place and may have been longer.
func unwrap(k kind, b []byte) ([]byte, error) {
	if len(b) < envelopeExtra || binary.BigEndian.Uint32(b) != envelopeMagic || kind(b[4]) != k || b[6] != 0 || b[7] != 0 {
		return nil, errEnvelope
	}
	if v := b[5]; v != envelopeVersion {
		return nil, fmt.Errorf("%w: version %d", ErrForeign, v)
	}
	n := int64(binary.BigEndian.Uint32(b[8:]))
	if n > int64(len(b)-envelopeExtra) {
		return nil, errEnvelope
	}
	end := envelopeHeader + int(n)
	if got, want := crc32.Checksum(b[:end], castagnoli), binary.BigEndian.Uint32(b[end:]); got != want {
		return nil, fmt.Errorf("CRC is %08x, file says %08x", got, want)
	}
	return b[envelopeHeader:end], nil
}

// readEnvelope reads a small file and unwraps it. A damaged one is a *CorruptionError, a missing one
// matches fs.ErrNotExist.
func readEnvelope(fsys vfs.FS, name string, k kind) ([]byte, error) {
	b, err := vfs.ReadFile(fsys, name, maxSmallFile)
	if err != nil {
		return nil, err
	}
	p, err := unwrap(k, b)
	if errors.Is(err, ErrForeign) {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err != nil {
		return nil, &CorruptionError{Path: name, Err: err}
	}
	return p, nil
}

// decoder takes fields off a payload. After a field that is not there it is bad and gives zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.bad, d.b = true, nil
		return nil
	}
	f := d.b[:n]
	d.b = d.b[n:]
	return f
}

func (d *decoder) u8() uint8 {
	if f := d.take(1); f != nil {
		return f[0]
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if f := d.take(4); f != nil {
		return binary.BigEndian.Uint32(f)
	}
	return 0
}

func (d *decoder) i64() int64 {
	if f := d.take(8); f != nil {
		return int64(binary.BigEndian.Uint64(f))
	}
	return 0
}

// count takes a number of things of which each takes at least size bytes.
func (d *decoder) count(size int) int {
	n := d.u32()
	if int64(n)*int64(size) > int64(len(d.b)) {
		d.bad, d.b = true, nil
		return 0
	}
	return int(n)
}

func (d *decoder) bytes() []byte { return d.take(d.count(1)) }

// err tells whether all fields were there and nothing is left.
func (d *decoder) err() error {
	if d.bad || len(d.b) > 0 {
		return errPayload
	}
	return nil
}

func appendI64(b []byte, v int64) []byte  { return binary.BigEndian.AppendUint64(b, uint64(v)) }
func appendU32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }
func appendBytes(b, v []byte) []byte      { return append(appendU32(b, uint32(len(v))), v...) }
