package tiering

import "github.com/prometheus/client_golang/prometheus"

type uploadMetrics struct {
	puts, commits, failures, throttled, stored, raw prometheus.Counter
	seconds                                         prometheus.Histogram
}

func newUploadMetrics(reg prometheus.Registerer, u *Uploader) *uploadMetrics {
	m := &uploadMetrics{
		puts:      counter(reg, "firn_tiering_uploads_total", "Segments put into the object store."),
		commits:   counter(reg, "firn_tiering_commits_total", "Segments committed to their manifest."),
		failures:  counter(reg, "firn_tiering_upload_failures_total", "Attempts to archive a segment that failed."),
		throttled: counter(reg, "firn_tiering_upload_throttled_total", "Times that the object store asked for fewer uploads."),
		stored:    counter(reg, "firn_tiering_upload_stored_bytes_total", "Bytes of uploaded objects."),
		raw:       counter(reg, "firn_tiering_upload_raw_bytes_total", "Bytes of uploaded batches before block compression."),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "firn_tiering_upload_seconds", Help: "Time to encode, put and commit a segment.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 15),
		}),
	}
	if reg == nil {
		return m
	}
	lag := func(pick func(bytes int64, seconds float64) float64) func() float64 {
		return func() float64 {
			var bytes int64
			var seconds float64
			for _, s := range u.Status() {
				bytes += s.LagBytes
				seconds = max(seconds, s.Lag.Seconds())
			}
			return pick(bytes, seconds)
		}
	}
	reg.MustRegister(m.seconds,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "firn_tiering_lag_bytes", Help: "Bytes in local logs that are not in the tier yet, all partitions led here.",
		}, lag(func(b int64, _ float64) float64 { return float64(b) })),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "firn_tiering_lag_seconds", Help: "Age of the oldest data that is not in the tier yet.",
		}, lag(func(_ int64, s float64) float64 { return s })),
	)
	return m
}
