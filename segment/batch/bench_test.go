package batch

import (
	"bytes"
	"strconv"
	"testing"
)

func benchBatch(b *testing.B, codec Codec, records int) Batch {
	b.Helper()
	w := Builder{Codec: codec}
	value := bytes.Repeat([]byte("0123456789abcdef"), 64)
	for i := range records {
		value[0] = byte(i)
		w.Add(int64(i), []byte("key"), value)
	}
	out, err := w.Build(nil)
	if err != nil {
		b.Fatal(err)
	}
	return out
}

func BenchmarkHeader(b *testing.B) {
	data := benchBatch(b, None, 1)
	b.ReportAllocs()
	var sum int64
	for b.Loop() {
		p, _, err := Parse(data)
		if err != nil {
			b.Fatal(err)
		}
		p.SetBaseOffset(sum & 0xff)
		sum += p.NextOffset() + p.MaxTimestamp() + p.ProducerID() + int64(p.LastSequence())
	}
}

func BenchmarkVerifyCRC(b *testing.B) {
	data := benchBatch(b, None, 256)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := data.VerifyCRC(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEach(b *testing.B) {
	for _, codec := range codecs {
		b.Run(codec.String(), func(b *testing.B) {
			data := benchBatch(b, codec, 256)
			buf := new(Buffer)
			b.SetBytes(256 << 10)
			b.ReportAllocs()
			for b.Loop() {
				if err := data.Each(buf, 1<<20, func(Record) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCheckCount(b *testing.B) {
	for _, size := range []int{100, 1024} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			var w Builder
			for i := range 256 << 10 / size {
				w.Add(int64(i), nil, make([]byte, size))
			}
			data, err := w.Build(nil)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if err := Batch(data).CheckCount(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
