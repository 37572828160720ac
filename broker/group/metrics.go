package group

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics count what machines decide, which is before it is written down.
type metrics struct {
	generations prometheus.Counter
	lost        prometheus.Counter
	commits     prometheus.Counter
	expired     prometheus.Counter
}

// newMetrics registers with reg, which may be nil.
func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "firn_group_" + name + "_total", Help: help})
	}
	return &metrics{
		generations: counter("rebalances", "Rebalances whose members have all joined, or were given up."),
		lost:        counter("expired_members", "Members removed because nothing was heard of them, or not in time."),
		commits:     counter("committed_offsets", "Offsets taken for commit."),
		expired:     counter("expired_offsets", "Committed offsets dropped by age, or because their topic is gone."),
	}
}
