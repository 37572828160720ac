package metadata

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

// Options configures a Store.
type Options struct {
	// Cluster is the cluster's name in the key space. Default "firn".
	Cluster string
	// ReadTierHead reads the fields of a tier head. Nil leaves them zero.
	ReadTierHead func(value []byte) (TierFields, error)
	Logger       *slog.Logger
	Registerer   prometheus.Registerer // nil: no metrics
}

// Store keeps an Image of the cluster's metadata up to date and writes typed records with the guards they
// need. Safe for concurrent use.
type Store struct{}

// Open reads the cluster record (making it if this is the first broker ever), loads the image and starts
// to follow the key space. It does not own kv.
func Open(ctx context.Context, kv KV, opts Options) (*Store, error) { panic("unwritten") }

// Image returns the newest image. It costs one atomic load.
func (s *Store) Image() *Image { panic("unwritten") }

// KV returns the key space the store reads.
func (s *Store) KV() KV { panic("unwritten") }

// Keys returns the keys of the store's cluster.
func (s *Store) Keys() Keys { panic("unwritten") }

// WaitRev returns the first image at or past rev, for reading one's own writes.
func (s *Store) WaitRev(ctx context.Context, rev int64) (*Image, error) { panic("unwritten") }

// Subscribe calls fn with successive images until stop is called or the store closes: every call's old is
// the new of the one before, the first call's old is nil. Calls come from one goroutine per subscriber; a
// slow fn delays only itself and then sees several changes as one. stop waits for a running fn, so it
// must not be called from inside it.
func (s *Store) Subscribe(fn func(old, new *Image)) (stop func()) { panic("unwritten") }

// Failed is closed when the store can no longer follow the key space (ErrNewerVersion, ErrBadRecord,
// ErrWentBack); Err then says why. The last image stays.
func (s *Store) Failed() <-chan struct{} { panic("unwritten") }

// Err returns why the store failed, or nil.
func (s *Store) Err() error { panic("unwritten") }

// Close stops following the key space and waits for subscribers to return.
func (s *Store) Close() error { panic("unwritten") }
