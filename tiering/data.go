package tiering

import "io"

// Data is a run of whole batches in memory.
type Data struct {
	First, Next int64 // offset of the first batch, and the offset behind the last one
	Slabs       []*Slab
}

// Len is the number of bytes.
func (d *Data) Len() int {
	n := 0
	for _, s := range d.Slabs {
		n += s.Len()
	}
	return n
}

// Release gives all slabs back.
func (d *Data) Release() {
	for _, s := range d.Slabs {
		s.Release()
	}
	d.Slabs = nil
}

// Slab is a piece of memory with whole batches in it, which is used again after its Release. It is
// read-only.
type Slab struct {
	c *chunk
	b []byte
}

// Bytes is the memory itself, valid until Release.
func (s *Slab) Bytes() []byte { return s.b }

// Len is the number of bytes.
func (s *Slab) Len() int { return len(s.b) }

// File says that there is no file to send from.
func (s *Slab) File() (fd uintptr, pos int64, ok bool) { return 0, 0, false }

// ReadAt copies bytes out.
func (s *Slab) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(s.b)) {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, s.b[off:])
	if n < len(p) {
		return n, io.ErrUnexpectedEOF
	}
	return n, nil
}

// Release ends the use of the memory; exactly once.
func (s *Slab) Release() {
	if s.c == nil {
		panic("tiering: slab released twice")
	}
	c := s.c
	s.c, s.b = nil, nil
	c.release()
}
