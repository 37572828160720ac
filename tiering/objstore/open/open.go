// Package open turns the URL of a tier into a bucket. It is apart from package objstore because it
// imports the drivers, which import that.
//
// What belongs here: what a URL may say, and the environment of the credentials. What does not: what
// the drivers do with it.
package open

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"firn/segment/vfs"
	"firn/tiering/objstore"
	"firn/tiering/objstore/fs"
	"firn/tiering/objstore/minio"
	"firn/tiering/objstore/s3"
)

// The environment of minio:// URLs. s3:// takes the AWS SDK's own (AWS_ACCESS_KEY_ID,
// AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_PROFILE and the rest of its chain).
const (
	minioAccessKey = "MINIO_ACCESS_KEY"
	minioSecretKey = "MINIO_SECRET_KEY"
)

const allowed = "allowed are file:///DIR, s3://BUCKET/PREFIX?endpoint=URL&region=REGION&path-style=true, " +
	"minio://HOST:PORT/BUCKET/PREFIX?tls=false, and none"

// Open returns the bucket that a URL names, nil for "none":
//
//	file:///DIR
//	s3://BUCKET[/PREFIX][?endpoint=URL][&region=REGION][&path-style=true|false]
//	minio://HOST:PORT/BUCKET[/PREFIX][?tls=true|false][&region=REGION]
//
// path-style is true unless said otherwise where there is an endpoint; tls is true unless said
// otherwise. A directory, and the bucket of a minio:// URL, is made if it is missing.
func Open(ctx context.Context, tier string) (objstore.Bucket, error) {
	if tier == "none" || tier == "" {
		return nil, nil
	}
	b, err := parse(tier)
	if err != nil {
		return nil, err
	}
	return b(ctx)
}

// Check returns an error that says what is wrong with a tier's URL, without opening it.
func Check(tier string) error {
	if tier == "none" || tier == "" {
		return nil
	}
	_, err := parse(tier)
	return err
}

// opener opens what a URL was found to say.
type opener func(context.Context) (objstore.Bucket, error)

func parse(tier string) (opener, error) {
	u, err := url.Parse(tier)
	if err != nil {
		// The error repeats the URL, which may hold a password; its cause does not.
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, fmt.Errorf("tier URL: %w; %s", err, allowed)
	}
	fail := func(format string, args ...any) (opener, error) {
		return nil, fmt.Errorf("tier URL %q: %s; %s", u.Redacted(), fmt.Sprintf(format, args...), allowed)
	}
	if u.User != nil {
		return fail("credentials belong in the environment (%s and %s for minio, AWS_* for s3)", minioAccessKey, minioSecretKey)
	}
	if u.Fragment != "" {
		return fail("%q has no meaning here", "#"+u.Fragment)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fail("%v", err)
	}
	var o opener
	switch u.Scheme {
	case "file":
		o, err = parseFile(u, query)
	case "s3":
		o, err = parseS3(u, query)
	case "minio":
		o, err = parseMinIO(u, query)
	default:
		return fail("unknown kind %q", u.Scheme)
	}
	if err != nil {
		return fail("%v", err)
	}
	return o, nil
}

// only fails for a setting that is not among names, or that is given twice.
func only(query url.Values, names ...string) error {
	for name, values := range query {
		if !slices.Contains(names, name) {
			if len(names) == 0 {
				return fmt.Errorf("unknown setting %q: there are none", name)
			}
			return fmt.Errorf("unknown setting %q: there are %s", name, strings.Join(names, ", "))
		}
		if len(values) > 1 {
			return fmt.Errorf("%s is given %d times", name, len(values))
		}
	}
	return nil
}

func boolean(query url.Values, name string, otherwise bool) (bool, error) {
	if !query.Has(name) {
		return otherwise, nil
	}
	b, err := strconv.ParseBool(query.Get(name))
	if err != nil {
		return false, fmt.Errorf("%s=%s: must be true or false", name, query.Get(name))
	}
	return b, nil
}

// checkPrefix takes the path of a URL behind the bucket, without its slashes.
func checkPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	if err := objstore.CheckKey(prefix); err != nil {
		return fmt.Errorf("prefix: %w", err)
	}
	return nil
}

// below returns the part of a bucket that is below prefix.
func below(b objstore.Bucket, err error, prefix string) (objstore.Bucket, error) {
	if err != nil {
		return nil, err
	}
	inner, err := objstore.WithPrefix(b, prefix)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return inner, nil
}

func parseFile(u *url.URL, query url.Values) (opener, error) {
	if err := only(query); err != nil {
		return nil, err
	}
	if u.Host != "" || u.Opaque != "" || u.Path == "" {
		return nil, errors.New("a directory is given by its whole path, after three slashes")
	}
	return func(context.Context) (objstore.Bucket, error) {
		b, err := fs.Open(vfs.OS(), u.Path)
		if err != nil {
			return nil, err // and not a nil *fs.Bucket in an interface
		}
		return b, nil
	}, nil
}

func parseS3(u *url.URL, query url.Values) (opener, error) {
	if err := only(query, "endpoint", "region", "path-style"); err != nil {
		return nil, err
	}
	pathStyle, err := boolean(query, "path-style", query.Has("endpoint"))
	if err != nil {
		return nil, err
	}
	prefix := strings.Trim(u.Path, "/")
	if err := checkPrefix(prefix); err != nil {
		return nil, err
	}
	if u.Host == "" || u.Port() != "" {
		return nil, errors.New("the host must be a bucket's name")
	}
	o := s3.Options{Bucket: u.Host, Region: query.Get("region"), Endpoint: query.Get("endpoint"), PathStyle: pathStyle}
	if query.Has("endpoint") {
		if e, err := url.Parse(o.Endpoint); err != nil || (e.Scheme != "http" && e.Scheme != "https") || e.Host == "" || e.User != nil {
			return nil, errors.New("endpoint must be http://HOST:PORT or https://HOST:PORT")
		}
	}
	return func(ctx context.Context) (objstore.Bucket, error) {
		b, err := s3.Open(ctx, o)
		return below(b, err, prefix)
	}, nil
}

func parseMinIO(u *url.URL, query url.Values) (opener, error) {
	if err := only(query, "tls", "region"); err != nil {
		return nil, err
	}
	tls, err := boolean(query, "tls", true)
	if err != nil {
		return nil, err
	}
	bucket, prefix, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if u.Host == "" || bucket == "" {
		return nil, errors.New("host and bucket are needed")
	}
	if err := checkPrefix(prefix); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (objstore.Bucket, error) {
		o := minio.Options{
			Endpoint: u.Host, TLS: tls, Bucket: bucket, Region: query.Get("region"),
			AccessKey: os.Getenv(minioAccessKey), SecretKey: os.Getenv(minioSecretKey),
		}
		if o.AccessKey == "" || o.SecretKey == "" {
			return nil, fmt.Errorf("open %s: set %s and %s", u.Redacted(), minioAccessKey, minioSecretKey)
		}
		b, err := minio.Open(ctx, o)
		return below(b, err, prefix)
	}, nil
}
