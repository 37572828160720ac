package metadata

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	revision prometheus.Gauge
	events   prometheus.Counter
	breaks   prometheus.Counter
	relists  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		revision: f.NewGauge(prometheus.GaugeOpts{
			Name: "firn_metadata_image_revision",
			Help: "Revision of the metadata image.",
		}),
		events: f.NewCounter(prometheus.CounterOpts{
			Name: "firn_metadata_watch_events_total",
			Help: "Changes of keys taken over into the image.",
		}),
		breaks: f.NewCounter(prometheus.CounterOpts{
			Name: "firn_metadata_watch_breaks_total",
			Help: "Times the watch of the key space broke and was begun anew.",
		}),
		relists: f.NewCounter(prometheus.CounterOpts{
			Name: "firn_metadata_relists_total",
			Help: "Times the whole image was listed anew because the watch fell behind a compaction.",
		}),
	}
}

type committerMetrics struct {
	seconds prometheus.Histogram
	ops     prometheus.Counter
	bytes   prometheus.Counter
	txns    *prometheus.CounterVec
}

func newCommitterMetrics(reg prometheus.Registerer) *committerMetrics {
	f := promauto.With(reg)
	return &committerMetrics{
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "firn_metadata_commit_seconds",
			Help:    "Time a batch of coordinator state took to commit.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}),
		ops: f.NewCounter(prometheus.CounterOpts{
			Name: "firn_metadata_commit_writes_total",
			Help: "Keys of coordinator state written, newest value per batch.",
		}),
		bytes: f.NewCounter(prometheus.CounterOpts{
			Name: "firn_metadata_commit_bytes_total",
			Help: "Bytes of coordinator state written.",
		}),
		txns: f.NewCounterVec(prometheus.CounterOpts{
			Name: "firn_metadata_commits_total",
			Help: "Batches of coordinator state by outcome.",
		}, []string{"outcome"}),
	}
}

func (m *committerMetrics) observe(b *batch, took time.Duration, ok bool, err error) {
	m.seconds.Observe(took.Seconds())
	switch {
	case err == nil && ok:
		m.ops.Add(float64(len(b.txn.Then)))
		m.bytes.Add(float64(b.bytes))
		m.txns.WithLabelValues("ok").Inc()
	case err == nil:
		m.txns.WithLabelValues("fenced").Inc()
	case errors.Is(err, ErrUnknown):
		m.txns.WithLabelValues("unknown").Inc()
	default:
		m.txns.WithLabelValues("error").Inc()
	}
}

type leaseMetrics struct{ registrations prometheus.Counter }

func newLeaseMetrics(reg prometheus.Registerer, headroom func() time.Duration) *leaseMetrics {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "firn_metadata_lease_headroom_seconds",
		Help: "Time for which the broker's lease surely stands without a renewal.",
	}, func() float64 { return max(0, headroom().Seconds()) })
	return &leaseMetrics{
		registrations: f.NewCounter(prometheus.CounterOpts{
			Name: "firn_metadata_registrations_total",
			Help: "Times the broker registered, the first time included; more than one means that its lease was lost.",
		}),
	}
}
