package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"

	"firn/segment/vfs"
)

// Seal flushes, adds an entry for the whole log if there is none, writes the page directory and syncs
// the file. After it the index is read-only and keeps no descriptor where the system can map files.
// After an error it is as before; the file may end in an unfinished directory, which OpenActive cuts.
func (x *Index) Seal() error {
	a := &x.app
	if a.sealed {
		return fmt.Errorf("seal index %s: %w", x.name, ErrSealed)
	}
	if a.end.Pos > a.last.Pos && !x.stage(a.end) {
		return fmt.Errorf("seal index %s: the log is beyond what an entry can say: %+v", x.name, a.end)
	}
	// 1. The entries.
	if err := x.Flush(); err != nil {
		return err
	}
	// 2. The directory and the trailer, by whose CRC the file counts as sealed; all of it durable.
	if err := x.writeTrailer(); err != nil {
		return fmt.Errorf("seal index: %w", err)
	}
	// 3. Readers change over.
	x.mu.Lock()
	defer x.mu.Unlock()
	x.settle()
	return nil
}

// writeTrailer shares mu with lookups: a sync takes its time.
func (x *Index) writeTrailer() error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.mu.closed {
		return x.errClosed()
	}
	at := x.count.Load() * EntrySize
	tail := x.trailer()
	if _, err := x.mu.file.WriteAt(tail, at); err != nil {
		return err
	}
	if err := x.mu.file.Truncate(at + int64(len(tail))); err != nil {
		return err
	}
	return x.mu.file.Sync()
}

// settle makes the index read-only and, where it can, maps it no further than its entries go and
// closes the descriptor. The caller holds mu.
func (x *Index) settle() {
	x.mu.crcs = x.app.crcs
	if x.mu.crcs == nil {
		x.mu.crcs = []uint32{}
	}
	x.app.sealed, x.app.crcs, x.app.staged = true, nil, nil
	size := x.count.Load() * EntrySize
	if x.mu.mapping == nil || size == 0 || x.mu.closed {
		return
	}
	m, err := x.mu.file.Map(size)
	if err != nil {
		return // the mapping there is will do
	}
	_ = x.release() // all is durable, nothing is at stake
	x.mu.mapping = m
}

// trailer is what follows the entries of a sealed index.
func (x *Index) trailer() []byte {
	dir := *x.dir.Load()
	b := make([]byte, 0, len(dir)*dirSize+trailerSize)
	for i, p := range dir {
		b = p.append(b)
		b = binary.BigEndian.AppendUint32(b, x.app.crcs[i])
	}
	b = binary.BigEndian.AppendUint32(b, magic)
	b = binary.BigEndian.AppendUint32(b, uint32(x.count.Load()))
	b = binary.BigEndian.AppendUint64(b, uint64(x.base))
	last := packed{}
	if x.app.last.Pos > 0 {
		last = x.pack(x.app.last)
	}
	b = last.append(b)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// Rebuild makes the index anew, replacing whatever is at name, from the log's batches: for each in
// order its last offset, the position where it ends and its largest timestamp. The index is returned
// open for more, flushed and not sealed. An error of batches is returned as it is, and no file is left.
func Rebuild(fsys vfs.FS, name string, o Options, batches iter.Seq2[Entry, error]) (*Index, error) {
	if err := fsys.RemoveAll(name); err != nil {
		return nil, fmt.Errorf("rebuild index: %w", err)
	}
	x, err := Create(fsys, name, o)
	if err != nil {
		return nil, err
	}
	for b, err := range batches {
		if err == nil {
			x.Add(b.LastOffset, b.Pos, b.MaxTime)
			if len(x.app.staged) >= pageSize {
				err = x.Flush()
			}
		}
		if err != nil {
			return nil, errors.Join(err, x.Close(), fsys.Remove(name))
		}
	}
	if err := x.Flush(); err != nil {
		return nil, errors.Join(err, x.Close(), fsys.Remove(name))
	}
	return x, nil
}
