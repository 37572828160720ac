package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"firn/segment/vfs"
)

// Create makes the index of a new, empty segment. The name survives a power cut after SyncDir.
func Create(fsys vfs.FS, name string, o Options) (*Index, error) {
	f, err := fsys.Create(name)
	if err != nil {
		return nil, fmt.Errorf("create index: %w", err)
	}
	x := newIndex(name, o)
	if err := x.use(f, x.mapSize()); err != nil {
		return nil, fmt.Errorf("create index: %w", errors.Join(err, f.Close()))
	}
	return x, nil
}

// mapSize covers every entry there can be, one for Seal included.
func (x *Index) mapSize() int64 { return (x.capacity + 1) * EntrySize }

// use takes the file and maps its first size bytes, where the system can.
func (x *Index) use(f vfs.File, size int64) error {
	if size > 0 {
		m, err := f.Map(size)
		if err != nil && !errors.Is(err, vfs.ErrNoMapping) {
			return err
		}
		x.mu.mapping = m
	}
	x.mu.file = f
	return nil
}

// OpenActive opens an unsealed index, or a sealed one to be appended to again, cutting it to its
// first count entries and checking those: each must rise over the one before and none may speak of
// more than logBytes of log. With ErrCorrupt the caller rebuilds.
func OpenActive(fsys vfs.FS, name string, o Options, count, logBytes int64) (*Index, error) {
	f, err := fsys.OpenRW(name)
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	x := newIndex(name, o)
	x.capacity = max(x.capacity, count)
	err = x.load(f, count, logBytes)
	if err == nil {
		err = x.use(f, x.mapSize())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return x, nil
}

// load reads the first count entries and cuts the file behind them.
func (x *Index) load(f vfs.File, count, logBytes int64) error {
	size, err := f.Size()
	if err != nil {
		return fmt.Errorf("open index: %w", err)
	}
	if count < 0 || count > size/EntrySize {
		return x.corrupt(size, "file is too short for %d entries", count)
	}
	prev := packed{}
	buf := pageBuffers.Get().(*[pageSize]byte)
	defer pageBuffers.Put(buf)
	for page := range pagesOf(count) {
		b := buf[:entriesOn(page, count)*EntrySize]
		if _, err := f.ReadAt(b, page*pageSize); err != nil && err != io.EOF { //nolint:errorlint // ReaderAt returns it bare
			return fmt.Errorf("open index: %w", err)
		}
		for i := 0; i < len(b); i += EntrySize {
			at, p := page*pageSize+int64(i), decode(b[i:])
			if p.pos == 0 || at > 0 && !p.follows(prev) {
				return x.corrupt(at, "entry %+v after %+v", x.unpack(p), x.unpack(prev))
			}
			if int64(p.pos) > logBytes {
				return x.corrupt(at, "entry %+v for a log of %d bytes", x.unpack(p), logBytes)
			}
			prev = p
		}
		x.note(page*pageEntries, b)
	}
	if count > 0 {
		x.app.last = x.unpack(prev)
		x.app.flushed, x.app.end = x.app.last, x.app.last
	}
	x.count.Store(count)
	if err := f.Truncate(count * EntrySize); err != nil {
		return fmt.Errorf("open index: %w", err)
	}
	return nil
}

// OpenSealed opens a sealed index for reading. It reads only the page directory at the file's end;
// pages are read and checked as lookups need them.
func OpenSealed(fsys vfs.FS, name string, o Options) (*Index, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	x := newIndex(name, o)
	x.app.sealed = true
	err = x.loadTrailer(f)
	if err == nil {
		err = x.use(f, x.count.Load()*EntrySize)
	}
	if err == nil && x.mu.mapping != nil {
		x.mu.file = nil // a mapping needs no descriptor
		err = f.Close()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open index: %w", err), x.mu.mapping.Close())
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return x, nil
}

// loadTrailer reads what Seal wrote behind the entries.
func (x *Index) loadTrailer(f vfs.File) error {
	size, err := f.Size()
	if err != nil {
		return fmt.Errorf("open index: %w", err)
	}
	at := size - trailerSize
	if at < 0 {
		return x.corrupt(size, "no trailer in %d bytes", size)
	}
	var trailer [trailerSize]byte
	if err := readFull(f, trailer[:], at); err != nil {
		return err
	}
	if got := binary.BigEndian.Uint32(trailer[:]); got != magic {
		return x.corrupt(at, "trailer begins with %08x: not sealed", got)
	}
	count := int64(binary.BigEndian.Uint32(trailer[4:]))
	pages := pagesOf(count)
	if want := count*EntrySize + pages*dirSize; want != at {
		return x.corrupt(at, "%d entries take %d bytes before the trailer", count, want)
	}
	raw := make([]byte, pages*dirSize)
	if err := readFull(f, raw, count*EntrySize); err != nil {
		return err
	}
	crc := crc32.Update(crc32.Checksum(raw, castagnoli), castagnoli, trailer[:trailerSize-4])
	if want := binary.BigEndian.Uint32(trailer[trailerSize-4:]); crc != want {
		return x.corrupt(at, "page directory has CRC %08x, trailer says %08x", crc, want)
	}
	if base := int64(binary.BigEndian.Uint64(trailer[8:])); base != x.base {
		return x.corrupt(at, "index is of base offset %d, want %d", base, x.base)
	}
	dir, crcs := make([]packed, pages), make([]uint32, pages)
	for i := range dir {
		item := raw[i*dirSize:]
		dir[i], crcs[i] = decode(item), binary.BigEndian.Uint32(item[EntrySize:])
	}
	x.mu.crcs = crcs
	x.dir.Store(&dir)
	x.count.Store(count)
	if count > 0 {
		x.app.last = x.unpack(decode(trailer[16:]))
		x.app.end = x.app.last
	}
	return nil
}

func readFull(f vfs.File, p []byte, at int64) error {
	if n, err := f.ReadAt(p, at); n < len(p) {
		return fmt.Errorf("open index: %w", err)
	}
	return nil
}
