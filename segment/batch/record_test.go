package batch

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
)

func TestEachRefusesRecords(t *testing.T) {
	var w Builder
	w.Add(0, []byte("key"), []byte("value"), Header{Key: "h", Value: []byte("x")})
	w.Add(0, []byte("key"), []byte("value"), Header{Key: "h", Value: []byte("x")})
	out, err := w.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	good := Batch(out)
	// length (18), attributes, time, offset, 3 key, 5 value, 1 header, 1 h, 1 x
	const recordLen = 19
	for _, tc := range []struct {
		name string
		harm func(r []byte) []byte // of the records
	}{
		{"length too long", func(r []byte) []byte { r[0] = 0x7e; return r }},
		{"length too short", func(r []byte) []byte { r[0] -= 2; return r }},
		{"negative length", func(r []byte) []byte { r[0] = 1; return r }},
		{"endless varint", func(r []byte) []byte { return bytes.Repeat([]byte{0xff}, 40) }},
		{"33 bit length", func(r []byte) []byte { return append([]byte{0x80, 0x80, 0x80, 0x80, 0x20}, r...) }},
		{"offset does not rise", func(r []byte) []byte { r[recordLen+3] = 0; return r }},
		{"offset beyond the last", func(r []byte) []byte { r[recordLen+3] = 4; return r }},
		{"negative offset", func(r []byte) []byte { r[3] = 1; return r }},
		{"key length -2", func(r []byte) []byte { r[4] = 3; return r }},
		{"key longer than record", func(r []byte) []byte { r[4] = 0x7e; return r }},
		{"value longer than record", func(r []byte) []byte { r[8] = 0x7e; return r }},
		{"negative header count", func(r []byte) []byte { r[14] = 1; return r }},
		{"header count too high", func(r []byte) []byte { r[14] = 4; return r }},
		{"header count too low", func(r []byte) []byte { r[14] = 0; return r }},
		{"null header key", func(r []byte) []byte { r[15] = 1; return r }},
		{"bytes after the last", func(r []byte) []byte { return append(r, 0) }},
		{"a record missing", func(r []byte) []byte { return r[:recordLen] }},
		{"cut in the middle", func(r []byte) []byte { return r[:len(r)-1] }},
		{"nothing", func(r []byte) []byte { return nil }},
	} {
		for _, codec := range codecs {
			t.Run(tc.name+"/"+codec.String(), func(t *testing.T) {
				packed, err := compress(nil, tc.harm(bytes.Clone(good.Records())), codec)
				if err != nil {
					t.Fatal(err)
				}
				b := withRecords(good, codec, packed)
				if err := b.Each(nil, 1<<20, func(Record) error { return nil }); !errors.Is(err, ErrInvalid) || !errors.Is(err, ErrCorrupt) {
					t.Errorf("got %v", err)
				}
			})
		}
	}
	if len(good.Records()) != 2*recordLen {
		t.Fatalf("the table's offsets are wrong: %d bytes of records", len(good.Records()))
	}
}

func TestEachStopsAtTheCallersError(t *testing.T) {
	b, _ := sample(t, Snappy)
	stop, n := errors.New("stop"), 0
	err := b.Each(new(Buffer), 1<<20, func(Record) error {
		if n++; n == 2 {
			return stop
		}
		return nil
	})
	if err != stop || n != 2 {
		t.Errorf("got %v after %d records", err, n)
	}
}

func TestCompactedBatches(t *testing.T) {
	for _, codec := range codecs {
		w := Builder{Codec: codec, BaseOffset: 100}
		w.AddAt(3, 10, []byte("a"), nil)
		w.AddAt(40, 5, []byte("b"), nil)
		out, err := w.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _, err := Parse(out)
		if err != nil {
			t.Fatal(err)
		}
		if got := collect(t, b); len(got) != 2 || got[1].Delta != 40 || b.LastOffset() != 140 || b.MaxTimestamp() != 10 {
			t.Errorf("%v: %v", codec, got)
		}
		empty, err := w.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, _, err := Parse(empty); err != nil || len(collect(t, b)) != 0 {
			t.Errorf("%v: empty batch: %v", codec, err)
		}
	}
}

func TestBuilderRefusesFallingOffsets(t *testing.T) {
	var w Builder
	w.AddAt(5, 0, nil, nil)
	w.AddAt(5, 0, nil, nil)
	if _, err := w.Build(nil); err == nil {
		t.Error("built")
	}
	w.Add(0, nil, nil)
	if out, err := w.Build(nil); err != nil || Batch(out).NumRecords() != 1 {
		t.Errorf("the builder did not recover: %v", err)
	}
}

// bomb is a batch whose one record holds n zeros.
func bomb(t *testing.T, codec Codec, n int) Batch {
	t.Helper()
	w := Builder{Codec: codec}
	w.Add(0, nil, make([]byte, n))
	out, err := w.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDecompressionIsBounded(t *testing.T) {
	const size, limit = 16 << 20, 256 << 10
	for _, codec := range codecs[1:] {
		t.Run(codec.String(), func(t *testing.T) {
			b := bomb(t, codec, size)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := b.Each(new(Buffer), limit, func(Record) error { return nil })
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrTooLarge) || errors.Is(err, ErrCorrupt) {
				t.Errorf("got %v", err)
			}
			// A codec's own state and blocks come on top of the limit: 4 MiB is the largest lz4 block.
			if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
				t.Errorf("allocated %d bytes under a limit of %d", used, limit)
			}
			fits := len(mustPlain(t, b))
			if err := b.Each(nil, fits, func(Record) error { return nil }); err != nil {
				t.Errorf("exactly the limit: %v", err)
			}
			if err := b.Each(nil, fits-1, func(Record) error { return nil }); !errors.Is(err, ErrTooLarge) {
				t.Errorf("one byte over the limit: %v", err)
			}
			for _, odd := range []int{0, -1, -1 << 62} {
				if err := b.Each(nil, odd, func(Record) error { return nil }); !errors.Is(err, ErrTooLarge) {
					t.Errorf("limit %d: %v", odd, err)
				}
			}
			if err := b.Each(nil, 1<<62, func(Record) error { return nil }); err != nil {
				t.Errorf("no limit: %v", err)
			}
		})
	}
}

func mustPlain(t *testing.T, b Batch) []byte {
	t.Helper()
	buf := new(Buffer)
	defer buf.release()
	raw, err := b.plain(buf, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestSnappyClaimsGetNoMemory(t *testing.T) {
	good, _ := sample(t, None)
	claim := binary.AppendUvarint(nil, 1<<30)
	java := append(bytes.Clone(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, byte(len(claim)))
	for name, records := range map[string][]byte{
		"raw": claim, "java": append(java, claim...),
		"java, header cut": java[:12], "java, length cut": java[:18], "java, block cut": java,
	} {
		b := withRecords(good, Snappy, records)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := b.Each(new(Buffer), 2<<30, func(Record) error { return nil })
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, ErrCorrupt) || used > 1<<20 {
			t.Errorf("%s: %v, %d bytes", name, err, used)
		}
	}
}

// Streaming encoders state their window and not the content size, however little there is.
func TestZstdStreamWithLargeWindow(t *testing.T) {
	plain, want := sample(t, None)
	var packed bytes.Buffer
	w, err := zstd.NewWriter(&packed, zstd.WithWindowSize(64<<20), zstd.WithSingleSegment(false), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	for chunk := plain.Records(); len(chunk) > 0; {
		n := min(1000, len(chunk))
		if _, err := w.Write(chunk[:n]); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		chunk = chunk[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b := withRecords(plain, Zstd, packed.Bytes())
	var got []rec
	err = b.Each(nil, len(plain.Records()), func(r Record) error {
		got = append(got, keep(b, r))
		return nil
	})
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Error(err, d)
	}
}

func TestManyBlocksOfEachCodec(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var text strings.Builder
	for text.Len() < 1<<20 {
		fmt.Fprintf(&text, "%d %x ", rng.IntN(1000), rng.Uint64())
	}
	for _, codec := range codecs {
		w := Builder{Codec: codec}
		w.Add(0, nil, []byte(text.String()))
		out, err := w.Build(nil)
		if err != nil {
			t.Fatal(err)
		}
		err = Batch(out).Each(nil, 16<<20, func(r Record) error {
			if string(r.Value) != text.String() {
				t.Errorf("%v: the value differs", codec)
			}
			return nil
		})
		if err != nil {
			t.Errorf("%v: %v", codec, err)
		}
	}
}

func TestFlippedBitsInCompressedRecordsAreErrorsOrCaughtByCRC(t *testing.T) {
	for _, codec := range codecs[1:] {
		b, _ := sample(t, codec)
		for i := HeaderLen; i < len(b); i++ {
			c := Batch(bytes.Clone(b))
			c[i] ^= 1 << (i % 8)
			if err := c.VerifyCRC(); err == nil {
				t.Fatalf("%v: flip of byte %d passes the CRC", codec, i)
			}
			err := c.Each(nil, 1<<20, func(Record) error { return nil })
			if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("%v: flip of byte %d: %v", codec, i, err)
			}
		}
	}
}

// What is cut short is corrupt, however close to the limit its size comes.
func TestCutRecordsAreCorruptAtATightLimit(t *testing.T) {
	for _, codec := range codecs[1:] {
		b, _ := sample(t, codec)
		limit := len(mustPlain(t, b))
		cut := withRecords(b, codec, b.Records()[:len(b.Records())-3])
		if err := cut.Each(nil, limit, func(Record) error { return nil }); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%v: %v", codec, err)
		}
	}
}

func TestUnknownCodec(t *testing.T) {
	b, _ := sample(t, None)
	for _, codec := range []Codec{5, 6, 7} {
		b[22] = b[22]&^codecMask | byte(codec)
		if err := b.Each(nil, 1<<20, func(Record) error { return nil }); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%v: %v", codec, err)
		}
		if _, err := Recompress(nil, b, Gzip, 1<<20); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%v: recompress: %v", codec, err)
		}
	}
}

func TestRecompress(t *testing.T) {
	for _, from := range codecs {
		for _, to := range codecs {
			t.Run(from.String()+" to "+to.String(), func(t *testing.T) {
				b, want := sample(t, from)
				dst, err := Recompress([]byte("before"), b, to, 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				nb, rest, err := Parse(dst[len("before"):])
				if err != nil || len(rest) > 0 || string(dst[:6]) != "before" {
					t.Fatalf("parse: %v, %d left", err, len(rest))
				}
				if err := nb.VerifyCRC(); err != nil {
					t.Error(err)
				}
				if nb.Codec() != to || nb.LeaderEpoch() != 7 || nb.ProducerID() != 4001 || nb.LastOffset() != b.LastOffset() {
					t.Errorf("header changed: %v %d", nb.Codec(), nb.ProducerID())
				}
				if d := cmp.Diff(want, collect(t, nb)); d != "" {
					t.Error(d)
				}
			})
		}
	}
	b := bomb(t, Zstd, 1<<20)
	if dst, err := Recompress([]byte("x"), b, None, 1<<19); !errors.Is(err, ErrTooLarge) || string(dst) != "x" {
		t.Errorf("bomb: %v", err)
	}
	good, _ := sample(t, None)
	bad := withRecords(good, None, append(bytes.Clone(good.Records()), 0))
	if _, err := Recompress(nil, bad, Gzip, 1<<20); !errors.Is(err, ErrInvalid) {
		t.Errorf("bad records: %v", err)
	}
}

func TestHeaderAccessDoesNotAllocate(t *testing.T) {
	b, _ := sample(t, None)
	buf := new(Buffer)
	packed, _ := sample(t, Snappy)
	n := testing.AllocsPerRun(100, func() {
		p, _, err := Parse(b)
		if err != nil || p.VerifyCRC() != nil || p.NextOffset() == 0 || p.LastSequence() < 0 {
			t.Fatal(err)
		}
		p.SetBaseOffset(5)
		p.SetLogAppendTime(9)
		records := 0
		if err := p.Each(nil, 1<<20, func(r Record) error {
			for range r.Headers.All() {
				records++
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := packed.Each(buf, 1<<20, func(Record) error { records++; return nil }); err != nil || records == 0 {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The reader must not rest on the peculiarities of our own encoders.
func TestForeignEncoders(t *testing.T) {
	plain, want := sample(t, None)
	var gz bytes.Buffer
	w, _ := gzip.NewWriterLevel(&gz, gzip.BestCompression)
	if _, err := w.Write(plain.Records()[:100]); err != nil {
		t.Fatal(err)
	}
	w.Close()
	w.Reset(&gz) // a second member, as concatenating writers make
	if _, err := w.Write(plain.Records()[100:]); err != nil {
		t.Fatal(err)
	}
	w.Close()
	for name, b := range map[string]Batch{
		"gzip of two members": withRecords(plain, Gzip, gz.Bytes()),
		"raw snappy":          withRecords(plain, Snappy, snappy.Encode(nil, plain.Records())),
	} {
		if d := cmp.Diff(want, collect(t, b)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// The number of records is checked by their lengths alone, where those can be read.
func TestCheckCount(t *testing.T) {
	var w Builder
	for _, size := range []int{0, 10, 100, 5000, 2 << 20} { // lengths of one byte to four
		w.Add(1, nil, make([]byte, size))
	}
	whole, err := w.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		records func(raw []byte) []byte
		more    int32
		ok      bool
	}{
		"as they are":      {func(raw []byte) []byte { return raw }, 0, true},
		"one too few":      {func(raw []byte) []byte { return raw }, 1, false},
		"one too many":     {func(raw []byte) []byte { return raw }, -1, false},
		"cut":              {func(raw []byte) []byte { return raw[:len(raw)-1] }, 0, false},
		"a byte behind":    {func(raw []byte) []byte { return append(raw, 0) }, 0, false},
		"a length below 0": {func(raw []byte) []byte { raw[0] |= 1; return raw }, 0, false},
		"a length too long": {func(raw []byte) []byte {
			return append(raw, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01)
		}, 1, false},
		"a length cut off": {func(raw []byte) []byte { return append(raw, 0x80) }, 1, false},
		"nothing":          {func([]byte) []byte { return nil }, -5, true},
	} {
		b := withRecords(whole, None, c.records(bytes.Clone(Batch(whole).Records())))
		binary.BigEndian.PutUint32(b[57:], uint32(b.NumRecords()+c.more))
		if err := b.CheckCount(); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		b[22] |= byte(LZ4)
		if err := b.CheckCount(); err != nil {
			t.Errorf("%s, compressed: %v", name, err)
		}
	}
}
