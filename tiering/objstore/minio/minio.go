// Package minio is the object store driver for MinIO and its like, by MinIO's own client.
//
// What belongs here: settings and credentials, making the bucket where it is missing, and each request
// in the client's words. What does not: parts, retries and what errors mean; internal/s3bucket has that.
package minio

import (
	"context"
	"errors"
	"fmt"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"firn/tiering/objstore"
	"firn/tiering/objstore/internal/s3bucket"
)

// defaultRegion is MinIO's, and what other stores without regions expect in a signature.
const defaultRegion = "us-east-1"

// Options say where a bucket is.
type Options struct {
	Endpoint string // HOST:PORT
	TLS      bool
	Bucket   string
	Region   string // empty means us-east-1
	// AccessKey and SecretKey are all that is used to sign; both are needed.
	AccessKey, SecretKey string
}

// Open returns the bucket and makes it if the store does not have it. A store that cannot be reached
// now is no failure, for brokers outlive that; the bucket is then made at the first Put.
func Open(ctx context.Context, o Options) (objstore.Bucket, error) {
	name := fmt.Sprintf("minio://%s/%s", o.Endpoint, o.Bucket)
	if o.Bucket == "" || o.Endpoint == "" {
		return nil, fmt.Errorf("open %s: host and bucket are needed", name)
	}
	if err := s3utils.CheckValidBucketNameStrict(o.Bucket); err != nil {
		return nil, fmt.Errorf("open %s: bucket name: %w", name, err)
	}
	if o.AccessKey == "" || o.SecretKey == "" {
		return nil, fmt.Errorf("open %s: no credentials", name)
	}
	if o.Region == "" {
		o.Region = defaultRegion
	}
	transport := s3bucket.NewTransport()
	core, err := minio.NewCore(o.Endpoint, &minio.Options{
		Creds:        credentials.NewStaticV4(o.AccessKey, o.SecretKey, ""),
		Secure:       o.TLS,
		Transport:    transport,
		Region:       o.Region, // else the client asks for each bucket's
		BucketLookup: minio.BucketLookupPath,
		MaxRetries:   1, // s3bucket retries
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	r := &requests{core: core, transport: transport, bucket: o.Bucket, region: o.Region}
	b := s3bucket.New(r, s3bucket.Options{Name: name, Bucket: o.Bucket, CRC32C: true})
	if err := r.ensureBucket(ctx); err != nil && !unreachable(err) {
		b.Close()
		return nil, fmt.Errorf("open %s: make the bucket: %w", name, err)
	}
	return b, ctx.Err()
}

// unreachable reports whether there was no answer, or one that a store gives while it starts.
func unreachable(err error) bool {
	var e *s3bucket.Error
	return errors.As(err, &e) && (e.Status == 0 || e.Status >= 500)
}
