package objstore_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"firn/tiering/objstore"
	"firn/tiering/objstore/faulty"
	"firn/tiering/objstore/mem"
	"firn/tiering/objstore/objtest"
)

func withPrefix(t *testing.T, b objstore.Bucket, prefix string) objstore.Bucket {
	t.Helper()
	p, err := objstore.WithPrefix(b, prefix)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The neighbours of the prefix must not be seen, nor touched.
func TestWithPrefix(t *testing.T) {
	objtest.Run(t, func(t *testing.T) objstore.Bucket {
		inner := mem.New()
		neighbours := []string{"a", "a/b-", "a/b.c", "a/b0", "z", "there", "k"}
		for _, key := range neighbours {
			if _, err := inner.Put(t.Context(), key, strings.NewReader(key), objstore.Condition{}); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() {
			for _, key := range neighbours {
				if _, err := inner.Head(context.Background(), key); err != nil {
					t.Errorf("neighbour: %v", err)
				}
			}
		})
		return withPrefix(t, inner, "a/b")
	})
}

func TestWithPrefixChecks(t *testing.T) {
	b := mem.New()
	if got := withPrefix(t, b, ""); got != objstore.Bucket(b) {
		t.Error("an empty prefix wraps")
	}
	if got := withPrefix(t, b, "a/b").String(); got != "mem:/a/b" {
		t.Errorf("String = %q", got)
	}
	for _, prefix := range []string{"/a", "a/", "..", "a//b"} {
		if _, err := objstore.WithPrefix(b, prefix); !errors.Is(err, objstore.ErrInvalidKey) {
			t.Errorf("WithPrefix(%q): %v, want invalid key", prefix, err)
		}
	}
}

func TestWithMetrics(t *testing.T) {
	objtest.Run(t, func(*testing.T) objstore.Bucket {
		return objstore.WithMetrics(mem.New(), prometheus.NewPedanticRegistry())
	})
}

func TestMetricsCount(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	inj := faulty.NewInjector(1)
	b := objstore.WithMetrics(faulty.Wrap(mem.New(), inj), reg)
	ctx := t.Context()
	put := func() { _, _ = b.Put(ctx, "k", bytes.NewReader(make([]byte, 100)), objstore.Condition{}) }
	get := func(key string) {
		body, err := b.Get(ctx, key, 0, 60)
		if err == nil {
			_, _ = io.Copy(io.Discard, body)
			body.Close()
		}
	}
	put()
	get("k")
	get("missing") // no failure
	_ = b.List(ctx, "", "", func(objstore.Info) error { return errors.New("the caller's own") })
	inj.Add(faulty.Rule{Ops: faulty.Put, Times: 1, Fault: faulty.Throttle()})
	put()
	inj.Add(faulty.Rule{Ops: faulty.Get, Fault: faulty.CutBody(10)})
	get("k")

	want := `
# HELP firn_objstore_operation_failures_total Calls that failed. An absent key, an unmet condition and a cancelled call are no failures.
# TYPE firn_objstore_operation_failures_total counter
firn_objstore_operation_failures_total{op="delete"} 0
firn_objstore_operation_failures_total{op="get"} 1
firn_objstore_operation_failures_total{op="head"} 0
firn_objstore_operation_failures_total{op="list"} 0
firn_objstore_operation_failures_total{op="put"} 1
# HELP firn_objstore_operations_total Calls to the object store by verb; a put in many parts is one call.
# TYPE firn_objstore_operations_total counter
firn_objstore_operations_total{op="delete"} 0
firn_objstore_operations_total{op="get"} 3
firn_objstore_operations_total{op="head"} 0
firn_objstore_operations_total{op="list"} 1
firn_objstore_operations_total{op="put"} 2
# HELP firn_objstore_operations_throttled_total Failed calls that the store answered with a request to slow down.
# TYPE firn_objstore_operations_throttled_total counter
firn_objstore_operations_throttled_total{op="delete"} 0
firn_objstore_operations_throttled_total{op="get"} 0
firn_objstore_operations_throttled_total{op="head"} 0
firn_objstore_operations_throttled_total{op="list"} 0
firn_objstore_operations_throttled_total{op="put"} 1
# HELP firn_objstore_transferred_bytes_total Object bytes stored by put and read by get.
# TYPE firn_objstore_transferred_bytes_total counter
firn_objstore_transferred_bytes_total{op="get"} 70
firn_objstore_transferred_bytes_total{op="put"} 100
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want),
		"firn_objstore_operations_total", "firn_objstore_operation_failures_total",
		"firn_objstore_operations_throttled_total", "firn_objstore_transferred_bytes_total"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

func FuzzCheckKey(f *testing.F) {
	for _, key := range []string{"a", "a/b", "..", "a//b", "a\x00", "é", "a/.b", `\`} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		err := objstore.CheckKey(key)
		if err != nil && !errors.Is(err, objstore.ErrInvalidKey) {
			t.Fatalf("%q: %v", key, err)
		}
		// A key that is taken stays inside any directory that it is put below.
		if err == nil && (strings.Contains("/"+key+"/", "/../") || strings.ContainsAny(key, "\x00\\\n")) {
			t.Fatalf("%q is taken", key)
		}
	})
}
