package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"firn/metadata"
	"firn/metadata/memkv"
	"firn/tiering/objstore"
)

// errDead is what a process gets that has been killed and does not know yet.
var errDead = errors.New("sim: the process is dead")

// gate is what a process passes to reach something outside, and again when the answer comes back. It may be shut for a
// while, and for ever once the process is dead.
type gate struct {
	mu      sync.Mutex
	shut    int // by how many faults
	dead    bool
	changed chan struct{}
}

func newGate() *gate { return &gate{changed: make(chan struct{})} }

func (g *gate) change(fn func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	fn()
	close(g.changed)
	g.changed = make(chan struct{})
}

func (g *gate) close()  { g.change(func() { g.shut++ }) }
func (g *gate) reopen() { g.change(func() { g.shut-- }) }
func (g *gate) kill()   { g.change(func() { g.dead = true }) }

func (g *gate) isDead() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.dead
}

// pass waits until the gate is open.
func (g *gate) pass(ctx context.Context) error {
	for {
		g.mu.Lock()
		shut, dead, changed := g.shut > 0, g.dead, g.changed
		g.mu.Unlock()
		switch {
		case dead:
			return errDead
		case ctx.Err() != nil:
			return ctx.Err()
		case !shut:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// kvTimeout bounds a call as the driver of a real key space does.
const kvTimeout = 2 * time.Second

// kv is a process's connection to the key space.
type kv struct {
	*memkv.Client
	life *life
}

var _ metadata.KV = kv{}

// call runs one call between two passes of the gate.
func (k kv) call(ctx context.Context, write bool, run func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, kvTimeout)
	defer cancel()
	lost := metadata.ErrUnavailable
	if write {
		lost = metadata.ErrUnknown
	}
	if err := k.life.kv.pass(ctx); err != nil {
		return fmt.Errorf("%w: %w", lost, err)
	}
	err := run(ctx)
	if err := k.life.kv.pass(ctx); err != nil {
		return fmt.Errorf("%w: %w", lost, err)
	}
	return err
}

// Get implements metadata.KV.
func (k kv) Get(ctx context.Context, keys ...string) (out []metadata.Entry, rev int64, err error) {
	err = k.call(ctx, false, func(ctx context.Context) (err error) { out, rev, err = k.Client.Get(ctx, keys...); return })
	return out, rev, err
}

// Range implements metadata.KV.
func (k kv) Range(ctx context.Context, start, end string, rev int64, limit int) (page metadata.Page, err error) {
	err = k.call(ctx, false, func(ctx context.Context) (err error) {
		page, err = k.Client.Range(ctx, start, end, rev, limit)
		return
	})
	return page, err
}

// Txn implements metadata.KV.
func (k kv) Txn(ctx context.Context, txn metadata.Txn) (res metadata.TxnResult, err error) {
	err = k.call(ctx, true, func(ctx context.Context) (err error) { res, err = k.Client.Txn(ctx, txn); return })
	if err != nil {
		return metadata.TxnResult{}, err
	}
	return res, nil
}

// TxnMany implements metadata.KV.
func (k kv) TxnMany(ctx context.Context, txns []metadata.Txn) (res []metadata.TxnResult, err error) {
	err = k.call(ctx, true, func(ctx context.Context) (err error) { res, err = k.Client.TxnMany(ctx, txns); return })
	if len(res) != len(txns) {
		res = make([]metadata.TxnResult, len(txns))
	}
	return res, err
}

// Grant implements metadata.KV.
func (k kv) Grant(ctx context.Context, ttl time.Duration) (id metadata.LeaseID, got time.Duration, err error) {
	err = k.call(ctx, true, func(ctx context.Context) (err error) { id, got, err = k.Client.Grant(ctx, ttl); return })
	if err == nil {
		k.life.granted(id)
	}
	return id, got, err
}

// KeepAlive implements metadata.KV.
func (k kv) KeepAlive(ctx context.Context, id metadata.LeaseID) (ttl time.Duration, err error) {
	err = k.call(ctx, false, func(ctx context.Context) (err error) { ttl, err = k.Client.KeepAlive(ctx, id); return })
	return ttl, err
}

// Revoke implements metadata.KV.
func (k kv) Revoke(ctx context.Context, id metadata.LeaseID) error {
	return k.call(ctx, true, func(ctx context.Context) error { return k.Client.Revoke(ctx, id) })
}

// Watch implements metadata.KV: what happens while a gate is shut is told afterwards.
func (k kv) Watch(ctx context.Context, start, end string, rev int64) <-chan metadata.WatchBatch {
	out := make(chan metadata.WatchBatch)
	in := k.Client.Watch(ctx, start, end, rev)
	go func() {
		defer close(out)
		for b := range in {
			if err := errors.Join(k.life.news.pass(ctx), k.life.kv.pass(ctx)); err != nil {
				b = metadata.WatchBatch{Err: metadata.ErrUnavailable}
			}
			select {
			case out <- b:
			case <-ctx.Done():
			}
			if b.Err != nil {
				break
			}
		}
		for range in { // ends with ctx or the client
		}
	}()
	return out
}

// weather is how likely it is that single calls go wrong, in percent.
type weather struct {
	mu      sync.Mutex
	rng     *rand.Rand
	percent int
}

func newWeather(seed uint64) *weather { return &weather{rng: rand.New(rand.NewPCG(seed, 7))} }

func (w *weather) set(percent int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.percent = percent
}

// roll says whether a call goes wrong, and gives a number below n.
func (w *weather) roll(n int) (bad bool, what int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(100) < w.percent, w.rng.IntN(n)
}

// kvLatency bounds how long a call of the key space takes, one way.
const kvLatency = 2 * time.Millisecond

// kvFault is what the weather makes of a call of the key space.
func (w *weather) kvFault(memkv.Call) memkv.Fault {
	_, a := w.roll(int(kvLatency))
	_, b := w.roll(int(kvLatency))
	f := memkv.Fault{Delay: time.Duration(a), ReplyDelay: time.Duration(b)}
	bad, what := w.roll(6)
	if !bad {
		return f
	}
	switch what {
	case 0:
		f.Refuse = true
	case 1:
		f.LoseRequest = true
	case 2:
		f.LoseReply = true
	case 3:
		f.Late = time.Duration(a) * 500 // up to a second
	case 4:
		f.Delay *= 200
	default:
		f.ReplyDelay *= 200
	}
	return f
}

// bucket is a process's way to the object store.
type bucket struct {
	objstore.Bucket
	gate    *gate
	weather *weather
}

var _ objstore.Bucket = bucket{}

var errBucket = errors.New("sim: the store does not answer")

// bucketTimeout bounds a call as drivers do.
const bucketTimeout = 5 * time.Second

// call runs one call between two passes of the gate.
func (b bucket) call(ctx context.Context, run func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	bad, what := b.weather.roll(5)
	_, trip := b.weather.roll(int(10 * time.Millisecond))
	if bad && what == 3 {
		trip *= 100
	}
	if err := errors.Join(sleep(ctx, time.Duration(trip)), b.gate.pass(ctx)); err != nil {
		return err
	}
	if bad && what == 0 {
		return errBucket
	}
	if bad && what == 4 {
		return objstore.ErrThrottled
	}
	err := run(ctx)
	if bad && what <= 2 {
		return errBucket // though it happened
	}
	return errors.Join(err, b.gate.pass(ctx))
}

// Put implements objstore.Bucket.
func (b bucket) Put(ctx context.Context, key string, src objstore.Source, cond objstore.Condition) (info objstore.Info, err error) {
	err = b.call(ctx, func(ctx context.Context) (err error) { info, err = b.Bucket.Put(ctx, key, src, cond); return })
	return info, err
}

// Get implements objstore.Bucket.
func (b bucket) Get(ctx context.Context, key string, off, n int64) (body io.ReadCloser, err error) {
	parent := ctx // which governs the reading, too
	err = b.call(ctx, func(context.Context) (err error) { body, err = b.Bucket.Get(parent, key, off, n); return })
	if err != nil {
		return nil, err
	}
	return body, nil
}

// Head implements objstore.Bucket.
func (b bucket) Head(ctx context.Context, key string) (info objstore.Info, err error) {
	err = b.call(ctx, func(ctx context.Context) (err error) { info, err = b.Bucket.Head(ctx, key); return })
	return info, err
}

// List implements objstore.Bucket.
func (b bucket) List(ctx context.Context, prefix, startAfter string, fn func(objstore.Info) error) error {
	return b.call(ctx, func(ctx context.Context) error { return b.Bucket.List(ctx, prefix, startAfter, fn) })
}

// Delete implements objstore.Bucket.
func (b bucket) Delete(ctx context.Context, keys ...string) error {
	return b.call(ctx, func(ctx context.Context) error { return b.Bucket.Delete(ctx, keys...) })
}
