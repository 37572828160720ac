package s3bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"firn/tiering/objstore"
)

// fake answers the requests that a test sets; others panic.
type fake struct {
	Requests
	get    func(byteRange string) (Response, error)
	head   func() (objstore.Info, string, error)
	list   func(startAfter string) ([]objstore.Info, bool, error)
	del    func(keys []string) (map[string]error, error)
	put    func(body Body) (string, error)
	exists func() (bool, error)
}

func (f *fake) Get(_ context.Context, _, byteRange string) (Response, error) { return f.get(byteRange) }

func (f *fake) Head(context.Context, string) (objstore.Info, string, error) { return f.head() }

func (f *fake) List(_ context.Context, _, startAfter string) ([]objstore.Info, bool, error) {
	return f.list(startAfter)
}

func (f *fake) Delete(_ context.Context, keys []string) (map[string]error, error) { return f.del(keys) }

func (f *fake) Put(_ context.Context, _ string, body Body, _ Attributes, _ objstore.Condition) (string, error) {
	return f.put(body)
}

func (f *fake) BucketExists(context.Context) (bool, error) { return f.exists() }

func newBucket(f *fake) *Bucket {
	return New(f, Options{Name: "fake://b", Bucket: "b", CRC32C: true})
}

func refused(status int, code string) error {
	return &Error{Status: status, Code: code, Err: errors.New("refused")}
}

// A missing bucket must not pass for a missing object, not even in the reply to a HEAD, which has no
// words for the difference.
func TestMissingBucketIsNotMissingObject(t *testing.T) {
	exists := false
	b := newBucket(&fake{
		head:   func() (objstore.Info, string, error) { return objstore.Info{}, "", refused(404, "NotFound") },
		get:    func(string) (Response, error) { return Response{}, refused(404, "NoSuchBucket") },
		exists: func() (bool, error) { return exists, nil },
	})
	for _, n := range []int64{0, 5} {
		if _, err := b.Get(t.Context(), "k", 0, n); err == nil || errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("get of %d bytes: %v", n, err)
		}
	}
	if _, err := b.Head(t.Context(), "k"); err == nil || errors.Is(err, objstore.ErrNotFound) || !strings.Contains(err.Error(), `"b" does not exist`) {
		t.Errorf("head: %v", err)
	}
	if err := b.Check(t.Context()); err == nil {
		t.Error("check of a missing bucket passes")
	}
	exists = true
	if _, err := b.Head(t.Context(), "k"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("head of a missing object: %v", err)
	}
}

func TestDeleteTriesAgainWhatMayPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent [][]string
		b := newBucket(&fake{del: func(keys []string) (map[string]error, error) {
			sent = append(sent, slices.Clone(keys))
			failed := map[string]error{}
			for _, key := range keys {
				switch {
				case key == "gone":
					failed[key] = refused(200, "NoSuchKey")
				case key == "denied":
					failed[key] = refused(200, "AccessDenied")
				case key == "slow", key == "busy" && len(sent) == 1:
					failed[key] = refused(200, "SlowDown")
				}
			}
			return failed, nil
		}})
		err := b.Delete(t.Context(), "ok", "gone", "denied", "slow", "busy")
		if !errors.Is(err, objstore.ErrThrottled) || !strings.Contains(err.Error(), "b/slow") || !strings.Contains(err.Error(), "b/denied") {
			t.Errorf("delete: %v, want slow and denied named", err)
		}
		for _, other := range []string{"b/ok", "b/gone", "b/busy"} {
			if strings.Contains(err.Error(), other) {
				t.Errorf("delete: %v, which blames %s", err, other)
			}
		}
		want := "[[ok gone denied slow busy] [slow busy] [slow] [slow]]"
		if got := fmt.Sprint(sent); got != want {
			t.Errorf("sent %s, want %s", got, want)
		}
	})
}

func TestDeleteBatches(t *testing.T) {
	var sent []int
	b := newBucket(&fake{del: func(keys []string) (map[string]error, error) {
		sent = append(sent, len(keys))
		return nil, nil
	}})
	keys := make([]string, 2001)
	for i := range keys {
		keys[i] = fmt.Sprint("k", i)
	}
	if err := b.Delete(t.Context(), keys...); err != nil || !slices.Equal(sent, []int{1000, 1000, 1}) {
		t.Errorf("sent %v, %v", sent, err)
	}
}

// A store that gives the same page for ever must not hold us for ever.
func TestListMakesProgress(t *testing.T) {
	b := newBucket(&fake{list: func(string) ([]objstore.Info, bool, error) {
		return []objstore.Info{{Key: "a"}, {Key: "b"}}, true, nil
	}})
	seen := 0
	err := b.List(t.Context(), "", "", func(objstore.Info) error { seen++; return nil })
	if err == nil || seen > 4 {
		t.Errorf("%d keys, %v", seen, err)
	}
	b = newBucket(&fake{list: func(string) ([]objstore.Info, bool, error) { return nil, true, nil }})
	if err := b.List(t.Context(), "", "", func(objstore.Info) error { return nil }); err == nil {
		t.Error("a page of nothing passes for the end, though there is more")
	}
}

func TestPutOfUnreadableSourceIsSentOnce(t *testing.T) {
	errDisk := errors.New("disk on fire")
	sent := 0
	f := &fake{put: func(body Body) (string, error) {
		sent++
		_, err := io.Copy(io.Discard, body.Reader())
		return "", &Error{Err: errors.New("words of the library: " + err.Error())} // loses the cause, as they do
	}}
	b := New(f, Options{Name: "fake://b", Bucket: "b"})
	_, err := b.Put(t.Context(), "k", badSource{errDisk}, objstore.Condition{})
	if !errors.Is(err, errDisk) || sent != 1 {
		t.Errorf("put: %v, sent %d times", err, sent)
	}
}

// MinIO denies access to a directory that a deletion empties while an object is put into it. One who may not write is told soon.
func TestPutBesideADeletion(t *testing.T) {
	for denials, want := range map[int]int{1: 2, 100: tries} {
		synctest.Test(t, func(t *testing.T) {
			sent := 0
			b := newBucket(&fake{put: func(Body) (string, error) {
				if sent++; sent <= denials {
					return "", refused(403, "AccessDenied")
				}
				return "tag", nil
			}})
			_, err := b.Put(t.Context(), "k", strings.NewReader("x"), objstore.Condition{IfAbsent: true})
			if (err == nil) != (denials == 1) || sent != want {
				t.Errorf("denied %d times: %v, sent %d times", denials, err, sent)
			}
		})
	}
}

type badSource struct{ err error }

func (s badSource) Size() int64                       { return 10 }
func (s badSource) ReadAt([]byte, int64) (int, error) { return 0, s.err }

// The checksum that S3's documentation gives for these bytes.
func TestChecksum(t *testing.T) {
	got, err := checksum(io.NewSectionReader(strings.NewReader("123456789"), 0, 9))
	if err != nil || got != "4waSgw==" { // e3069283
		t.Errorf("checksum %q, %v", got, err)
	}
}

func TestErrors(t *testing.T) {
	b := newBucket(nil)
	cases := []struct {
		err      error
		sentinel error
		transient,
		ambiguous bool
	}{
		{refused(404, "NoSuchKey"), objstore.ErrNotFound, false, false},
		{refused(404, ""), nil, false, false}, // a proxy's page, perhaps
		{refused(412, ""), objstore.ErrPrecondition, false, false},
		{refused(412, "PreconditionFailed"), objstore.ErrPrecondition, false, false},
		{refused(409, "ConditionalRequestConflict"), nil, true, false},
		{refused(429, ""), objstore.ErrThrottled, true, false},
		{refused(503, "SlowDown"), objstore.ErrThrottled, true, false},
		{refused(503, ""), objstore.ErrThrottled, true, true},
		{refused(500, "InternalError"), nil, true, true},
		{refused(501, "NotImplemented"), nil, false, true},
		{refused(403, "AccessDenied"), nil, false, false},
		{refused(301, "PermanentRedirect"), nil, false, false},
		{&Error{Err: io.ErrUnexpectedEOF}, nil, true, true},
	}
	sentinels := []error{objstore.ErrNotFound, objstore.ErrPrecondition, objstore.ErrThrottled}
	for _, c := range cases {
		if got := transient(c.err); got != c.transient {
			t.Errorf("%v: transient %v", c.err, got)
		}
		if got := ambiguous(c.err); got != c.ambiguous {
			t.Errorf("%v: ambiguous %v", c.err, got)
		}
		err := b.fail(t.Context(), "get", "k", c.err)
		for _, s := range sentinels {
			if errors.Is(err, s) != (s == c.sentinel) {
				t.Errorf("%v becomes %v", c.err, err)
			}
		}
	}
}

// A clock that is wrong is not looked for among the credentials.
func TestWrongClockIsSaid(t *testing.T) {
	err := newBucket(nil).fail(t.Context(), "put", "k", refused(403, "RequestTimeTooSkewed"))
	if s := err.Error(); !strings.Contains(s, "clocks") || strings.Contains(s, "credentials") {
		t.Error(err)
	}
}

func TestSpanHeader(t *testing.T) {
	cases := map[span]string{
		{0, -1}:                         "",
		{0, math.MaxInt64}:              "",
		{0, 5}:                          "bytes=0-4",
		{7, -1}:                         "bytes=7-",
		{7, 1}:                          "bytes=7-7",
		{-3, 100}:                       "bytes=-3",
		{math.MinInt64, -1}:             "bytes=-8796093022208",
		{math.MaxInt64, math.MaxInt64}:  "bytes=8796093022208-",
		{math.MaxInt64 - 1, 10}:         "bytes=8796093022208-8796093022217",
		{maxObject + 5, math.MaxInt64}:  "bytes=8796093022208-",
		{1 << 40, 1}:                    "bytes=1099511627776-1099511627776",
		{-maxObject - 1, math.MinInt64}: "bytes=-8796093022208",
	}
	for s, want := range cases {
		if got := s.header(); got != want {
			t.Errorf("%+v: %q, want %q", s, got, want)
		}
	}
}

// Whatever a store says of the range it sends, we take it only for the bytes that were asked for.
func FuzzSpanCheck(f *testing.F) {
	f.Add("bytes 0-9/10", int64(10), int64(0), int64(10))
	f.Add("bytes 5-9/10", int64(5), int64(-5), int64(0))
	f.Add("bytes 0--1/0", int64(0), int64(-5), int64(0))
	f.Add("", int64(10), int64(0), int64(-1))
	f.Add("bytes 9-5/10", int64(-3), int64(9), int64(1))
	f.Fuzz(func(t *testing.T, contentRange string, length, off, n int64) {
		s := span{off, n}
		got, err := s.check(Response{Body: http.NoBody, Length: length, ContentRange: contentRange})
		if err != nil {
			return
		}
		if got != length || length < 0 {
			t.Fatalf("%+v takes %d of %d bytes for %q", s, got, length, contentRange)
		}
		if off >= 0 && n >= 0 && got > n {
			t.Fatalf("%+v takes %d bytes for %q", s, got, contentRange)
		}
	})
}

func TestBodyGivesNoMoreThanPromised(t *testing.T) {
	b := &body{ctx: t.Context(), rc: io.NopCloser(bytes.NewReader(make([]byte, 100))), left: 60}
	if data, err := io.ReadAll(b); len(data) != 60 || err != nil {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	b = &body{ctx: t.Context(), rc: io.NopCloser(bytes.NewReader(make([]byte, 50))), left: 60}
	if data, err := io.ReadAll(b); len(data) != 50 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}
