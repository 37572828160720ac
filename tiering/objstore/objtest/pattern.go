package objtest

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Pattern is a Source of any size that takes no memory: its bytes are a function of seed and position,
// and do not compress.
type Pattern struct {
	seed uint64
	size int64
}

// NewPattern returns size bytes of the given seed.
func NewPattern(seed uint64, size int64) *Pattern { return &Pattern{seed: seed, size: size} }

// Size implements objstore.Source.
func (p *Pattern) Size() int64 { return p.size }

// ReadAt implements objstore.Source.
func (p *Pattern) ReadAt(b []byte, off int64) (int, error) {
	if off >= p.size {
		return 0, io.EOF
	}
	var err error
	if off+int64(len(b)) > p.size {
		b, err = b[:p.size-off], io.EOF
	}
	var word [8]byte
	for n := 0; n < len(b); {
		pos := off + int64(n)
		binary.LittleEndian.PutUint64(word[:], mix(p.seed+uint64(pos/8)))
		n += copy(b[n:], word[pos%8:])
	}
	return len(b), err
}

// Check reads r to its end and returns an error unless it gave the n bytes from off.
func (p *Pattern) Check(r io.Reader, off, n int64) error {
	got, exp := make([]byte, 256<<10), make([]byte, 256<<10)
	for end := off + n; ; {
		m, err := io.ReadFull(r, got)
		if int64(m) > end-off {
			return fmt.Errorf("at %d: more bytes than there are", end)
		}
		if _, err := p.ReadAt(exp[:m], off); err != nil && err != io.EOF {
			return err
		}
		for i := range m {
			if got[i] != exp[i] {
				return fmt.Errorf("at %d: byte %#x, want %#x", off+int64(i), got[i], exp[i])
			}
		}
		off += int64(m)
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF && off == end:
			if off != end {
				return fmt.Errorf("ends at %d, want %d", off, end)
			}
			return nil
		case err != nil:
			return fmt.Errorf("at %d: %w", off, err)
		}
	}
}

// mix is the finaliser of splitmix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
