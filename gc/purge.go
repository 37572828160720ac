package gc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"firn/metadata/topic"
	"firn/tiering"
	"firn/tiering/objstore"
)

// purgedFor is how long a purged topic's marker stays: by then no upload that was begun before the deletion
// can still arrive.
const purgedFor = 30 * 24 * time.Hour

// deleteBatch is how many keys go into one Delete.
const deleteBatch = 1000

// Job is a deleted topic whose objects are to go.
type Job struct {
	ID         topic.ID
	Name       string
	Partitions int32
	// Done is how many partitions, from the first on, an earlier attempt has left nothing of, as its Report said.
	Done int32
	// Confirm proves that the topic is deleted, by a read of the metadata and not of a cache. It is
	// asked before anything is deleted and before each partition.
	Confirm func(ctx context.Context) error
}

// Purger deletes everything of deleted topics.
type Purger struct {
	Bucket  objstore.Bucket
	Anchor  tiering.Anchor
	Cluster string
	Catalog *Catalog
	Logger  *slog.Logger
}

// Purge deletes all objects of a deleted topic. It may be interrupted and called again; with what the Report says to be done
// it goes on from there. In order:
//
//  1. mark the topic as deleting: whoever reads the bucket alone knows that it is going;
//  2. per partition delete what the manifest names, the root last, so that it still can be read;
//  3. delete what a listing still finds under the partition: orphans of uploads, HEAD;
//  4. mark the topic as purged, and drop it from the catalog.
//
// Only then may the metadata forget the topic and its tier heads. Uploads that arrive later are found by
// Scrubber.Purged.
func (p *Purger) Purge(ctx context.Context, j Job) (Report, error) {
	r := Report{Purged: j.Done}
	if err := j.Confirm(ctx); err != nil {
		return r, fmt.Errorf("confirm deletion of topic %s: %w", j.ID, err)
	}
	mark := Lifecycle{ID: j.ID, Name: j.Name, Partitions: j.Partitions, State: Deleting, At: time.Now().UTC()}
	if err := p.Catalog.Mark(ctx, mark); err != nil {
		return r, err
	}
	archives := tiering.NewArchives(tiering.ArchiveOptions{Bucket: p.Bucket, Anchor: p.Anchor, Cluster: p.Cluster, Logger: p.Logger})
	defer archives.Close()
	for n := j.Done; n < j.Partitions; n++ {
		if err := j.Confirm(ctx); err != nil {
			return r, fmt.Errorf("confirm deletion of topic %s: %w", j.ID, err)
		}
		deleted, err := p.partition(ctx, archives, topic.Partition{ID: j.ID, Index: n})
		r.Deleted += deleted
		if err != nil {
			return r, fmt.Errorf("purge %s-%d: %w", j.ID, n, err)
		}
		r.Purged = n + 1
	}
	mark.State, mark.At = Purged, time.Now().UTC()
	if err := p.Catalog.Mark(ctx, mark); err != nil {
		return r, err
	}
	return r, p.Catalog.forget(ctx, j.ID, false)
}

func (p *Purger) partition(ctx context.Context, archives *tiering.Archives, tp topic.Partition) (deleted int, err error) {
	keys := tiering.Keys{Cluster: p.Cluster}
	refs, head, err := archives.Archive(tp, math.MaxInt32).References(ctx)
	if err == nil {
		root := ""
		if !head.Root.IsZero() {
			root = keys.Root(tp, head.Root)
			delete(refs, root)
		}
		named := make([]string, 0, len(refs)+1)
		for key := range refs {
			named = append(named, key)
		}
		if deleted, err = deleteAll(ctx, p.Bucket, named); err == nil && root != "" {
			err = p.Bucket.Delete(ctx, root)
			deleted++
		}
		if err != nil {
			return deleted, err
		}
	} else if ctx.Err() != nil {
		return 0, err
	} else if p.Logger != nil {
		// An earlier attempt has deleted parts of it, or it is damaged: the listing finds the rest.
		p.Logger.Info("manifest of a deleted partition cannot be read", "partition", tp, "error", err)
	}
	n, err := deletePrefix(ctx, p.Bucket, keys.Partition(tp))
	return deleted + n, err
}

func deleteAll(ctx context.Context, bucket objstore.Bucket, keys []string) (int, error) {
	for i := 0; i < len(keys); i += deleteBatch {
		if err := bucket.Delete(ctx, keys[i:min(i+deleteBatch, len(keys))]...); err != nil {
			return i, err
		}
	}
	return len(keys), nil
}

// errBatchFull ends a listing when there is enough to do.
var errBatchFull = errors.New("batch is full")

// deletePrefix deletes what a listing finds, until it finds nothing.
func deletePrefix(ctx context.Context, bucket objstore.Bucket, prefix string) (deleted int, err error) {
	for {
		var batch []string
		err := bucket.List(ctx, prefix, "", func(i objstore.Info) error {
			batch = append(batch, i.Key)
			if len(batch) == deleteBatch {
				return errBatchFull
			}
			return nil
		})
		if err != nil && !errors.Is(err, errBatchFull) {
			return deleted, fmt.Errorf("list %s: %w", prefix, err)
		}
		if len(batch) == 0 {
			return deleted, nil
		}
		if err := bucket.Delete(ctx, batch...); err != nil {
			return deleted, err
		}
		deleted += len(batch)
	}
}
