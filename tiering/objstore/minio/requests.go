package minio

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/minio/minio-go/v7"

	"firn/tiering/objstore"
	"firn/tiering/objstore/internal/s3bucket"
)

// checksumHeader carries the CRC-32C of a body, which the store compares with what arrives.
const checksumHeader = "X-Amz-Checksum-Crc32c"

// requests implements s3bucket.Requests by MinIO's client.
type requests struct {
	core      *minio.Core
	transport *s3bucket.Transport
	bucket    string
	region    string
}

var _ s3bucket.Requests = (*requests)(nil)

// failure translates the client's errors.
func failure(err error) error {
	if err == nil {
		return nil
	}
	// The request's URL stands in what surrounds the error already.
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	e := &s3bucket.Error{Err: err}
	var resp minio.ErrorResponse
	if errors.As(err, &resp) {
		e.Status, e.Code = resp.StatusCode, resp.Code
	}
	return e
}

// ensureBucket makes the bucket unless it is there.
func (r *requests) ensureBucket(ctx context.Context) error {
	exists, err := r.BucketExists(ctx)
	if err != nil || exists {
		return err
	}
	err = r.core.MakeBucket(ctx, r.bucket, minio.MakeBucketOptions{Region: r.region})
	switch minio.ToErrorResponse(err).Code {
	case "BucketAlreadyOwnedByYou", "BucketAlreadyExists":
		return nil // somebody else was faster
	}
	return failure(err)
}

// ensured sends a request that stores something, and once more with the bucket made if that is what
// was missing.
func (r *requests) ensured(ctx context.Context, send func() error) error {
	err := send()
	if minio.ToErrorResponse(err).Code != minio.NoSuchBucket {
		return failure(err)
	}
	if err := r.ensureBucket(ctx); err != nil {
		return err
	}
	return failure(send())
}

func putOptions(attrs s3bucket.Attributes, cond objstore.Condition) minio.PutObjectOptions {
	o := minio.PutObjectOptions{
		// The body's checksum is in a signed header instead.
		DisableContentSha256: true,
		UserMetadata:         map[string]string{},
	}
	if attrs.Token != "" {
		o.UserMetadata[s3bucket.TokenName] = attrs.Token
	}
	if cond.IfAbsent {
		o.SetMatchETagExcept("*")
	}
	if cond.IfMatch != "" {
		o.SetMatchETag(cond.IfMatch)
	}
	return o
}

func (r *requests) Put(ctx context.Context, key string, body s3bucket.Body, attrs s3bucket.Attributes, cond objstore.Condition) (etag string, err error) {
	o := putOptions(attrs, cond)
	o.UserMetadata[checksumHeader] = body.CRC32C // the client sends x-amz-… as they are
	err = r.ensured(ctx, func() error {
		info, err := r.core.PutObject(ctx, r.bucket, key, body.Reader(), body.Size(), "", "", o)
		etag = info.ETag
		return err
	})
	return etag, err
}

func (r *requests) CreateUpload(ctx context.Context, key string, attrs s3bucket.Attributes) (id string, err error) {
	o := putOptions(attrs, objstore.Condition{})
	o.UserMetadata["X-Amz-Checksum-Algorithm"] = "CRC32C"
	err = r.ensured(ctx, func() error {
		id, err = r.core.NewMultipartUpload(ctx, r.bucket, key, o)
		return err
	})
	return id, err
}

func (r *requests) PutPart(ctx context.Context, key, uploadID string, number int32, body s3bucket.Body) (string, error) {
	part, err := r.core.PutObjectPart(ctx, r.bucket, key, uploadID, int(number), body.Reader(), body.Size(), minio.PutObjectPartOptions{
		DisableContentSha256: true,
		CustomHeader:         http.Header{checksumHeader: {body.CRC32C}},
	})
	return part.ETag, failure(err)
}

func (r *requests) CompleteUpload(ctx context.Context, key, uploadID string, parts []s3bucket.Part, cond objstore.Condition) (string, error) {
	done := make([]minio.CompletePart, len(parts))
	for i, p := range parts {
		done[i] = minio.CompletePart{PartNumber: int(p.Number), ETag: p.ETag, ChecksumCRC32C: p.CRC32C}
	}
	info, err := r.core.CompleteMultipartUpload(ctx, r.bucket, key, uploadID, done, putOptions(s3bucket.Attributes{}, cond))
	return info.ETag, failure(err)
}

func (r *requests) AbortUpload(ctx context.Context, key, uploadID string) error {
	return failure(r.core.AbortMultipartUpload(ctx, r.bucket, key, uploadID))
}

func (r *requests) Get(ctx context.Context, key, byteRange string) (s3bucket.Response, error) {
	var o minio.GetObjectOptions
	if byteRange != "" {
		o.Set("Range", byteRange)
	}
	body, _, header, err := r.core.GetObject(ctx, r.bucket, key, o)
	if err != nil {
		return s3bucket.Response{}, failure(err)
	}
	length, err := strconv.ParseInt(header.Get("Content-Length"), 10, 64)
	if err != nil {
		length = -1
	}
	return s3bucket.Response{Body: body, Length: length, ContentRange: header.Get("Content-Range")}, nil
}

func (r *requests) Head(ctx context.Context, key string) (objstore.Info, string, error) {
	o, err := r.core.StatObject(ctx, r.bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return objstore.Info{}, "", failure(err)
	}
	return info(o), o.UserMetadata[http.CanonicalHeaderKey(s3bucket.TokenName)], nil
}

func info(o minio.ObjectInfo) objstore.Info {
	return objstore.Info{Key: o.Key, Size: o.Size, ETag: o.ETag, Modified: o.LastModified}
}

func (r *requests) List(ctx context.Context, prefix, startAfter string) ([]objstore.Info, bool, error) {
	const most = 1000
	var owner bool
	var page []objstore.Info
	for o := range r.core.ListObjectsIter(ctx, r.bucket, minio.ListObjectsOptions{
		Prefix: prefix, StartAfter: startAfter, Recursive: true, MaxKeys: most, FetchOwner: &owner,
	}) {
		if o.Err != nil {
			return nil, false, failure(o.Err)
		}
		if page = append(page, info(o)); len(page) == most {
			return page, true, nil // before the iterator asks for the next page
		}
	}
	// A cancelled iterator just ends.
	return page, false, ctx.Err()
}

func (r *requests) Delete(ctx context.Context, keys []string) (map[string]error, error) {
	objects := make(chan minio.ObjectInfo, len(keys))
	for _, key := range keys {
		objects <- minio.ObjectInfo{Key: key}
	}
	close(objects)
	failed := map[string]error{}
	for _, key := range keys {
		failed[key] = &s3bucket.Error{Err: errors.New("the store does not say that it is removed")}
	}
	var whole error
	for res := range r.core.RemoveObjectsWithResult(ctx, r.bucket, objects, minio.RemoveObjectsOptions{}) {
		if res.Err == nil {
			delete(failed, res.ObjectName)
			continue
		}
		// Where the request as a whole fails, the client reports that for each key, with the status
		// of the answer; a single key's failure has none.
		var key minio.ErrorResponse
		if errors.As(res.Err, &key) && key.StatusCode == 0 && key.Code != "" {
			failed[res.ObjectName] = &s3bucket.Error{Status: http.StatusOK, Code: key.Code, Err: res.Err}
		} else {
			whole = failure(res.Err)
		}
	}
	return failed, whole
}

func (r *requests) BucketExists(ctx context.Context) (bool, error) {
	exists, err := r.core.BucketExists(ctx, r.bucket)
	return exists, failure(err)
}

func (r *requests) Close() { r.transport.CloseIdleConnections() }
