// Package chunkcache keeps recently read chunks of remote objects on local disk, within a bound.
//
// What belongs here: files of checked bytes by key, the bound, eviction. What does not: what the bytes
// mean, when a chunk is worth keeping, the object store (tiering has those). Nothing in a cache is needed:
// a file that is torn, damaged or strange is dropped and counts as not there.
package chunkcache

import (
	"log/slog"

	"firn/segment/vfs"

	"github.com/prometheus/client_golang/prometheus"
)

// Options configures a Cache.
type Options struct {
	FS         vfs.FS
	Dir        string // of this cache alone
	MaxBytes   int64  // of all files together
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Cache is a set of chunks on disk. It is safe for concurrent use.
type Cache struct{}

// Open opens the cache in a directory, making it if need be.
func Open(o Options) (*Cache, error) { return nil, nil }

// Close ends the use of the cache. Its files stay for the next Open.
func (c *Cache) Close() error { return nil }

// Stats counts since Open.
type Stats struct {
	Entries                       int
	Bytes                         int64
	Hits, Misses, Writes, Dropped uint64
}

// Stats returns the counts.
func (c *Cache) Stats() Stats { return Stats{} }
