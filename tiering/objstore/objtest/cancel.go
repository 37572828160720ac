package objtest

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"firn/tiering/objstore"
)

func testCancelledBefore(t *testing.T, b objstore.Bucket) {
	put(t, b, "k", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, errPut := b.Put(ctx, "new", NewPattern(1, 1000), objstore.Condition{})
	_, errBig := b.Put(ctx, "new", NewPattern(1, 65<<20), objstore.Condition{})
	_, errGet := read(ctx, b, "k", 0, -1)
	_, errHead := b.Head(ctx, "k")
	errList := b.List(ctx, "", "", func(objstore.Info) error { return nil })
	errDelete := b.Delete(ctx, "k")
	for verb, err := range map[string]error{
		"put": errPut, "big put": errBig, "get": errGet, "head": errHead, "list": errList, "delete": errDelete,
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a cancelled context: %v, want context canceled", verb, err)
		}
	}
	want(t, b, "k", []byte("x"))
	if keys := list(t, b, "", ""); len(keys) != 1 {
		t.Errorf("keys %q, want one", keys)
	}
}

func testCancelledDuringGet(t *testing.T, b objstore.Bucket) {
	// More than what sockets and read buffers hold.
	const size = 60 << 20
	if _, err := b.Put(t.Context(), "k", NewPattern(1, size), objstore.Condition{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	body, err := b.Get(ctx, "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.ReadFull(body, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	n, err := io.Copy(io.Discard, body)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("read on after cancel: %d bytes, %v, want context canceled", n, err)
	}
}

// cancellingSource cancels once a place is read.
type cancellingSource struct {
	*Pattern
	at     int64
	cancel func()
}

func (s *cancellingSource) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > s.at {
		s.cancel()
	}
	return s.Pattern.ReadAt(p, off)
}

func testCancelledDuringPut(t *testing.T, b objstore.Bucket) {
	for _, size := range []int64{40 << 20, 100 << 20} {
		ctx, cancel := context.WithCancel(t.Context())
		src := &cancellingSource{NewPattern(1, size), size / 2, sync.OnceFunc(cancel)}
		if _, err := b.Put(ctx, "k", src, objstore.Condition{}); !errors.Is(err, context.Canceled) {
			t.Errorf("put of %d bytes, cancelled half way: %v, want context canceled", size, err)
		}
		if _, err := b.Head(t.Context(), "k"); !errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("head after a cancelled put: %v, want not found", err)
		}
	}
}
