package objtest

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"firn/tiering/objstore"
)

// bigSizes lie on both sides of 64 MiB, above which drivers may send parts, and end in odd places.
var bigSizes = []int64{64 << 20, 64<<20 + 1, 97<<20 + 12345}

func testBig(t *testing.T, b objstore.Bucket) {
	for i, size := range bigSizes {
		key := fmt.Sprintf("big/%d", size)
		src := NewPattern(uint64(i), size)
		info, err := b.Put(t.Context(), key, src, objstore.Condition{})
		if err != nil || info.Size != size {
			t.Fatalf("put %d bytes: %+v, %v", size, info, err)
		}
		head, err := b.Head(t.Context(), key)
		if err != nil || head.Size != size || head.ETag != info.ETag {
			t.Fatalf("head: %+v, %v, put gave %+v", head, err, info)
		}
		for _, r := range [][2]int64{{0, size}, {32<<20 - 3, 7}, {size - 100, 100}, {64<<20 - 1, size - (64<<20 - 1)}} {
			body, err := b.Get(t.Context(), key, r[0], r[1])
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(src.Check(body, r[0], r[1]), body.Close()); err != nil {
				t.Fatalf("get %s (%d, %d): %v", key, r[0], r[1], err)
			}
		}
		if err := b.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
}

// The condition of a put in parts is tested when they are put together, at the latest.
func testBigIfAbsent(t *testing.T, b objstore.Bucket) {
	const size = 64<<20 + 3
	cond := objstore.Condition{IfAbsent: true}
	src := NewPattern(1, size)
	info, err := b.Put(t.Context(), "k", src, cond)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(t.Context(), "k", NewPattern(2, size), cond); !errors.Is(err, objstore.ErrPrecondition) {
		t.Fatalf("put of a present key: %v, want precondition failed", err)
	}
	if _, err := b.Put(t.Context(), "k", NewPattern(2, size), objstore.Condition{IfMatch: info.ETag + "0"}); !errors.Is(err, objstore.ErrPrecondition) {
		t.Fatalf("put over another version: %v, want precondition failed", err)
	}
	body, err := b.Get(t.Context(), "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if err := src.Check(body, 0, size); err != nil {
		t.Fatal(err)
	}
}

// brokenSource fails, or ends, at a position before its size.
type brokenSource struct {
	*Pattern
	at  int64
	err error
}

func (s *brokenSource) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) <= s.at {
		return s.Pattern.ReadAt(p, off)
	}
	n, _ := s.Pattern.ReadAt(p[:max(0, s.at-off)], off)
	return n, s.err
}

// A source that cannot be read to its size leaves no object, short or otherwise.
func testBadSource(t *testing.T, b objstore.Bucket) {
	errDisk := errors.New("disk on fire")
	cases := []struct {
		name     string
		size, at int64
		err      error
	}{
		{"fails at once", 1 << 20, 0, errDisk},
		{"fails in the middle", 8 << 20, 5<<20 + 1, errDisk},
		{"fails in a later part", 80 << 20, 70 << 20, errDisk},
		{"ends early", 8 << 20, 5 << 20, io.EOF},
		{"ends early in a later part", 80 << 20, 40 << 20, io.EOF},
	}
	put(t, b, "old", []byte("old"))
	for _, c := range cases {
		src := &brokenSource{NewPattern(3, c.size), c.at, c.err}
		for _, key := range []string{"new", "old"} {
			_, err := b.Put(t.Context(), key, src, objstore.Condition{})
			if err == nil {
				t.Errorf("%s: put succeeded", c.name)
			}
			if c.err == errDisk && !errors.Is(err, errDisk) {
				t.Errorf("%s: error %v does not say why", c.name, err)
			}
		}
		if _, err := b.Head(t.Context(), "new"); !errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("%s: head: %v, want not found", c.name, err)
		}
		want(t, b, "old", []byte("old"))
	}
}
