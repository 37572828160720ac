package segment

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of one disk.
type metrics struct {
	appends, batches, bytes prometheus.Counter
	appendErrors            prometheus.Counter
	syncs                   prometheus.Histogram
	syncErrors              prometheus.Counter
	checkpoints             prometheus.Histogram
	rolls                   *prometheus.CounterVec
	recoveries              prometheus.Histogram
	verified, torn          prometheus.Counter
	corrupt                 prometheus.Counter
	indexErrors             prometheus.Counter
	dropped                 prometheus.Counter
	offline                 prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, d *Disk) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "firn_segment_" + name, Help: help})
	}
	seconds := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "firn_segment_" + name, Help: help,
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 18), // to 13 s
		})
	}
	m := &metrics{
		appends:      counter("appends_total", "Writes to logs."),
		batches:      counter("append_batches_total", "Record batches appended."),
		bytes:        counter("append_bytes_total", "Bytes appended."),
		appendErrors: counter("append_errors_total", "Writes to logs that failed and were undone."),
		syncs:        seconds("sync_seconds", "Time of one sync of a log."),
		syncErrors:   counter("sync_errors_total", "Syncs that failed, each taking the disk offline."),
		checkpoints:  seconds("checkpoint_seconds", "Time of one checkpoint."),
		rolls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "firn_segment_rolls_total", Help: "Segments sealed, by reason.",
		}, []string{"reason"}),
		recoveries:  seconds("recovery_seconds", "Time to open one log."),
		verified:    counter("recovery_verified_bytes_total", "Bytes past the checkpoint verified when logs were opened."),
		torn:        counter("recovery_torn_bytes_total", "Bytes of torn tails cut when logs were opened."),
		corrupt:     counter("corrupt_logs_total", "Logs that were not opened because durable bytes are damaged."),
		indexErrors: counter("index_errors_total", "Lookups that went without the index because it was wrong."),
		dropped:     counter("dropped_bytes_total", "Bytes of sealed segments dropped."),
		offline:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "firn_segment_disk_offline", Help: "1 once the disk has failed."}),
	}
	gauge := func(name, help string, fn func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "firn_segment_" + name, Help: help}, fn)
	}
	usage := func(name, help string, part func(Usage) float64) prometheus.Collector {
		return gauge(name, help, func() float64 {
			u, err := d.Usage()
			if err != nil {
				return math.NaN() // not known, which is neither full nor empty
			}
			return part(u)
		})
	}
	if reg != nil {
		reg.MustRegister(m.appends, m.batches, m.bytes, m.appendErrors, m.syncs, m.syncErrors, m.checkpoints, m.rolls,
			m.recoveries, m.verified, m.torn, m.corrupt, m.indexErrors, m.dropped, m.offline,
			gauge("open_logs", "Logs open.", func() float64 { return float64(len(d.openLogs())) }),
			gauge("set_aside_logs", "Damaged logs that were set aside and are kept until somebody deletes them.", d.asideCount),
			gauge("log_bytes", "Bytes of record batches in all logs open.", d.logBytes),
			usage("disk_size_bytes", "Size of the disk.", func(u Usage) float64 { return float64(u.Total) }),
			usage("disk_free_bytes", "Free space of the disk.", func(u Usage) float64 { return float64(u.Free) }),
			usage("disk_fullness", "0 roomy, 1 low (archived local copies go early), 2 very low (uploads go first), 3 full (appends are refused).",
				func(u Usage) float64 { return float64(u.Fullness) }),
			gauge("open_sealed_segments", "Sealed segments whose files are open.", func() float64 { return float64(d.sealed.count()) }),
		)
	}
	return m
}

// logBytes is the size of all logs open.
func (d *Disk) logBytes() float64 {
	var n int64
	for _, l := range d.openLogs() {
		n += l.Size()
	}
	return float64(n)
}

func (m *metrics) appended(size int64, batches int) {
	m.appends.Inc()
	m.batches.Add(float64(batches))
	m.bytes.Add(float64(size))
}

func (m *metrics) synced(took time.Duration, err error) {
	if err != nil {
		m.syncErrors.Inc()
		return
	}
	m.syncs.Observe(took.Seconds())
}
