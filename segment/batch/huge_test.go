package batch

import (
	"errors"
	"testing"
)

// Whoever decompresses a huge batch has the one place for that until nobody looks at its records any more, however the
// look ends; what is not huge does without.
func TestHugeBatchesAreDecompressedOneAtATime(t *testing.T) {
	enough := errors.New("seen enough")
	for _, codec := range []Codec{Gzip, Snappy, LZ4, Zstd} {
		for records, places := range map[int]int{1: 0, 24: 1} {
			var w Builder
			for range records {
				w.Add(0, nil, make([]byte, 1<<20))
			}
			plain, err := w.Build(nil)
			if err != nil {
				t.Fatal(err)
			}
			b, err := Recompress(nil, plain, codec, 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			for _, buf := range []*Buffer{nil, new(Buffer)} {
				for _, limit := range []int{1 << 30, records << 19} {
					err := Batch(b).Each(buf, limit, func(Record) error {
						if len(hugePlace) != places {
							t.Errorf("%v of %d MiB: %d places taken, want %d", codec, records, len(hugePlace), places)
						}
						return enough
					})
					if !errors.Is(err, enough) && !errors.Is(err, ErrTooLarge) {
						t.Errorf("%v of %d MiB: %v", codec, records, err)
					}
					if len(hugePlace) != 0 {
						t.Fatalf("%v of %d MiB: the place stays taken", codec, records)
					}
				}
			}
		}
	}
}
