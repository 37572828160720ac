package s3_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"firn/tiering/objstore"
	"firn/tiering/objstore/objtest"
	"firn/tiering/objstore/s3"

	"github.com/aws/aws-sdk-go-v2/credentials"
)

// open returns the server's bucket.
func open(tb testing.TB, srv *objtest.Server, endpoint string) objstore.Bucket {
	tb.Helper()
	b, err := s3.Open(tb.Context(), s3.Options{
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
func run(t *testing.T, srv *objtest.Server) {
	var n atomic.Int32
	objtest.Run(t, func(t *testing.T) objstore.Bucket {
		b, err := objstore.WithPrefix(open(t, srv, srv.Endpoint), fmt.Sprintf("exam-%d", n.Add(1)))
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}

func TestMinIO(t *testing.T) {
	t.Parallel()
	run(t, objtest.StartMinIO(t))
}

func TestVersity(t *testing.T) {
	t.Parallel()
	run(t, objtest.StartVersity(t))
}

func TestWire(t *testing.T) {
	t.Parallel()
	srv := objtest.StartMinIO(t)
	objtest.RunWire(t, srv, func(t *testing.T, endpoint string) objstore.Bucket { return open(t, srv, endpoint) })
}
