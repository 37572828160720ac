package batch

import (
	"bytes"
	"errors"
	"testing"
)

const fuzzLimit = 1 << 20

func seeds(f *testing.F) {
	f.Helper()
	for _, codec := range codecs {
		b, _ := sample(f, codec)
		f.Add([]byte(b))
		f.Add([]byte(b[:len(b)/2]))
	}
	w := Builder{BaseOffset: 9}
	w.SetFlags(true, true)
	w.AddAt(4, -1, nil, nil)
	out, err := w.Build(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(bytes.Clone(out), out...))
	f.Add([]byte{})
}

// FuzzParse walks the batches of any bytes: each is whole, within its bytes, and sane.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		rest := data
		for {
			b, next, err := Parse(rest)
			if err != nil {
				if !errors.Is(err, ErrShort) && !errors.Is(err, ErrMagic) && !errors.Is(err, ErrCorrupt) {
					t.Fatalf("unnamed error %v", err)
				}
				return
			}
			if len(b) != b.Size() || len(b)+len(next) != len(rest) || len(b) < HeaderLen {
				t.Fatalf("batch of %d bytes says %d, %d of %d left", len(b), b.Size(), len(next), len(rest))
			}
			if b.BaseOffset() < 0 || b.LastOffset() < b.BaseOffset() || b.NextOffset() <= b.LastOffset() {
				t.Fatalf("offsets %d to %d", b.BaseOffset(), b.LastOffset())
			}
			if n := b.NumRecords(); n < 0 || int64(n) > int64(b.LastOffsetDelta())+1 {
				t.Fatalf("%d records", n)
			}
			_ = b.VerifyCRC()
			rest = next
		}
	})
}

// FuzzEach reads the records of any bytes behind a header that fits; what it accepts survives being
// recompressed.
func FuzzEach(f *testing.F) {
	for _, codec := range codecs {
		b, _ := sample(f, codec)
		f.Add(byte(codec), b.NumRecords(), []byte(b.Records()))
	}
	f.Add(byte(Snappy), int32(1), append(bytes.Clone(xerialMagic), make([]byte, 12)...))
	f.Fuzz(func(t *testing.T, codec byte, count int32, records []byte) {
		var w Builder
		w.AddAt(max(0, count&0xffff), 0, nil, nil)
		header, err := w.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		b := withRecords(header, Codec(codec&codecMask), records)
		n, total := int32(0), 0
		last := int32(-1)
		err = b.Each(nil, fuzzLimit, func(r Record) error {
			if r.OffsetDelta <= last || r.OffsetDelta > b.LastOffsetDelta() {
				t.Fatalf("offset delta %d after %d", r.OffsetDelta, last)
			}
			last = r.OffsetDelta
			n++
			headers := 0
			for k, v := range r.Headers.All() {
				headers++
				total += len(k) + len(v)
			}
			if headers != r.Headers.Len() {
				t.Fatalf("%d of %d headers", headers, r.Headers.Len())
			}
			total += len(r.Key) + len(r.Value)
			return nil
		})
		if cerr := b.CheckCount(); cerr != nil && err == nil || errors.Is(cerr, ErrCorrupt) != (cerr != nil) {
			t.Fatalf("%d records are read, the count is refused: %v", n, cerr)
		}
		if total > max(fuzzLimit, len(records)) {
			t.Fatalf("%d bytes came out", total)
		}
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("unnamed error %v", err)
			}
			return
		}
		if n != b.NumRecords() {
			t.Fatalf("%d of %d records", n, b.NumRecords())
		}
		out, err := Recompress(nil, b, (b.Codec()+1)%5, fuzzLimit)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := Parse(out)
		if err != nil || again.VerifyCRC() != nil {
			t.Fatal(err)
		}
		if err := again.Each(nil, max(fuzzLimit, len(records)), func(Record) error { n--; return nil }); err != nil || n != 0 {
			t.Fatalf("%v, %d records lost", err, n)
		}
	})
}
