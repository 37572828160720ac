package s3bucket

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// tries bounds how often one request is sent. What outlasts about two seconds is for the
	// caller, who knows how long it can wait: a request whose tries take that long each, because
	// packets are lost or the store stands still, is sent twice, on another connection.
	tries       = 4
	slowTries   = 2
	slow        = 2 * time.Second
	retryFirst  = 100 * time.Millisecond
	retryFactor = 3
)

// retry calls fn until it succeeds, fails for good, has failed too often, or ctx is done.
func retry(ctx context.Context, fn func() error) error { return retryWhile(ctx, transient, fn) }

// retryWhile is retry where passes says which failures may not be for good.
func retryWhile(ctx context.Context, passes func(error) bool, fn func() error) error {
	began := time.Now()
	for pause, try := retryFirst, 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := fn()
		if err == nil || try == tries || !passes(err) {
			return err
		}
		if try >= slowTries && time.Since(began) > slow*time.Duration(try) {
			return err
		}
		// Between half and all of it, so that those who failed together do not return together.
		if !sleep(ctx, pause/2+rand.N(pause/2)) {
			return err
		}
		pause *= retryFactor
	}
}

// sleep returns false if ctx was done before the time was over.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
