package tiering

import "github.com/prometheus/client_golang/prometheus"

func counter(reg prometheus.Registerer, name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	if reg != nil {
		reg.MustRegister(c)
	}
	return c
}

type archiveMetrics struct {
	swaps, lost, unknown, folds, deleted prometheus.Counter
}

func newArchiveMetrics(reg prometheus.Registerer) *archiveMetrics {
	return &archiveMetrics{
		swaps:   counter(reg, "firn_tiering_head_writes_total", "Tier heads written."),
		lost:    counter(reg, "firn_tiering_head_conflicts_total", "Tier head writes that another write came before."),
		unknown: counter(reg, "firn_tiering_head_unknown_total", "Tier head writes whose outcome had to be read back."),
		folds:   counter(reg, "firn_tiering_folds_total", "Manifest roots written."),
		deleted: counter(reg, "firn_tiering_trash_deleted_total", "Objects deleted out of manifests' trash."),
	}
}
