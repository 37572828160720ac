package wire

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Decode decodes what follows the header into Body. The memory it takes is bounded by the frame's
// size whatever the bytes say, and charged like the frame: it waits while the budget is used up. It
// returns an error wrapping ErrUnknownAPI or ErrMalformed, or ErrStopped if waiting ended.
func (r *Request) Decode() error {
	if !Decodable(r.Key, r.Version) {
		return fmt.Errorf("%w: key %d (%s) v%d", ErrUnknownAPI, r.Key, kmsg.NameForKey(r.Key), r.Version)
	}
	p := &programs[r.Key][r.Version]
	src, err := r.payload, error(nil)
	if p.flexible {
		if src, err = skipTags(src); err != nil {
			return fmt.Errorf("%s v%d: header: %w", kmsg.NameForKey(r.Key), r.Version, err)
		}
	}
	cost, err := p.walk(src)
	if err != nil {
		return fmt.Errorf("%s v%d: %w", kmsg.NameForKey(r.Key), r.Version, err)
	}
	if cost > freeDecoded && r.lease != nil {
		if err := r.lease.Grow(cost); err != nil {
			return err
		}
	}
	body := kmsg.RequestForKey(r.Key)
	body.SetVersion(r.Version)
	// Only Produce is worth aliasing for its strings: whatever else is decoded may be kept by whom it
	// is handed to.
	read := body.ReadFrom
	if r.Key == kmsg.Produce.Int16() {
		read = body.(kmsg.UnsafeReadFrom).UnsafeReadFrom
	}
	if err := read(src); err != nil {
		return fmt.Errorf("%w: %s v%d: %w", ErrMalformed, kmsg.NameForKey(r.Key), r.Version, err)
	}
	r.Body = body
	return nil
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
