package s3bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
)

// maxObject is beyond the largest object that any S3 store takes (5 TiB); positions are cut to it so
// that no store overflows on them.
const maxObject = 1 << 43

// span is the part of an object that a Get asks for, as in objstore.Bucket.
type span struct{ off, n int64 }

// suffix returns how many bytes at the end are meant, for off < 0.
func (s span) suffix() int64 {
	if s.off < -maxObject {
		return maxObject
	}
	return -s.off
}

// header returns the Range header, empty for the whole object.
func (s span) header() string {
	switch off := min(s.off, maxObject); {
	case off < 0:
		return fmt.Sprintf("bytes=-%d", s.suffix())
	case s.n >= 0 && s.n <= maxObject:
		return fmt.Sprintf("bytes=%d-%d", off, off+s.n-1)
	case off > 0:
		return fmt.Sprintf("bytes=%d-", off)
	}
	return ""
}

// within returns the bytes [first, end) that are meant of an object of the given size.
func (s span) within(size int64) (first, end int64) {
	if s.off < 0 {
		return max(0, size-s.suffix()), size
	}
	first, end = min(s.off, size), size
	if s.n >= 0 && s.n < size-first {
		end = first + s.n
	}
	return first, end
}

// body checks that the answer is the span that was asked for, for there are stores and proxies that
// ignore a range, and returns a reader that makes sure of the length.
func (s span) body(ctx context.Context, resp Response) (io.ReadCloser, error) {
	length, err := s.check(resp)
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	return &body{ctx: ctx, rc: resp.Body, left: length}, nil
}

func (s span) check(resp Response) (length int64, err error) {
	if resp.Length < 0 {
		return 0, fmt.Errorf("the store does not say how long its answer is")
	}
	size, first := resp.Length, int64(0)
	if resp.ContentRange != "" {
		var last int64
		if _, err := fmt.Sscanf(resp.ContentRange, "bytes %d-%d/%d", &first, &last, &size); err != nil {
			return 0, fmt.Errorf("the store answers with the range %q: %w", resp.ContentRange, err)
		}
		// MinIO calls the end of an empty object "bytes 0--1/0".
		empty := size == 0 && first == 0 && last == -1
		if (last < first && !empty) || last == math.MaxInt64 || last+1-first != resp.Length {
			return 0, fmt.Errorf("the store answers with the range %q and %d bytes", resp.ContentRange, resp.Length)
		}
	}
	wantFirst, wantEnd := s.within(size)
	if first != wantFirst || first+resp.Length != wantEnd {
		return 0, fmt.Errorf("the store answers %q with bytes %d to %d of %d", s.header(), first, first+resp.Length, size)
	}
	return resp.Length, nil
}

// body gives exactly the promised bytes or an error.
type body struct {
	ctx  context.Context // only to name the cause of an error
	rc   io.ReadCloser
	left int64
}

func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.rc.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	switch {
	case err == nil:
	case b.ctx.Err() != nil:
		err = fmt.Errorf("read object: %w", b.ctx.Err())
	case b.left == 0:
		err = nil // all there is; the next call says EOF
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("read object: %d bytes are missing: %w", b.left, io.ErrUnexpectedEOF)
	default:
		err = fmt.Errorf("read object: %d bytes are missing: %w", b.left, err)
	}
	return n, err
}

func (b *body) Close() error { return b.rc.Close() }
