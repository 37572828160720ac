package gc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"firn/metadata/topic"
	"firn/tiering/objstore"
)

// Catalog keeps in the bucket what a bucket must tell of itself: which topics the objects belong to, and
// which topics have been deleted. It is read only when everything else is lost, or by people.
//
//	_catalog/<cluster>/topics/<topic>/<revision, 20 digits>.json   Topic; the highest revision counts
//	_catalog/<cluster>/lifecycle/<topic>                           Lifecycle, from a topic's deletion on
//
// It is safe for concurrent use, by several brokers too: no topic object is written twice.
type Catalog struct {
	bucket  objstore.Bucket
	cluster string

	mu      sync.Mutex
	written map[topic.ID]int64 // newest revision known to be there
}

// Topic is what the catalog says of a topic.
type Topic struct {
	Name       string            `json:"name"`
	ID         topic.ID          `json:"-"`
	Partitions int32             `json:"partitions"`
	Settings   map[string]string `json:"settings"` // overrides, as given
	// Revision orders the states of a topic: that of the metadata it was read from.
	Revision int64 `json:"revision"`
}

// State is where a deleted topic stands.
type State string

// The states.
const (
	Deleting State = "deleting"
	Purged   State = "purged"
)

// Lifecycle is the marker of a deleted topic.
type Lifecycle struct {
	ID         topic.ID  `json:"-"`
	Name       string    `json:"name"`
	Partitions int32     `json:"partitions"`
	State      State     `json:"state"`
	At         time.Time `json:"at"`
}

// document is the form of both kinds of objects.
type document[T any] struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
	Body    T      `json:"topic"`
}

const catalogVersion = 1

// NewCatalog returns the catalog of a cluster.
func NewCatalog(bucket objstore.Bucket, cluster string) *Catalog {
	return &Catalog{bucket: bucket, cluster: cluster, written: map[topic.ID]int64{}}
}

func (c *Catalog) prefix() string { return "_catalog/" + c.cluster + "/" }

func (c *Catalog) topicPrefix(id topic.ID) string { return c.prefix() + "topics/" + id.Hex() + "/" }

func (c *Catalog) topicKey(id topic.ID, rev int64) string {
	return fmt.Sprintf("%s%020d.json", c.topicPrefix(id), rev)
}

func (c *Catalog) lifecycleKey(id topic.ID) string { return c.prefix() + "lifecycle/" + id.Hex() }

// Put records a topic as it is at a revision. A revision that is not newer than what is known to be there
// costs nothing, so it can be called before each first upload and after each change.
func (c *Catalog) Put(ctx context.Context, t Topic) error {
	c.mu.Lock()
	have, ok := c.written[t.ID]
	c.mu.Unlock()
	if ok && have >= t.Revision {
		return nil
	}
	b, err := encode(t.ID, t)
	if err != nil {
		return err
	}
	key := c.topicKey(t.ID, t.Revision)
	_, err = c.bucket.Put(ctx, key, source(b), objstore.Condition{IfAbsent: true})
	if err != nil && !errors.Is(err, objstore.ErrPrecondition) {
		return fmt.Errorf("put %s: %w", key, err)
	}
	c.mu.Lock()
	c.written[t.ID] = max(c.written[t.ID], t.Revision)
	c.mu.Unlock()
	return c.dropOlder(ctx, t.ID)
}

// dropOlder deletes all but the newest state of a topic.
func (c *Catalog) dropOlder(ctx context.Context, id topic.ID) error {
	var keys []string
	err := c.bucket.List(ctx, c.topicPrefix(id), "", func(i objstore.Info) error {
		keys = append(keys, i.Key)
		return nil
	})
	if err == nil && len(keys) > 1 {
		err = c.bucket.Delete(ctx, keys[:len(keys)-1]...)
	}
	if err != nil {
		return fmt.Errorf("drop older states of topic %s from the catalog: %w", id, err)
	}
	return nil
}

// ErrDamaged says that an entry of the catalog is not what was written. What it said is best written anew.
var ErrDamaged = errors.New("gc: damaged catalog entry")

// Topic returns the newest state of one topic; ok is false if the catalog has none.
func (c *Catalog) Topic(ctx context.Context, id topic.ID) (t Topic, ok bool, err error) {
	newest := ""
	err = c.bucket.List(ctx, c.topicPrefix(id), "", func(i objstore.Info) error {
		newest = i.Key // keys come in order
		return nil
	})
	if err != nil {
		return Topic{}, false, fmt.Errorf("list topic %s in the catalog: %w", id, err)
	}
	if newest == "" {
		return Topic{}, false, nil
	}
	t, err = read[Topic](ctx, c.bucket, newest, id)
	if errors.Is(err, objstore.ErrNotFound) { // just replaced
		return Topic{}, false, nil
	}
	t.ID = id
	return t, err == nil, err
}

// Topics returns the newest state of every topic that the catalog knows, deleted ones excepted once they
// are purged.
func (c *Catalog) Topics(ctx context.Context) ([]Topic, error) {
	newest := map[topic.ID]string{}
	var order []topic.ID
	prefix := c.prefix() + "topics/"
	err := c.bucket.List(ctx, prefix, "", func(i objstore.Info) error {
		hex, rest, _ := strings.Cut(i.Key[len(prefix):], "/")
		id, err := topic.ParseHex(hex)
		if err != nil || !strings.HasSuffix(rest, ".json") {
			return nil // not ours
		}
		if _, ok := newest[id]; !ok {
			order = append(order, id)
		}
		newest[id] = i.Key // keys come in order
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the catalog: %w", err)
	}
	out := make([]Topic, 0, len(order))
	for _, id := range order {
		t, err := read[Topic](ctx, c.bucket, newest[id], id)
		if errors.Is(err, objstore.ErrNotFound) {
			continue // just replaced or purged
		}
		if err != nil {
			return nil, err
		}
		t.ID = id
		out = append(out, t)
	}
	return out, nil
}

// Mark writes the marker of a deleted topic.
func (c *Catalog) Mark(ctx context.Context, l Lifecycle) error {
	b, err := encode(l.ID, l)
	if err != nil {
		return err
	}
	key := c.lifecycleKey(l.ID)
	if _, err := c.bucket.Put(ctx, key, source(b), objstore.Condition{}); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

// Marks returns the markers of all deleted topics. With an ErrDamaged come those that can be read.
func (c *Catalog) Marks(ctx context.Context) ([]Lifecycle, error) {
	var out []Lifecycle
	var damaged error
	prefix := c.prefix() + "lifecycle/"
	err := c.bucket.List(ctx, prefix, "", func(i objstore.Info) error {
		id, err := topic.ParseHex(i.Key[len(prefix):])
		if err != nil {
			return nil // not ours
		}
		l, err := read[Lifecycle](ctx, c.bucket, i.Key, id)
		switch {
		case errors.Is(err, objstore.ErrNotFound):
			return nil // another broker has just dropped it
		case errors.Is(err, ErrDamaged):
			damaged = errors.Join(damaged, err)
			return nil
		case err != nil:
			return err
		}
		l.ID = id
		out = append(out, l)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list deleted topics: %w", err)
	}
	return out, damaged
}

// Forget removes a topic's states, and with marker its marker too.
func (c *Catalog) forget(ctx context.Context, id topic.ID, marker bool) error {
	var keys []string
	err := c.bucket.List(ctx, c.topicPrefix(id), "", func(i objstore.Info) error {
		keys = append(keys, i.Key)
		return nil
	})
	if err != nil {
		return err
	}
	if marker {
		keys = append(keys, c.lifecycleKey(id))
	}
	if len(keys) == 0 {
		return nil
	}
	return c.bucket.Delete(ctx, keys...)
}

func encode[T any](id topic.ID, body T) ([]byte, error) {
	b, err := json.MarshalIndent(document[T]{catalogVersion, id.String(), body}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode catalog entry: %w", err)
	}
	return append(b, '\n'), nil
}

// maxDocument bounds what is read of one entry.
const maxDocument = 4 << 20

func read[T any](ctx context.Context, bucket objstore.Bucket, key string, id topic.ID) (body T, err error) {
	rc, err := bucket.Get(ctx, key, 0, maxDocument)
	if err != nil {
		return body, fmt.Errorf("get %s: %w", key, err)
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err != nil {
		return body, fmt.Errorf("get %s: %w", key, err)
	}
	return decode[T](key, b, id)
}

func decode[T any](key string, b []byte, id topic.ID) (body T, err error) {
	var d document[T]
	if err := json.Unmarshal(b, &d); err != nil {
		return body, fmt.Errorf("%w: %s: %w", ErrDamaged, key, err)
	}
	if d.Version > catalogVersion {
		return body, fmt.Errorf("catalog entry %s is of version %s, this build reads up to %d", key, strconv.Itoa(d.Version), catalogVersion)
	}
	if d.ID != id.String() {
		return body, fmt.Errorf("%w: %s is of topic %q", ErrDamaged, key, d.ID)
	}
	return d.Body, nil
}

// source is bytes in memory as an objstore.Source.
func source(b []byte) objstore.Source { return bytes.NewReader(b) }
