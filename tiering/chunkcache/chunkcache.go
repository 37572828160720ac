// Package chunkcache keeps recently read chunks of remote objects on local disk, within a bound.
//
// What belongs here: files of checked bytes by key, the bound, eviction. What does not: what the bytes
// mean, when a chunk is worth keeping, the object store (tiering has those). Nothing in a cache is needed:
// a file that is torn, damaged or strange is dropped and counts as not there.
package chunkcache

import (
	"container/list"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/zeebo/xxh3"

	"firn/segment/vfs"
)

// Options configures a Cache.
type Options struct {
	FS         vfs.FS
	Dir        string // of this cache alone
	MaxBytes   int64  // of all files together
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Key names a chunk: a hash of what makes it different from all others.
type Key [16]byte

// NewKey makes a key of an id and some numbers.
func NewKey(id []byte, parts ...uint64) Key {
	b := make([]byte, 0, 64)
	b = append(b, id...)
	for _, p := range parts {
		b = binary.BigEndian.AppendUint64(b, p)
	}
	return xxh3.Hash128(b).Bytes()
}

// Cache is a set of chunks on disk. It is safe for concurrent use. Nothing is synced: what a power cut
// leaves of a file is found out by its checksum.
type Cache struct {
	o       Options
	log     *slog.Logger
	metrics *metrics

	mu struct {
		sync.Mutex
		entries map[Key]*entry
		order   list.List // of *entry, the last used in front
		bytes   int64     // of entries, those being written included
		stats   Stats
		closed  bool
	}
	writing sync.WaitGroup
}

type entry struct {
	key   Key
	size  int64 // of the file
	ready bool  // false while it is being written
	elem  *list.Element
}

// Open opens the cache in a directory, making it if need be. What an earlier process left there is kept
// as far as it fits.
func Open(o Options) (*Cache, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Cache{o: o, log: o.Logger, metrics: newMetrics(o.Registerer)}
	c.mu.entries = map[Key]*entry{}
	if err := o.FS.MkdirAll(o.Dir); err != nil {
		return nil, fmt.Errorf("make chunk cache directory %s: %w", o.Dir, err)
	}
	files, err := o.FS.ReadDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("read chunk cache directory %s: %w", o.Dir, err)
	}
	for _, f := range files {
		c.adopt(f)
	}
	c.evictTo(o.MaxBytes)
	return c, nil
}

// adopt takes up a file found at start. Its bytes are checked when they are read.
func (c *Cache) adopt(f fs.DirEntry) {
	name, ok := strings.CutSuffix(f.Name(), extension)
	raw, err := hex.DecodeString(name)
	info, ierr := f.Info()
	if !ok || err != nil || len(raw) != len(Key{}) || ierr != nil || info.Size() < headerLen {
		if err := c.o.FS.Remove(filepath.Join(c.o.Dir, f.Name())); err != nil {
			c.log.Warn("remove strange file in the chunk cache", "name", f.Name(), "error", err)
		}
		return
	}
	e := &entry{key: Key(raw), size: info.Size(), ready: true}
	e.elem = c.mu.order.PushBack(e)
	c.mu.entries[e.key] = e
	c.mu.bytes += e.size
}

func (c *Cache) path(k Key) string {
	return filepath.Join(c.o.Dir, hex.EncodeToString(k[:])+extension)
}

// Has reports whether the chunk is there, as far as is known before it is read. If not that is a miss: nobody needs to try.
func (c *Cache) Has(k Key) bool {
	c.mu.Lock()
	e := c.mu.entries[k]
	ok := e != nil && e.ready && !c.mu.closed
	c.mu.Unlock()
	if !ok {
		c.missed()
	}
	return ok
}

// Read fills p with the chunk, whose length it must have; false if the chunk is not there.
func (c *Cache) Read(k Key, p []byte) bool {
	c.mu.Lock()
	e := c.mu.entries[k]
	if e == nil || !e.ready || c.mu.closed {
		c.mu.Unlock()
		c.missed()
		return false
	}
	c.mu.order.MoveToFront(e.elem)
	c.mu.Unlock()
	if err := c.read(k, p); err != nil {
		c.missed()
		if c.drop(e) { // else it was evicted meanwhile
			c.log.Warn("chunk dropped from the cache", "path", c.path(k), "error", err)
		}
		return false
	}
	c.mu.Lock()
	c.mu.stats.Hits++
	c.mu.Unlock()
	c.metrics.hits.Inc()
	return true
}

func (c *Cache) missed() {
	c.mu.Lock()
	c.mu.stats.Misses++
	c.mu.Unlock()
	c.metrics.misses.Inc()
}

// Write keeps a chunk, unless it is there or being written, or larger than the cache.
func (c *Cache) Write(k Key, p []byte) error {
	e := &entry{key: k, size: headerLen + int64(len(p))}
	c.mu.Lock()
	if c.mu.closed || c.mu.entries[k] != nil || e.size > c.o.MaxBytes {
		c.mu.Unlock()
		return nil
	}
	c.mu.entries[k] = e
	c.mu.bytes += e.size
	c.writing.Add(1)
	c.mu.Unlock()
	defer c.writing.Done()
	c.evictTo(c.o.MaxBytes)
	if err := c.write(k, p); err != nil {
		c.drop(e)
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e.ready = true
	e.elem = c.mu.order.PushFront(e)
	c.mu.stats.Writes++
	c.metrics.writes.Inc()
	return nil
}

// evictTo removes the chunks that were used longest ago until what is left fits.
func (c *Cache) evictTo(limit int64) {
	for {
		c.mu.Lock()
		back := c.mu.order.Back()
		if c.mu.bytes <= limit || back == nil {
			c.mu.Unlock()
			return
		}
		e := back.Value.(*entry)
		c.mu.Unlock()
		c.drop(e)
	}
}

// drop forgets a chunk and removes its file; false if it was dropped before.
func (c *Cache) drop(e *entry) bool {
	c.mu.Lock()
	if c.mu.entries[e.key] != e {
		c.mu.Unlock()
		return false
	}
	delete(c.mu.entries, e.key)
	if e.elem != nil {
		c.mu.order.Remove(e.elem)
	}
	c.mu.bytes -= e.size
	c.mu.stats.Dropped++
	// Under the lock, or the file of a new entry with the same key might go.
	err := c.o.FS.Remove(c.path(e.key))
	c.mu.Unlock()
	c.metrics.dropped.Inc()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.log.Warn("remove chunk", "path", c.path(e.key), "error", err)
	}
	return true
}

// Close ends the use of the cache, after the writes that are under way. Its files stay for the next Open.
func (c *Cache) Close() error {
	c.mu.Lock()
	c.mu.closed = true
	c.mu.Unlock()
	c.writing.Wait()
	return nil
}

// Stats counts since Open.
type Stats struct {
	Entries                       int
	Bytes                         int64
	Hits, Misses, Writes, Dropped uint64
}

// Stats returns the counts.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.mu.stats
	s.Entries, s.Bytes = len(c.mu.entries), c.mu.bytes
	return s
}
