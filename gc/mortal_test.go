package gc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"firn/metadata/topic"
	"firn/tiering"
	"firn/tiering/objstore"
)

var errDead = errors.New("this process is dead")

// life is a process that dies at its n-th operation: that one may or may not still happen, and nothing
// after it does.
type life struct {
	mu   sync.Mutex
	rng  *rand.Rand
	left int // operations; 0 means it lives on
	dead bool
	// late counts puts that are still on their way after the death.
	late sync.WaitGroup
}

func newLife(seed uint64, operations int) *life {
	return &life{rng: rand.New(rand.NewPCG(seed, 3)), left: operations}
}

// operation reports whether the next operation happens, and whether its caller hears of it.
func (l *life) operation() (happens, heard bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return false, false
	}
	if l.left == 0 {
		return true, true
	}
	if l.left--; l.left > 0 {
		return true, true
	}
	l.dead = true
	return l.rng.IntN(2) == 0, false
}

func (l *life) isDead() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

// mortalBucket is a bucket as a mortal process sees it.
type mortalBucket struct {
	objstore.Bucket
	life *life
}

func (b *mortalBucket) Put(ctx context.Context, key string, src objstore.Source, cond objstore.Condition) (objstore.Info, error) {
	happens, heard := b.life.operation()
	if happens && !heard { // its bytes are on the wire; they arrive some time
		data, err := io.ReadAll(io.NewSectionReader(src, 0, src.Size()))
		if err != nil {
			return objstore.Info{}, err
		}
		b.life.mu.Lock()
		wait := time.Duration(b.life.rng.Int64N(int64(2 * time.Hour)))
		b.life.mu.Unlock()
		b.life.late.Go(func() {
			time.Sleep(wait) // of the bubble's time
			_, _ = b.Bucket.Put(context.Background(), key, bytes.NewReader(data), cond)
		})
		return objstore.Info{}, errDead
	}
	if !happens {
		return objstore.Info{}, errDead
	}
	return b.Bucket.Put(ctx, key, src, cond)
}

func (b *mortalBucket) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if _, heard := b.life.operation(); !heard {
		return nil, errDead
	}
	return b.Bucket.Get(ctx, key, off, n)
}

func (b *mortalBucket) Head(ctx context.Context, key string) (objstore.Info, error) {
	if _, heard := b.life.operation(); !heard {
		return objstore.Info{}, errDead
	}
	return b.Bucket.Head(ctx, key)
}

func (b *mortalBucket) List(ctx context.Context, prefix, after string, fn func(objstore.Info) error) error {
	if _, heard := b.life.operation(); !heard {
		return errDead
	}
	return b.Bucket.List(ctx, prefix, after, fn)
}

func (b *mortalBucket) Delete(ctx context.Context, keys ...string) error {
	happens, heard := b.life.operation()
	if happens && !heard { // some of it happens
		_ = b.Bucket.Delete(ctx, keys[:len(keys)/2+1]...)
	}
	if !heard {
		return errDead
	}
	return b.Bucket.Delete(ctx, keys...)
}

// mortalAnchor is an anchor as a mortal process sees it.
type mortalAnchor struct {
	tiering.Anchor
	life *life
}

func (a *mortalAnchor) Load(ctx context.Context, tp topic.Partition) ([]byte, int64, error) {
	if _, heard := a.life.operation(); !heard {
		return nil, 0, errDead
	}
	return a.Anchor.Load(ctx, tp)
}

func (a *mortalAnchor) Swap(ctx context.Context, tp topic.Partition, rev int64, epoch int32, head []byte) (int64, bool, error) {
	happens, heard := a.life.operation()
	if happens && !heard {
		_, _, _ = a.Anchor.Swap(ctx, tp, rev, epoch, head)
	}
	if !heard {
		return 0, false, errDead
	}
	return a.Anchor.Swap(ctx, tp, rev, epoch, head)
}
