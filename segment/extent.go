package segment

import "errors"

// Extent is a range of whole batches in one segment file, which stays open and readable until Release,
// whatever happens to the log. The zero Extent is empty. An Extent is used by one goroutine at a time.
type Extent struct{}

// FirstOffset is the base offset of the first batch, which may be below the offset asked for.
func (e *Extent) FirstOffset() int64 { return 0 }

// NextOffset is the offset after the last batch: where to read on.
func (e *Extent) NextOffset() int64 { return 0 }

// Len is the number of bytes.
func (e *Extent) Len() int { return 0 }

// File returns the descriptor and the position of the first byte, for sendfile with explicit offsets;
// false where there is no descriptor.
func (e *Extent) File() (fd uintptr, pos int64, ok bool) { return 0, 0, false }

// ReadAt reads len(p) bytes from position off of the extent. It is io.ReaderAt.
func (e *Extent) ReadAt(p []byte, off int64) (int, error) { return 0, errors.ErrUnsupported }

// AppendTo appends the extent's bytes to buf and returns the extended slice.
func (e *Extent) AppendTo(buf []byte) ([]byte, error) { return buf, errors.ErrUnsupported }

// Release gives the file back. The second and later calls do nothing.
func (e *Extent) Release() {}
