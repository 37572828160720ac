package objtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"firn/tiering/objstore"
)

// RunWire examines what an S3 driver makes of bad networks and bad answers. open returns the bucket of
// the server as seen through an address.
func RunWire(t *testing.T, srv *Server, open func(t *testing.T, endpoint string) objstore.Bucket) {
	p := newProxy(t, srv.Endpoint)
	w := &wire{proxy: p, srv: srv, b: open(t, p.URL)}
	if err := put1(t.Context(), w.b, "k", wireData); err != nil {
		t.Fatal(err)
	}
	parts := []struct {
		name string
		run  func(t *testing.T, w *wire)
	}{
		{"Throttled", wireThrottled},
		{"PassingErrors", wirePassingErrors},
		{"FinalErrors", wireFinalErrors},
		{"LostReply", wireLostReply},
		{"LostReplyOfParts", wireLostReplyOfParts},
		{"OutcomeUnknown", wireOutcomeUnknown},
		{"DamagedUpload", wireDamagedUpload},
		{"FailedPart", wireFailedPart},
		{"CutBody", wireCutBody},
		{"IgnoredRange", wireIgnoredRange},
		{"Stall", wireStall},
	}
	for _, part := range parts {
		t.Run(part.name, func(t *testing.T) {
			p.set(nil)
			part.run(t, w)
		})
	}
}

type wire struct {
	*proxy
	srv *Server
	b   objstore.Bucket
}

// wireData is what the object "k" holds: more than a client reads ahead.
var wireData = bytes.Repeat([]byte("0123456789abcdef"), 1<<16)

func put1(ctx context.Context, b objstore.Bucket, key string, data []byte) error {
	_, err := b.Put(ctx, key, bytes.NewReader(data), objstore.Condition{})
	return err
}

// verbs calls each verb once, at the same time.
func (w *wire) verbs(ctx context.Context) map[string]error {
	calls := map[string]func() error{
		"put":    func() error { return put1(ctx, w.b, "new", []byte("x")) },
		"get":    func() error { _, err := read(ctx, w.b, "k", 1, 10); return err },
		"head":   func() error { _, err := w.b.Head(ctx, "k"); return err },
		"list":   func() error { return w.b.List(ctx, "", "", func(objstore.Info) error { return nil }) },
		"delete": func() error { return w.b.Delete(ctx, "a", "b") },
		"create": func() error {
			_, err := w.b.Put(ctx, "big", NewPattern(1, 64<<20+1), objstore.Condition{})
			return err
		},
	}
	var mu sync.Mutex
	errs := map[string]error{}
	var wg sync.WaitGroup
	for name, call := range calls {
		wg.Go(func() {
			err := call()
			mu.Lock()
			defer mu.Unlock()
			errs[name] = err
		})
	}
	wg.Wait()
	return errs
}

// isSentinel reports whether err claims to know more than "it failed".
func isSentinel(err error) bool {
	return errors.Is(err, objstore.ErrNotFound) || errors.Is(err, objstore.ErrPrecondition) ||
		errors.Is(err, objstore.ErrThrottled) || errors.Is(err, objstore.ErrInvalidKey)
}

func wireThrottled(t *testing.T, w *wire) {
	for status, code := range map[int]string{http.StatusServiceUnavailable: "SlowDown", http.StatusTooManyRequests: "TooManyRequests"} {
		w.set(refuse(status, code))
		for verb, err := range w.verbs(t.Context()) {
			if !errors.Is(err, objstore.ErrThrottled) {
				t.Errorf("%s answered with %d: %v, want throttled", verb, status, err)
			}
			// A put that is not acknowledged is looked for; else the same request comes again.
			if n := w.seen(verb); n < 2 || n > 10 {
				t.Errorf("%s was sent %d times", verb, n)
			}
		}
	}
}

func wirePassingErrors(t *testing.T, w *wire) {
	spoils := map[string]func(http.ResponseWriter, *http.Request) bool{
		"500":        refuse(http.StatusInternalServerError, "InternalError"),
		"503":        refuse(http.StatusServiceUnavailable, "SlowDown"),
		"connection": drop,
	}
	for name, spoil := range spoils {
		w.set(timesEach(2, spoil))
		for verb, err := range w.verbs(t.Context()) {
			if err != nil {
				t.Errorf("%s of each kind of request twice: %s: %v", name, verb, err)
			}
		}
	}
}

// What cannot get better is not tried again, and is not taken for an answer about the object.
func wireFinalErrors(t *testing.T, w *wire) {
	for status, code := range map[int]string{
		http.StatusForbidden:      "InvalidAccessKeyId",
		http.StatusBadRequest:     "InvalidRequest",
		http.StatusNotImplemented: "NotImplemented",
	} {
		w.set(refuse(status, code))
		for verb, err := range w.verbs(t.Context()) {
			if err == nil || isSentinel(err) {
				t.Errorf("%s answered with %d: %v", verb, status, err)
			}
			if n := w.seen(verb); n > 2 { // "head" also looks for a put of unknown outcome
				t.Errorf("%s answered with %d was sent %d times", verb, status, n)
			}
		}
	}
}

func wireLostReply(t *testing.T, w *wire) {
	before, err := w.b.Head(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name, key string
		cond      objstore.Condition
	}{
		{"plain", "plain", objstore.Condition{}},
		{"if absent", "absent", objstore.Condition{IfAbsent: true}},
		{"if match", "k", objstore.Condition{IfMatch: before.ETag}},
	}
	for _, c := range cases {
		w.set(on("put", w.loseReply))
		info, err := w.b.Put(t.Context(), c.key, bytes.NewReader(wireData), c.cond)
		if err != nil {
			t.Errorf("%s: %v, although the store did it", c.name, err)
		}
		if n := w.seen("put"); n != 1 {
			t.Errorf("%s: the bytes were sent %d times", c.name, n)
		}
		w.set(nil)
		if head, err := w.b.Head(t.Context(), c.key); err != nil || head.ETag != info.ETag {
			t.Errorf("%s: head %+v, %v; put gave %+v", c.name, head, err, info)
		}
		want(t, w.b, c.key, wireData)
	}
}

func wireLostReplyOfParts(t *testing.T, w *wire) {
	const size = 64<<20 + 5
	for _, verb := range []string{"create", "part", "complete"} {
		w.set(on(verb, times(1, w.loseReply)))
		src := NewPattern(7, size)
		if _, err := w.b.Put(t.Context(), "parts/"+verb, src, objstore.Condition{IfAbsent: true}); err != nil {
			t.Fatalf("reply to %s lost: %v", verb, err)
		}
		body, err := w.b.Get(t.Context(), "parts/"+verb, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(src.Check(body, 0, size), body.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// Where a reply was lost and another's object is there, nobody can know whether ours was before it.
func wireOutcomeUnknown(t *testing.T, w *wire) {
	w.set(on("put", times(1, func(http.ResponseWriter, *http.Request) bool {
		core := w.srv.Client(t)
		_, err := core.Client.PutObject(context.Background(), w.srv.Bucket, "theirs", strings.NewReader("theirs"), 6, minio.PutObjectOptions{})
		if err != nil {
			t.Error(err)
		}
		panic(http.ErrAbortHandler)
	})))
	_, err := w.b.Put(t.Context(), "theirs", strings.NewReader("ours!!"), objstore.Condition{IfAbsent: true})
	if err == nil || isSentinel(err) {
		t.Errorf("put: %v, want an error that leaves the outcome open", err)
	}
	want(t, w.b, "theirs", []byte("theirs"))
}

// A store must not take bytes that changed on their way.
func wireDamagedUpload(t *testing.T, w *wire) {
	w.set(on("put", w.flip))
	if err := put1(t.Context(), w.b, "damaged", wireData); err == nil {
		t.Error("put of damaged bytes succeeded")
	}
	w.set(on("part", w.flip))
	if _, err := w.b.Put(t.Context(), "damaged", NewPattern(1, 64<<20+1), objstore.Condition{}); err == nil {
		t.Error("put of damaged parts succeeded")
	}
	w.set(on("put", times(1, w.flip)))
	if _, err := w.b.Head(t.Context(), "damaged"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("head: %v, want not found", err)
	}
	if err := put1(t.Context(), w.b, "damaged", wireData); err != nil {
		t.Errorf("put whose bytes are damaged once: %v", err)
	}
	want(t, w.b, "damaged", wireData)
}

func wireFailedPart(t *testing.T, w *wire) {
	w.set(on("part", refuse(http.StatusForbidden, "AccessDenied")))
	if _, err := w.b.Put(t.Context(), "parts", NewPattern(1, 100<<20), objstore.Condition{}); err == nil || isSentinel(err) {
		t.Errorf("put: %v", err)
	}
	if n := w.seen("abort"); n != 1 {
		t.Errorf("%d aborts, want 1", n)
	}
	left, err := w.srv.Client(t).ListMultipartUploads(t.Context(), w.srv.Bucket, "parts", "", "", "", 10)
	if err != nil || len(left.Uploads) != 0 {
		t.Errorf("left: %+v, %v", left.Uploads, err)
	}
}

// However the connection ends, fewer bytes than promised are an error.
func wireCutBody(t *testing.T, w *wire) {
	for _, n := range []int{0, 1, 5000, len(wireData) - 1} {
		for _, reset := range []bool{false, true} {
			w.set(on("get", w.cutReply(n, reset)))
			body, err := w.b.Get(t.Context(), "k", 0, -1)
			if err != nil {
				continue // a reset can be faster than the first byte
			}
			data, err := io.ReadAll(body)
			body.Close()
			if err == nil || errors.Is(err, io.EOF) {
				t.Errorf("cut after %d bytes (reset %v): %d bytes and no error", n, reset, len(data))
			}
			if !bytes.Equal(data, wireData[:len(data)]) || len(data) > n {
				t.Errorf("cut after %d bytes: %d wrong ones", n, len(data))
			}
		}
	}
}

// A proxy or store that ignores ranges must not make us take the wrong bytes for the right ones.
func wireIgnoredRange(t *testing.T, w *wire) {
	spoils := map[string]func(http.ResponseWriter, *http.Request) bool{
		"ignored": func(rw http.ResponseWriter, r *http.Request) bool {
			rw.Header().Set("Content-Length", fmt.Sprint(len(wireData)))
			_, _ = rw.Write(wireData)
			return true
		},
		"shifted": func(rw http.ResponseWriter, r *http.Request) bool {
			rw.Header().Set("Content-Range", fmt.Sprintf("bytes 0-9/%d", len(wireData)))
			rw.Header().Set("Content-Length", "10")
			rw.WriteHeader(http.StatusPartialContent)
			_, _ = rw.Write(wireData[:10])
			return true
		},
		"longer": func(rw http.ResponseWriter, r *http.Request) bool {
			rw.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(wireData)-1, len(wireData)))
			rw.Header().Set("Content-Length", fmt.Sprint(len(wireData)))
			rw.WriteHeader(http.StatusPartialContent)
			_, _ = rw.Write(wireData)
			return true
		},
		"nonsense": func(rw http.ResponseWriter, r *http.Request) bool {
			rw.Header().Set("Content-Range", "bytes */*")
			rw.Header().Set("Content-Length", "10")
			rw.WriteHeader(http.StatusPartialContent)
			_, _ = rw.Write(wireData[:10])
			return true
		},
	}
	var wg sync.WaitGroup
	for name, spoil := range spoils {
		w.set(on("get", spoil))
		for _, r := range [][2]int64{{5, 10}, {0, 5}, {100, -1}, {-10, -1}} {
			wg.Go(func() {
				if data, err := read(t.Context(), w.b, "k", r[0], r[1]); err == nil {
					t.Errorf("%s: get %v gives %s", name, r, brief(data))
				}
			})
		}
		wg.Wait()
	}
}

func wireStall(t *testing.T, w *wire) {
	stop := make(chan struct{})
	defer close(stop)
	w.set(func(http.ResponseWriter, *http.Request) bool {
		<-stop
		return true
	})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for verb, err := range w.verbs(ctx) {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s at a store that does not answer: %v", verb, err)
		}
	}
}
