package tiering

import (
	"context"
	"log/slog"

	"firn/metadata/topic"
	"firn/tiering/chunkcache"
	"firn/tiering/manifest"
	"firn/tiering/objstore"

	"github.com/prometheus/client_golang/prometheus"
)

// ReaderOptions configures a Reader.
type ReaderOptions struct {
	Bucket  objstore.Bucket
	Cluster string
	// Anchor is read only to tell a stale head from a lost object.
	Anchor Anchor
	// Cache, if set, keeps chunks on disk. The Reader does not close it.
	Cache *chunkcache.Cache
	// Memory bounds decoded bytes, read ahead and in responses together; default 64 MiB.
	Memory int64
	// Gets bounds GETs under way; default 16.
	Gets       int
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Reader reads batches back from the tier. It is safe for concurrent use.
type Reader struct{}

// NewReader returns a Reader.
func NewReader(o ReaderOptions) (*Reader, error) { return nil, nil }

// Close cancels what is under way and waits for it. Slabs that are out stay readable.
func (r *Reader) Close() error { return nil }

// Data is a run of whole batches in memory.
type Data struct {
	First, Next int64 // offset of the first batch, and the offset behind the last one
	Slabs       []*Slab
}

// Len is the number of bytes.
func (d *Data) Len() int { return 0 }

// Release gives all slabs back.
func (d *Data) Release() {}

// Slab is a piece of memory with whole batches in it, which is used again after its Release. It is
// read-only.
type Slab struct{}

// Bytes is the memory itself, valid until Release.
func (s *Slab) Bytes() []byte { return nil }

// Len is the number of bytes.
func (s *Slab) Len() int { return 0 }

// File says that there is no file to send from.
func (s *Slab) File() (fd uintptr, pos int64, ok bool) { return 0, 0, false }

// ReadAt copies bytes out.
func (s *Slab) ReadAt(p []byte, off int64) (int, error) { return 0, nil }

// Release ends the use of the memory; exactly once.
func (s *Slab) Release() {}

// Read returns whole batches, the first of which holds offset (or, where that was removed, the next
// one), of at most maxBytes, but at least one. It answers with what has arrived when ctx is done, and
// with ErrNotReady if that is nothing; the read goes on all the same. Offsets outside of
// [head.LogStart, head.TierEnd) give an *OutOfRangeError. The caller releases the Data.
func (r *Reader) Read(ctx context.Context, tp topic.Partition, head *manifest.Head, offset int64, maxBytes int) (Data, error) {
	return Data{}, nil
}

// Stamp is a record's place and time.
type Stamp struct {
	Offset    int64
	Timestamp int64 // ms
	Epoch     int32 // leader epoch of its batch
}

// FindTime returns the first record at or beyond offset from whose timestamp is at least ts; ok is false
// if there is none in the tier.
func (r *Reader) FindTime(ctx context.Context, tp topic.Partition, head *manifest.Head, ts, from int64) (s Stamp, ok bool, err error) {
	return Stamp{}, false, nil
}

// MaxTime returns the first record with the greatest timestamp in the tier; ok is false if it is empty.
func (r *Reader) MaxTime(ctx context.Context, tp topic.Partition, head *manifest.Head) (s Stamp, ok bool, err error) {
	return Stamp{}, false, nil
}

// EpochEnd returns the greatest leader epoch that is not above epoch and the offset behind its last
// batch in the tier; ok is false if there is none.
func (r *Reader) EpochEnd(ctx context.Context, tp topic.Partition, head *manifest.Head, epoch int32) (found int32, end int64, ok bool, err error) {
	return 0, 0, false, nil
}

// TailState is what a replica needs to begin at the end of the tier.
type TailState struct {
	End              int64 // the tier's end: the next offset
	Epochs           []EpochStart
	ProducerSnapshot []byte // producers' state at End; nil if there is none
}

// Tail reads the state at the end of the tier from the newest object's footer.
func (r *Reader) Tail(ctx context.Context, tp topic.Partition, head *manifest.Head) (TailState, error) {
	return TailState{}, nil
}
