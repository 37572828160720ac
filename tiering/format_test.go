package tiering_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"firn/metadata/topic"
	"firn/segment/vfs"
	"firn/tiering"
	"firn/tiering/manifest"
	"firn/tiering/objstore"
	"firn/tiering/objstore/mem"
	"firn/tiering/tiertest"
)

var update = flag.Bool("update", false, "write the golden object anew")

// sampleLog has compressible and incompressible blocks and a batch larger than a block.
func sampleLog() *tiertest.Log {
	log := tiertest.NewLog(11, 1000)
	log.Epoch(3)
	log.Append(30, 10, 300)
	log.Random = true
	log.Append(2, 1, 100_000)
	log.Random = false
	log.Epoch(5)
	log.Append(1, 2, 150_000)
	log.Append(5, 10, 300)
	log.Commit()
	_ = log.Roll()
	return log
}

func sampleMeta() tiering.Footer {
	return tiering.Footer{
		Partition: partition(7), LeaderEpoch: 5, BrokerEpoch: 1234567, Epochs: []tiering.EpochStart{{Epoch: 3, Start: 1000}, {Epoch: 5, Start: 1302}},
		Producers: []byte("producer state"), Aborted: []tiering.AbortedTxn{{ProducerID: 9, First: 1001, Last: 1010, LastStableOffset: 1000}},
	}
}

func encodeSample(t testing.TB, log *tiertest.Log, from int64, fs vfs.FS) ([]byte, *tiering.Footer) {
	t.Helper()
	s := log.Sealed(from)[0]
	defer s.Release()
	o, f, err := tiering.Encode(s, from, sampleMeta(), fs, "/spool")
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	b := make([]byte, o.Size())
	if n, err := o.ReadAt(b, 0); n != len(b) || err != nil && err != io.EOF {
		t.Fatalf("read %d of %d: %v", n, len(b), err)
	}
	return b, f
}

func decodeFooter(b []byte) (*tiering.Footer, error) {
	if len(b) < tiering.TrailerLen {
		return nil, io.ErrUnexpectedEOF
	}
	pos, err := tiering.FooterPos(b[len(b)-tiering.TrailerLen:], int64(len(b)))
	if err != nil {
		return nil, err
	}
	return tiering.DecodeFooter(b[pos:], int64(len(b)))
}

func TestEncodeIsDeterministicAndDecodes(t *testing.T) {
	log := sampleLog()
	for name, fs := range map[string]vfs.FS{"compressed": vfs.NewMem(), "raw": nil} {
		b, f := encodeSample(t, log, 0, fs)
		again, _ := encodeSample(t, log, 0, fs)
		if !bytes.Equal(b, again) {
			t.Errorf("%s: encoded twice, differs", name)
		}
		got, err := decodeFooter(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(f, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if f.Base != 1000 || f.End != log.Next()-1 || f.RawBytes != int64(len(log.Want(0, log.Next()))) || f.LastEpoch != 5 || f.MaxTime != log.Next()-1 {
			t.Errorf("%s: footer %+v", name, f)
		}
		codecs := map[uint32]int{}
		for _, e := range got.Blocks {
			codecs[e.Codec]++
		}
		if wantLZ4 := fs != nil; codecs[0] == 0 || (codecs[1] > 0) != wantLZ4 {
			t.Errorf("%s: codecs %v", name, codecs)
		}
		// What is in the block index is what a reader that only has FORMAT.md would find.
		if got.Blocks[0].First != 0 || got.Size != int64(len(b)) || got.CRC != crc32.Checksum(b[:len(b)-64], crc32.MakeTable(crc32.Castagnoli)) {
			t.Errorf("%s: size %d, checksum %08x", name, got.Size, got.CRC)
		}
	}
}

func TestEncodeReadsAnyRangeOfTheObject(t *testing.T) {
	log := sampleLog()
	s := log.Sealed(0)[0]
	defer s.Release()
	o, _, err := tiering.Encode(s, 0, sampleMeta(), vfs.NewMem(), "/spool")
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	whole := make([]byte, o.Size())
	if _, err := o.ReadAt(whole, 0); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 777, 64 << 10, 300_000} {
		for off := 0; off < len(whole); off += n {
			p := make([]byte, n)
			m, err := o.ReadAt(p, int64(off))
			if m < n && err != io.EOF || m == n && err != nil || !bytes.Equal(p[:m], whole[off:off+m]) {
				t.Fatalf("%d bytes at %d: %d, %v", n, off, m, err)
			}
		}
	}
	if n, err := o.ReadAt(make([]byte, 1), o.Size()); n != 0 || err != io.EOF {
		t.Errorf("at the end: %d %v", n, err)
	}
}

// A new leader may have to begin in the middle of a segment.
func TestEncodeFromWithinASegment(t *testing.T) {
	log := sampleLog()
	_, f := encodeSample(t, log, 1105, vfs.NewMem())
	if f.Base != 1100 || f.RawBytes != int64(len(log.Want(1105, log.Next()))) {
		t.Errorf("base %d, %d bytes", f.Base, f.RawBytes)
	}
}

// A disk without room for the spool costs compression, not the upload.
func TestEncodeWithoutRoomForTheSpool(t *testing.T) {
	log := sampleLog()
	fs := vfs.NewMem()
	fs.SetCapacity(1)
	b, f := encodeSample(t, log, 0, fs)
	raw, _ := encodeSample(t, log, 0, nil)
	if !bytes.Equal(b, raw) || f.StoredBytes != f.RawBytes {
		t.Errorf("stored %d of %d bytes", f.StoredBytes, f.RawBytes)
	}
}

// Rot on the local disk is not archived.
func TestEncodeRefusesADamagedBatch(t *testing.T) {
	log := sampleLog()
	log.Corrupt(1000)
	s := log.Sealed(0)[0]
	defer s.Release()
	fs := vfs.NewMem()
	if _, _, err := tiering.Encode(s, 0, sampleMeta(), fs, "/spool"); err == nil {
		t.Fatal("encoded")
	}
	if left, _ := fs.ReadDir("/spool"); len(left) > 0 {
		t.Errorf("spool keeps %v", left)
	}
}

// The object of version 1 as it is in buckets today.
func TestGoldenObject(t *testing.T) {
	path := filepath.Join("testdata", "v1.seg")
	log := tiertest.NewLog(11, 1000)
	log.Epoch(3)
	log.Append(40, 10, 900)
	log.Random = true
	log.Append(1, 1, 3000)
	log.Commit()
	_ = log.Roll()
	if *update {
		b, _ := encodeSample(t, log, 0, vfs.NewMem())
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	object, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := decodeFooter(object)
	if err != nil {
		t.Fatal(err)
	}
	want := sampleMeta()
	if f.Partition != want.Partition || f.LeaderEpoch != 5 || f.BrokerEpoch != 1234567 || !cmp.Equal(f.Epochs, want.Epochs) ||
		!cmp.Equal(f.Aborted, want.Aborted) || string(f.Producers) != "producer state" || f.Batches != 41 || f.Records != 401 {
		t.Errorf("footer %+v", f)
	}
	w := newWorld(t)
	s := manifest.Segment{
		Base: f.Base, End: f.End, LeaderEpoch: f.LeaderEpoch, LastEpoch: f.LastEpoch, BrokerEpoch: f.BrokerEpoch, Attempt: 1,
		Size: f.Size, FooterLen: uint32(f.Size - f.StoredBytes), CRC: f.CRC, RawBytes: f.RawBytes, MinTime: f.MinTime, MaxTime: f.MaxTime, MaxTimeBase: f.MaxTimeBase,
	}
	head := w.place(f.Partition, s, object)
	same(t, replay(t, w.reader(), f.Partition, head, 1000, f.End+1, 1<<20), log.Want(0, log.Next()))
}

// place puts an object into the bucket and commits it.
func (w *world) place(tp topic.Partition, s manifest.Segment, object []byte) *manifest.Head {
	w.t.Helper()
	ctx := context.Background()
	if _, err := w.raw.Put(ctx, tiering.Keys{Cluster: cluster}.Segment(tp, s), source(object), objstore.Condition{}); err != nil {
		w.t.Fatal(err)
	}
	archives := tiering.NewArchives(tiering.ArchiveOptions{Bucket: w.raw, Anchor: w.anchor, Cluster: cluster})
	defer archives.Close()
	a := archives.Archive(tp, s.LeaderEpoch)
	if h := w.head(tp); h.TierEnd < s.Base {
		if _, err := a.SetLogStart(ctx, s.Base); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := a.Commit(ctx, s); err != nil {
		w.t.Fatal(err)
	}
	return w.head(tp)
}

type source []byte

func (s source) Size() int64 { return int64(len(s)) }
func (s source) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(s).ReadAt(p, off)
}

func TestEveryDamageToAFooterIsSeen(t *testing.T) {
	b, f := encodeSample(t, sampleLog(), 0, vfs.NewMem())
	for pos := int(f.StoredBytes); pos < len(b); pos++ {
		for _, bit := range []byte{1, 0x80} {
			d := bytes.Clone(b)
			d[pos] ^= bit
			if _, err := decodeFooter(d); err == nil {
				t.Fatalf("bit %#x of byte %d flipped unseen", bit, pos)
			}
		}
	}
	for cut := 1; cut < 2000 && cut < len(b); cut++ {
		if _, err := decodeFooter(b[:len(b)-cut]); err == nil {
			t.Fatalf("%d bytes cut off unseen", cut)
		}
	}
}

// The checksums are made right after each change: what is left are the bounds checks.
func FuzzFooter(f *testing.F) {
	b, foot := encodeSample(f, sampleLog(), 0, vfs.NewMem())
	tail := b[foot.StoredBytes:]
	f.Add(tail, int64(len(b)))
	raw, foot2 := encodeSample(f, sampleLog(), 0, nil)
	f.Add(raw[foot2.StoredBytes:], int64(len(raw)))
	f.Fuzz(func(t *testing.T, tail []byte, size int64) {
		tail = repair(bytes.Clone(tail), size)
		foot, err := tiering.DecodeFooter(tail, size)
		if err != nil {
			return
		}
		for _, e := range foot.Blocks {
			if int64(e.Pos)+int64(e.Len) > foot.StoredBytes || int64(e.RawPos)+int64(e.RawLen) > foot.RawBytes {
				t.Errorf("block %+v outside of %+v", e, foot)
			}
		}
	})
}

// repair makes magics, positions and checksums fit, as far as that is possible.
func repair(tail []byte, size int64) []byte {
	be, table := binary.BigEndian, crc32.MakeTable(crc32.Castagnoli)
	if len(tail) < 64+120 {
		return tail
	}
	t := tail[len(tail)-64:]
	pos := size - int64(len(tail))
	copy(t, "FIRNSEG1")
	be.PutUint32(t[8:], 1)
	be.PutUint32(t[24:], uint32(pos))
	be.PutUint32(t[28:], uint32(size))
	hpos, hlen := int64(be.Uint32(t[12:]))-pos, int64(be.Uint32(t[16:]))
	if hpos >= 0 && hlen >= 120 && hpos+hlen <= int64(len(tail)) {
		h := tail[hpos : hpos+hlen]
		for s := h[120:]; len(s) >= 16; s = s[16:] {
			at, n := int64(be.Uint32(s[4:]))-pos, int64(be.Uint32(s[8:]))
			if at >= 0 && at+n <= int64(len(tail)) {
				be.PutUint32(s[12:], crc32.Checksum(tail[at:at+n], table))
			}
		}
		be.PutUint32(t[20:], crc32.Checksum(h, table))
	}
	be.PutUint32(t[60:], crc32.Checksum(t[:60], table))
	return tail
}

func TestNewerObjectIsRefusedByName(t *testing.T) {
	b, _ := encodeSample(t, sampleLog(), 0, nil)
	tr := b[len(b)-64:]
	binary.BigEndian.PutUint32(tr[8:], 2)
	binary.BigEndian.PutUint32(tr[60:], crc32.Checksum(tr[:60], crc32.MakeTable(crc32.Castagnoli)))
	_, err := decodeFooter(b)
	if !errors.Is(err, tiering.ErrVersion) || !strings.Contains(err.Error(), "version 2") {
		t.Fatal(err)
	}
}

// Whatever stands in a block, with its checksum made right: batches, or an error that names the place.
func FuzzBlock(f *testing.F) {
	object, foot := encodeSample(f, sampleLog(), 0, vfs.NewMem())
	f.Add(object[:foot.Blocks[0].Len], uint16(0))
	f.Add(bytes.Repeat([]byte{0xff}, 300), uint16(0))
	f.Add([]byte{}, uint16(77))
	f.Fuzz(func(t *testing.T, block []byte, at uint16) {
		b := bytes.Clone(object)
		first := foot.Blocks[0]
		copy(b[int(at)%int(first.Len):first.Len], block)
		be, table := binary.BigEndian, crc32.MakeTable(crc32.Castagnoli)
		be.PutUint32(b[foot.StoredBytes+32:], crc32.Checksum(b[:first.Len], table))
		copy(b[foot.StoredBytes:], repair(b[foot.StoredBytes:], foot.Size))
		tr := b[len(b)-64:]
		be.PutUint32(tr[32:], crc32.Checksum(b[:len(b)-64], table))
		be.PutUint32(tr[60:], crc32.Checksum(tr[:60], table))
		w := &world{t: &testing.T{}, raw: mem.New(), anchor: tiertest.NewAnchor(1)}
		w.bucket = w.raw
		s := manifest.Segment{
			Base: foot.Base, End: foot.End, LeaderEpoch: foot.LeaderEpoch, LastEpoch: foot.LastEpoch, BrokerEpoch: foot.BrokerEpoch, Attempt: 1,
			Size: foot.Size, FooterLen: uint32(foot.Size - foot.StoredBytes), CRC: be.Uint32(tr[32:]), RawBytes: foot.RawBytes,
			MinTime: foot.MinTime, MaxTime: foot.MaxTime, MaxTimeBase: foot.MaxTimeBase,
		}
		head := w.place(foot.Partition, s, b)
		r, err := tiering.NewReader(tiering.ReaderOptions{Bucket: w.raw, Anchor: w.anchor, Cluster: cluster})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for _, maxBytes := range []int{1, 100_000} {
			d, err := r.Read(context.Background(), foot.Partition, head, foot.Base, maxBytes)
			var damaged *tiering.CorruptionError
			if err != nil && (!errors.As(err, &damaged) || damaged.Block != 0) {
				t.Errorf("read: %v", err)
			}
			if err == nil {
				d.Release()
			}
		}
		if _, _, err := r.FindTime(context.Background(), foot.Partition, head, foot.MinTime, 0); err != nil {
			var damaged *tiering.CorruptionError
			if !errors.As(err, &damaged) {
				t.Errorf("find time: %v", err)
			}
		}
	})
}
