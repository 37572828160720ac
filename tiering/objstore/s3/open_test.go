package s3_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"firn/tiering/objstore"
	"firn/tiering/objstore/objtest"
	"firn/tiering/objstore/s3"
)

func TestOpenRefusesBadOptions(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	cases := map[string]s3.Options{
		"no bucket name": {Region: "eu-west-1"},
		"no region":      {Bucket: "b"},
		"http://":        {Bucket: "b", Endpoint: "localhost:9000"},
	}
	for want, o := range cases {
		if _, err := s3.Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("open %+v: %v, want it to say %q", o, err, want)
		}
	}
}

// The usual environment is enough; what the store then refuses is said at once and in words.
func TestOpenByEnvironment(t *testing.T) {
	srv := objtest.StartMinIO(t)
	o := s3.Options{Bucket: srv.Bucket, Endpoint: srv.Endpoint, PathStyle: true}
	t.Setenv("AWS_ACCESS_KEY_ID", srv.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", srv.SecretKey)
	b, err := s3.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Head(t.Context(), "missing"); !errors.Is(err, objstore.ErrNotFound) {
		t.Error(err)
	}
	o.Bucket = "no-such-bucket"
	if _, err := s3.Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), `"no-such-bucket" does not exist`) {
		t.Errorf("open of a missing bucket: %v", err)
	}
	o.Bucket = srv.Bucket
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
	if _, err := s3.Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "refuses these credentials") {
		t.Errorf("open with a wrong secret: %v", err)
	}
}

// A store may be away when a broker starts, and may crash under it.
func TestStoreComesAndGoes(t *testing.T) {
	t.Parallel()
	srv := objtest.StartMinIO(t)
	srv.Kill()
	b := open(t, srv, srv.Endpoint, s3.Open)
	data := []byte("survives")
	put := func(key string) error {
		_, err := b.Put(t.Context(), key, bytes.NewReader(data), objstore.Condition{})
		return err
	}
	if err := put("k"); err == nil {
		t.Error("put into a dead store succeeded")
	}
	srv.Restart()
	if err := put("k"); err != nil {
		t.Fatal(err)
	}
	srv.Kill() // what was acknowledged is there afterwards
	srv.Restart()
	body, err := b.Get(t.Context(), "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, data) {
		t.Errorf("get after the crash: %q, %v", got, err)
	}
}

func TestString(t *testing.T) {
	b, err := s3.Open(t.Context(), s3.Options{
		Bucket:      "logs",
		Endpoint:    "http://127.0.0.1:1",
		Credentials: credentials.NewStaticCredentialsProvider("key", "hidden", ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if got := b.String(); got != "s3://logs" {
		t.Errorf("String = %q", got)
	}
}
