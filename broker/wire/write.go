package wire

import "io"

// copyChunk is how much of an extent is read into memory at a time when it is not sent from its file.
const copyChunk = 256 << 10

// WriteTo writes the whole body through memory. It does not release it. After an error an unknown
// part has been written, so the stream is of no more use.
func (b *Body) WriteTo(w io.Writer) (int64, error) {
	var written int64
	put := func(p []byte) error {
		n, err := w.Write(p)
		written += int64(n)
		return err
	}
	at := 0
	for _, r := range b.runs {
		if err := put(b.buf.B[at:r.at]); err != nil {
			return written, err
		}
		at = r.at
		if err := copyExtent(r.ext, put); err != nil {
			return written, err
		}
	}
	return written, put(b.buf.B[at:])
}

func copyExtent(e Extent, put func([]byte) error) error {
	buf := NewBuffer(min(e.Len(), copyChunk))
	defer buf.Release()
	for off := 0; off < e.Len(); {
		p := buf.B[:min(len(buf.B), e.Len()-off)]
		if _, err := e.ReadAt(p, int64(off)); err != nil {
			return err
		}
		if err := put(p); err != nil {
			return err
		}
		off += len(p)
	}
	return nil
}
