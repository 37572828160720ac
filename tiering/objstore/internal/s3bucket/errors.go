package s3bucket

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"firn/tiering/objstore"
)

// Error is a store's refusal of a request, or a request that got no answer.
type Error struct {
	Status int    // HTTP status; 0 if there was no answer
	Code   string // S3 error code; empty if the answer had none
	Err    error
}

func (e *Error) Error() string {
	switch {
	case e.Status == 0:
		return e.Err.Error()
	case e.Code == "":
		return fmt.Sprintf("status %d: %v", e.Status, e.Err)
	}
	return fmt.Sprintf("status %d %s: %v", e.Status, e.Code, e.Err)
}

// Unwrap returns the client library's error.
func (e *Error) Unwrap() error { return e.Err }

const (
	statusNotFound            = http.StatusNotFound
	statusRangeNotSatisfiable = http.StatusRequestedRangeNotSatisfiable

	codeNoSuchKey    = "NoSuchKey"
	codeNoSuchBucket = "NoSuchBucket"
	codeNoSuchUpload = "NoSuchUpload"
	codeClock        = "RequestTimeTooSkewed"
)

// statusCode returns the HTTP status in err, and whether err is an Error at all.
func statusCode(err error) (int, bool) {
	var e *Error
	if errors.As(err, &e) {
		return e.Status, true
	}
	return 0, false
}

func codeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// asksForLess reports whether the code says that the store wants fewer requests. MinIO and others have
// codes of their own for that.
func asksForLess(code string) bool {
	switch code {
	case "SlowDown", "SlowDownRead", "SlowDownWrite", "TooManyRequests", "RequestLimitExceeded",
		"Throttling", "ThrottlingException", "RequestThrottled", "ServerBusy":
		return true
	}
	return false
}

// throttled reports whether the store, or what stands before it, wants fewer requests.
func throttled(err error) bool {
	status, _ := statusCode(err)
	return status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable || asksForLess(codeOf(err))
}

// transient reports whether the same request may well succeed a moment later.
func transient(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	switch {
	case throttled(err), e.Status == 0, e.Status == http.StatusRequestTimeout:
		return true
	case e.Status >= 500:
		return e.Status != http.StatusNotImplemented
	}
	switch e.Code {
	case "RequestTimeout", "InternalError":
		return true
	case "BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch":
		return true // the bytes were damaged on their way
	case "ConditionalRequestConflict", "OperationAborted":
		return true // another conditional write of the same key was under way
	case "ExistingObjectIsDirectory":
		return true // versitygw, when a deletion empties the key's directory at the same moment
	}
	return false
}

// transientInPut is transient for what makes an object visible: MinIO denies access to a directory that a deletion empties at
// the same moment. Credentials that are wrong have other codes.
func transientInPut(err error) bool {
	status, _ := statusCode(err)
	return transient(err) || status == http.StatusForbidden && codeOf(err) == "AccessDenied"
}

// ambiguous reports whether the store may have done what it did not acknowledge.
func ambiguous(err error) bool {
	status, ok := statusCode(err)
	return ok && (status == 0 || status >= 500) && !asksForLess(codeOf(err))
}

func precondition(err error) bool {
	status, _ := statusCode(err)
	return status == http.StatusPreconditionFailed || codeOf(err) == "PreconditionFailed"
}

// fail gives an error its place and its sentinel.
func (b *Bucket) fail(ctx context.Context, op, key string, err error) error {
	if err == nil {
		return nil
	}
	place := op + " " + b.options.Name
	if key != "" {
		place += "/" + key
	}
	// The libraries wrap a cancelled context in words of their own, or lose it.
	if ctxErr := ctx.Err(); ctxErr != nil {
		return fmt.Errorf("%s: %w", place, ctxErr)
	}
	status, _ := statusCode(err)
	switch code := codeOf(err); {
	case code == codeNoSuchBucket:
		return fmt.Errorf("%s: the bucket %q does not exist (or not at this endpoint and region): %w", place, b.options.Bucket, err)
	case code == codeNoSuchKey:
		return fmt.Errorf("%s: %w", place, objstore.ErrNotFound)
	case precondition(err):
		return fmt.Errorf("%s: %w", place, objstore.ErrPrecondition)
	case throttled(err):
		return fmt.Errorf("%s: %w: %w", place, objstore.ErrThrottled, err)
	case codeOf(err) == codeClock:
		return fmt.Errorf("%s: the clocks of this machine and of the store differ too much: %w", place, err)
	case status == http.StatusForbidden:
		return fmt.Errorf("%s: the store refuses these credentials: %w", place, err)
	case status >= 300 && status < 400:
		return fmt.Errorf("%s: a redirect: the bucket %q is in another region, or the endpoint is not the store's own: %w", place, b.options.Bucket, err)
	}
	return fmt.Errorf("%s: %w", place, err)
}
