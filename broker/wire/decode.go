package wire

import (
	"bytes"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Decode decodes what follows the header into Body: of Produce aliasing the frame, of all others from
// a copy that belongs to whoever holds a part of it. The memory it takes is bounded by the frame's
// size whatever the bytes say, and charged like the frame: it waits while the budget is used up. It
// returns an error wrapping ErrUnknownAPI or ErrMalformed, or ErrStopped if waiting ended.
func (r *Request) Decode() error {
	src, cost, err := r.message()
	if err != nil {
		return err
	}
	if cost > freeDecoded && r.lease != nil {
		if err := r.lease.Grow(cost); err != nil {
			return err
		}
	}
	body := kmsg.RequestForKey(r.Key)
	body.SetVersion(r.Version)
	if r.Key != kmsg.Produce.Int16() {
		src = r.privatePayload(src)
	}
	if err := body.(kmsg.UnsafeReadFrom).UnsafeReadFrom(src); err != nil {
		return fmt.Errorf("%s v%d: %w: %w", kmsg.NameForKey(r.Key), r.Version, ErrMalformed, err)
	}
	r.Body = body
	return nil
}

// Check returns what would be wrong for Decode, of a request that is passed on as it is.
func (r *Request) Check() error {
	_, _, err := r.message()
	return err
}

// message returns the bytes of the message behind the header, whole and of an acceptable size, and what its decoded form
// takes.
func (r *Request) message() (src []byte, cost int, err error) {
	if !Decodable(r.Key, r.Version) {
		return nil, 0, fmt.Errorf("%w: key %d (%s) v%d", ErrUnknownAPI, r.Key, kmsg.NameForKey(r.Key), r.Version)
	}
	p := &programs[r.Key][r.Version]
	src = r.payload
	if p.flexible {
		if src, err = skipTags(src); err != nil {
			return nil, 0, fmt.Errorf("%s v%d: header: %w", kmsg.NameForKey(r.Key), r.Version, err)
		}
	}
	if cost, err = p.walk(src); err != nil {
		return nil, 0, fmt.Errorf("%s v%d: %w", kmsg.NameForKey(r.Key), r.Version, err)
	}
	return src, cost, nil
}

// privatePayload moves src out of the frame and gives the frame's buffer back. The request remains
// charged for what it takes now.
func (r *Request) privatePayload(src []byte) []byte {
	src = bytes.Clone(src)
	r.payload = nil
	size := r.frame.Size()
	r.frame.Release()
	r.frame = nil
	if r.lease != nil && size > len(src) {
		r.lease.Shrink(size - len(src))
	}
	return src
}

// freeDecoded is how much the structs of a request may take without being charged: what its frame
// is charged for is at least as much.
const freeDecoded = 1 << minClassBits

func maxVersion(key int16) int16 { return kmsg.RequestForKey(key).MaxVersion() }

// skipTags skips a section of tagged fields.
func skipTags(b []byte) ([]byte, error) {
	w := walker{rest: b, flexible: true}
	if err := w.tagged(&op{kind: opTags}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return w.rest, nil
}

// uvarint reads an unsigned varint of at most 32 bits.
func uvarint(b []byte) (v uint32, rest []byte, ok bool) {
	for i := range min(5, len(b)) {
		c := b[i]
		if i == 4 && c > 0x0f {
			return 0, b, false
		}
		v |= uint32(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, b[i+1:], true
		}
	}
	return 0, b, false
}
