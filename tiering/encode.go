package tiering

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"
	"sync"

	"github.com/pierrec/lz4/v4"

	"firn/segment/batch"
	"firn/segment/vfs"
)

// object is an encoded segment: a source of its bytes that needs little memory, however large it is.
// Blocks that are stored as they are come from the segment's own file; only compressed blocks lie in the
// spool file, and the footer in memory. Measured against encoding anew for each read (lz4 at 0.5 GB/s,
// and S3 clients read a body twice): the spool costs at most nine tenths of the segment's bytes in
// writes that are unlinked before they need reach the disk, and nothing where producers compress.
type object struct {
	footer   *Footer
	rawStart int64       // where the first batch stands in raw
	raw      io.ReaderAt // the segment
	spools   *spool      // nil: nothing is compressed
	spool    vfs.File    // nil while no block was compressed
	spoolPos []int64     // by block, -1 for those in raw
	tail     []byte      // footer and trailer
	// spoolErr is why blocks from some place on are not compressed, nil if all were tried.
	spoolErr error
}

// Size implements objstore.Source.
func (o *object) Size() int64 { return o.footer.Size }

// ReadAt implements objstore.Source.
func (o *object) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= o.Size() {
		return 0, io.EOF
	}
	read := 0
	for read < len(p) && off < o.Size() {
		n, err := o.readPart(p[read:], off)
		read += n
		off += int64(n)
		if err != nil {
			return read, err
		}
	}
	if read < len(p) {
		return read, io.EOF
	}
	return read, nil
}

// readPart reads from the one place that byte off is in, and on as far as that place goes.
func (o *object) readPart(p []byte, off int64) (int, error) {
	blocks := o.footer.Blocks
	if off >= o.footer.StoredBytes {
		return copy(p, o.tail[off-o.footer.StoredBytes:]), nil
	}
	i := sort.Search(len(blocks), func(i int) bool { return int64(blocks[i].Pos) > off }) - 1
	b, within := blocks[i], off-int64(blocks[i].Pos)
	p = p[:min(int64(len(p)), int64(b.Len)-within)]
	var src io.ReaderAt = o.raw
	at := o.rawStart + int64(b.RawPos) + within
	if pos := o.spoolPos[i]; pos >= 0 {
		src, at = o.spool, pos+within
	}
	n, err := src.ReadAt(p, at)
	if n == len(p) {
		return n, nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, fmt.Errorf("read block %d back for upload: %w", i, err)
}

// Close removes the spool file.
func (o *object) Close() {
	if o.spool != nil {
		o.spools.discard(o.spool)
	}
}

// encoder turns the batches of one segment into blocks.
type encoder struct {
	o        *object
	from     int64        // is in the first batch
	end      int64        // of the segment
	epochs   []EpochStart // from the one on that the last batch is of
	began    bool
	full     bool // the spool took no more: nothing is compressed from here on
	spoolEnd int64
	pace     func(n int) error
	crc      uint32

	buf        *encodeBuffers
	open       Block // the block being filled
	compressed int   // bytes in it of batches that the producer compressed
}

// encodeBuffers are what one encoding needs, used again for the next.
type encodeBuffers struct {
	raw, packed []byte
	lz4         lz4.Compressor
}

var encodePool = sync.Pool{New: func() any {
	return &encodeBuffers{raw: make([]byte, 0, BlockBytes+4096), packed: make([]byte, BlockBytes)}
}}

// encode reads the batches of [from, s.End()) and returns the object. meta brings what the batches do not
// tell: partition, leader and broker epoch, epochs, aborted transactions, producers. Every batch's CRC is
// verified on the way, so that rot on the local disk is not archived. Compressed blocks go
// to a file of spools, which may be nil. pace is called with the number of raw bytes of each block. The
// caller closes the object while s is still held.
func encode(s SealedSegment, from int64, meta Footer, spools *spool, pace func(n int) error) (_ *object, err error) {
	start := int64(0)
	if from > s.Base() { // a new leader may begin in the middle of a segment
		if start, err = s.Position(from); err != nil {
			return nil, err
		}
	}
	o := &object{footer: &meta, rawStart: start, raw: s, spools: spools}
	defer func() {
		if err != nil {
			o.Close()
		}
	}()
	e := &encoder{o: o, from: max(from, s.Base()), end: s.End(), epochs: meta.Epochs, pace: pace, buf: encodePool.Get().(*encodeBuffers)}
	e.buf.raw = e.buf.raw[:0]
	defer encodePool.Put(e.buf)
	if err := e.run(newBatchReader(s, start, s.Size())); err != nil {
		return nil, err
	}
	if len(meta.Blocks) == 0 {
		return nil, fmt.Errorf("no batches in [%d, %d)", from, s.End())
	}
	if meta.End != s.End()-1 {
		return nil, &rotError{s.Size(), fmt.Errorf("batches end at %d, segment at %d", meta.End, s.End()-1)}
	}
	o.tail, err = encodeFooter(o.footer, e.crc)
	return o, err
}

func (e *encoder) run(r *batchReader) error {
	defer r.close()
	for {
		b, err := r.next()
		if errors.Is(err, io.EOF) {
			return e.flush()
		}
		if err != nil {
			return err
		}
		if len(e.buf.raw) > 0 && len(e.buf.raw)+b.Size() > BlockBytes {
			if err := e.flush(); err != nil {
				return err
			}
		}
		if err := e.add(b); errors.Is(err, errDisorder) {
			return &rotError{r.pos - int64(len(r.rest)+b.Size()), err}
		} else if err != nil {
			return err
		}
	}
}

// errDisorder says that a batch cannot stand where it does.
var errDisorder = errors.New("batches are not in order")

// add puts a batch into the open block.
func (e *encoder) add(b batch.Batch) error {
	f := e.o.footer
	if !e.began {
		f.Base, f.MinTime, f.MaxTime, f.MaxTimeBase = b.BaseOffset(), b.BaseTimestamp(), b.MaxTimestamp(), b.BaseOffset()
	}
	// A batch's own checksum does not cover its offset and its epoch, but the log knows its epochs.
	for len(e.epochs) > 1 && e.epochs[1].Start <= b.BaseOffset() {
		e.epochs = e.epochs[1:]
	}
	known := b.LeaderEpoch()
	if len(e.epochs) > 0 && e.epochs[0].Start <= b.BaseOffset() {
		known = e.epochs[0].Epoch
	}
	fits := e.began && b.BaseOffset() > f.End || !e.began && b.BaseOffset() <= e.from && e.from <= b.LastOffset()
	if !fits || b.LastOffset() >= e.end || b.LeaderEpoch() < f.LastEpoch || b.LeaderEpoch() != known {
		return fmt.Errorf("%w: offset %d of epoch %d stands behind offset %d of epoch %d in [%d, %d), where the log's is %d",
			errDisorder, b.BaseOffset(), b.LeaderEpoch(), f.End, f.LastEpoch, e.from, e.end, known)
	}
	if b.LeaderEpoch() > f.LeaderEpoch { // or another leadership has begun meanwhile
		return fmt.Errorf("batch at offset %d is of epoch %d, leader epoch is %d", b.BaseOffset(), b.LeaderEpoch(), f.LeaderEpoch)
	}
	e.began = true
	if b.LastOffset()-f.Base > maxObject || f.RawBytes+int64(b.Size()) > maxObject {
		return fmt.Errorf("segment at %d is too large for one object", f.Base)
	}
	first, last := uint32(b.BaseOffset()-f.Base), uint32(b.LastOffset()-f.Base)
	if len(e.buf.raw) == 0 {
		e.open = Block{First: first, RawPos: uint32(f.RawBytes), MaxTime: b.MaxTimestamp()}
		e.compressed = 0
	}
	e.open.Last = last
	e.open.MaxTime = max(e.open.MaxTime, b.MaxTimestamp())
	if b.Codec() != batch.None {
		e.compressed += b.Size()
	}
	f.End, f.LastEpoch = b.LastOffset(), b.LeaderEpoch()
	f.MinTime = min(f.MinTime, b.BaseTimestamp())
	if b.MaxTimestamp() > f.MaxTime {
		f.MaxTime, f.MaxTimeBase = b.MaxTimestamp(), b.BaseOffset()
	}
	f.Batches++
	f.Records += int64(b.NumRecords())
	f.RawBytes += int64(b.Size())
	e.buf.raw = append(e.buf.raw, b...)
	return nil
}

// flush closes the open block.
func (e *encoder) flush() error {
	raw := e.buf.raw
	if len(raw) == 0 {
		return nil
	}
	defer func() { e.buf.raw = e.buf.raw[:0] }()
	if cap(raw) > 16*BlockBytes {
		defer func() { e.buf.raw = make([]byte, 0, BlockBytes+4096) }() // one huge batch does not stay
	}
	if e.pace != nil {
		if err := e.pace(len(raw)); err != nil {
			return err
		}
	}
	f := e.o.footer
	stored, spoolPos := raw, int64(-1)
	if packed := e.compress(raw); packed != nil {
		if pos, ok := e.toSpool(packed); ok {
			stored, spoolPos = packed, pos
			e.open.Codec = codecLZ4
		}
	}
	e.open.RawLen, e.open.Len = uint32(len(raw)), uint32(len(stored))
	e.open.Pos, e.open.CRC = uint32(f.StoredBytes), checksum(stored)
	e.crc = crc32.Update(e.crc, castagnoli, stored)
	f.StoredBytes += int64(len(stored))
	f.Blocks = append(f.Blocks, e.open)
	e.o.spoolPos = append(e.o.spoolPos, spoolPos)
	return nil
}

// compress returns the block in lz4 if that saves at least a tenth, or nil. What producers compressed
// already is not tried.
func (e *encoder) compress(raw []byte) []byte {
	if e.o.spools == nil || e.full || 2*e.compressed > len(raw) {
		return nil
	}
	limit := len(raw) - len(raw)/10
	if cap(e.buf.packed) < limit {
		e.buf.packed = make([]byte, limit)
	}
	packed := e.buf.packed[:limit]
	// With a destination this short the compressor gives up where a tenth is not saved.
	n, err := e.buf.lz4.CompressBlock(raw, packed)
	if err != nil || n == 0 {
		return nil
	}
	return packed[:n]
}

// toSpool puts a compressed block away. Without room for it on the local disk the block is stored as it
// is, which needs none.
func (e *encoder) toSpool(packed []byte) (pos int64, ok bool) {
	if e.o.spool == nil {
		spool, err := e.o.spools.create()
		if err != nil {
			e.full, e.o.spoolErr = true, err
			return 0, false
		}
		e.o.spool = spool
	}
	pos = e.spoolEnd
	if n, err := e.o.spool.WriteAt(packed, pos); err != nil || n < len(packed) {
		e.full, e.o.spoolErr = true, err
		return 0, false
	}
	e.spoolEnd += int64(len(packed))
	return pos, true
}
