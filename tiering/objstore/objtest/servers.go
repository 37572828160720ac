package objtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"firn/deploy/tools/toolbox"
)

// Server is a real S3 store in a process of its own, with one bucket.
type Server struct {
	*toolbox.Process
	Host      string // host:port
	Endpoint  string // http://host:port
	Bucket    string
	AccessKey string
	SecretKey string
	Dir       string // where it keeps its data
}

const bucketName = "firn-test"

// StartMinIO starts a MinIO server with an empty bucket. It is killed when the test ends.
func StartMinIO(tb testing.TB) *Server {
	tb.Helper()
	s := newServer(tb)
	spec := s.minio(tb)
	spec.Ports, spec.Ready = 1, toolbox.HTTPReady("/minio/health/ready")
	spec.Args = func(ports []int) []string { return s.minioArgs(fmt.Sprintf("127.0.0.1:%d", ports[0])) }
	s.Process = toolbox.Start(tb, spec)
	s.Host = s.Addr(0)
	return s.ready(tb)
}

// StartMinIOAt is StartMinIO in a network of its own.
func StartMinIOAt(tb testing.TB, place toolbox.Place) *Server {
	tb.Helper()
	s := newServer(tb)
	s.Host = place.Host + ":9000"
	spec := s.minio(tb)
	spec.Via, spec.Ready = place.Via, toolbox.HTTPReadyAt(s.Host, "/minio/health/ready")
	spec.Args = func([]int) []string { return s.minioArgs(s.Host) }
	s.Process = toolbox.Start(tb, spec)
	return s.ready(tb)
}

func (s *Server) minio(tb testing.TB) toolbox.Server {
	tb.Helper()
	return toolbox.Server{Path: toolbox.Need(tb, "minio"), Env: []string{
		"MINIO_ROOT_USER=" + s.AccessKey, "MINIO_ROOT_PASSWORD=" + s.SecretKey,
		"MINIO_UPDATE=off", "MINIO_BROWSER=off", "MINIO_CALLHOME_ENABLE=off", "HOME=" + s.Dir + "-home", // where it makes .minio
	}}
}

func (s *Server) minioArgs(addr string) []string { return []string{"server", s.Dir, "--address", addr} }

// StartVersity starts a versitygw server, which keeps objects as plain files, with an empty bucket. It
// is killed when the test ends.
func StartVersity(tb testing.TB) *Server {
	tb.Helper()
	s := newServer(tb)
	sidecar := sidecarDir(tb, s.Dir)
	s.Process = toolbox.Start(tb, toolbox.Server{
		Path:  toolbox.Need(tb, "versitygw"),
		Env:   []string{"ROOT_ACCESS_KEY=" + s.AccessKey, "ROOT_SECRET_KEY=" + s.SecretKey},
		Ports: 1,
		Args: func(ports []int) []string {
			return append([]string{fmt.Sprintf("127.0.0.1:%d", ports[0]), s.Dir}, sidecar...)
		},
		Ready: toolbox.HTTPReady("/health"),
	})
	s.Host = s.Addr(0)
	return s.ready(tb)
}

func newServer(tb testing.TB) *Server {
	tb.Helper()
	return &Server{Bucket: bucketName, AccessKey: "firn-test-user", SecretKey: "firn-test-secret", Dir: tb.TempDir()}
}

// ready makes the bucket.
func (s *Server) ready(tb testing.TB) *Server {
	tb.Helper()
	s.Endpoint = "http://" + s.Host
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Client(tb).MakeBucket(ctx, s.Bucket, minio.MakeBucketOptions{}); err != nil {
		tb.Fatalf("make bucket: %v", err)
	}
	return s
}

// Client returns a plain client of the store, for tests that look behind the drivers.
func (s *Server) Client(tb testing.TB) *minio.Core {
	tb.Helper()
	transport, err := minio.DefaultTransport(false)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(transport.CloseIdleConnections)
	core, err := minio.NewCore(s.Host, &minio.Options{
		Creds:     credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""),
		Region:    "us-east-1",
		Transport: transport,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return core
}

// sidecarDir returns a directory for object metadata as versitygw's argument where the file system of
// dir has no user attributes, else nothing.
func sidecarDir(tb testing.TB, dir string) []string {
	tb.Helper()
	probe := filepath.Join(dir, "probe")
	if err := os.WriteFile(probe, nil, 0o600); err != nil {
		tb.Fatal(err)
	}
	defer os.Remove(probe)
	if hasUserAttributes(probe) {
		return nil
	}
	return []string{tb.TempDir()}
}
