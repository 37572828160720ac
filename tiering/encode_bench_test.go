package tiering_test

import (
	"io"
	"runtime"
	"testing"

	"firn/segment/batch"
	"firn/segment/vfs"
	"firn/tiering"
	"firn/tiering/tiertest"
)

// bigSegment is a segment of many megabytes that takes no memory: the same batch at one offset after the
// other.
type bigSegment struct {
	batch   []byte
	records int64
	n       int
	onRead  func()
}

var _ tiering.SealedSegment = (*bigSegment)(nil)

func newBigSegment(tb testing.TB, codec batch.Codec, random bool, size int) *bigSegment {
	tb.Helper()
	log := tiertest.NewLog(1, 0)
	log.Codec, log.Random = codec, random
	log.Append(1, 100, 1000) // larger than the window that lz4 looks back
	b := log.Want(0, 100)
	return &bigSegment{batch: b, records: 100, n: size / len(b)}
}

func (s *bigSegment) Base() int64 { return 0 }
func (s *bigSegment) End() int64  { return s.records * int64(s.n) }
func (s *bigSegment) Size() int64 { return int64(len(s.batch)) * int64(s.n) }
func (s *bigSegment) Position(offset int64) (int64, error) {
	return offset / s.records * int64(len(s.batch)), nil
}
func (s *bigSegment) ProducerSnapshot() ([]byte, error) { return nil, nil }
func (s *bigSegment) Epochs() []tiering.EpochStart      { return nil }
func (s *bigSegment) DropCache()                        {}
func (s *bigSegment) Release()                          {}

func (s *bigSegment) ReadAt(p []byte, off int64) (int, error) {
	if s.onRead != nil {
		s.onRead()
	}
	n := 0
	var one []byte
	for n < len(p) && off < s.Size() {
		i, within := off/int64(len(s.batch)), off%int64(len(s.batch))
		one = append(one[:0], s.batch...)
		batch.Batch(one).SetBaseOffset(i * s.records)
		m := copy(p[n:], one[within:])
		n, off = n+m, off+int64(m)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// An upload takes a few megabytes of memory however large the segment, compressed or not.
func TestUploadTakesLittleMemory(t *testing.T) {
	const size, most = 64 << 20, 24 << 20
	for name, random := range map[string]bool{"compressible": false, "incompressible": true} {
		t.Run(name, func(t *testing.T) {
			s := newBigSegment(t, batch.None, random, size)
			var before, now runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			peak, reads := uint64(0), 0
			s.onRead = func() {
				if reads++; reads%16 == 0 {
					runtime.ReadMemStats(&now)
					peak = max(peak, now.HeapInuse)
				}
			}
			o, f, err := tiering.Encode(s, 0, tiering.Footer{}, vfs.OS(), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer o.Close()
			buf := make([]byte, 1<<20)
			for off := int64(0); off < o.Size(); off += int64(len(buf)) {
				if _, err := o.ReadAt(buf, off); err != nil && err != io.EOF {
					t.Fatal(err)
				}
			}
			if f.RawBytes < size-100_000 || int64(peak)-int64(before.HeapInuse) > most {
				t.Errorf("%d bytes took %d of memory", f.RawBytes, peak-before.HeapInuse)
			}
			t.Logf("peak %.1f MiB above %.1f MiB, object %d MiB", float64(peak-before.HeapInuse)/(1<<20), float64(before.HeapInuse)/(1<<20), o.Size()>>20)
		})
	}
}

// BenchmarkEncode reads, verifies, blocks and compresses a segment, and reads the object back once, as an
// upload does.
func BenchmarkEncode(b *testing.B) {
	for name, c := range map[string]struct {
		codec  batch.Codec
		random bool
	}{
		"json": {batch.None, false}, "random": {batch.None, true}, "producer=lz4": {batch.LZ4, false},
	} {
		b.Run(name, func(b *testing.B) {
			s := newBigSegment(b, c.codec, c.random, 64<<20)
			b.SetBytes(s.Size())
			b.ReportAllocs()
			buf := make([]byte, 1<<20)
			dir := b.TempDir()
			for b.Loop() {
				o, _, err := tiering.Encode(s, 0, tiering.Footer{}, vfs.OS(), dir)
				if err != nil {
					b.Fatal(err)
				}
				for off := int64(0); off < o.Size(); off += int64(len(buf)) {
					if _, err := o.ReadAt(buf, off); err != nil && err != io.EOF {
						b.Fatal(err)
					}
				}
				o.Close()
			}
		})
	}
}
