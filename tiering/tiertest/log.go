package tiertest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"firn/segment/batch"
	"firn/tiering"
)

// Log is a partition's local log in memory. It is safe for concurrent use.
type Log struct {
	mu      sync.Mutex
	rng     *rand.Rand
	sealed  []*Segment
	active  *Segment
	next    int64
	hw      int64
	epochs  []tiering.EpochStart
	batches []batch.Batch // all ever appended
	start   int64
	onRoll  func()

	// Rotten is 1 more than where the segment begins that was last called damaged.
	Rotten atomic.Int64
	// Forget keeps no copy of what was appended: Want does not work.
	Forget bool
	// Codec compresses the batches; Random makes values that lz4 cannot compress.
	Codec  batch.Codec
	Random bool
	// Now gives the records' timestamps, in ms; nil means offsets.
	Now func(offset int64) int64
	// Change, if set, may rewrite each batch before it is appended.
	Change func(b batch.Batch)
}

// Segment is a segment of a Log. It implements tiering.SealedSegment.
type Segment struct {
	log      *Log
	base     int64
	end      int64
	data     []byte
	since    time.Time
	held     atomic.Int32
	Dropped  atomic.Int32 // calls of DropCache
	Snapshot []byte
}

var (
	_ tiering.Source        = (*Log)(nil)
	_ tiering.SealedSegment = (*Segment)(nil)
)

// NewLog returns an empty log that begins at an offset.
func NewLog(seed uint64, start int64) *Log {
	l := &Log{rng: rand.New(rand.NewPCG(seed, 5)), next: start, start: start}
	l.active = l.newSegment()
	return l
}

func (l *Log) newSegment() *Segment { return &Segment{log: l, base: l.next, end: l.next} }

// OnRoll is called after Roll has sealed a segment.
func (l *Log) OnRoll(fn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onRoll = fn
}

// Epoch begins a leader epoch.
func (l *Log) Epoch(epoch int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epochs = append(l.epochs, tiering.EpochStart{Epoch: epoch, Start: l.next})
}

// Append appends n batches of the given number of records with values of about valueLen bytes, and
// returns the end of the log.
func (l *Log) Append(n, records, valueLen int) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.epochs) == 0 {
		l.epochs = []tiering.EpochStart{{Epoch: 0, Start: l.next}}
	}
	epoch := l.epochs[len(l.epochs)-1].Epoch
	for range n {
		w := batch.Builder{Codec: l.Codec, BaseOffset: l.next, LeaderEpoch: epoch}
		for i := range records {
			offset := l.next + int64(i)
			ts := offset
			if l.Now != nil {
				ts = l.Now(offset)
			}
			w.Add(ts, []byte(fmt.Sprintf("key-%d", offset)), l.value(offset, valueLen))
		}
		b, err := w.Build(nil)
		if err != nil {
			panic(err)
		}
		if l.Change != nil {
			l.Change(b)
		}
		if len(l.active.data) == 0 {
			l.active.since = time.Now()
		}
		if !l.Forget {
			l.batches = append(l.batches, b)
		}
		l.active.data = append(l.active.data, b...)
		l.next = batch.Batch(b).NextOffset()
		l.active.end = l.next
	}
	return l.next
}

func (l *Log) value(offset int64, n int) []byte {
	if l.Random {
		v := make([]byte, n+8)
		for i := 0; i < n; i += 8 {
			binary.LittleEndian.PutUint64(v[i:], l.rng.Uint64())
		}
		return v[:n]
	}
	v := make([]byte, 0, n+200)
	for len(v) < n {
		v = fmt.Appendf(v, `{"offset":%d,"level":"info","host":"node-%d","request":"GET /v1/items/%016x","ms":%d,"user":"%08x"} `,
			offset, offset%16, l.rng.Uint64(), l.rng.IntN(900), l.rng.Uint32())
	}
	return v[:n]
}

// AppendSegment appends batches until the active segment has so many bytes, and rolls.
func (l *Log) AppendSegment(size, records, valueLen int) {
	for {
		l.Append(1, records, valueLen)
		if _, n, _ := l.Active(); n >= int64(size) {
			break
		}
	}
	l.Commit()
	_ = l.Roll()
}

// Commit raises the high watermark to the end of the log and returns it.
func (l *Log) Commit() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hw = l.next
	return l.hw
}

// SetHighWatermark sets it.
func (l *Log) SetHighWatermark(hw int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hw = hw
}

// Drop forgets the sealed segments wholly below an offset, as local retention does.
func (l *Log) Drop(below int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.sealed) > 0 && l.sealed[0].end <= below {
		l.start = l.sealed[0].end
		l.sealed = l.sealed[1:]
	}
}

// Want is what was appended of [from, to), in whole batches.
func (l *Log) Want(from, to int64) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []byte
	for _, b := range l.batches {
		if b.LastOffset() >= from && b.BaseOffset() < to {
			out = append(out, b...)
		}
	}
	return out
}

// Start implements tiering.Source.
func (l *Log) Start() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.start }

// Next implements tiering.Source.
func (l *Log) Next() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.next }

// HighWatermark implements tiering.Source.
func (l *Log) HighWatermark() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.hw }

// Sealed implements tiering.Source.
func (l *Log) Sealed(from int64) []tiering.SealedSegment {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []tiering.SealedSegment
	for _, s := range l.sealed {
		if s.end > from {
			s.held.Add(1)
			out = append(out, s)
		}
	}
	return out
}

// Bytes implements tiering.Source.
func (l *Log) Bytes(from int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := int64(0)
	for _, s := range append(l.sealed[:len(l.sealed):len(l.sealed)], l.active) {
		if s.end > from {
			n += int64(len(s.data))
		}
	}
	return n
}

// Active implements tiering.Source.
func (l *Log) Active() (base, size int64, since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.active.base, int64(len(l.active.data)), l.active.since
}

// Roll implements tiering.Source.
func (l *Log) Roll() error {
	l.mu.Lock()
	rolled := len(l.active.data) > 0
	if rolled {
		l.active.Snapshot = []byte(fmt.Sprintf("producers at %d", l.active.end))
		l.sealed = append(l.sealed, l.active)
		l.active = l.newSegment()
	}
	fn := l.onRoll
	l.mu.Unlock()
	if rolled && fn != nil {
		fn()
	}
	return nil
}

// Damaged implements tiering.Source.
func (l *Log) Damaged(base, _ int64, _ error) { l.Rotten.Store(base + 1) }

// Held returns how many sealed segments are held by somebody.
func (l *Log) Held() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, s := range l.sealed {
		n += int(s.held.Load())
	}
	return n
}

// Base implements tiering.SealedSegment.
func (s *Segment) Base() int64 { return s.base }

// End implements tiering.SealedSegment.
func (s *Segment) End() int64 { return s.end }

// Size implements tiering.SealedSegment.
func (s *Segment) Size() int64 { return int64(len(s.data)) }

// ReadAt implements tiering.SealedSegment.
func (s *Segment) ReadAt(p []byte, off int64) (int, error) {
	if s.held.Load() <= 0 {
		return 0, errors.New("tiertest: read of a segment that nobody holds")
	}
	if off < 0 || off >= int64(len(s.data)) {
		return 0, io.EOF
	}
	n := copy(p, s.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Position implements tiering.SealedSegment.
func (s *Segment) Position(offset int64) (int64, error) {
	pos := 0
	for pos < len(s.data) {
		b, _, err := batch.Parse(s.data[pos:])
		if err != nil {
			return 0, err
		}
		if b.LastOffset() >= offset {
			return int64(pos), nil
		}
		pos += b.Size()
	}
	return 0, fmt.Errorf("tiertest: offset %d is not in [%d, %d)", offset, s.base, s.end)
}

// ProducerSnapshot implements tiering.SealedSegment.
func (s *Segment) ProducerSnapshot() ([]byte, error) { return s.Snapshot, nil }

// Epochs implements tiering.SealedSegment.
func (s *Segment) Epochs() []tiering.EpochStart {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	var out []tiering.EpochStart
	for _, e := range s.log.epochs {
		if e.Start < s.end {
			out = append(out, e)
		}
	}
	return out
}

// DropCache implements tiering.SealedSegment.
func (s *Segment) DropCache() { s.Dropped.Add(1) }

// Release implements tiering.SealedSegment.
func (s *Segment) Release() {
	if s.held.Add(-1) < 0 {
		panic("tiertest: segment released twice")
	}
}

// Corrupt flips a bit of the sealed segment that holds offset.
func (l *Log) Corrupt(offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sealed {
		if s.base <= offset && offset < s.end {
			s.data = bytes.Clone(s.data)
			s.data[len(s.data)/2] ^= 4
		}
	}
}
