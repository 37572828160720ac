package controller

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type controllerMetrics struct {
	active    prometheus.Gauge
	elections prometheus.Counter
	topics    *prometheus.CounterVec
}

func newControllerMetrics(reg prometheus.Registerer) *controllerMetrics {
	f := promauto.With(reg)
	return &controllerMetrics{
		active: f.NewGauge(prometheus.GaugeOpts{
			Name: "firn_controller_active",
			Help: "1 while this broker is the controller.",
		}),
		elections: f.NewCounter(prometheus.CounterOpts{
			Name: "firn_controller_elections_total",
			Help: "Partitions given another leader, or none.",
		}),
		topics: f.NewCounterVec(prometheus.CounterOpts{
			Name: "firn_controller_changes_total",
			Help: "Requested changes by verb and outcome.",
		}, []string{"verb", "outcome"}),
	}
}

func (m *controllerMetrics) count(verb string, err error) {
	outcome := "ok"
	if err != nil {
		outcome = "error"
	}
	m.topics.WithLabelValues(verb, outcome).Inc()
}
