// Package objstore is the five verbs that Firn needs of an object store. Drivers live in the
// packages below it, the one definition of correct in objtest.
//
// What belongs here: the interface, its sentinels, what a key may look like, and wrappers good for any
// driver (a prefix, metrics). What does not: what the bytes mean, retries over minutes, pacing (tiering
// has those), and knowledge of drivers (package open has that).
package objstore

import (
	"context"
	"errors"
	"io"
	"time"
)

var (
	// ErrNotFound is returned by Get and Head for a key that is not there.
	ErrNotFound = errors.New("objstore: not found")
	// ErrPrecondition is returned by Put when its Condition does not hold.
	ErrPrecondition = errors.New("objstore: precondition failed")
	// ErrThrottled wraps a store's request to slow down (503 SlowDown, 429) that outlasted the
	// driver's few quick retries.
	ErrThrottled = errors.New("objstore: throttled")
	// ErrInvalidKey is returned for a key that CheckKey refuses, before anything is sent.
	ErrInvalidKey = errors.New("objstore: invalid key")
)

// Info describes one object.
type Info struct {
	Key      string
	Size     int64
	ETag     string    // opaque; only good for Condition.IfMatch on the same bucket; List may leave it empty
	Modified time.Time // zero in what Put returns
}

// Condition guards a Put. The zero value guards nothing; at most one field is set.
type Condition struct {
	IfAbsent bool   // If-None-Match: *
	IfMatch  string // If-Match: this ETag; does not hold for a key that is not there
}

// Source gives a Put its bytes, as often as a retry needs them: ReadAt must return the same bytes
// each time for as long as Put runs, and is called from several goroutines. A *bytes.Reader is one.
type Source interface {
	io.ReaderAt
	Size() int64
}

// Bucket is an object store's bucket under a fixed prefix; keys are relative to it, '/'-separated (see
// CheckKey), never both an object and another key's directory. All methods are safe for concurrent
// use and honour ctx. Errors other than the sentinels are retriable unless ctx is done.
type Bucket interface {
	// Put stores one object whole and returns once it survives a power cut of the store as far as
	// the store promises that. Readers see the old object or the new one, never a mixture. Large
	// sources go up in parts, inside Put; what a failed Put leaves behind is aborted. After any
	// error but the sentinels the object may nevertheless be there, or appear later.
	Put(ctx context.Context, key string, src Source, cond Condition) (Info, error)
	// Get returns the bytes [off, off+n) of an object; n < 0 means to the end, off < 0 means the last
	// -off bytes (n ignored). Reading past the end gives what there is, perhaps nothing. The caller
	// closes the reader; a body that ends early is an error from Read, never a silent EOF. What is
	// read belongs to one version of the object. ctx governs the reading too.
	Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)
	Head(ctx context.Context, key string) (Info, error)
	// List calls fn for each key that begins with prefix and lies after startAfter, in byte order,
	// until fn returns an error, which List returns.
	List(ctx context.Context, prefix, startAfter string, fn func(Info) error) error
	// Delete removes keys; a key that is not there counts as removed. The error joins what failed,
	// naming each key; the others are removed all the same. One invalid key refuses the whole
	// call.
	Delete(ctx context.Context, keys ...string) error
	// String names the bucket for people: URL without secrets.
	String() string
	Close() error
}
