// Package s3bucket makes an objstore.Bucket of single S3 requests, so that the drivers, which send
// them by one client library or another, cannot differ in what is hard: parts, retries, lost replies,
// ranges and errors.
//
// What belongs here: everything that holds for each S3 store. What does not: how a request is signed
// and sent, and credentials; packages s3 and minio have that.
package s3bucket

import (
	"context"
	"errors"
	"fmt"
	"io"

	"firn/tiering/objstore"
)

// Requests sends one S3 request by each method, does not retry it, and reports a refusal of the store
// as an *Error. Methods are called concurrently.
type Requests interface {
	Put(ctx context.Context, key string, body Body, attrs Attributes, cond objstore.Condition) (etag string, err error)
	CreateUpload(ctx context.Context, key string, attrs Attributes) (uploadID string, err error)
	PutPart(ctx context.Context, key, uploadID string, number int32, body Body) (etag string, err error)
	CompleteUpload(ctx context.Context, key, uploadID string, parts []Part, cond objstore.Condition) (etag string, err error)
	AbortUpload(ctx context.Context, key, uploadID string) error
	// Get sends byteRange as the Range header unless it is empty.
	Get(ctx context.Context, key, byteRange string) (Response, error)
	// Head also returns the token among the object's attributes, if it has one.
	Head(ctx context.Context, key string) (info objstore.Info, token string, err error)
	// List returns at most maxBatch objects, and whether there are more.
	List(ctx context.Context, prefix, startAfter string) (page []objstore.Info, more bool, err error)
	// Delete removes at most maxBatch keys and returns those that the store did not remove, with
	// *Errors; err is for the request as a whole.
	Delete(ctx context.Context, keys []string) (failed map[string]error, err error)
	BucketExists(ctx context.Context) (bool, error)
	Close()
}

// Attributes are kept by the store with an object.
type Attributes struct {
	// Token is unique to one call of Put: who finds it in an object knows that this call wrote it.
	Token string
}

// TokenName is the name of Attributes.Token in the object's user metadata (x-amz-meta-…).
const TokenName = "firn-put"

// Part is one part of an upload.
type Part struct {
	Number int32
	ETag   string
	CRC32C string // see Body
}

// Response is the answer to a Get.
type Response struct {
	Body         io.ReadCloser
	Length       int64  // of the body; -1 where the store did not say
	ContentRange string // the header
}

// Options are a bucket's settings.
type Options struct {
	Name   string // for people: a URL without secrets
	Bucket string // the bucket's name, for errors
	// CRC32C makes Put give each Body its checksum, which the store then compares with what
	// arrived. For stores that know x-amz-checksum-crc32c.
	CRC32C bool
}

// Bucket is a bucket of an S3 store.
type Bucket struct {
	requests Requests
	options  Options
}

var _ objstore.Bucket = (*Bucket)(nil)

// New returns the bucket that requests go to, and closes them when it is closed.
func New(requests Requests, options Options) *Bucket {
	return &Bucket{requests: requests, options: options}
}

// Get implements objstore.Bucket.
func (b *Bucket) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := objstore.CheckKey(key); err != nil {
		return nil, err
	}
	if n == 0 && off >= 0 {
		// HTTP cannot ask for no bytes, yet a key that is not there must show.
		if _, err := b.Head(ctx, key); err != nil {
			return nil, err
		}
		return io.NopCloser(&io.LimitedReader{}), nil
	}
	want := span{off, n}
	var body io.ReadCloser
	err := retry(ctx, func() error {
		resp, err := b.requests.Get(ctx, key, want.header())
		if err == nil {
			body, err = want.body(ctx, resp)
		}
		return err
	})
	switch status, _ := statusCode(err); {
	case err == nil:
		return body, nil
	case status == statusRangeNotSatisfiable:
		return io.NopCloser(&io.LimitedReader{}), nil
	}
	return nil, b.fail(ctx, "get", key, err)
}

// Head implements objstore.Bucket.
func (b *Bucket) Head(ctx context.Context, key string) (objstore.Info, error) {
	if err := objstore.CheckKey(key); err != nil {
		return objstore.Info{}, err
	}
	var info objstore.Info
	err := retry(ctx, func() (err error) {
		info, _, err = b.requests.Head(ctx, key)
		return err
	})
	if status, _ := statusCode(err); status == statusNotFound {
		// The reply to a HEAD has no body, so it does not say whether it is the key or the whole
		// bucket that is missing. The latter must not look like a deleted object.
		if err := b.checkBucket(ctx); err != nil {
			return objstore.Info{}, b.fail(ctx, "head", key, err)
		}
		err = &Error{Status: statusNotFound, Code: codeNoSuchKey, Err: err}
	}
	if err != nil {
		return objstore.Info{}, b.fail(ctx, "head", key, err)
	}
	return info, nil
}

// checkBucket returns an error if the bucket does not exist or that cannot be known.
func (b *Bucket) checkBucket(ctx context.Context) error {
	var exists bool
	err := retry(ctx, func() (err error) {
		exists, err = b.requests.BucketExists(ctx)
		return err
	})
	if err == nil && !exists {
		err = &Error{Status: statusNotFound, Code: codeNoSuchBucket, Err: errors.New("no such bucket")}
	}
	return err
}

// Check returns an error that says what is wrong if the bucket certainly cannot be used: it does not
// exist, or these credentials may not look at it. A store that cannot be reached is no error, for it
// may come back.
func (b *Bucket) Check(ctx context.Context) error {
	err := b.checkBucket(ctx)
	if status, _ := statusCode(err); status >= 300 && status < 500 && !transient(err) {
		return b.fail(ctx, "open", "", err)
	}
	return ctx.Err()
}

// List implements objstore.Bucket.
func (b *Bucket) List(ctx context.Context, prefix, startAfter string, fn func(objstore.Info) error) error {
	for {
		var page []objstore.Info
		var more bool
		err := retry(ctx, func() (err error) {
			page, more, err = b.requests.List(ctx, prefix, startAfter)
			return err
		})
		if err != nil {
			return b.fail(ctx, "list", prefix, err)
		}
		for _, info := range page {
			if err := fn(info); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
		if len(page) == 0 {
			return fmt.Errorf("list %q in %s: the store lists nothing after %q, and says that there is more", prefix, b, startAfter)
		}
		// Each page begins after the last key of the one before, so a page can be asked for anew
		// on any connection at any time.
		if last := page[len(page)-1].Key; last > startAfter {
			startAfter = last
		} else {
			return fmt.Errorf("list %q in %s: the store lists %q after %q", prefix, b, last, startAfter)
		}
	}
}

// maxBatch is how many keys S3 lists or deletes in one request.
const maxBatch = 1000

// Delete implements objstore.Bucket.
func (b *Bucket) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := objstore.CheckKey(key); err != nil {
			return err
		}
	}
	var errs []error
	for len(keys) > 0 {
		n := min(len(keys), maxBatch)
		errs = append(errs, b.deleteBatch(ctx, keys[:n]))
		keys = keys[n:]
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func (b *Bucket) deleteBatch(ctx context.Context, keys []string) error {
	var errs []error
	left := keys
	err := retry(ctx, func() error {
		failed, err := b.requests.Delete(ctx, left)
		if err != nil {
			return err
		}
		sent := left
		left = nil
		for _, key := range sent {
			switch err2 := failed[key]; {
			case err2 == nil, codeOf(err2) == codeNoSuchKey:
			case transient(err2):
				left, err = append(left, key), err2
			default:
				errs = append(errs, b.fail(ctx, "delete", key, err2))
			}
		}
		return err
	})
	switch {
	case err == nil:
	case len(left) == 1:
		errs = append(errs, b.fail(ctx, "delete", left[0], err))
	default:
		errs = append(errs, b.fail(ctx, fmt.Sprintf("delete %d keys from", len(left)), left[0], err))
	}
	return errors.Join(errs...)
}

// String implements objstore.Bucket.
func (b *Bucket) String() string { return b.options.Name }

// Close implements objstore.Bucket.
func (b *Bucket) Close() error {
	b.requests.Close()
	return nil
}
