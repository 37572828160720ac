package tiering

import "github.com/prometheus/client_golang/prometheus"

type readMetrics struct {
	bytes, gets, fetched, footers, ahead, hits, wasted, retries, failures, missing prometheus.Counter
}

func newReadMetrics(reg prometheus.Registerer, r *Reader) *readMetrics {
	m := &readMetrics{
		bytes:    counter(reg, "firn_tiering_read_bytes_total", "Bytes of batches answered from the tier."),
		gets:     counter(reg, "firn_tiering_gets_total", "GETs of blocks."),
		fetched:  counter(reg, "firn_tiering_fetched_bytes_total", "Bytes of blocks asked of the object store."),
		footers:  counter(reg, "firn_tiering_footer_gets_total", "GETs of footers."),
		ahead:    counter(reg, "firn_tiering_read_ahead_chunks_total", "Chunks read ahead."),
		hits:     counter(reg, "firn_tiering_chunk_hits_total", "Reads that found their chunk in memory or under way."),
		wasted:   counter(reg, "firn_tiering_read_ahead_wasted_total", "Chunks read ahead and evicted before anybody asked for them."),
		retries:  counter(reg, "firn_tiering_read_retries_total", "GETs of blocks that were tried again."),
		failures: counter(reg, "firn_tiering_read_failures_total", "Chunks that could not be read."),
		missing:  counter(reg, "firn_tiering_missing_objects_total", "Reads of objects that a manifest names and the bucket does not have. Never normal."),
	}
	if reg != nil {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "firn_tiering_read_memory_bytes", Help: "Memory for decoded bytes, in use and kept for use.",
		}, func() float64 {
			used, idle := r.mem.inUse()
			return float64(used + idle)
		}))
	}
	return m
}
