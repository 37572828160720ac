package wire

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Body is one response as it goes on the wire: its length field, header and message in one pooled
// buffer, with extents between the bytes where a Fetch response carries records.
type Body struct {
	buf   *Buffer
	runs  []run
	total int
}

// run is an extent and the place in the encoded bytes that it goes before.
type run struct {
	at  int
	ext Extent
}

// EncodeResponse encodes a message behind its length and header. The message's version must be set.
func EncodeResponse(correlationID int32, resp kmsg.Response) *Body {
	buf := NewBuffer(1 << minClassBits)
	b := appendResponseHeader(buf.B[:0], correlationID, resp.IsFlexible() && resp.Key() != apiVersionsKey)
	b = resp.AppendTo(b)
	return sealBody(buf, b, nil)
}

// RawBody makes a body of what somebody else has encoded, header and all but for the length field. It copies data.
func RawBody(data []byte) *Body {
	buf := NewBuffer(4 + len(data))
	copy(buf.B[4:], data)
	return sealBody(buf, buf.B, nil)
}

// apiVersionsKey is the one response whose header never has tagged fields, so that a client which
// does not know the broker yet can read it.
const apiVersionsKey = 18

// appendResponseHeader leaves room for the length field.
func appendResponseHeader(b []byte, correlationID int32, flexible bool) []byte {
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(correlationID))
	if flexible {
		b = append(b, 0)
	}
	return b
}

// sealBody makes a body of b, which was encoded into buf or has outgrown it, and fills its length in.
func sealBody(buf *Buffer, b []byte, runs []run) *Body {
	buf = adopt(buf, b)
	total := len(b)
	for _, r := range runs {
		total += r.ext.Len()
	}
	binary.BigEndian.PutUint32(buf.B, uint32(total-4))
	return &Body{buf: buf, runs: runs, total: total}
}

// adopt returns a buffer whose B is b, giving buf back if b has outgrown its memory.
func adopt(buf *Buffer, b []byte) *Buffer {
	if cap(b) == cap(buf.B) {
		buf.B = b
		return buf
	}
	buf.Release()
	nb := &Buffer{B: b, mem: b[:cap(b)]}
	nb.refs.Store(1)
	return nb
}

// Decode decodes the message of a body without extents into resp, whose version must be set, and releases the body.
func (b *Body) Decode(resp kmsg.Response) error {
	defer b.Release()
	msg, err := answerBody(b.buf.B[8:], resp)
	if err != nil {
		return err
	}
	return resp.ReadFrom(msg)
}

// Len is the body's size on the wire in bytes, its length field included.
func (b *Body) Len() int { return b.total }

// Memory is how many bytes of memory the body holds until it is written, those of extents included
// that are not in a file.
func (b *Body) Memory() int {
	n := b.buf.Size()
	for i := range b.runs {
		if _, _, ok := b.runs[i].ext.File(); !ok {
			n += b.runs[i].ext.Len()
		}
	}
	return n
}

// Release gives back the memory and the extents of a body that was written, or never will be.
func (b *Body) Release() {
	for i := range b.runs {
		b.runs[i].ext.Release()
	}
	b.runs = nil
	b.buf.Release()
	b.buf = nil
}
