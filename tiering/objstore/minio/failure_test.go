package minio

import (
	"errors"
	"net/url"
	"syscall"
	"testing"
)

// The place of a failed request is said once, by what wraps the error.
func TestFailureDoesNotRepeatTheURL(t *testing.T) {
	err := failure(&url.Error{Op: "Head", URL: "http://h:1/bucket/key", Err: syscall.ECONNREFUSED})
	if err.Error() != "connection refused" || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
}
