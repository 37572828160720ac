package segment

import (
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"firn/segment/batch"
	"firn/segment/vfs"
)

// DiskOptions of OpenDisk. FS and Dir are needed, the rest has defaults.
type DiskOptions struct {
	FS  vfs.FS
	Dir string
	// ClusterID and BrokerID are written into a new directory and must match those of an old one.
	// An empty ClusterID is not compared.
	ClusterID string
	BrokerID  int32
	// Files and Mappings bound the descriptors and memory mappings that this disk's logs may hold; 0
	// means three quarters of what the process may have. Connections need descriptors too.
	Files, Mappings int
	// Share is how many disks of the process divide Files and Mappings among them; 0 means that there is this one.
	Share int
	// Thresholds of free space; the zero value means DefaultThresholds.
	Thresholds Thresholds
	// OnOffline, if set, is called once, from a goroutine of its own, when the disk fails.
	OnOffline  func(error)
	Logger     *slog.Logger
	Registerer prometheus.Registerer // may be nil
}

func (o *DiskOptions) ensureDefaults() error {
	if o.FS == nil || o.Dir == "" {
		return errors.New("segment: a disk needs a file system and a directory")
	}
	if o.Files <= 0 {
		o.Files = processFiles() / 4 * 3
	}
	if o.Mappings <= 0 {
		o.Mappings = processMappings() / 4 * 3
	}
	o.Files /= max(1, o.Share)
	o.Mappings /= max(1, o.Share)
	if o.Thresholds == (Thresholds{}) {
		o.Thresholds = DefaultThresholds
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Settings of a Log that may change while it is open. Zero values mean the defaults given.
type Settings struct {
	// SegmentBytes is the size at which a segment is rolled: 128 MiB. A segment is larger only if a
	// single Append is.
	SegmentBytes int64
	// SegmentAge is how long after its first append a segment is rolled by RollIfDue: 7 days.
	SegmentAge time.Duration
	// IndexInterval is how many bytes of log at least lie between two index entries: 4096. It takes
	// effect with the next segment.
	IndexInterval int64
	// FlushMessages is the number of records (offsets) after which Append asks for a Commit: 1 means
	// each Append, which makes the log durable; 0 means never by count.
	FlushMessages int64
	// FlushInterval is how long appended bytes may wait for a Commit: 1 s. 8 MiB do not wait.
	FlushInterval time.Duration
}

// Options of Disk.Open. The zero value is a log without producers and callbacks.
type Options struct {
	Settings
	// Producers, if not nil, is rebuilt by Open, TruncateTo and Reset, and asked for snapshots by the
	// methods that want the caller's lock.
	Producers ProducerState
	// Elsewhere is the offset below which everything can be had elsewhere: Open drops sealed segments wholly below it
	// that are not whole, and those before them, where it would refuse the log.
	Elsewhere int64
	// NextEpoch is the first leader epoch that has not begun anywhere, 0 if that is not known: Open takes a batch past the
	// checkpoint that begins it or a later one for damaged.
	NextEpoch int32
	// OnDurable is told that everything below end is durable. Ends rise, but for a TruncateTo or
	// Reset; while one is under way end may be outdated. Durable is always right.
	OnDurable func(end int64)
	// OnFailure is told once that the disk failed: everything at or above Durable must be taken for
	// lost. OnDurable is not called after it.
	OnFailure func(error)
	Logger    *slog.Logger
}

// ProducerState is what a log must remember of idempotent producers. The caller applies each batch it
// appended, after Append returned and before it releases its lock; the log applies batches only while
// it recovers or truncates. Calls to it never overlap.
type ProducerState interface {
	// Reset forgets everything.
	Reset()
	// Load replaces the state by a snapshot. It must not keep the slice.
	Load(snapshot []byte) error
	// Apply takes in an appended batch of which only the header methods may be used.
	Apply(b batch.Batch)
	// Snapshot returns the state after the last batch applied, in a slice the log may keep.
	Snapshot() []byte
}

// Default settings.
const (
	DefaultSegmentBytes  = 128 << 20
	DefaultSegmentAge    = 7 * 24 * time.Hour
	DefaultIndexInterval = 4096
	DefaultFlushInterval = time.Second
)

func (s Settings) withDefaults() Settings {
	if s.SegmentBytes <= 0 {
		s.SegmentBytes = DefaultSegmentBytes
	}
	if s.SegmentAge <= 0 {
		s.SegmentAge = DefaultSegmentAge
	}
	if s.IndexInterval <= 0 {
		s.IndexInterval = DefaultIndexInterval
	}
	if s.FlushInterval <= 0 {
		s.FlushInterval = DefaultFlushInterval
	}
	return s
}
