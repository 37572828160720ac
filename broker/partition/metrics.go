package partition

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	appendBatches prometheus.Counter
	appendRecords prometheus.Counter
	appendBytes   prometheus.Counter
	refused       prometheus.Counter
	duplicates    prometheus.Counter
	timeouts      prometheus.Counter
	storageErrors prometheus.Counter
	corruptions   prometheus.Counter
	setAside      prometheus.Counter
	hotBytes      prometheus.Counter
	coldBytes     prometheus.Counter
	throttled     prometheus.Counter
	fetchWaits    prometheus.Counter
	fetchErrors   prometheus.Counter
	coldReads     prometheus.Counter
	coldFailures  prometheus.Counter
	coldRefused   prometheus.Counter
	coldDropped   prometheus.Counter
	coldSeconds   prometheus.Histogram
	droppedBytes  prometheus.Counter
}

// newMetrics registers with reg, which may be nil.
func newMetrics(reg prometheus.Registerer, s *Set) *metrics {
	var all []prometheus.Collector
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "firn_partition_" + name + "_total", Help: help})
		all = append(all, c)
		return c
	}
	m := &metrics{
		appendBatches: counter("append_batches", "Batches appended."),
		appendRecords: counter("append_records", "Records appended."),
		appendBytes:   counter("append_bytes", "Bytes of batches appended."),
		refused:       counter("append_refused_batches", "Batches not appended because of an error."),
		duplicates:    counter("append_duplicate_batches", "Retries of batches that had been appended before."),
		timeouts:      counter("append_timeout_batches", "Batches written whose acknowledgement did not come in time."),
		storageErrors: counter("storage_errors", "Failed calls on local logs."),
		corruptions:   counter("corruption_errors", "Reads that found stored bytes damaged or missing."),
		setAside:      counter("logs_set_aside", "Damaged logs that were put away to be fetched anew from others."),
		hotBytes:      counter("fetch_local_bytes", "Bytes read from local logs for fetches, those read again after a wait counted again."),
		coldBytes:     counter("fetch_tier_bytes", "Bytes read from the tier for fetches."),
		throttled:     counter("throttled_bytes", "Bytes sent to followers that count for leader.replication.throttled.rate."),
		fetchWaits:    counter("fetch_waits", "Times a fetch began to wait for more bytes."),
		fetchErrors:   counter("fetch_error_partitions", "Partitions of fetches answered with an error."),
		coldReads:     counter("tier_reads", "Reads of the tier for fetches that succeeded."),
		coldFailures:  counter("tier_read_failures", "Reads of the tier for fetches that failed."),
		coldRefused:   counter("tier_reads_refused", "Reads of the tier not begun because too many were under way."),
		coldDropped:   counter("tier_reads_dropped", "Reads of the tier dropped before anybody fetched them."),
		droppedBytes:  counter("local_dropped_bytes", "Bytes of local segments deleted by retention."),
		coldSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "firn_partition_tier_read_duration_seconds",
			Help:    "Time of one read of the tier for fetches.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 12),
		}),
	}
	all = append(all, m.coldSeconds, newCensus(s),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "firn_partition_producers", Help: "Idempotent producers remembered, once per partition.",
		}, func() float64 { return float64(s.producers.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "firn_partition_replicas", Help: "Replicas hosted.",
		}, func() float64 { return float64(s.count()) }),
	)
	if reg != nil {
		reg.MustRegister(all...)
	}
	return m
}

func (s *Set) count() int {
	n := 0
	for i := range s.shards {
		s.shards[i].RLock()
		n += len(s.shards[i].replicas)
		s.shards[i].RUnlock()
	}
	return n
}
