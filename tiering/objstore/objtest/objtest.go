// Package objtest is the one definition of a correct objstore.Bucket, and starts the real stores to
// run it against.
//
// What belongs here: what every driver and wrapper must do alike (Run), what the S3 drivers must make
// of a bad server (RunWire), MinIO and versitygw as processes of a test. What does not: anything that
// holds for one driver only. Only tests import this package.
package objtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"firn/tiering/objstore"
)

// Run examines the buckets that open returns, each of which must be empty and ready. open is called
// once for each part of the exam and closes what it opened by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) objstore.Bucket) {
	parts := []struct {
		name string
		run  func(t *testing.T, b objstore.Bucket)
	}{
		{"PutGetHead", testPutGetHead},
		{"Ranges", testRanges},
		{"NotFound", testNotFound},
		{"Overwrite", testOverwrite},
		{"EarlyClose", testEarlyClose},
		{"IfAbsent", testIfAbsent},
		{"IfMatch", testIfMatch},
		{"IfAbsentRace", testIfAbsentRace},
		{"IfMatchRace", testIfMatchRace},
		{"ListOrder", testListOrder},
		{"ListStartAfter", testListStartAfter},
		{"ListStop", testListStop},
		{"ListManyAndDeleteMany", testListManyAndDeleteMany},
		{"Delete", testDelete},
		{"OddKeys", testOddKeys},
		{"InvalidKeys", testInvalidKeys},
		{"Big", testBig},
		{"BigIfAbsent", testBigIfAbsent},
		{"BadSource", testBadSource},
		{"CancelledBefore", testCancelledBefore},
		{"CancelledDuringGet", testCancelledDuringGet},
		{"CancelledDuringPut", testCancelledDuringPut},
		{"ReadWhileOverwrite", testReadWhileOverwrite},
		{"Concurrent", testConcurrent},
	}
	for _, part := range parts {
		t.Run(part.name, func(t *testing.T) { part.run(t, open(t)) })
	}
}

// put stores data and fails the test if it cannot.
func put(t *testing.T, b objstore.Bucket, key string, data []byte) objstore.Info {
	t.Helper()
	info, err := b.Put(t.Context(), key, bytes.NewReader(data), objstore.Condition{})
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	return info
}

// read returns the bytes that Get gives, with the error of either step.
func read(ctx context.Context, b objstore.Bucket, key string, off, n int64) ([]byte, error) {
	body, err := b.Get(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(body)
	return data, errors.Join(err, body.Close())
}

// want reads the whole object and compares it.
func want(t *testing.T, b objstore.Bucket, key string, data []byte) {
	t.Helper()
	got, err := read(t.Context(), b, key, 0, -1)
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	if !bytes.Equal(got, data) {
		t.Fatalf("get %s: %s, want %s", key, brief(got), brief(data))
	}
}

// list returns the keys that List gives.
func list(t *testing.T, b objstore.Bucket, prefix, startAfter string) []string {
	t.Helper()
	var keys []string
	err := b.List(t.Context(), prefix, startAfter, func(info objstore.Info) error {
		keys = append(keys, info.Key)
		return nil
	})
	if err != nil {
		t.Fatalf("list %q after %q: %v", prefix, startAfter, err)
	}
	return keys
}

// brief shows bytes in an error without flooding it.
func brief(b []byte) string {
	if len(b) <= 32 {
		return fmt.Sprintf("%q", b)
	}
	return fmt.Sprintf("%q… (%d bytes)", b[:32], len(b))
}
