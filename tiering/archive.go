package tiering

import (
	"context"
	"time"

	"firn/metadata/topic"
	"firn/tiering/manifest"
)

// Archive is the one writer of a partition's manifest under one leadership. A new leader epoch gets a
// new Archive, so nothing cached survives the change. It is safe for concurrent use; edits happen one
// after the other.
type Archive struct{}

// Partition is the partition whose manifest this is.
func (a *Archive) Partition() topic.Partition { return topic.Partition{} }

// Head returns the head as last read or written, reading it first if there was no read yet.
func (a *Archive) Head(ctx context.Context) (manifest.Head, error) { return manifest.Head{}, nil }

// Refresh reads the head from the anchor.
func (a *Archive) Refresh(ctx context.Context) (manifest.Head, error) { return manifest.Head{}, nil }

// ProvenTierEnd is the greatest end of the tier that a read of the anchor has proven, -1 before the
// first. Local bytes below it may be dropped.
func (a *Archive) ProvenTierEnd() int64 { return -1 }

// Commit appends a segment whose object is in the bucket. nil means committed; ErrFenced that it never
// will be. On any other error the outcome may be open, and the object must be left alone.
func (a *Archive) Commit(ctx context.Context, s manifest.Segment) error { return nil }

// SetLogStart moves the log start forward, as DeleteRecords and retention do, and returns the head after
// it. Beyond the end of the tier it moves that end, too. An offset at or below the log start changes
// nothing.
func (a *Archive) SetLogStart(ctx context.Context, offset int64) (manifest.Head, error) {
	return manifest.Head{}, nil
}

// Fold moves the head's tail into a new root and what lies below the log start into the trash.
func (a *Archive) Fold(ctx context.Context, now time.Time) error { return nil }

// EmptyTrash deletes the trash that is due and takes it out of the manifest.
func (a *Archive) EmptyTrash(ctx context.Context, now time.Time) (deleted int, err error) {
	return 0, nil
}
