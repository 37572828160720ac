package minio_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"firn/tiering/objstore"
	"firn/tiering/objstore/minio"
	"firn/tiering/objstore/objtest"
)

func TestOpenRefusesBadOptions(t *testing.T) {
	good := minio.Options{Endpoint: "127.0.0.1:1", Bucket: "logs", AccessKey: "a", SecretKey: "b"}
	cases := map[string]func(o *minio.Options){
		"host and bucket are needed": func(o *minio.Options) { o.Bucket = "" },
		"host and bucket":            func(o *minio.Options) { o.Endpoint = "" },
		"no credentials":             func(o *minio.Options) { o.SecretKey = "" },
		"open minio://a/b/c":         func(o *minio.Options) { o.Endpoint = "a/b" },
		"bucket name":                func(o *minio.Options) { o.Bucket = "Not A Bucket" },
	}
	for want, spoil := range cases {
		o := good
		spoil(&o)
		if o.Endpoint == "a/b" {
			o.Bucket = "c"
		}
		if _, err := minio.Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("open %+v: %v, want it to say %q", o, err, want)
		}
	}
}

// The bucket is made where it is missing: at once, or at the first put if the store was away then.
func TestBucketIsMade(t *testing.T) {
	t.Parallel()
	srv := objtest.StartMinIO(t)
	put := func(b objstore.Bucket, key string, size int) error {
		_, err := b.Put(t.Context(), key, bytes.NewReader(make([]byte, size)), objstore.Condition{})
		return err
	}
	exists := func() bool {
		ok, err := srv.Client(t).BucketExists(t.Context(), srv.Bucket)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	srv.Bucket = "made-at-open"
	b := open(t, srv, srv.Host)
	if !exists() {
		t.Error("open did not make the bucket")
	}
	if err := put(b, "k", 1); err != nil {
		t.Error(err)
	}

	srv.Kill()
	srv.Bucket = "made-at-put"
	b = open(t, srv, srv.Host)
	srv.Restart()
	// Until then it is missing, which is not the same as an object that is not there.
	if _, err := b.Head(t.Context(), "k"); err == nil || errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("head in a missing bucket: %v", err)
	}
	if _, err := b.Get(t.Context(), "k", 0, -1); err == nil || errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("get in a missing bucket: %v", err)
	}
	if err := b.List(t.Context(), "", "", func(objstore.Info) error { return nil }); err == nil {
		t.Error("list of a missing bucket succeeded")
	}
	if err := b.Delete(t.Context(), "k"); err == nil {
		t.Error("delete in a missing bucket succeeded")
	}
	if exists() {
		t.Fatal("made too early")
	}
	if err := put(b, "big", 64<<20+1); err != nil {
		t.Error(err)
	}
	if head, err := b.Head(t.Context(), "big"); err != nil || head.Size != 64<<20+1 {
		t.Errorf("head: %+v, %v", head, err)
	}
}

func TestWrongCredentials(t *testing.T) {
	t.Parallel()
	srv := objtest.StartMinIO(t)
	_, err := minio.Open(t.Context(), minio.Options{Endpoint: srv.Host, Bucket: srv.Bucket, AccessKey: srv.AccessKey, SecretKey: "wrong-secret"})
	if err == nil || strings.Contains(err.Error(), "wrong-secret") {
		t.Errorf("open with a wrong secret: %v", err)
	}
}
