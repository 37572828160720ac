// Package s3 is the object store driver for Amazon S3 and its like, by the AWS SDK for Go.
//
// What belongs here: settings, credentials and endpoints as users of AWS know them, and each request in
// the SDK's words. What does not: parts, retries and what errors mean; internal/s3bucket has that.
package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"firn/tiering/objstore"
	"firn/tiering/objstore/internal/s3bucket"
)

// defaultRegion is what stores that have no regions expect in a signature.
const defaultRegion = "us-east-1"

// Options say where a bucket is. Credentials come from the SDK's usual chain: the AWS_* environment,
// the shared configuration files, then the role of the machine or container.
type Options struct {
	Bucket string
	// Region may be empty where the chain has one (AWS_REGION) or where Endpoint is set.
	Region string
	// Endpoint is the URL of a store that is not AWS; empty for AWS itself, or for what
	// AWS_ENDPOINT_URL_S3 says.
	Endpoint string
	// PathStyle puts the bucket's name in the path, not in the host name. Most stores but AWS need it.
	PathStyle bool
	// Credentials replace the chain where they are not nil.
	Credentials aws.CredentialsProvider
}

// Open returns the bucket. It fails where the store says that the bucket does not exist or may not be
// used; a store that cannot be reached now is no failure, for brokers outlive that.
func Open(ctx context.Context, o Options) (objstore.Bucket, error) {
	r, err := newRequests(ctx, o)
	if err != nil {
		return nil, err
	}
	return open(ctx, r)
}

func newRequests(ctx context.Context, o Options) (*requests, error) {
	cfg, err := load(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("open s3 bucket %q: %w", o.Bucket, err)
	}
	transport := s3bucket.NewTransport()
	client := s3.NewFromConfig(cfg, func(so *s3.Options) {
		so.UsePathStyle = o.PathStyle
		if o.Endpoint != "" {
			so.BaseEndpoint = aws.String(o.Endpoint)
		}
		so.HTTPClient = &http.Client{Transport: transport, CheckRedirect: noRedirect}
		so.Retryer = aws.NopRetryer{} // s3bucket retries
		so.DisableLogOutputChecksumValidationSkipped = true
	})
	// AWS gets each body's CRC-32C, which it checks and keeps. Other stores may refuse checksums that
	// they do not know; what goes to them over plain HTTP is protected by a signature of its SHA-256,
	// which they all check but which costs three times the processor time of all else.
	endpoint := aws.ToString(client.Options().BaseEndpoint)
	return &requests{
		client: client, transport: transport, bucket: o.Bucket,
		crc32c: endpoint == "", signBodies: strings.HasPrefix(endpoint, "http://"),
	}, nil
}

func open(ctx context.Context, r *requests) (objstore.Bucket, error) {
	b := s3bucket.New(r, s3bucket.Options{Name: "s3://" + r.bucket, Bucket: r.bucket, CRC32C: r.crc32c})
	if err := b.Check(ctx); err != nil {
		r.Close()
		return nil, err
	}
	return b, nil
}

func load(ctx context.Context, o Options) (aws.Config, error) {
	if o.Bucket == "" {
		return aws.Config{}, errors.New("no bucket name")
	}
	if o.Endpoint != "" {
		u, err := url.Parse(o.Endpoint)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return aws.Config{}, fmt.Errorf("endpoint %q is not of the form http://HOST:PORT or https://HOST", o.Endpoint)
		}
	}
	opts := []func(*config.LoadOptions) error{
		config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired),
		config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired),
		// It writes lines of its own to the standard error; what matters of them is in the errors, too.
		config.WithLogger(logging.Nop{}),
	}
	if o.Region != "" {
		opts = append(opts, config.WithRegion(o.Region))
	}
	if o.Credentials != nil {
		opts = append(opts, config.WithCredentialsProvider(o.Credentials))
	}
	cfg, err := config.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("load AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		if o.Endpoint == "" && cfg.BaseEndpoint == nil {
			return aws.Config{}, errors.New("no region: give region=… or set AWS_REGION")
		}
		cfg.Region = defaultRegion
	}
	return cfg, nil
}

// noRedirect has a redirect be the answer, which is a refusal then. To follow one would turn a PUT into a GET, and what
// is answered there into the store's word that the object is kept.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// unsigned leaves the body out of a request's signature.
func unsigned(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
}
