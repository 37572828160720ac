package metadata

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Meter counts what goes through the KVs it is put around.
type Meter struct {
	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	written prometheus.Counter
}

// NewMeter registers the metrics of all KVs of one process. A nil registerer gives a Meter that counts unseen.
func NewMeter(reg prometheus.Registerer) *Meter {
	f := promauto.With(reg)
	return &Meter{
		calls: f.NewCounterVec(prometheus.CounterOpts{
			Name: "firn_metadata_kv_calls_total",
			Help: "Calls to the key space (etcd) by kind and outcome.",
		}, []string{"call", "outcome"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "firn_metadata_kv_call_seconds",
			Help:    "Time calls to the key space took.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}, []string{"call"}),
		written: f.NewCounter(prometheus.CounterOpts{
			Name: "firn_metadata_kv_written_bytes_total",
			Help: "Bytes of keys and values sent to be written.",
		}),
	}
}

// Around returns kv with its calls counted.
func (m *Meter) Around(kv KV) KV { return &measured{KV: kv, m: m} }

// observe counts a call that began at start.
func (m *Meter) observe(call string, start time.Time, err error) {
	outcome := "ok"
	switch {
	case err == nil:
	case errors.Is(err, ErrUnknown):
		outcome = "unknown"
	case errors.Is(err, ErrUnavailable):
		outcome = "unavailable"
	default:
		outcome = "error"
	}
	m.calls.WithLabelValues(call, outcome).Inc()
	m.seconds.WithLabelValues(call).Observe(time.Since(start).Seconds())
}

// measured is a KV whose calls are counted. Watches are counted by the Store.
type measured struct {
	KV
	m *Meter
}

func (k *measured) Get(ctx context.Context, keys ...string) (entries []Entry, rev int64, err error) {
	defer func(start time.Time) { k.m.observe("get", start, err) }(time.Now())
	return k.KV.Get(ctx, keys...)
}

func (k *measured) Range(ctx context.Context, start, end string, rev int64, limit int) (page Page, err error) {
	defer func(start time.Time) { k.m.observe("range", start, err) }(time.Now())
	return k.KV.Range(ctx, start, end, rev, limit)
}

func (k *measured) Txn(ctx context.Context, txn Txn) (res TxnResult, err error) {
	defer func(start time.Time) { k.m.observe("txn", start, err) }(time.Now())
	k.m.written.Add(float64(txn.Size()))
	return k.KV.Txn(ctx, txn)
}

func (k *measured) TxnMany(ctx context.Context, txns []Txn) (res []TxnResult, err error) {
	defer func(start time.Time) { k.m.observe("txn_many", start, err) }(time.Now())
	for _, txn := range txns {
		k.m.written.Add(float64(txn.Size()))
	}
	return k.KV.TxnMany(ctx, txns)
}

func (k *measured) Grant(ctx context.Context, ttl time.Duration) (id LeaseID, got time.Duration, err error) {
	defer func(start time.Time) { k.m.observe("grant", start, err) }(time.Now())
	return k.KV.Grant(ctx, ttl)
}

func (k *measured) KeepAlive(ctx context.Context, id LeaseID) (ttl time.Duration, err error) {
	defer func(start time.Time) { k.m.observe("keep_alive", start, err) }(time.Now())
	return k.KV.KeepAlive(ctx, id)
}

func (k *measured) Revoke(ctx context.Context, id LeaseID) (err error) {
	defer func(start time.Time) { k.m.observe("revoke", start, err) }(time.Now())
	return k.KV.Revoke(ctx, id)
}
