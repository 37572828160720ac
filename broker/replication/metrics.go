package replication

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	fetches  prometheus.Counter
	failures prometheus.Counter
	bytes    prometheus.Counter
	copied   prometheus.Counter
	refused  prometheus.Counter
	cuts     prometheus.Counter
	anew     prometheus.Counter
}

// newMetrics registers with reg, which may be nil.
func newMetrics(reg prometheus.Registerer, f *Fetchers) *metrics {
	var all []prometheus.Collector
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "firn_replication_" + name + "_total", Help: help})
		all = append(all, c)
		return c
	}
	m := &metrics{
		fetches:  counter("fetches", "Fetches that leaders have answered."),
		failures: counter("connection_failures", "Connections to leaders that could not be made or broke."),
		bytes:    counter("fetch_bytes", "Bytes of records that leaders have sent."),
		copied:   counter("throttled_bytes", "Bytes of records that count for follower.replication.throttled.rate."),
		refused:  counter("fetch_error_partitions", "Partitions that leaders have answered with an error, or whose answer could not be used."),
		cuts:     counter("truncations", "Times a log was cut where it parted from its leader's."),
		anew:     counter("logs_begun_anew", "Times a log was begun anew because its leader had nothing at its end any more."),
	}
	all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "firn_replication_partitions", Help: "Replicas that follow a leader.",
	}, func() float64 {
		f.mu.Lock()
		defer f.mu.Unlock()
		return float64(len(f.mu.places))
	}))
	if reg != nil {
		reg.MustRegister(all...)
	}
	return m
}
