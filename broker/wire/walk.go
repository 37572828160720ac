package wire

import (
	"encoding/binary"
	"fmt"
	"math"
)

// maxDecoded bounds the memory that the structs of one decoded request may take, and what is made of them: 300,000 topics
// in a Metadata request, while records and strings cost next to nothing because they stay in the frame.
const maxDecoded = 64 << 20

// walker steps over a message without allocating, so that what comes after may trust its counts.
type walker struct {
	rest     []byte
	flexible bool
	cost     int // memory its decoded structs will take
}

// walk checks that b begins with a whole message of the program and returns the memory that decoding
// it takes beyond b itself. Bytes behind the message are ignored, as Kafka does.
func (p *program) walk(b []byte) (cost int, err error) {
	w := walker{rest: b, flexible: p.flexible}
	if err := w.steps(p.ops); err != nil {
		return 0, fmt.Errorf("%w: %w at byte %d of %d", ErrMalformed, err, len(b)-len(w.rest), len(b))
	}
	return w.cost, nil
}

// walkError says what does not fit; where is added by walk.
type walkError string

// Error implements error.
func (e walkError) Error() string { return string(e) }

const (
	errShort   = walkError("field past the end")
	errLength  = walkError("length past the end")
	errString  = walkError("string too long")
	errCount   = walkError("count past the end")
	errTagged  = walkError("tagged field past the end")
	errTooMany = walkError("too many elements")
)

func (w *walker) steps(ops []op) error {
	for i := range ops {
		o := &ops[i]
		var err error
		switch o.kind {
		case opSkip:
			err = w.skip(o.n, errShort)
		case opString:
			err = w.length(2)
		case opBytes:
			err = w.length(4)
		case opArray:
			err = w.array(o)
		case opOption:
			err = w.option(o)
		case opTags:
			err = w.tagged(o)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) skip(n int, short error) error {
	if n > len(w.rest) {
		return short
	}
	w.rest = w.rest[n:]
	return nil
}

// length skips a string or bytes whose length takes size bytes where it is not compact. A compact string is no longer than
// others can be, as in Kafka. Whether null is allowed is left to the decoder.
func (w *walker) length(size int) error {
	n, err := w.count(size)
	if err != nil || n <= 0 {
		return err
	}
	if size == 2 && n > math.MaxInt16 {
		return errString
	}
	return w.skip(n, errLength)
}

// count reads a length or element count, -1 for null.
func (w *walker) count(size int) (int, error) {
	if w.flexible {
		n, rest, ok := uvarint(w.rest)
		if !ok {
			return 0, errShort
		}
		w.rest = rest
		return int(n) - 1, nil
	}
	if len(w.rest) < size {
		return 0, errShort
	}
	var n int
	if size == 2 {
		n = int(int16(binary.BigEndian.Uint16(w.rest)))
	} else {
		n = int(int32(binary.BigEndian.Uint32(w.rest)))
	}
	w.rest = w.rest[size:]
	return n, nil
}

func (w *walker) array(o *op) error {
	n, err := w.count(4)
	if err != nil || n <= 0 {
		return err
	}
	if n > len(w.rest)/o.n {
		return errCount
	}
	if w.cost += n * o.cost; w.cost > maxDecoded {
		return errTooMany
	}
	if len(o.elem) == 1 && o.elem[0].kind == opSkip {
		return w.skip(n*o.elem[0].n, errCount)
	}
	for range n {
		if err := w.steps(o.elem); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) option(o *op) error {
	if len(w.rest) == 0 {
		return errShort
	}
	present := int8(w.rest[0])
	w.rest = w.rest[1:]
	if present == -1 {
		return nil
	}
	w.cost += o.cost
	return w.steps(o.elem)
}

func (w *walker) tagged(o *op) error {
	n, rest, ok := uvarint(w.rest)
	if !ok || uint64(n) > uint64(len(rest))/2 {
		return errTagged
	}
	w.rest = rest
	for range n {
		tag, rest, ok1 := uvarint(w.rest)
		size, rest, ok2 := uvarint(rest)
		if !ok1 || !ok2 || uint64(size) > uint64(len(rest)) {
			return errTagged
		}
		if known := o.tags[tag]; known != nil {
			in := walker{rest: rest[:size], flexible: true}
			if err := in.steps(known); err != nil {
				return err
			}
			w.cost += in.cost
		}
		w.rest = rest[size:]
		if w.cost += costTag; w.cost > maxDecoded {
			return errTooMany
		}
	}
	return nil
}
