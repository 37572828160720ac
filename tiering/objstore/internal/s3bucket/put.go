package s3bucket

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"firn/tiering/objstore"
)

const (
	// maxSingle is the largest object that is sent in one request; a failure costs at most so much
	// to send again.
	maxSingle = 64 << 20
	// partSize keeps an object's parts far below S3's 10,000 up to 312 GiB, which Firn never makes.
	partSize = 32 << 20
	// partsInFlight bounds what one Put sends at a time. Bytes are read from the source as they are
	// sent, so it bounds connections and not memory.
	partsInFlight = 4
	// abortTimeout bounds the clean-up after a Put that failed, whose own context may be done.
	abortTimeout = 10 * time.Second
)

// Body is what one request stores: a part of the source, from the beginning at each call of Reader.
type Body struct {
	src       *source
	off, size int64
	// CRC32C is the checksum as S3's header has it; empty if Options do not ask for it.
	CRC32C string
}

// Size is the number of bytes.
func (b Body) Size() int64 { return b.size }

// Reader returns the bytes.
func (b Body) Reader() *io.SectionReader { return io.NewSectionReader(b.src, b.off, b.size) }

// source remembers why it could not be read, which the client libraries wrap beyond recognition or
// take for a broken connection.
type source struct {
	objstore.Source
	mu  sync.Mutex
	err error
}

func (s *source) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.Source.ReadAt(p, off)
	if n == len(p) {
		return n, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = fmt.Errorf("read source at %d: %w", off+int64(n), err)
	}
	return n, err
}

// failed returns the first read error, if any.
func (s *source) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Put implements objstore.Bucket.
func (b *Bucket) Put(ctx context.Context, key string, src objstore.Source, cond objstore.Condition) (objstore.Info, error) {
	if err := objstore.CheckKey(key); err != nil {
		return objstore.Info{}, err
	}
	p := &put{Bucket: b, key: key, src: &source{Source: src}, size: src.Size(), cond: cond, token: rand.Text()}
	send := p.single
	if p.size > maxSingle {
		send = p.multipart
	}
	etag, err := send(ctx)
	switch {
	case err == nil:
		return objstore.Info{Key: key, Size: p.size, ETag: etag}, nil
	case p.src.failed() != nil:
		err = p.src.failed()
	case cond.IfMatch != "" && codeOf(err) == codeNoSuchKey:
		// S3's answer where there is nothing to match.
		err = fmt.Errorf("%w: the key is not there", objstore.ErrPrecondition)
	}
	return objstore.Info{}, b.fail(ctx, "put", key, err)
}

// put is one call of Put.
type put struct {
	*Bucket
	key   string
	src   *source
	size  int64
	cond  objstore.Condition
	token string
}

// single sends the object in one request.
func (p *put) single(ctx context.Context) (string, error) {
	body, err := p.body(0, p.size)
	if err != nil {
		return "", err
	}
	return p.confirm(ctx, func() (string, error) {
		return p.requests.Put(ctx, p.key, body, Attributes{Token: p.token}, p.cond)
	})
}

// body returns a part of the source, read once already if its checksum is wanted.
func (p *put) body(off, size int64) (Body, error) {
	b := Body{src: p.src, off: off, size: size}
	if p.options.CRC32C {
		sum, err := checksum(b.Reader())
		if err != nil {
			return Body{}, err
		}
		b.CRC32C = sum
	}
	return b, nil
}

// multipart sends the object in parts and puts them together.
func (p *put) multipart(ctx context.Context) (etag string, err error) {
	var id string
	err = retry(ctx, func() (err error) {
		id, err = p.requests.CreateUpload(ctx, p.key, Attributes{Token: p.token})
		return err
	})
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			p.abort(ctx, id)
		}
	}()
	parts, err := p.parts(ctx, id)
	if err != nil {
		return "", err
	}
	return p.confirm(ctx, func() (string, error) {
		return p.requests.CompleteUpload(ctx, p.key, id, parts, p.cond)
	})
}

// parts sends all parts, a few at a time.
func (p *put) parts(ctx context.Context, id string) ([]Part, error) {
	parts := make([]Part, (p.size+partSize-1)/partSize)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(partsInFlight)
	for i := range parts {
		g.Go(func() error {
			off := int64(i) * partSize
			body, err := p.body(off, min(partSize, p.size-off))
			if err != nil {
				return err
			}
			part := Part{Number: int32(i + 1), CRC32C: body.CRC32C}
			err = retry(ctx, func() (err error) {
				part.ETag, err = p.requests.PutPart(ctx, p.key, id, part.Number, body)
				return p.noRetryOfSource(err)
			})
			if err != nil {
				return fmt.Errorf("part %d of %d: %w", part.Number, len(parts), err)
			}
			parts[i] = part
			return nil
		})
	}
	return parts, g.Wait()
}

// noRetryOfSource replaces an error that came of a source that cannot be read.
func (p *put) noRetryOfSource(err error) error {
	if err != nil && p.src.failed() != nil {
		return p.src.failed()
	}
	return err
}

// abort removes what parts have been stored. If it cannot, the bucket's life-cycle rule has to.
func (p *put) abort(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	_ = retry(ctx, func() error { return p.requests.AbortUpload(ctx, p.key, id) })
}

// confirm calls send, which makes the object visible, until it is certain what came of it. Where a
// reply is lost it asks the store whether the object with our token is there: sending again would
// cost the bytes once more, and a condition would then fail for our own object.
func (p *put) confirm(ctx context.Context, send func() (string, error)) (etag string, err error) {
	var lost error // the first failure after which the object may be there
	err = retryWhile(ctx, transientInPut, func() (err error) {
		if etag, err = send(); err == nil {
			return nil
		}
		if err = p.noRetryOfSource(err); p.src.failed() != nil {
			return err
		}
		if lost == nil && ambiguous(err) {
			lost = err
		}
		if lost == nil {
			return err
		}
		found, mine, headErr := p.find(ctx)
		switch {
		case headErr == nil && mine:
			etag = found
			return nil
		case precondition(err), codeOf(err) == codeNoSuchUpload, codeOf(err) == codeNoSuchKey:
			// Ours may have been stored and overwritten since, so this is not known to be a
			// condition that did not hold.
			return fmt.Errorf("outcome unknown, reply lost: %w (then: %s)", errors.Unwrap(lost), err.Error())
		}
		return err
	})
	return etag, err
}

// find looks for the object and reports whether it is the one that this Put stores.
func (p *put) find(ctx context.Context) (etag string, mine bool, err error) {
	info, token, err := p.requests.Head(ctx, p.key)
	return info.ETag, err == nil && token == p.token && info.Size == p.size, err
}

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	// buffers are for checksums: bounded by the parts in flight of all Puts.
	buffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}
)

// checksum returns the CRC-32C of r as S3 writes it.
func checksum(r *io.SectionReader) (string, error) {
	buf := buffers.Get().(*[256 << 10]byte)
	defer buffers.Put(buf)
	sum := crc32.New(castagnoli)
	// The wrapping keeps io.CopyBuffer from going around the buffer.
	if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, struct{ io.Reader }{r}, buf[:]); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum.Sum32())), nil
}
