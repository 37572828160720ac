package coordinator

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"firn/metadata"
)

type metrics struct {
	owned       prometheus.Gauge
	loadSeconds prometheus.Histogram
	loadErrors  prometheus.Counter
	writeErrors prometheus.Counter
	refused     prometheus.Counter
}

// newMetrics registers with reg, which may be nil.
func newMetrics(reg prometheus.Registerer, kind metadata.ShardKind) *metrics {
	f := promauto.With(reg)
	labels := prometheus.Labels{"kind": kind.String()}
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "firn_coordinator_" + name + "_total", Help: help, ConstLabels: labels})
	}
	return &metrics{
		owned: f.NewGauge(prometheus.GaugeOpts{Name: "firn_coordinator_owned_shards", Help: "Shards this broker owns, loaded or not.", ConstLabels: labels}),
		loadSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "firn_coordinator_load_duration_seconds", Help: "Time one load of a shard took.", ConstLabels: labels,
			Buckets: prometheus.ExponentialBuckets(0.001, 3, 11),
		}),
		loadErrors:  counter("load_errors", "Loads of a shard that failed and are tried again."),
		writeErrors: counter("write_errors", "Writes that failed, or whose outcome is unknown, so that the shard is loaded again."),
		refused:     counter("refused_commands", "Commands refused because their shard was loading, busy or not ours."),
	}
}

func (m *metrics) loaded(start time.Time, err error) {
	if err != nil {
		m.loadErrors.Inc()
		return
	}
	m.loadSeconds.Observe(time.Since(start).Seconds())
}
