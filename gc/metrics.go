package gc

import "github.com/prometheus/client_golang/prometheus"

func counter(reg prometheus.Registerer, name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	if reg != nil {
		reg.MustRegister(c)
	}
	return c
}

type collectorMetrics struct{ segments, bytes, deleted, failures prometheus.Counter }

func newCollectorMetrics(reg prometheus.Registerer) *collectorMetrics {
	return &collectorMetrics{
		segments: counter(reg, "firn_gc_expired_segments_total", "Segments that fell out of their total retention."),
		bytes:    counter(reg, "firn_gc_expired_bytes_total", "Bytes of batches in them."),
		deleted:  counter(reg, "firn_gc_deleted_objects_total", "Objects deleted out of the trash."),
		failures: counter(reg, "firn_gc_failures_total", "Passes over a partition that failed."),
	}
}

type scrubMetrics struct{ listed, orphans, failures prometheus.Counter }

func newScrubMetrics(reg prometheus.Registerer) *scrubMetrics {
	return &scrubMetrics{
		listed:   counter(reg, "firn_gc_scrubbed_objects_total", "Objects that the scrubber has looked at."),
		orphans:  counter(reg, "firn_gc_orphans_deleted_total", "Objects deleted that no manifest named."),
		failures: counter(reg, "firn_gc_scrub_failures_total", "Scrubs that failed."),
	}
}
