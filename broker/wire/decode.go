package wire

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Decode decodes what follows the header into Body. It returns an error wrapping ErrUnknownAPI or
// ErrMalformed; the memory it takes is bounded by the frame's size whatever the bytes say.
func (r *Request) Decode() error {
	body := kmsg.RequestForKey(r.Key)
	if body == nil {
		return fmt.Errorf("%w: key %d", ErrUnknownAPI, r.Key)
	}
	if r.Version < 0 || r.Version > body.MaxVersion() {
		return fmt.Errorf("%w: %s v%d", ErrUnknownAPI, kmsg.NameForKey(r.Key), r.Version)
	}
	body.SetVersion(r.Version)
	src := r.payload
	var err error
	if body.IsFlexible() {
		if src, err = skipTags(src); err != nil {
			return fmt.Errorf("%s v%d header: %w", kmsg.NameForKey(r.Key), r.Version, err)
		}
	}
	if err := body.(kmsg.UnsafeReadFrom).UnsafeReadFrom(src); err != nil {
		return fmt.Errorf("%w: %s v%d: %w", ErrMalformed, kmsg.NameForKey(r.Key), r.Version, err)
	}
	r.Body = body
	return nil
}

// skipTags skips a section of tagged fields.
func skipTags(b []byte) ([]byte, error) {
	n, b, ok := uvarint(b)
	if !ok {
		return nil, fmt.Errorf("%w: tag count", ErrMalformed)
	}
	for ; n > 0; n-- {
		var size uint32
		if _, b, ok = uvarint(b); ok {
			size, b, ok = uvarint(b)
		}
		if !ok || uint64(size) > uint64(len(b)) {
			return nil, fmt.Errorf("%w: tagged field", ErrMalformed)
		}
		b = b[size:]
	}
	return b, nil
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
