package s3

import (
	"context"
	"errors"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"firn/tiering/objstore"
	"firn/tiering/objstore/internal/s3bucket"
)

// requests implements s3bucket.Requests by the SDK.
type requests struct {
	client     *s3.Client
	transport  *s3bucket.Transport
	bucket     string
	crc32c     bool // bodies come with a checksum
	signBodies bool
}

var _ s3bucket.Requests = (*requests)(nil)

// failure translates the SDK's errors.
func failure(err error) error {
	if err == nil {
		return nil
	}
	e := &s3bucket.Error{Err: err}
	var resp *smithyhttp.ResponseError
	if errors.As(err, &resp) {
		e.Status = resp.HTTPStatusCode()
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		e.Code = api.ErrorCode()
	}
	return e
}

// optional is nil for an empty string, which the SDK would send as an empty header.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func ifNoneMatch(cond objstore.Condition) *string {
	if cond.IfAbsent {
		return aws.String("*")
	}
	return nil
}

func metadata(attrs s3bucket.Attributes) map[string]string {
	return map[string]string{s3bucket.TokenName: attrs.Token}
}

// payload are the options of a request that carries a body.
func (r *requests) payload() []func(*s3.Options) {
	if r.signBodies {
		return nil
	}
	return []func(*s3.Options){unsigned}
}

func (r *requests) Put(ctx context.Context, key string, body s3bucket.Body, attrs s3bucket.Attributes, cond objstore.Condition) (string, error) {
	out, err := r.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket:         &r.bucket,
		Key:            &key,
		Body:           body.Reader(),
		ContentLength:  aws.Int64(body.Size()),
		ChecksumCRC32C: optional(body.CRC32C),
		Metadata:       metadata(attrs),
		IfMatch:        optional(cond.IfMatch),
		IfNoneMatch:    ifNoneMatch(cond),
	}, r.payload()...)
	if err != nil {
		return "", failure(err)
	}
	return aws.ToString(out.ETag), nil
}

func (r *requests) CreateUpload(ctx context.Context, key string, attrs s3bucket.Attributes) (string, error) {
	in := &s3.CreateMultipartUploadInput{Bucket: &r.bucket, Key: &key, Metadata: metadata(attrs)}
	if r.crc32c {
		in.ChecksumAlgorithm = types.ChecksumAlgorithmCrc32c
	}
	out, err := r.client.CreateMultipartUpload(ctx, in)
	if err != nil {
		return "", failure(err)
	}
	return aws.ToString(out.UploadId), nil
}

func (r *requests) PutPart(ctx context.Context, key, uploadID string, number int32, body s3bucket.Body) (string, error) {
	out, err := r.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket:         &r.bucket,
		Key:            &key,
		UploadId:       &uploadID,
		PartNumber:     &number,
		Body:           body.Reader(),
		ContentLength:  aws.Int64(body.Size()),
		ChecksumCRC32C: optional(body.CRC32C),
	}, r.payload()...)
	if err != nil {
		return "", failure(err)
	}
	return aws.ToString(out.ETag), nil
}

func (r *requests) CompleteUpload(ctx context.Context, key, uploadID string, parts []s3bucket.Part, cond objstore.Condition) (string, error) {
	done := make([]types.CompletedPart, len(parts))
	for i, p := range parts {
		done[i] = types.CompletedPart{
			PartNumber:     aws.Int32(p.Number),
			ETag:           aws.String(p.ETag),
			ChecksumCRC32C: optional(p.CRC32C),
		}
	}
	out, err := r.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket:          &r.bucket,
		Key:             &key,
		UploadId:        &uploadID,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: done},
		IfMatch:         optional(cond.IfMatch),
		IfNoneMatch:     ifNoneMatch(cond),
	})
	if err != nil {
		return "", failure(err)
	}
	return aws.ToString(out.ETag), nil
}

func (r *requests) AbortUpload(ctx context.Context, key, uploadID string) error {
	_, err := r.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &r.bucket, Key: &key, UploadId: &uploadID})
	return failure(err)
}

func (r *requests) Get(ctx context.Context, key, byteRange string) (s3bucket.Response, error) {
	out, err := r.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &r.bucket, Key: &key, Range: optional(byteRange)})
	if err != nil {
		return s3bucket.Response{}, failure(err)
	}
	length := int64(-1)
	if out.ContentLength != nil {
		length = *out.ContentLength
	}
	return s3bucket.Response{Body: out.Body, Length: length, ContentRange: aws.ToString(out.ContentRange)}, nil
}

func (r *requests) Head(ctx context.Context, key string) (objstore.Info, string, error) {
	out, err := r.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &r.bucket, Key: &key})
	if err != nil {
		return objstore.Info{}, "", failure(err)
	}
	info := objstore.Info{
		Key:      key,
		Size:     aws.ToInt64(out.ContentLength),
		ETag:     aws.ToString(out.ETag),
		Modified: aws.ToTime(out.LastModified),
	}
	return info, out.Metadata[s3bucket.TokenName], nil
}

func (r *requests) List(ctx context.Context, prefix, startAfter string) ([]objstore.Info, bool, error) {
	in := &s3.ListObjectsV2Input{Bucket: &r.bucket, Prefix: optional(prefix), StartAfter: optional(startAfter)}
	for {
		out, err := r.client.ListObjectsV2(ctx, in)
		if err != nil {
			return nil, false, failure(err)
		}
		// Where all of a page has been deleted nothing tells what to start after, but the store's own token.
		next := aws.ToString(out.NextContinuationToken)
		if len(out.Contents) == 0 && aws.ToBool(out.IsTruncated) && next != aws.ToString(in.ContinuationToken) {
			in.ContinuationToken = &next
			continue
		}
		page := make([]objstore.Info, len(out.Contents))
		for i, o := range out.Contents {
			page[i] = objstore.Info{
				Key:      aws.ToString(o.Key),
				Size:     aws.ToInt64(o.Size),
				ETag:     aws.ToString(o.ETag),
				Modified: aws.ToTime(o.LastModified),
			}
		}
		return page, aws.ToBool(out.IsTruncated), nil
	}
}

func (r *requests) Delete(ctx context.Context, keys []string) (map[string]error, error) {
	ids := make([]types.ObjectIdentifier, len(keys))
	for i := range keys {
		ids[i].Key = &keys[i]
	}
	out, err := r.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{
		Bucket: &r.bucket,
		Delete: &types.Delete{Objects: ids, Quiet: aws.Bool(true)},
	})
	if err != nil {
		return nil, failure(err)
	}
	failed := map[string]error{}
	for _, e := range out.Errors {
		// The request as a whole was answered, so this key's failure has no status of its own.
		failed[aws.ToString(e.Key)] = &s3bucket.Error{
			Status: http.StatusOK,
			Code:   aws.ToString(e.Code),
			Err:    errors.New(aws.ToString(e.Message)),
		}
	}
	return failed, nil
}

func (r *requests) BucketExists(ctx context.Context) (bool, error) {
	_, err := r.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &r.bucket})
	var resp *smithyhttp.ResponseError
	if errors.As(err, &resp) && resp.HTTPStatusCode() == http.StatusNotFound {
		return false, nil
	}
	return err == nil, failure(err)
}

func (r *requests) Close() { r.transport.CloseIdleConnections() }
