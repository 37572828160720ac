package open_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"firn/tiering/objstore"
	"firn/tiering/objstore/objtest"
	"firn/tiering/objstore/open"
)

func TestNone(t *testing.T) {
	for _, tier := range []string{"", "none"} {
		if b, err := open.Open(t.Context(), tier); b != nil || err != nil {
			t.Errorf("Open(%q) = %v, %v", tier, b, err)
		}
	}
}

func TestBadURLs(t *testing.T) {
	cases := map[string]string{
		"/var/tier":                            "unknown kind",
		"tier":                                 "unknown kind",
		"gs://bucket":                          `unknown kind "gs"`,
		"S3:/x":                                "bucket's name",
		"file://var/tier":                      "three slashes",
		"file:var/tier":                        "three slashes",
		"file://":                              "three slashes",
		"file:///x?y=z":                        `unknown setting "y"`,
		"file:///x#y":                          `"#y" has no meaning`,
		"s3://":                                "bucket's name",
		"s3:///prefix":                         "bucket's name",
		"s3://b:99/x":                          "bucket's name",
		"s3://b/x?pathstyle=true":              `unknown setting "pathstyle": there are endpoint, region, path-style`,
		"s3://b?path-style=perhaps":            "path-style=perhaps: must be true or false",
		"s3://b?region=a&region=b":             "given 2 times",
		"s3://b?endpoint=127.0.0.1:9000":       "endpoint must be http://",
		"s3://b?endpoint=":                     "endpoint must be http://",
		"s3://b/a//b":                          "prefix",
		"s3://b/../b":                          "prefix",
		"s3://b/%zz":                           "invalid URL escape",
		"s3://b?region=%zz":                    "invalid URL escape",
		"minio://":                             "host and bucket",
		"minio://127.0.0.1:9000":               "host and bucket",
		"minio://127.0.0.1:9000/":              "host and bucket",
		"minio:///b":                           "host and bucket",
		"minio://h/b?tls=maybe":                "tls=maybe: must be true or false",
		"minio://h/b?endpoint=x":               `unknown setting "endpoint": there are tls, region`,
		"minio://h/b/./p":                      "prefix",
		"minio://me:geheim@127.0.0.1:9000/b":   "credentials belong in the environment",
		"minio://me:geheim@127.0.0.1:x/bucket": "invalid port",
	}
	for tier, want := range cases {
		err := open.Check(tier)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "allowed are file:///DIR") {
			t.Errorf("%s: %v, want it to say %q and what is allowed", tier, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: the error tells the password: %v", tier, err)
		}
		if b, err := open.Open(t.Context(), tier); b != nil || err == nil {
			t.Errorf("Open(%s) = %v, %v", tier, b, err)
		}
	}
}

func TestGoodURLs(t *testing.T) {
	for _, tier := range []string{
		"", "none", "file:///var/tier", "s3://b", "s3://b/", "s3://b/a/b/?region=eu-central-1",
		"s3://b?endpoint=http://127.0.0.1:9000&region=us-east-1&path-style=true",
		"minio://127.0.0.1:9000/b", "minio://minio/b/p/q?tls=false&region=x",
	} {
		if err := open.Check(tier); err != nil {
			t.Error(err)
		}
	}
}

func TestFile(t *testing.T) {
	objtest.Run(t, func(t *testing.T) objstore.Bucket {
		dir := filepath.Join(t.TempDir(), "to be made")
		return mustOpen(t, "file://"+strings.ReplaceAll(dir, " ", "%20"), "file://"+strings.ReplaceAll(dir, " ", "%20"))
	})
	occupied := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(occupied, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := open.Open(t.Context(), "file://"+occupied); b != nil || err == nil {
		t.Errorf("open of a file as a directory: %v, %v", b, err)
	}
}

// Both ways to the same place see the same objects.
func TestStores(t *testing.T) {
	srv := objtest.StartMinIO(t)
	t.Setenv("AWS_ACCESS_KEY_ID", srv.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", srv.SecretKey)
	t.Setenv("MINIO_ACCESS_KEY", srv.AccessKey)
	t.Setenv("MINIO_SECRET_KEY", srv.SecretKey)
	byMinIO := mustOpen(t, "minio://"+srv.Host+"/made-here/a/b?tls=false", "minio://"+srv.Host+"/made-here/a/b")
	byS3 := mustOpen(t, "s3://made-here/a/b?endpoint="+srv.Endpoint, "")
	if _, err := byMinIO.Put(t.Context(), "k", strings.NewReader("x"), objstore.Condition{}); err != nil {
		t.Fatal(err)
	}
	if head, err := byS3.Head(t.Context(), "k"); err != nil || head.Size != 1 {
		t.Errorf("head: %+v, %v", head, err)
	}
	if head, err := mustOpen(t, "s3://made-here?endpoint="+srv.Endpoint, "").Head(t.Context(), "a/b/k"); err != nil || head.Size != 1 {
		t.Errorf("head from the top: %+v, %v", head, err)
	}
	if _, err := open.Open(t.Context(), "s3://never-made?endpoint="+srv.Endpoint); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("open of a missing bucket: %v", err)
	}
	t.Setenv("MINIO_SECRET_KEY", "")
	if _, err := open.Open(t.Context(), "minio://"+srv.Host+"/made-here?tls=false"); err == nil || !strings.Contains(err.Error(), "MINIO_SECRET_KEY") {
		t.Errorf("open without credentials: %v", err)
	}
}

func mustOpen(t *testing.T, tier, name string) objstore.Bucket {
	t.Helper()
	b, err := open.Open(t.Context(), tier)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	if name != "" && b.String() != name {
		t.Errorf("String = %q, want %q", b.String(), name)
	}
	return b
}
