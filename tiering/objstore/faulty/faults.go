package faulty

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"firn/tiering/objstore"
)

// Fault is what happens to a call. Its parts are called without any lock held.
type Fault struct {
	before func(context.Context) error // an error keeps the call from the store
	after  func(context.Context) error // an error replaces the store's good answer
	body   func(*Injector, io.ReadCloser) io.ReadCloser
	late   bool // keeps a put for Injector.Land
}

// Fail fails the call with err before it reaches the store; nil means ErrInjected.
func Fail(err error) Fault {
	if err == nil {
		err = ErrInjected
	}
	return Fault{before: func(context.Context) error { return err }}
}

// Throttle answers with objstore.ErrThrottled.
func Throttle() Fault { return Fail(objstore.ErrThrottled) }

// Missing answers with objstore.ErrNotFound, whatever the store holds.
func Missing() Fault { return Fail(objstore.ErrNotFound) }

// Delay holds the call for d before it reaches the store.
func Delay(d time.Duration) Fault {
	return Fault{before: func(ctx context.Context) error {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
}

// Hold tells the test on reached, if that is not nil, that a call is about to reach the store, and
// keeps it there until release is closed.
func Hold(reached chan<- struct{}, release <-chan struct{}) Fault {
	return Fault{before: wait(reached, release)}
}

// HoldReply is Hold after the store has done its part.
func HoldReply(reached chan<- struct{}, release <-chan struct{}) Fault {
	return Fault{after: wait(reached, release)}
}

func wait(reached chan<- struct{}, release <-chan struct{}) func(context.Context) error {
	return func(ctx context.Context) error {
		if reached != nil {
			select {
			case reached <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// LoseReply lets the store do the call and then fails it: the caller cannot know that it happened.
func LoseReply() Fault {
	return Fault{after: func(context.Context) error { return fmt.Errorf("reply lost: %w", ErrInjected) }}
}

// Late fails a put, which then happens all the same once the test calls Injector.Land: a request that
// was still on its way when its sender gave up. Other verbs are not hit.
func Late() Fault { return Fault{late: true} }

// hold keeps a put with a copy of its bytes, for the caller's source ends with the call.
func (b *bucket) hold(key string, src objstore.Source, cond objstore.Condition) error {
	data, err := io.ReadAll(io.NewSectionReader(src, 0, src.Size()))
	if err != nil {
		return err
	}
	b.i.mu.Lock()
	defer b.i.mu.Unlock()
	b.i.mu.late = append(b.i.mu.late, func(ctx context.Context) error {
		_, err := b.Bucket.Put(ctx, key, bytes.NewReader(data), cond)
		return err
	})
	return fmt.Errorf("put %s: request delayed: %w", key, ErrInjected)
}

// FlipBit changes one bit of a body that get returns, within the first bytes read from it.
func FlipBit() Fault {
	return Fault{body: func(i *Injector, body io.ReadCloser) io.ReadCloser {
		return &flipped{ReadCloser: body, i: i}
	}}
}

type flipped struct {
	io.ReadCloser
	i    *Injector
	done bool
}

func (f *flipped) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if n > 0 && !f.done {
		f.done = true
		p[f.i.random(n)] ^= 1 << f.i.random(8)
	}
	return n, err
}

// CutBody breaks the connection after n bytes of a body that get returns: Read fails then.
func CutBody(n int64) Fault {
	return Fault{body: func(_ *Injector, body io.ReadCloser) io.ReadCloser {
		return &cut{ReadCloser: body, left: n}
	}}
}

type cut struct {
	io.ReadCloser
	left int64
}

func (c *cut) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, fmt.Errorf("body cut: %w (%w)", io.ErrUnexpectedEOF, ErrInjected)
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}
