package faulty_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"firn/tiering/objstore"
	"firn/tiering/objstore/faulty"
	"firn/tiering/objstore/mem"
	"firn/tiering/objstore/objtest"
)

// Without rules nothing changes.
func TestBucket(t *testing.T) {
	objtest.Run(t, func(*testing.T) objstore.Bucket {
		return faulty.Wrap(mem.New(), faulty.NewInjector(1))
	})
}

// newBucket holds "k" with a hundred zeros.
func newBucket(t *testing.T) (objstore.Bucket, *faulty.Injector) {
	t.Helper()
	inj := faulty.NewInjector(1)
	b := faulty.Wrap(mem.New(), inj)
	if err := put(b, "k", 100); err != nil {
		t.Fatal(err)
	}
	return b, inj
}

func put(b objstore.Bucket, key string, n int) error {
	_, err := b.Put(context.Background(), key, bytes.NewReader(make([]byte, n)), objstore.Condition{})
	return err
}

func get(b objstore.Bucket) ([]byte, error) {
	body, err := b.Get(context.Background(), "k", 0, -1)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

func TestRuleChoosesCalls(t *testing.T) {
	b, inj := newBucket(t)
	remove := inj.Add(faulty.Rule{
		Ops:   faulty.Put,
		Match: func(key string) bool { return strings.HasPrefix(key, "bad/") },
		Skip:  1, Times: 2,
		Fault: faulty.Fail(nil),
	})
	var failed []bool
	for range 5 {
		if err := put(b, "good/x", 1); err != nil {
			t.Fatal(err)
		}
		err := put(b, "bad/x", 1)
		if err != nil && !errors.Is(err, faulty.ErrInjected) {
			t.Fatal(err)
		}
		failed = append(failed, err != nil)
	}
	if want := []bool{false, true, true, false, false}; !equal(failed, want) {
		t.Errorf("failed %v, want %v", failed, want)
	}
	if n := inj.Calls(faulty.Put); n != 11 {
		t.Errorf("%d puts counted, want 11", n)
	}
	remove()
	inj.Add(faulty.Rule{Chance: 0.5, Fault: faulty.Throttle()})
	hit := 0
	for range 1000 {
		if _, err := b.Head(t.Context(), "k"); errors.Is(err, objstore.ErrThrottled) {
			hit++
		}
	}
	if hit < 400 || hit > 600 {
		t.Errorf("%d of 1000 calls hit at a chance of one half", hit)
	}
	inj.Clear()
	if _, err := get(b); err != nil {
		t.Error(err)
	}
}

func equal(a, b []bool) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

func TestBodies(t *testing.T) {
	b, inj := newBucket(t)
	inj.Add(faulty.Rule{Ops: faulty.Get, Times: 1, Fault: faulty.FlipBit()})
	data, err := get(b)
	ones := 0
	for _, c := range data {
		if c != 0 {
			ones++
		}
	}
	if err != nil || len(data) != 100 || ones != 1 {
		t.Errorf("flipped: %d bytes, %d wrong, %v", len(data), ones, err)
	}
	inj.Add(faulty.Rule{Ops: faulty.Get, Times: 1, Fault: faulty.CutBody(30)})
	if data, err := get(b); len(data) != 30 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut: %d bytes, %v", len(data), err)
	}
	inj.Add(faulty.Rule{Ops: faulty.Get, Times: 1, Fault: faulty.Missing()})
	if _, err := get(b); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("missing: %v", err)
	}
	if data, err := get(b); err != nil || !bytes.Equal(data, make([]byte, 100)) {
		t.Errorf("afterwards: %q, %v", data, err)
	}
}

func TestLostReplyAndLatePut(t *testing.T) {
	b, inj := newBucket(t)
	inj.Add(faulty.Rule{Ops: faulty.Put, Times: 1, Fault: faulty.LoseReply()})
	if err := put(b, "lost", 1); !errors.Is(err, faulty.ErrInjected) {
		t.Errorf("lost reply: %v", err)
	}
	if _, err := b.Head(t.Context(), "lost"); err != nil {
		t.Errorf("the store did not do what it lost the reply of: %v", err)
	}
	inj.Add(faulty.Rule{Ops: faulty.Put, Times: 1, Fault: faulty.Late()})
	if err := put(b, "late", 1); !errors.Is(err, faulty.ErrInjected) {
		t.Errorf("late put: %v", err)
	}
	if _, err := b.Head(t.Context(), "late"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("before it lands: %v", err)
	}
	if n, err := inj.Land(t.Context()); n != 1 || err != nil {
		t.Errorf("land: %d, %v", n, err)
	}
	if _, err := b.Head(t.Context(), "late"); err != nil {
		t.Errorf("after it landed: %v", err)
	}
}

func TestDelayAndHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, inj := newBucket(t)
		inj.Add(faulty.Rule{Ops: faulty.Head, Times: 1, Fault: faulty.Delay(3 * time.Second)})
		start := time.Now()
		if _, err := b.Head(t.Context(), "k"); err != nil || time.Since(start) != 3*time.Second {
			t.Errorf("delayed by %v, %v", time.Since(start), err)
		}
		reached, release := make(chan struct{}), make(chan struct{})
		inj.Add(faulty.Rule{Ops: faulty.Put, Times: 1, Fault: faulty.HoldReply(reached, release)})
		done := make(chan error)
		go func() { done <- put(b, "held", 1) }()
		<-reached
		if _, err := b.Head(t.Context(), "held"); err != nil {
			t.Errorf("the store waits with its reply only: %v", err)
		}
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		inj.Add(faulty.Rule{Ops: faulty.Head, Fault: faulty.Hold(nil, make(chan struct{}))})
		if _, err := b.Head(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("held for ever: %v", err)
		}
	})
}
