package objtest

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"firn/tiering/objstore"
)

// putIf stores data under a condition.
func putIf(t *testing.T, b objstore.Bucket, key, data string, cond objstore.Condition) (objstore.Info, error) {
	t.Helper()
	return b.Put(t.Context(), key, bytes.NewReader([]byte(data)), cond)
}

func testIfAbsent(t *testing.T, b objstore.Bucket) {
	absent := objstore.Condition{IfAbsent: true}
	info, err := putIf(t, b, "k", "first", absent)
	if err != nil || info.Size != 5 || info.ETag == "" {
		t.Fatalf("put of an absent key: %+v, %v", info, err)
	}
	// Other bytes, and the very same ones: both come too late.
	for _, data := range []string{"second", "first"} {
		if _, err := putIf(t, b, "k", data, absent); !errors.Is(err, objstore.ErrPrecondition) {
			t.Fatalf("put of a present key: %v, want precondition failed", err)
		}
	}
	want(t, b, "k", []byte("first"))
	if err := b.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if _, err := putIf(t, b, "k", "third", absent); err != nil {
		t.Fatalf("put of a deleted key: %v", err)
	}
	want(t, b, "k", []byte("third"))
}

func testIfMatch(t *testing.T, b objstore.Bucket) {
	first := put(t, b, "k", []byte("first"))
	second, err := putIf(t, b, "k", "second", objstore.Condition{IfMatch: first.ETag})
	if err != nil {
		t.Fatalf("put over the version named: %v", err)
	}
	if _, err := putIf(t, b, "k", "third", objstore.Condition{IfMatch: first.ETag}); !errors.Is(err, objstore.ErrPrecondition) {
		t.Fatalf("put over a version gone by: %v, want precondition failed", err)
	}
	want(t, b, "k", []byte("second"))
	head, err := b.Head(t.Context(), "k")
	if err != nil || head.ETag != second.ETag {
		t.Fatalf("head: %+v, %v, want etag %s", head, err, second.ETag)
	}
	if _, err := putIf(t, b, "k", "third", objstore.Condition{IfMatch: head.ETag}); err != nil {
		t.Fatalf("put over the version that head names: %v", err)
	}
	want(t, b, "k", []byte("third"))
	if _, err := putIf(t, b, "missing", "x", objstore.Condition{IfMatch: head.ETag}); !errors.Is(err, objstore.ErrPrecondition) {
		t.Fatalf("put over a version of a key that is not there: %v, want precondition failed", err)
	}
	if _, err := b.Head(t.Context(), "missing"); !errors.Is(err, objstore.ErrNotFound) {
		t.Fatalf("head: %v, want not found", err)
	}
}

func testIfAbsentRace(t *testing.T, b objstore.Bucket) {
	for round := range 5 {
		key := fmt.Sprintf("race/%d", round)
		const runners = 12
		errs := make([]error, runners)
		start := make(chan struct{})
		var wg sync.WaitGroup
		for i := range runners {
			wg.Go(func() {
				<-start
				_, errs[i] = putIf(t, b, key, strconv.Itoa(i), objstore.Condition{IfAbsent: true})
			})
		}
		close(start)
		wg.Wait()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("round %d: both %d and %d won", round, winner, i)
			case err == nil:
				winner = i
			case !errors.Is(err, objstore.ErrPrecondition):
				t.Fatalf("round %d: %d lost with %v, want precondition failed", round, i, err)
			}
		}
		if winner < 0 {
			t.Fatalf("round %d: nobody won", round)
		}
		want(t, b, key, []byte(strconv.Itoa(winner)))
	}
}

// Counting up by compare and swap loses no step and takes none twice.
func testIfMatchRace(t *testing.T, b objstore.Bucket) {
	const runners, steps = 6, 5
	put(t, b, "n", []byte("0"))
	var wg sync.WaitGroup
	for range runners {
		wg.Go(func() {
			for done := 0; done < steps; {
				// An etag read before the bytes can only be too old, never too new.
				head, err := b.Head(t.Context(), "n")
				if err != nil {
					t.Error(err)
					return
				}
				data, err := read(t.Context(), b, "n", 0, -1)
				if err != nil {
					t.Error(err)
					return
				}
				n, err := strconv.Atoi(string(data))
				if err != nil {
					t.Error(err)
					return
				}
				_, err = putIf(t, b, "n", strconv.Itoa(n+1), objstore.Condition{IfMatch: head.ETag})
				switch {
				case err == nil:
					done++
				case !errors.Is(err, objstore.ErrPrecondition):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if !t.Failed() {
		want(t, b, "n", []byte(strconv.Itoa(runners*steps)))
	}
}
