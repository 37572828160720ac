package objstore

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The verbs, as values of the label op.
const (
	opPut    = "put"
	opGet    = "get"
	opHead   = "head"
	opList   = "list"
	opDelete = "delete"
)

type metrics struct {
	operations *prometheus.CounterVec
	failures   *prometheus.CounterVec
	throttled  *prometheus.CounterVec
	bytes      *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
}

// newMetrics registers the metrics with reg, which may be nil, each op present from the start.
func newMetrics(reg prometheus.Registerer) *metrics {
	labels := []string{"op"}
	m := &metrics{
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "firn_objstore_operations_total",
			Help: "Calls to the object store by verb; a put in many parts is one call.",
		}, labels),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "firn_objstore_operation_failures_total",
			Help: "Calls that failed. An absent key, an unmet condition and a cancelled call are no failures.",
		}, labels),
		throttled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "firn_objstore_operations_throttled_total",
			Help: "Failed calls that the store answered with a request to slow down.",
		}, labels),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "firn_objstore_transferred_bytes_total",
			Help: "Object bytes stored by put and read by get.",
		}, labels),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "firn_objstore_operation_duration_seconds",
			Help: "How long calls took; for get, until the store began to answer.",
			// 1 ms (a loopback store) to 65 s (a large object over a thin line).
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 17),
		}, labels),
	}
	for _, op := range []string{opPut, opGet, opHead, opList, opDelete} {
		m.operations.WithLabelValues(op)
		m.failures.WithLabelValues(op)
		m.throttled.WithLabelValues(op)
		m.seconds.WithLabelValues(op)
	}
	m.bytes.WithLabelValues(opPut)
	m.bytes.WithLabelValues(opGet)
	if reg != nil {
		reg.MustRegister(m.operations, m.failures, m.throttled, m.bytes, m.seconds)
	}
	return m
}

// WithMetrics returns b with its calls, bytes, times and failures counted in reg, once per registry.
func WithMetrics(b Bucket, reg prometheus.Registerer) Bucket {
	return &measured{bucket: b, m: newMetrics(reg)}
}

type measured struct {
	bucket Bucket
	m      *metrics
}

var _ Bucket = (*measured)(nil)

// done counts one finished call.
func (b *measured) done(op string, start time.Time, err error) {
	b.m.operations.WithLabelValues(op).Inc()
	b.m.seconds.WithLabelValues(op).Observe(time.Since(start).Seconds())
	b.failed(op, err)
}

func (b *measured) failed(op string, err error) {
	switch {
	case err == nil, errors.Is(err, ErrNotFound), errors.Is(err, ErrPrecondition), errors.Is(err, context.Canceled):
		return
	case errors.Is(err, ErrThrottled):
		b.m.throttled.WithLabelValues(op).Inc()
	}
	b.m.failures.WithLabelValues(op).Inc()
}

func (b *measured) Put(ctx context.Context, key string, src Source, cond Condition) (Info, error) {
	start := time.Now()
	info, err := b.bucket.Put(ctx, key, src, cond)
	b.done(opPut, start, err)
	if err == nil {
		b.m.bytes.WithLabelValues(opPut).Add(float64(src.Size()))
	}
	return info, err
}

func (b *measured) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	start := time.Now()
	body, err := b.bucket.Get(ctx, key, off, n)
	b.done(opGet, start, err)
	if err != nil {
		return nil, err
	}
	return &measuredBody{ReadCloser: body, b: b, bytes: b.m.bytes.WithLabelValues(opGet)}, nil
}

func (b *measured) Head(ctx context.Context, key string) (Info, error) {
	start := time.Now()
	info, err := b.bucket.Head(ctx, key)
	b.done(opHead, start, err)
	return info, err
}

func (b *measured) List(ctx context.Context, prefix, startAfter string, fn func(Info) error) error {
	start := time.Now()
	var stopped bool // by the caller, which is no failure of the store
	err := b.bucket.List(ctx, prefix, startAfter, func(info Info) error {
		err := fn(info)
		stopped = err != nil
		return err
	})
	if stopped {
		b.done(opList, start, nil)
	} else {
		b.done(opList, start, err)
	}
	return err
}

func (b *measured) Delete(ctx context.Context, keys ...string) error {
	start := time.Now()
	err := b.bucket.Delete(ctx, keys...)
	b.done(opDelete, start, err)
	return err
}

func (b *measured) String() string { return b.bucket.String() }

func (b *measured) Close() error { return b.bucket.Close() }

// measuredBody counts what is read. A failed read makes the call a failed one, once.
type measuredBody struct {
	io.ReadCloser
	b      *measured
	bytes  prometheus.Counter
	failed bool
}

func (r *measuredBody) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.bytes.Add(float64(n))
	if err != nil && !errors.Is(err, io.EOF) && !r.failed {
		r.failed = true
		r.b.failed(opGet, err)
	}
	return n, err
}
