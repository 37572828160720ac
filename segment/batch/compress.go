package batch

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

const (
	// xerialBlock is the block size of the Java snappy library.
	xerialBlock = 32 << 10
	// zstdWindow bounds an encoder's memory to a few MiB; batches are seldom larger.
	zstdWindow = 512 << 10
)

var (
	gzipEncoders = sync.Pool{New: func() any { return &gzipEncoder{w: gzip.NewWriter(nil)} }}
	lz4Encoders  = sync.Pool{New: newLZ4Encoder}
	zstdEncoders = sync.Pool{New: newZstdEncoder}
)

// appender is an io.Writer onto a slice.
type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}

type gzipEncoder struct {
	out appender
	w   *gzip.Writer
}

type lz4Encoder struct {
	out appender
	w   *lz4.Writer
}

// newLZ4Encoder makes frames as the Java client does: independent 64 KiB blocks, no checksums.
func newLZ4Encoder() any {
	w := lz4.NewWriter(nil)
	if err := w.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false)); err != nil {
		panic(fmt.Sprintf("batch: lz4 encoder options: %v", err))
	}
	return &lz4Encoder{w: w}
}

func newZstdEncoder() any {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
		zstd.WithWindowSize(zstdWindow), zstd.WithEncoderCRC(false))
	if err != nil {
		panic(fmt.Sprintf("batch: zstd encoder options: %v", err))
	}
	return w
}

// compress appends src, encoded, to dst.
func compress(dst, src []byte, codec Codec) ([]byte, error) {
	switch codec {
	case None:
		return append(dst, src...), nil
	case Gzip:
		e := gzipEncoders.Get().(*gzipEncoder)
		defer gzipEncoders.Put(e)
		e.out.b = dst
		e.w.Reset(&e.out)
		_, err := e.w.Write(src)
		if err == nil {
			err = e.w.Close()
		}
		dst, e.out.b = e.out.b, nil
		return dst, err
	case LZ4:
		e := lz4Encoders.Get().(*lz4Encoder)
		defer lz4Encoders.Put(e)
		e.out.b = dst
		e.w.Reset(&e.out)
		_, err := e.w.Write(src)
		if err == nil {
			err = e.w.Close()
		}
		dst, e.out.b = e.out.b, nil
		return dst, err
	case Snappy:
		return xerial(dst, src), nil
	case Zstd:
		e := zstdEncoders.Get().(*zstd.Encoder)
		defer zstdEncoders.Put(e)
		return e.EncodeAll(src, dst), nil
	default:
		return dst, fmt.Errorf("compress: %v", codec)
	}
}

// xerial appends src to dst in the Java framing, which every client reads.
func xerial(dst, src []byte) []byte {
	dst = append(dst, xerialMagic...)
	dst = binary.BigEndian.AppendUint32(dst, 1) // version
	dst = binary.BigEndian.AppendUint32(dst, 1) // lowest version that can read it
	for len(src) > 0 {
		n := min(len(src), xerialBlock)
		at := len(dst)
		dst = slices.Grow(dst, 4+snappy.MaxEncodedLen(n))
		block := snappy.Encode(dst[at+4:cap(dst)], src[:n]) // in place, there is room
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(block)))
		dst = dst[:at+4+len(block)]
		src = src[n:]
	}
	return dst
}

// Recompress appends to dst the batch b with its records compressed by codec to, after checking them
// as Each does, and returns the extended slice; what was appended is a Batch with its own CRC and
// otherwise b's header. A batch that has the codec already is copied as it is, unchecked.
func Recompress(dst []byte, b Batch, to Codec, maxBytes int) ([]byte, error) {
	if b.Codec() == to {
		return append(dst, b...), nil
	}
	buf := buffers.Get().(*Buffer)
	defer putBuffer(buf)
	raw, err := b.plain(buf, maxBytes)
	if err != nil {
		return dst, err
	}
	check := func(Record) error { return nil }
	if err := eachRecord(raw, b.NumRecords(), b.LastOffsetDelta(), check); err != nil {
		return dst, err
	}
	at := len(dst)
	out, err := compress(append(dst, b[:HeaderLen]...), raw, to)
	if err != nil {
		return dst, err
	}
	nb := Batch(out[at:])
	nb[22] = nb[22]&^codecMask | byte(to)
	if err := nb.finish(); err != nil {
		return dst, err
	}
	return out, nil
}

// finish sets the length and the CRC of a batch that is otherwise whole.
func (b Batch) finish() error {
	if len(b) > math.MaxInt32 {
		return fmt.Errorf("%w: a batch of %d bytes", ErrTooLarge, len(b))
	}
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-lengthEnd))
	b.setCRC()
	return nil
}
