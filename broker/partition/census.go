package partition

import (
	"github.com/prometheus/client_golang/prometheus"
)

// census counts, when it is asked, how the partitions that this broker leads are replicated.
type census struct {
	set             *Set
	leads           *prometheus.Desc
	underReplicated *prometheus.Desc
	underMinimum    *prometheus.Desc
	lag             *prometheus.Desc
}

var _ prometheus.Collector = (*census)(nil)

func newCensus(s *Set) *census {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("firn_partition_"+name, help, nil, nil)
	}
	return &census{
		set:             s,
		leads:           desc("leaders", "Partitions that this broker leads."),
		underReplicated: desc("under_replicated", "Partitions led here of which not every replica is in sync, those that are being added or removed aside."),
		underMinimum:    desc("under_min_insync", "Partitions led here with fewer replicas in sync than min.insync.replicas; nothing is committed there."),
		lag:             desc("follower_lag_records", "Records of all partitions led here that each follower lacks, added up; those of followers that never asked are not known."),
	}
}

// Describe implements prometheus.Collector.
func (c *census) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.leads, c.underReplicated, c.underMinimum, c.lag} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *census) Collect(ch chan<- prometheus.Metric) {
	var leads, underReplicated, underMinimum, lag int64
	for r := range c.set.All() {
		ro := r.role.Load()
		if !ro.leads || r.failure() != nil {
			continue
		}
		leads++
		if ro.short {
			underReplicated++
		}
		if len(ro.isr) < minInSync(r.config.Load().MinInsync, len(ro.replicas)) {
			underMinimum++
		}
		end := r.log.Next()
		r.waiters.Lock()
		lag += ro.quorum.lag(end)
		r.waiters.Unlock()
	}
	gauge := func(d *prometheus.Desc, v int64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	gauge(c.leads, leads)
	gauge(c.underReplicated, underReplicated)
	gauge(c.underMinimum, underMinimum)
	gauge(c.lag, lag)
}
