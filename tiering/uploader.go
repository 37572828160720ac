package tiering

import (
	"context"
	"log/slog"
	"time"

	"firn/metadata/topic"
	"firn/segment/vfs"
	"firn/tiering/manifest"
	"firn/tiering/objstore"

	"github.com/prometheus/client_golang/prometheus"
)

// UploaderOptions configures an Uploader.
type UploaderOptions struct {
	Bucket  objstore.Bucket
	Anchor  Anchor
	Cluster string // cluster id, part of every key
	// BrokerEpoch names this process in keys.
	BrokerEpoch func() int64
	// FS and SpoolDir say where compressed blocks wait for their upload; what an earlier process left
	// there is removed.
	FS       vfs.FS
	SpoolDir string
	// Concurrency is how many segments go up at a time; default 2.
	Concurrency int
	// BytesPerSecond paces all uploads together; 0 means no limit.
	BytesPerSecond int64
	// Describe, if set, is called before the first upload of a topic in this process; an error
	// delays the upload. The catalog hangs here.
	Describe func(ctx context.Context, id topic.ID) error
	// OnCommit, if set, is called after a read has proven a commit, from an uploader goroutine.
	OnCommit   func(tp topic.Partition, head manifest.Head)
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Uploader moves sealed segments of the partitions this broker leads into the tier. It is safe for
// concurrent use.
type Uploader struct{}

// NewUploader returns an Uploader; Run makes it work.
func NewUploader(o UploaderOptions) (*Uploader, error) { return nil, nil }

// Run uploads until ctx is done, then waits for what it started.
func (u *Uploader) Run(ctx context.Context) error { return nil }

// Limits are the settings of a partition that bear on uploads. They may change at any time.
type Limits struct {
	MaxLag   time.Duration // tier.max.lag.ms
	MinBytes int64         // tier.min.bytes
	// Paused stops new uploads (remote.log.copy.disable).
	Paused bool
}

// Register begins to archive a partition that this broker leads at leaderEpoch. The Upload must be
// closed when that leadership ends.
func (u *Uploader) Register(tp topic.Partition, leaderEpoch int32, src Source, l Limits) *Upload {
	return nil
}

// SetUrgent lifts the pace for as long as it is set, for a disk that runs full.
func (u *Uploader) SetUrgent(on bool) {}

// Status returns the state of every registered partition.
func (u *Uploader) Status() []UploadStatus { return nil }

// Upload is one partition's archiving under one leadership. Its methods do not block, but for Close.
type Upload struct{}

// Sealed tells that a segment was sealed.
func (p *Upload) Sealed() {}

// HighWatermark tells that the high watermark has risen to hw. It is cheap enough for every append.
func (p *Upload) HighWatermark(hw int64) {}

// SetLimits changes the settings.
func (p *Upload) SetLimits(l Limits) {}

// Archive is the partition's manifest writer.
func (p *Upload) Archive() *Archive { return nil }

// Status is the partition's present state.
func (p *Upload) Status() UploadStatus { return UploadStatus{} }

// Close ends archiving under this leadership and waits until nothing of it runs.
func (p *Upload) Close() {}

// UploadStatus is what an operator wants to know of one partition's uploads.
type UploadStatus struct {
	Partition   topic.Partition
	LeaderEpoch int32
	TierEnd     int64 // proven by a read; -1 before the first
	LogStart    int64
	LagBytes    int64
	Lag         time.Duration // age of the oldest byte that is not in the tier
	Fenced      bool
	Failures    int   // in a row
	Err         error // of the last failure
	RetryAt     time.Time
}
