package index

import (
	"fmt"
	"hash/crc32"
	"math"
	"sort"
)

// Add tells of one batch appended to the log: its last offset, where it ends in the log, its largest
// timestamp. It only stages an entry where one is due; Flush writes. Batches come in log order; one
// that ends within what the index sums up already is passed over.
func (x *Index) Add(lastOffset, end, maxTime int64) {
	a := &x.app
	if a.sealed || end <= a.end.Pos {
		return
	}
	a.end = Entry{LastOffset: lastOffset, Pos: end, MaxTime: max(a.end.MaxTime, maxTime)}
	if end-a.last.Pos >= x.interval && !x.Full() {
		x.stage(a.end)
	}
}

// stage stages an entry; false if the log outgrew what entries can say.
func (x *Index) stage(e Entry) bool {
	if e.Pos > math.MaxUint32 || e.LastOffset < x.base || e.LastOffset-x.base > math.MaxUint32 {
		return false
	}
	x.app.staged = x.pack(e).append(x.app.staged)
	x.app.last = e
	return true
}

// Staged is how many entries the next Flush writes.
func (x *Index) Staged() int { return len(x.app.staged) / EntrySize }

// Flush writes staged entries and makes them visible to lookups. On an error they are dropped, which
// leaves the index right but sparser. It does not sync.
func (x *Index) Flush() error {
	a := &x.app
	if len(a.staged) == 0 {
		return nil
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.mu.closed {
		return x.errClosed()
	}
	count := x.count.Load()
	staged := a.staged
	a.staged = a.staged[:0]
	if _, err := x.mu.file.WriteAt(staged, count*EntrySize); err != nil {
		a.last = a.flushed
		return fmt.Errorf("flush index: %w", err)
	}
	a.flushed = a.last
	x.note(count, staged)
	x.count.Store(count + int64(len(staged)/EntrySize))
	return nil
}

// note takes the entries from number count on into the page directory and the pages' CRCs.
func (x *Index) note(count int64, entries []byte) {
	dir := *x.dir.Load()
	grown := dir
	for ; len(entries) > 0; entries = entries[EntrySize:] {
		if count%pageEntries == 0 {
			// Lookups only see as many elements as count says, so that the array may be shared.
			grown = append(grown, decode(entries))
			x.app.crcs = append(x.app.crcs, 0)
		}
		crc := &x.app.crcs[count/pageEntries]
		*crc = crc32.Update(*crc, castagnoli, entries[:EntrySize])
		count++
	}
	if len(grown) > len(dir) {
		published := grown // its own variable, so that only a new page allocates
		x.dir.Store(&published)
	}
}

// Truncate drops every entry that speaks of more than the log's first logBytes bytes: the log was cut
// there. What is left between Last and the cut is to be added again.
func (x *Index) Truncate(logBytes int64) error {
	if x.app.sealed {
		return fmt.Errorf("truncate index %s: %w", x.name, ErrSealed)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.mu.closed {
		return x.errClosed()
	}
	x.app.staged = x.app.staged[:0]
	return x.cut(x.count.Load(), func(p packed) bool { return int64(p.pos) <= logBytes })
}

// cut leaves the first of count entries for which keep holds; those for which it does come first. The
// caller holds mu.
func (x *Index) cut(count int64, keep func(packed) bool) error {
	dir := (*x.dir.Load())[:pagesOf(count)]
	pages := int64(sort.Search(len(dir), func(i int) bool { return !keep(dir[i]) }))
	if pages == 0 {
		return x.reset(nil, nil, 0, nil)
	}
	var page [pageSize]byte
	entries := page[:entriesOn(pages-1, count)*EntrySize]
	if err := x.readPage(pages-1, entries); err != nil {
		return fmt.Errorf("truncate index: %w", err)
	}
	n := sort.Search(len(entries)/EntrySize, func(i int) bool { return !keep(decode(entries[i*EntrySize:])) })
	return x.reset(dir[:pages-1:pages-1], x.app.crcs[:pages-1], (pages-1)*pageEntries, entries[:n*EntrySize])
}

// reset makes the index one of the full pages in dir followed by entries. The caller holds mu.
func (x *Index) reset(dir []packed, crcs []uint32, count int64, entries []byte) error {
	if err := x.mu.file.Truncate(count*EntrySize + int64(len(entries))); err != nil {
		return fmt.Errorf("truncate index: %w", err)
	}
	x.dir.Store(&dir)
	x.app.crcs = crcs
	x.note(count, entries)
	x.count.Store(count + int64(len(entries)/EntrySize))
	x.app.last = x.none()
	if n := len(entries); n > 0 {
		x.app.last = x.unpack(decode(entries[n-EntrySize:]))
	}
	x.app.flushed, x.app.end = x.app.last, x.app.last
	return nil
}
