package objtest

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
)

// patternPeriod is prime, so that no part of an object looks like another at a place where one might be
// taken for the other.
const patternPeriod = 1_000_003

// Pattern is a Source of any size that takes little memory: its bytes repeat after a million and do not
// compress within that.
type Pattern struct {
	block []byte
	size  int64
}

// NewPattern returns size bytes that depend on seed.
func NewPattern(seed uint64, size int64) *Pattern {
	p := &Pattern{block: make([]byte, patternPeriod), size: size}
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	_, _ = rng.Read(p.block) // never fails
	return p
}

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
	for n := 0; n < len(b); {
		n += copy(b[n:], p.block[(off+int64(n))%patternPeriod:])
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
		if !bytes.Equal(got[:m], exp[:m]) {
			return fmt.Errorf("wrong bytes between %d and %d", off, off+int64(m))
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
