package index

import (
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"sort"
	"sync"
)

var pageBuffers = sync.Pool{New: func() any { return new([pageSize]byte) }}

// order is what a lookup compares entries by. Nothing in an index ever falls, so that those below a
// value come first.
type order uint8

const (
	byOffset order = iota // below: LastOffset < v
	byTime                // below: MaxTime < v
	byPos                 // below: Pos <= v
)

func (x *Index) below(p packed, o order, v int64) bool {
	switch o {
	case byOffset:
		return x.base+int64(p.rel) < v
	case byTime:
		return p.maxTime < v
	default:
		return int64(p.pos) <= v
	}
}

// Lookup returns the run that holds the first batch whose last offset is at least offset.
func (x *Index) Lookup(offset int64) (Run, error) { return x.run(byOffset, offset) }

// LookupTime returns the run that holds the first batch with a timestamp of at least ts.
func (x *Index) LookupTime(ts int64) (Run, error) { return x.run(byTime, ts) }

// LookupPos returns the newest entry that speaks of no more than the log's first pos bytes; ok is
// false if there is none.
func (x *Index) LookupPos(pos int64) (e Entry, ok bool, err error) {
	last, _, err := x.find(byPos, pos)
	return x.unpack(last), last.pos > 0, err
}

func (x *Index) run(o order, v int64) (Run, error) {
	last, next, err := x.find(o, v)
	if err != nil {
		return Run{}, err
	}
	r := Run{Start: int64(last.pos), End: math.MaxInt64}
	if next.pos > 0 {
		r.End = int64(next.pos)
	}
	return r, nil
}

// find returns the last entry below v and the first that is not, zero where there is none: no entry
// has position 0.
func (x *Index) find(o order, v int64) (last, next packed, err error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.mu.closed {
		return packed{}, packed{}, x.errClosed()
	}
	count := x.count.Load()
	dir := (*x.dir.Load())[:pagesOf(count)]
	after := int64(sort.Search(len(dir), func(i int) bool { return !x.below(dir[i], o, v) }))
	if int(after) < len(dir) {
		next = dir[after]
	}
	if after == 0 {
		return packed{}, next, nil
	}
	page := after - 1 // begins below v: the last entry below v is on it
	buf := pageBuffers.Get().(*[pageSize]byte)
	defer pageBuffers.Put(buf)
	entries := buf[:entriesOn(page, count)*EntrySize]
	if err := x.readPage(page, entries); err != nil {
		return packed{}, packed{}, err
	}
	n := len(entries) / EntrySize
	i := sort.Search(n, func(i int) bool { return !x.below(decode(entries[i*EntrySize:]), o, v) })
	if i < n {
		next = decode(entries[i*EntrySize:])
	}
	if i == 0 {
		return packed{}, packed{}, x.corrupt(page*pageSize, "page does not begin as the directory says")
	}
	return decode(entries[(i-1)*EntrySize:]), next, nil
}

// readPage fills entries from the start of a page and checks them if the index is sealed. The caller
// holds mu, shared.
func (x *Index) readPage(page int64, entries []byte) error {
	at := page * pageSize
	if x.mu.mapping != nil {
		// Any page may have been evicted since it was written, so none is taken for warm: bringing in
		// one that is there costs as little as a pread.
		if err := x.mu.mapping.CopyAt(entries, at, true); err != nil {
			return fmt.Errorf("index page at byte %d: %w", at, err)
		}
	} else if _, err := x.mu.file.ReadAt(entries, at); err != nil {
		if err == io.EOF { //nolint:errorlint // ReaderAt returns it bare
			return x.corrupt(at, "file is too short")
		}
		return fmt.Errorf("index page at byte %d: %w", at, err)
	}
	if x.mu.crcs != nil {
		if got, want := crc32.Checksum(entries, castagnoli), x.mu.crcs[page]; got != want {
			return x.corrupt(at, "page has CRC %08x, directory says %08x", got, want)
		}
	}
	return nil
}

// Each calls fn for each entry visible, in order, and checks on the way that each follows the one
// before and, if the index is sealed, every CRC.
func (x *Index) Each(fn func(Entry) error) error {
	count := x.count.Load()
	prev := packed{}
	first := true
	var entries [pageSize]byte
	for page := range pagesOf(count) {
		b := entries[:entriesOn(page, count)*EntrySize]
		if err := x.lockedReadPage(page, b); err != nil {
			return err
		}
		for i := 0; i < len(b); i += EntrySize {
			p := decode(b[i:])
			if !first && !p.follows(prev) || p.pos == 0 {
				return x.corrupt(page*pageSize+int64(i), "entry %+v after %+v", x.unpack(p), x.unpack(prev))
			}
			prev, first = p, false
			if err := fn(x.unpack(p)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (x *Index) lockedReadPage(page int64, b []byte) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.mu.closed {
		return x.errClosed()
	}
	return x.readPage(page, b)
}
