package wire

import "io"

// Extent is a run of bytes that a response sends without having it encoded: a range of a segment
// file, or a slab of memory read back from the tier. Its bytes do not change and stay readable
// until Release.
//
// An Extent that also has Memory() []byte is written from there without being read first.
//
// Release is called exactly once by whoever got the Extent, after the bytes were written or when
// they will never be. The other methods are not called after it.
type Extent interface {
	// Len is the number of bytes.
	Len() int
	// File gives a kernel file and the position in it where the run starts, for sendfile; false if
	// the bytes are not (or should not be read) in a file.
	File() (fd uintptr, pos int64, ok bool)
	// ReadAt reads the run's bytes from off within it, 0 being the first. A short read is an error.
	ReadAt(p []byte, off int64) (int, error)
	// Release ends the use of the bytes.
	Release()
}

// Bytes is an Extent of plain memory with nothing to release.
type Bytes []byte

var _ Extent = Bytes(nil)

// Len implements Extent.
func (b Bytes) Len() int { return len(b) }

// File implements Extent: there is none.
func (b Bytes) File() (fd uintptr, pos int64, ok bool) { return 0, 0, false }

// ReadAt implements Extent.
func (b Bytes) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(b)) {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.ErrUnexpectedEOF
	}
	return n, nil
}

// Memory gives the bytes themselves, so that they are written without another copy.
func (b Bytes) Memory() []byte { return b }

// Release implements Extent.
func (b Bytes) Release() {}
