package chunkcache

import "github.com/prometheus/client_golang/prometheus"

type metrics struct{ hits, misses, writes, dropped prometheus.Counter }

func newMetrics(reg prometheus.Registerer) *metrics {
	c := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		if reg != nil {
			reg.MustRegister(c)
		}
		return c
	}
	return &metrics{
		hits:    c("firn_chunkcache_hits_total", "Chunks read from the disk cache."),
		misses:  c("firn_chunkcache_misses_total", "Chunks that the disk cache did not have."),
		writes:  c("firn_chunkcache_writes_total", "Chunks written to the disk cache."),
		dropped: c("firn_chunkcache_dropped_total", "Chunks evicted from the disk cache, or found damaged."),
	}
}
