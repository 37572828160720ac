package s3_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"firn/tiering/objstore"
	"firn/tiering/objstore/objtest"
	"firn/tiering/objstore/s3"
)

type opener = func(context.Context, s3.Options) (objstore.Bucket, error)

// open returns the server's bucket.
func open(tb testing.TB, srv *objtest.Server, endpoint string, by opener) objstore.Bucket {
	tb.Helper()
	b, err := by(tb.Context(), s3.Options{
		Bucket:      srv.Bucket,
		Endpoint:    endpoint,
		PathStyle:   true,
		Credentials: credentials.NewStaticCredentialsProvider(srv.AccessKey, srv.SecretKey, ""),
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { b.Close() })
	return b
}

// run runs the exam, each part below a prefix of its own.
func run(t *testing.T, srv *objtest.Server, by opener) {
	var n atomic.Int32
	objtest.Run(t, func(t *testing.T) objstore.Bucket {
		b, err := objstore.WithPrefix(open(t, srv, srv.Endpoint, by), fmt.Sprintf("exam-%d", n.Add(1)))
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}

func TestMinIO(t *testing.T) {
	t.Parallel()
	run(t, objtest.StartMinIO(t), s3.Open)
}

func TestVersity(t *testing.T) {
	t.Parallel()
	run(t, objtest.StartVersity(t), s3.Open)
}

// What AWS gets, at a store that knows it as well and refuses parts whose checksum was not announced.
func TestVersityAsAWS(t *testing.T) {
	t.Parallel()
	run(t, objtest.StartVersity(t), s3.OpenAsAWS)
}

func TestWire(t *testing.T) {
	t.Parallel()
	srv := objtest.StartMinIO(t)
	objtest.RunWire(t, srv, func(t *testing.T, endpoint string) objstore.Bucket { return open(t, srv, endpoint, s3.Open) })
}
