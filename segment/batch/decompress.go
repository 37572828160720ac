package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"firn/segment/poison"
)

const (
	// maxZstdWindow is the window that zstd's own decoder takes by default. A decoder that has the
	// whole output in memory pays nothing for the window; the limit only refuses odd frames.
	maxZstdWindow = 128 << 20
	// zstdBlock is the most that one block of a zstd frame decodes to.
	zstdBlock = 128 << 10
	// hugeOutput is more than what honest batches decompress to. Of what needs more than that there is one at a time in
	// this process, and its memory is not kept.
	hugeOutput = 16 << 20
	// minOutput spares small batches the first growing steps.
	minOutput = 4 << 10
)

// xerialMagic begins a stream in the framing of the Java snappy library: after it two version words,
// then for each block its length, big-endian, and a raw snappy block.
var xerialMagic = []byte("\x82SNAPPY\x00")

const xerialHeaderLen = 16

// Buffer is memory that Each decompresses into, kept from call to call. The zero value is ready. It
// must not be used by two calls at once.
type Buffer struct {
	b    []byte
	huge bool // it has the one place for huge output
}

var (
	buffers      = sync.Pool{New: func() any { return new(Buffer) }}
	gzipDecoders = sync.Pool{New: func() any { return new(gzipDecoder) }}
	lz4Decoders  = sync.Pool{New: func() any { return &lz4Decoder{r: lz4.NewReader(nil)} }}
	zstdDecoders = sync.Pool{New: newZstdDecoder}
)

type gzipDecoder struct {
	src bytes.Reader
	r   gzip.Reader
}

type lz4Decoder struct {
	src bytes.Reader
	r   *lz4.Reader
}

func newZstdDecoder() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxZstdWindow), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic(fmt.Sprintf("batch: zstd decoder options: %v", err))
	}
	return d
}

func putBuffer(buf *Buffer) {
	poison.Fill(buf.b[:cap(buf.b)])
	buf.release()
	buffers.Put(buf)
}

// hugePlace is held by whoever decompresses to more than hugeOutput. Without it as many as have a turn could do so side
// by side, and the collector would let as much again pile up behind them.
var hugePlace = make(chan struct{}, 1)

// reserve waits for the place for huge output if n bytes are that.
func (buf *Buffer) reserve(n int) {
	if n > hugeOutput && !buf.huge {
		hugePlace <- struct{}{}
		buf.huge = true
	}
}

// release gives the place for huge output back, and the memory.
func (buf *Buffer) release() {
	if buf.huge {
		buf.b, buf.huge = nil, false
		<-hugePlace
	}
}

// decompress returns what src holds, in buf's memory, which grows to maxBytes at most but for one block
// of the codec.
func (buf *Buffer) decompress(codec Codec, src []byte, maxBytes int) (out []byte, err error) {
	switch codec {
	case Gzip:
		d := gzipDecoders.Get().(*gzipDecoder)
		defer gzipDecoders.Put(d)
		d.src.Reset(src)
		if err = d.r.Reset(&d.src); err == nil {
			out, err = buf.readAll(&d.r, maxBytes)
		}
		d.src.Reset(nil)
	case LZ4:
		d := lz4Decoders.Get().(*lz4Decoder)
		defer lz4Decoders.Put(d)
		d.src.Reset(src)
		d.r.Reset(&d.src)
		out, err = buf.readAll(d.r, maxBytes)
		d.src.Reset(nil)
	case Snappy:
		out, err = buf.unsnappy(src, maxBytes)
	case Zstd:
		out, err = buf.unzstd(src, maxBytes)
	default:
		return nil, fmt.Errorf("%w: %v", ErrCorrupt, codec)
	}
	if err != nil && !errors.Is(err, ErrTooLarge) {
		return nil, fmt.Errorf("%w: %v: %w", ErrCorrupt, codec, err)
	}
	return out, err
}

// readAll reads r to its end.
func (buf *Buffer) readAll(r io.Reader, maxBytes int) ([]byte, error) {
	b := slices.Grow(buf.b[:0], min(minOutput, maxBytes+1))
	defer func() { buf.b = b }()
	for {
		if len(b) > maxBytes {
			return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, maxBytes)
		}
		if len(b) == cap(b) {
			buf.reserve(2 * len(b))
			b = slices.Grow(b, min(len(b), maxBytes+1-len(b)))
		}
		n, err := r.Read(b[len(b):min(cap(b), maxBytes+1)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF && len(b) <= maxBytes:
			return b, nil
		case err != nil && err != io.EOF:
			return nil, err
		}
	}
}

// unsnappy decodes one raw block, as librdkafka and franz-go send it, or the Java framing.
func (buf *Buffer) unsnappy(src []byte, maxBytes int) ([]byte, error) {
	buf.b = buf.b[:0]
	if !bytes.HasPrefix(src, xerialMagic) {
		err := buf.unsnappyBlock(src, maxBytes)
		return buf.b, err
	}
	if len(src) < xerialHeaderLen {
		return nil, io.ErrUnexpectedEOF
	}
	for src = src[xerialHeaderLen:]; len(src) > 0; {
		if len(src) < 4 {
			return nil, io.ErrUnexpectedEOF
		}
		n := binary.BigEndian.Uint32(src)
		if src = src[4:]; uint64(n) > uint64(len(src)) {
			return nil, io.ErrUnexpectedEOF
		}
		if err := buf.unsnappyBlock(src[:n], maxBytes); err != nil {
			return nil, err
		}
		src = src[n:]
	}
	return buf.b, nil
}

// unsnappyBlock appends the block src to buf.b. The densest element is a copy of 64 bytes told in
// three, so a claim of more than 64 times the block's size is a lie and gets no memory.
func (buf *Buffer) unsnappyBlock(src []byte, maxBytes int) error {
	n, err := snappy.DecodedLen(src)
	switch at := len(buf.b); {
	case err != nil:
		return err
	case n > maxBytes-at:
		return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, maxBytes)
	case n/64 > len(src):
		return snappy.ErrCorrupt
	default:
		buf.reserve(at + n)
		buf.b = slices.Grow(buf.b, n)
		if _, err := snappy.Decode(buf.b[at:at+n:at+n], src); err != nil {
			return err
		}
		buf.b = buf.b[:at+n]
		return nil
	}
}

// unzstd gives the decoder ever larger room until the output fits, up to the bound. The decoder's own
// memory limit will not do: it also refuses frames that merely state a larger window, as those of
// streaming encoders do however little they hold.
func (buf *Buffer) unzstd(src []byte, maxBytes int) ([]byte, error) {
	d := zstdDecoders.Get().(*zstd.Decoder)
	defer zstdDecoders.Put(d)
	limit := maxBytes + zstdBlock
	for room := min(max(2*zstdBlock, cap(buf.b), 4*len(src)), limit); ; room = min(4*room, limit) {
		buf.reserve(room)
		b := slices.Grow(buf.b[:0], room)
		out, err := d.DecodeAll(src, b[:0:room])
		if cap(out) >= cap(b) {
			b = out
		}
		buf.b = b[:0]
		switch {
		case err == nil && len(out) <= maxBytes:
			return out, nil
		case err != nil && !errors.Is(err, zstd.ErrDecoderSizeExceeded) && room-len(out) >= zstdBlock:
			return nil, err // there was room for one more block
		case err == nil || room == limit:
			return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, maxBytes)
		}
	}
}
