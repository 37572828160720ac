package objtest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"firn/tiering/objstore"
)

func testPutGetHead(t *testing.T, b objstore.Bucket) {
	if b.String() == "" {
		t.Error("String is empty")
	}
	for _, size := range []int{0, 1, 1000, 1<<20 + 7} {
		key := fmt.Sprintf("size/%d", size)
		data := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		before := time.Now()
		info := put(t, b, key, data)
		if info.Key != key || info.Size != int64(size) || info.ETag == "" {
			t.Errorf("put %s: %+v, want its key, size and an etag", key, info)
		}
		want(t, b, key, data)
		head, err := b.Head(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if head.Key != key || head.Size != int64(size) || head.ETag != info.ETag {
			t.Errorf("head %s: %+v, put gave %+v", key, head, info)
		}
		// Stores tell whole seconds, and the clock of a file system may lag by a tick.
		if d := head.Modified.Sub(before); d < -2*time.Second || d > time.Minute {
			t.Errorf("head %s: modified %v after the put began", key, d)
		}
	}
}

func testRanges(t *testing.T, b objstore.Bucket) {
	data := []byte("0123456789")
	put(t, b, "ten", data)
	put(t, b, "none", nil)
	cases := []struct {
		off, n int64
		want   string
	}{
		{0, -1, "0123456789"},
		{0, 10, "0123456789"},
		{0, 11, "0123456789"},
		{0, 1, "0"},
		{0, 0, ""},
		{3, 4, "3456"},
		{3, -1, "3456789"},
		{9, 1, "9"},
		{9, 5, "9"},
		{10, 1, ""},
		{10, -1, ""},
		{10, 0, ""},
		{25, 3, ""},
		{25, -1, ""},
		{2, math.MaxInt64, "23456789"},
		{math.MaxInt64, math.MaxInt64, ""},
		{-1, -1, "9"},
		{-3, 1, "789"},
		{-10, 0, "0123456789"},
		{-11, -1, "0123456789"},
		{math.MinInt64, -1, "0123456789"},
	}
	for _, c := range cases {
		got, err := read(t.Context(), b, "ten", c.off, c.n)
		if err != nil || string(got) != c.want {
			t.Errorf("get (%d, %d) = %q, %v, want %q", c.off, c.n, got, err, c.want)
		}
		if got, err := read(t.Context(), b, "none", c.off, c.n); err != nil || len(got) != 0 {
			t.Errorf("get (%d, %d) of an empty object = %q, %v", c.off, c.n, got, err)
		}
	}
}

func testNotFound(t *testing.T, b objstore.Bucket) {
	put(t, b, "dir/there", []byte("x"))
	for _, key := range []string{"missing", "dir", "dir/missing", "dir/the", "dir/there2", "no/such/dir/x"} {
		for _, r := range [][2]int64{{0, -1}, {0, 0}, {5, 10}, {-5, -1}, {math.MaxInt64, 1}} {
			if _, err := read(t.Context(), b, key, r[0], r[1]); !errors.Is(err, objstore.ErrNotFound) {
				t.Errorf("get %s %v: %v, want not found", key, r, err)
			}
		}
		if _, err := b.Head(t.Context(), key); !errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("head %s: %v, want not found", key, err)
		}
	}
}

func testOverwrite(t *testing.T, b objstore.Bucket) {
	etags := map[string]bool{}
	for _, data := range []string{"first", "the second, longer", "3", ""} {
		info := put(t, b, "k", []byte(data))
		if etags[info.ETag] {
			t.Errorf("other bytes, same etag %s", info.ETag)
		}
		etags[info.ETag] = true
		want(t, b, "k", []byte(data))
	}
	if keys := list(t, b, "", ""); len(keys) != 1 {
		t.Errorf("keys %q, want one", keys)
	}
}

// A reader that is not read to its end costs nothing and breaks nothing.
func testEarlyClose(t *testing.T, b objstore.Bucket) {
	const size = 4 << 20
	src := NewPattern(1, size)
	if _, err := b.Put(t.Context(), "k", src, objstore.Condition{}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		body, err := b.Get(t.Context(), "k", 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 10)
		if _, err := body.Read(buf); err != nil {
			t.Fatal(err)
		}
		if err := body.Close(); err != nil {
			t.Fatalf("close before the end: %v", err)
		}
	}
	body, err := b.Get(t.Context(), "k", 7, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if err := src.Check(body, 7, size-7); err != nil {
		t.Fatal(err)
	}
}
