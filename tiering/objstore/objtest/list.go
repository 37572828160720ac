package objtest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"firn/tiering/objstore"
)

func testListOrder(t *testing.T, b objstore.Bucket) {
	if keys := list(t, b, "", ""); len(keys) != 0 {
		t.Fatalf("keys %q in an empty bucket", keys)
	}
	// '-' and '.' sort before '/', '0' after it: a walk that lists a directory under its bare name
	// gets these wrong.
	keys := []string{"a-", "a.b", "a/b", "a/b-c", "a/b.d", "a/b0/x", "a/c/d/e", "a0", "ab", "b", "bc", "z/y/x"}
	for i, key := range keys {
		put(t, b, key, make([]byte, i))
	}
	slices.Sort(keys)
	sizes := map[string]int64{}
	err := b.List(t.Context(), "", "", func(info objstore.Info) error {
		sizes[info.Key] = info.Size
		head, err := b.Head(t.Context(), info.Key)
		if err != nil {
			return err
		}
		if info.Size != head.Size || (info.ETag != "" && info.ETag != head.ETag) || info.Modified.IsZero() {
			t.Errorf("list gives %+v, head %+v", info, head)
		}
		return nil
	})
	if err != nil || len(sizes) != len(keys) {
		t.Errorf("list: %d keys, %v", len(sizes), err)
	}
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/b.d", "a/c/d/e", "a/c/d/", "b", "c", "a/x", "zz", "z/y/x/"} {
		var exp []string
		for _, key := range keys {
			if strings.HasPrefix(key, prefix) {
				exp = append(exp, key)
			}
		}
		if got := list(t, b, prefix, ""); !slices.Equal(got, exp) {
			t.Errorf("list %q: %q, want %q", prefix, got, exp)
		}
	}
}

func testListStartAfter(t *testing.T, b objstore.Bucket) {
	keys := []string{"a", "b/1", "b/2", "b/2-", "b/3/x", "b/4", "c/1"}
	for _, key := range keys {
		put(t, b, key, nil)
	}
	for _, prefix := range []string{"", "b/", "b/2", "c/", "d"} {
		for _, after := range []string{"", "0", "a", "b", "b/", "b/1", "b/15", "b/2", "b/2-", "b/3", "b/3/", "b/3/x", "b/4", "c", "c/1", "z"} {
			var exp []string
			for _, key := range keys {
				if strings.HasPrefix(key, prefix) && key > after {
					exp = append(exp, key)
				}
			}
			if got := list(t, b, prefix, after); !slices.Equal(got, exp) {
				t.Errorf("list %q after %q: %q, want %q", prefix, after, got, exp)
			}
		}
	}
}

func testListStop(t *testing.T, b objstore.Bucket) {
	for i := range 5 {
		put(t, b, fmt.Sprintf("k%d", i), nil)
	}
	stop := errors.New("stop")
	seen := 0
	err := b.List(t.Context(), "k", "", func(objstore.Info) error {
		if seen++; seen == 3 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || seen != 3 {
		t.Errorf("list went on to %d keys and returned %v", seen, err)
	}
}

// More than the 1,000 keys that S3 lists or deletes in one request.
func testListManyAndDeleteMany(t *testing.T, b objstore.Bucket) {
	const n = 1103
	var keys []string
	var g errgroup.Group
	g.SetLimit(16)
	for i := range n {
		// Two directories, so that a page can end between them and within one.
		key := fmt.Sprintf("many/%d/%05d", i%2, i)
		keys = append(keys, key)
		g.Go(func() error {
			_, err := b.Put(t.Context(), key, bytes.NewReader([]byte(key)), objstore.Condition{})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	put(t, b, "other", nil)
	slices.Sort(keys)
	if got := list(t, b, "many/", ""); !slices.Equal(got, keys) {
		t.Fatalf("list: %d keys, want %d", len(got), n)
	}
	if got := list(t, b, "many/", keys[49]); !slices.Equal(got, keys[50:]) {
		t.Fatalf("list after the 50th: %d keys, want %d", len(got), n-50)
	}
	if err := b.Delete(t.Context(), append([]string{"many/missing"}, keys[1:]...)...); err != nil {
		t.Fatal(err)
	}
	if got := list(t, b, "", ""); !slices.Equal(got, []string{keys[0], "other"}) {
		t.Fatalf("after delete: %q, want %q", got, []string{keys[0], "other"})
	}
}

func testDelete(t *testing.T, b objstore.Bucket) {
	if err := b.Delete(t.Context()); err != nil {
		t.Errorf("delete of nothing: %v", err)
	}
	put(t, b, "a/b/c", []byte("x"))
	put(t, b, "a/b/d", []byte("y"))
	for range 2 { // the second time there is nothing left
		if err := b.Delete(t.Context(), "a/b/c", "missing", "a/b/missing", "no/such/dir/x"); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	if _, err := b.Head(t.Context(), "a/b/c"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("head of a deleted key: %v", err)
	}
	if _, err := read(t.Context(), b, "a/b/c", 0, -1); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("get of a deleted key: %v", err)
	}
	want(t, b, "a/b/d", []byte("y"))
	// Naming a directory removes nothing in it.
	if err := b.Delete(t.Context(), "a", "a/b"); err != nil {
		t.Errorf("delete of a directory's name: %v", err)
	}
	want(t, b, "a/b/d", []byte("y"))
	if err := b.Delete(t.Context(), "a/b/d"); err != nil {
		t.Error(err)
	}
	// An emptied directory's name is free for a key, and the other way round.
	put(t, b, "a", []byte("z"))
	want(t, b, "a", []byte("z"))
	if err := b.Delete(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	put(t, b, "a/b/c", []byte("again"))
	want(t, b, "a/b/c", []byte("again"))
}
