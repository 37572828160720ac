package chunkcache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
)

// A file is its key (16), the length of the data (u64), its CRC-32C (u32), a CRC-32C of the 28 bytes before
// (u32), then the data.
const (
	headerLen = 32
	extension = ".chunk"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errDamaged = errors.New("damaged")

func (c *Cache) read(k Key, p []byte) error {
	f, err := c.o.FS.Open(c.path(k))
	if err != nil {
		return err
	}
	defer f.Close()
	var h [headerLen]byte
	if n, err := f.ReadAt(h[:], 0); n < headerLen {
		return fmt.Errorf("read header: %w", err)
	}
	be := binary.BigEndian
	switch {
	case crc32.Checksum(h[:28], castagnoli) != be.Uint32(h[28:]):
		return fmt.Errorf("%w header", errDamaged)
	case Key(h[:16]) != k || be.Uint64(h[16:]) != uint64(len(p)):
		return fmt.Errorf("%w: it holds %d bytes of another chunk", errDamaged, be.Uint64(h[16:]))
	}
	if n, err := f.ReadAt(p, headerLen); n < len(p) {
		return fmt.Errorf("read: %w", err)
	}
	if crc32.Checksum(p, castagnoli) != be.Uint32(h[24:]) {
		return fmt.Errorf("%w data", errDamaged)
	}
	return nil
}

func (c *Cache) write(k Key, p []byte) (err error) {
	var h [headerLen]byte
	be := binary.BigEndian
	copy(h[:], k[:])
	be.PutUint64(h[16:], uint64(len(p)))
	be.PutUint32(h[24:], crc32.Checksum(p, castagnoli))
	be.PutUint32(h[28:], crc32.Checksum(h[:28], castagnoli))
	f, err := c.o.FS.Create(c.path(k))
	if errors.Is(err, fs.ErrExist) { // an eviction that could not remove it
		if err = c.o.FS.Remove(c.path(k)); err == nil {
			f, err = c.o.FS.Create(c.path(k))
		}
	}
	if err != nil {
		return fmt.Errorf("create chunk: %w", err)
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	if _, err := f.WriteV([][]byte{h[:], p}, 0); err != nil {
		return fmt.Errorf("write chunk %s: %w", f.Name(), err)
	}
	f.WriteBack(0, int64(headerLen+len(p)))
	return nil
}
