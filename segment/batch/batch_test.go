package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var codecs = []Codec{None, Gzip, Snappy, LZ4, Zstd}

// rec is a Record with its headers taken apart, safe to keep.
type rec struct {
	Delta      int32
	Timestamp  int64
	Key, Value []byte
	Headers    []Header
}

func collect(t *testing.T, b Batch) []rec {
	t.Helper()
	var out []rec
	err := b.Each(nil, 64<<20, func(r Record) error {
		out = append(out, keep(b, r))
		return nil
	})
	if err != nil {
		t.Fatalf("each: %v", err)
	}
	return out
}

func keep(b Batch, r Record) rec {
	kept := rec{Delta: r.OffsetDelta, Timestamp: b.Timestamp(r), Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value)}
	for k, v := range r.Headers.All() {
		kept.Headers = append(kept.Headers, Header{Key: string(k), Value: bytes.Clone(v)})
	}
	return kept
}

// sample is a batch with each kind of record, and what it holds.
func sample(t testing.TB, codec Codec) (Batch, []rec) {
	t.Helper()
	want := []rec{
		{Delta: 0, Timestamp: 1_700_000_000_000, Key: []byte("k"), Value: []byte("v")},
		{Delta: 1, Timestamp: 1_700_000_000_500, Value: []byte{}},
		{Delta: 2, Timestamp: 1_699_999_999_000, Key: []byte{}},
		{Delta: 3, Timestamp: 1_700_000_100_000, Key: []byte("h"), Value: bytes.Repeat([]byte("long "), 3000), Headers: []Header{
			{Key: "a", Value: []byte("1")}, {Key: "", Value: nil}, {Key: "empty", Value: []byte{}},
		}},
	}
	w := Builder{Codec: codec, BaseOffset: 1 << 40, LeaderEpoch: 7}
	w.SetProducer(4001, 3, math.MaxInt32-1)
	for _, r := range want {
		w.Add(r.Timestamp, r.Key, r.Value, r.Headers...)
	}
	out, err := w.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	b, rest, err := Parse(out)
	if err != nil || len(rest) != 0 {
		t.Fatalf("parse: %v, %d bytes left", err, len(rest))
	}
	return b, want
}

func TestHeaderAgreesWithKmsg(t *testing.T) {
	raw := []byte{0x0e, 0, 0, 0, 1, 2, 'v', 0}
	km := kmsg.RecordBatch{
		FirstOffset: 12345678901, Length: int32(HeaderLen - 12 + len(raw)), PartitionLeaderEpoch: 99, Magic: 2,
		Attributes: 0x38, LastOffsetDelta: 0, FirstTimestamp: -1, MaxTimestamp: 1 << 41,
		ProducerID: 1 << 50, ProducerEpoch: 300, FirstSequence: 1 << 30, NumRecords: 1, Records: raw,
	}
	bytes := km.AppendTo(nil)
	b, rest, err := Parse(append(bytes, "rest"...))
	if err != nil || string(rest) != "rest" {
		t.Fatalf("parse: %v, rest %q", err, rest)
	}
	got := kmsg.RecordBatch{
		FirstOffset: b.BaseOffset(), Length: int32(b.Size() - 12), PartitionLeaderEpoch: b.LeaderEpoch(), Magic: 2,
		CRC: int32(b.CRC()), Attributes: b.Attributes(), LastOffsetDelta: b.LastOffsetDelta(), FirstTimestamp: b.BaseTimestamp(),
		MaxTimestamp: b.MaxTimestamp(), ProducerID: b.ProducerID(), ProducerEpoch: b.ProducerEpoch(),
		FirstSequence: b.BaseSequence(), NumRecords: b.NumRecords(), Records: b.Records(),
	}
	if d := cmp.Diff(km, got); d != "" {
		t.Error(d)
	}
	if !b.LogAppendTime() || !b.Transactional() || !b.Control() || b.Codec() != None {
		t.Errorf("attributes %x read wrong", b.Attributes())
	}
}

func TestFranzReadsWhatBuilderMakes(t *testing.T) {
	for _, codec := range codecs {
		t.Run(codec.String(), func(t *testing.T) {
			b, want := sample(t, codec)
			if err := b.VerifyCRC(); err != nil {
				t.Error(err)
			}
			part := kmsg.FetchResponseTopicPartition{RecordBatches: b}
			fp, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{}, &part, kgo.DefaultDecompressor(), nil)
			if fp.Err != nil {
				t.Fatal(fp.Err)
			}
			var got []rec
			for _, r := range fp.Records {
				k := rec{Delta: int32(r.Offset - 1<<40), Timestamp: r.Timestamp.UnixMilli(), Key: r.Key, Value: r.Value}
				for _, h := range r.Headers {
					k.Headers = append(k.Headers, Header{Key: h.Key, Value: h.Value})
				}
				if r.LeaderEpoch != 7 || r.ProducerID != 4001 || r.ProducerEpoch != 3 {
					t.Errorf("record %d: epoch %d, producer %d/%d", r.Offset, r.LeaderEpoch, r.ProducerID, r.ProducerEpoch)
				}
				got = append(got, k)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(want, collect(t, b)); d != "" {
				t.Errorf("our own reading: %s", d)
			}
		})
	}
}

func TestEachReadsWhatFranzCompresses(t *testing.T) {
	plain, want := sample(t, None)
	for codec, franz := range map[Codec]kgo.CompressionCodec{
		Gzip: kgo.GzipCompression(), Snappy: kgo.SnappyCompression(), LZ4: kgo.Lz4Compression(), Zstd: kgo.ZstdCompression(),
	} {
		t.Run(codec.String(), func(t *testing.T) {
			c, err := kgo.DefaultCompressor(franz)
			if err != nil {
				t.Fatal(err)
			}
			packed, kind := c.Compress(new(bytes.Buffer), plain.Records())
			if Codec(kind) != codec {
				t.Fatalf("franz took codec %v", kind)
			}
			b := withRecords(plain, codec, packed)
			if d := cmp.Diff(want, collect(t, b)); d != "" {
				t.Error(d)
			}
		})
	}
}

// withRecords is b with other record bytes and a right length and CRC.
func withRecords(b Batch, codec Codec, records []byte) Batch {
	nb := append(Batch(bytes.Clone(b[:HeaderLen])), records...)
	nb[22] = nb[22]&^codecMask | byte(codec)
	if err := nb.finish(); err != nil {
		panic(err)
	}
	return nb
}

func TestParseRefuses(t *testing.T) {
	good, _ := sample(t, None)
	put32 := func(at int, v int32) func(Batch) {
		return func(b Batch) { binary.BigEndian.PutUint32(b[at:], uint32(v)) }
	}
	for _, tc := range []struct {
		name string
		harm func(Batch)
		want error
	}{
		{"magic 1", func(b Batch) { b[16] = 1 }, ErrMagic},
		{"length below header", put32(8, HeaderLen-12-1), ErrCorrupt},
		{"negative length", put32(8, -1), ErrCorrupt},
		{"largest length", put32(8, math.MaxInt32), ErrCorrupt},
		{"length beyond bytes", put32(8, 1<<30), ErrShort},
		{"negative base offset", func(b Batch) { b.SetBaseOffset(-1) }, ErrInvalid},
		{"base offset that overflows", func(b Batch) { b.SetBaseOffset(math.MaxInt64 - 2) }, ErrInvalid},
		{"negative delta", put32(23, -1), ErrInvalid},
		{"negative count", put32(57, -1), ErrInvalid},
		{"count above offsets", put32(57, 5), ErrInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := bytes.Clone(good)
			tc.harm(b)
			if _, _, err := Parse(b); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
	for n := range len(good) {
		if _, _, err := Parse(good[:n]); !errors.Is(err, ErrShort) {
			t.Fatalf("%d of %d bytes: %v", n, len(good), err)
		}
	}
	dense := bytes.Clone(good[:HeaderLen+10])
	put32(8, HeaderLen-12+10)(dense)
	put32(23, 1<<20)(dense)
	put32(57, 1<<20)(dense)
	if _, _, err := Parse(dense); !errors.Is(err, ErrInvalid) {
		t.Errorf("a million records in ten bytes: %v", err)
	}
}

func TestParseHeaderNeedsNoRecords(t *testing.T) {
	b, _ := sample(t, Gzip)
	h, size, err := ParseHeader(b[:HeaderLen])
	if err != nil || size != len(b) || h.Size() != len(b) {
		t.Fatalf("size %d of %d: %v", size, len(b), err)
	}
	if h.LastOffset() != b.LastOffset() || h.NextOffset() != 1<<40+4 || len(h.Records()) != 0 {
		t.Errorf("offsets %d %d", h.LastOffset(), h.NextOffset())
	}
}

func TestCRCCoversAllButWhatTheBrokerStamps(t *testing.T) {
	b, _ := sample(t, LZ4)
	for i := range b {
		c := Batch(bytes.Clone(b))
		c[i] ^= 0x10
		// Base offset, length and epoch lie before the CRC; magic has a check of its own.
		if err := c.VerifyCRC(); (err != nil) != (i >= 17) {
			t.Fatalf("byte %d flipped: %v", i, err)
		} else if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d flipped: %v is not ErrCorrupt", i, err)
		}
	}
	b.SetBaseOffset(77)
	b.SetLeaderEpoch(8)
	if err := b.VerifyCRC(); err != nil || b.BaseOffset() != 77 || b.LeaderEpoch() != 8 {
		t.Errorf("stamped batch: %v", err)
	}
}

func TestLogAppendTime(t *testing.T) {
	b, _ := sample(t, Zstd)
	b.SetLogAppendTime(42)
	if err := b.VerifyCRC(); err != nil || !b.LogAppendTime() || b.Codec() != Zstd || b.MaxTimestamp() != 42 {
		t.Fatalf("%v, attributes %x, max %d", err, b.Attributes(), b.MaxTimestamp())
	}
	for _, r := range collect(t, b) {
		if r.Timestamp != 42 {
			t.Errorf("record %d has timestamp %d", r.Delta, r.Timestamp)
		}
	}
}

func TestLastSequenceWraps(t *testing.T) {
	b, _ := sample(t, None) // four records from MaxInt32-1
	if b.LastSequence() != 1 {
		t.Errorf("last sequence is %d", b.LastSequence())
	}
	var w Builder
	w.Add(0, nil, nil)
	w.Add(0, nil, nil)
	out, err := w.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := Batch(out); n.BaseSequence() != -1 || n.LastSequence() != -1 || n.ProducerID() != NoProducer || n.ProducerEpoch() != -1 {
		t.Errorf("batch without producer: %d %d", n.LastSequence(), n.ProducerID())
	}
}

func TestCodecNames(t *testing.T) {
	for _, c := range codecs {
		if got, err := ParseCodec(c.String()); err != nil || got != c {
			t.Errorf("%v: %v, %v", c, got, err)
		}
	}
	if c, err := ParseCodec("uncompressed"); err != nil || c != None {
		t.Errorf("uncompressed: %v, %v", c, err)
	}
	if _, err := ParseCodec("brotli"); err == nil {
		t.Error("brotli was taken")
	}
	if Codec(5).Valid() || Codec(7).String() != "codec 7" {
		t.Error("codec 5 is valid")
	}
}
