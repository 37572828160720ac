package api

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"firn/broker/wire"
)

// metrics counts requests by API name. One served key is one label value; all others share "other".
type metrics struct {
	byKey  map[int16]*keyMetrics
	other  *keyMetrics
	panics prometheus.Counter
}

type keyMetrics struct {
	seconds       prometheus.Observer
	requestBytes  prometheus.Counter
	responseBytes prometheus.Counter
}

// newMetrics registers with reg, which may be nil.
func newMetrics(reg prometheus.Registerer) *metrics {
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "firn_api_request_duration_seconds",
		Help:    "Time from a request's last byte arriving to its response being handed to the connection.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 13),
	}, []string{"api"})
	in := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "firn_api_request_bytes_total",
		Help: "Bytes of requests received.",
	}, []string{"api"})
	out := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "firn_api_response_bytes_total",
		Help: "Bytes of responses handed to connections.",
	}, []string{"api"})
	panics := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "firn_api_panics_total",
		Help: "Requests served aside that ended in a panic, and their connection with them.",
	})
	if reg != nil {
		reg.MustRegister(seconds, in, out, panics)
	}
	row := func(name string) *keyMetrics {
		return &keyMetrics{
			seconds:       seconds.WithLabelValues(name),
			requestBytes:  in.WithLabelValues(name),
			responseBytes: out.WithLabelValues(name),
		}
	}
	m := &metrics{byKey: make(map[int16]*keyMetrics, len(entries)), other: row("other"), panics: panics}
	for k, e := range entries {
		m.byKey[k] = row(e.key.Name())
	}
	return m
}

// RequestDone implements wire.Observer.
func (m *metrics) RequestDone(req *wire.Request, responseBytes int) {
	k := m.byKey[req.Key]
	if k == nil {
		k = m.other
	}
	k.seconds.Observe(time.Since(req.Received).Seconds())
	k.requestBytes.Add(float64(req.Size))
	k.responseBytes.Add(float64(responseBytes))
}
