package tiering_test

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/pierrec/lz4/v4"

	"firn/tiering/tiertest"
)

// The golden object read by the numbers of FORMAT.md alone.
func TestObjectIsAsDocumented(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "v1.seg"))
	if err != nil {
		t.Fatal(err)
	}
	be := binary.BigEndian
	sum := func(p []byte) uint32 { return crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)) }
	expect := func(what string, ok bool) {
		t.Helper()
		if !ok {
			t.Errorf("%s is not as documented", what)
		}
	}
	tr := b[len(b)-64:]
	expect("trailer", string(tr[:8]) == "FIRNSEG1" && be.Uint32(tr[8:]) == 1 && be.Uint32(tr[60:]) == sum(tr[:60]) && be.Uint32(tr[28:]) == uint32(len(b)))
	expect("object checksum", be.Uint32(tr[32:]) == sum(b[:len(b)-64]))
	h := b[be.Uint32(tr[12:]):][:be.Uint32(tr[16:])]
	footer := be.Uint32(tr[24:])
	expect("header", string(h[:4]) == "FTSH" && be.Uint32(h[4:]) == 1 && sum(h) == be.Uint32(tr[20:]) && int(be.Uint32(h[116:]))*16+120 == len(h))
	expect("partition", h[8] == 1 && h[9] == 2 && be.Uint32(h[24:]) == 7)
	expect("epochs", be.Uint32(h[28:]) == 5 && be.Uint32(h[32:]) == 3 && be.Uint64(h[36:]) == 1234567)
	expect("offsets", be.Uint64(h[44:]) == 1000 && be.Uint64(h[52:]) == 1400)
	expect("sizes", be.Uint64(h[68:]) == uint64(footer) && be.Uint32(h[76:]) == 41 && be.Uint64(h[84:]) == 401)
	expect("times", be.Uint64(h[92:]) == 1000 && be.Uint64(h[100:]) == 1400 && be.Uint64(h[108:]) == 1400)
	sections := map[uint32][]byte{}
	for s := h[120:]; len(s) > 0; s = s[16:] {
		body := b[be.Uint32(s[4:]):][:be.Uint32(s[8:])]
		expect("section", sum(body) == be.Uint32(s[12:]))
		sections[be.Uint32(s)] = body
	}
	expect("aborted transactions", len(sections[2]) == 32 && be.Uint64(sections[2]) == 9 && be.Uint64(sections[2][24:]) == 1000)
	expect("producers", string(sections[3]) == "producer state")
	expect("leader epochs", len(sections[4]) == 24 && be.Uint32(sections[4][12:]) == 5 && be.Uint64(sections[4][16:]) == 1302)
	var batches []byte
	index := sections[1]
	expect("block index", &index[0] == &b[footer] && len(index) == 40*int(be.Uint32(h[80:])))
	for e := index; len(e) > 0; e = e[40:] {
		stored := b[be.Uint32(e[16:]):][:be.Uint32(e[20:])]
		expect("block checksum", sum(stored) == be.Uint32(e[32:]) && int(be.Uint32(e[8:])) == len(batches))
		raw := make([]byte, be.Uint32(e[12:]))
		switch be.Uint32(e[36:]) {
		case 0:
			copy(raw, stored)
		case 1:
			n, err := lz4.UncompressBlock(stored, raw)
			expect("lz4", err == nil && n == len(raw))
		}
		batches = append(batches, raw...)
	}
	log := tiertest.NewLog(11, 1000)
	log.Epoch(3)
	log.Append(40, 10, 900)
	log.Random = true
	log.Append(1, 1, 3000)
	same(t, batches, log.Want(0, log.Next()))
}
