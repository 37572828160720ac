package controller

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"firn/metadata"
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

// watchHealth registers what is read from the image whenever somebody asks.
func watchHealth(reg prometheus.Registerer, health func() Health) {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "firn_controller_offline_partitions",
		Help: "Partitions that no live broker leads; 0 on brokers that are not the controller.",
	}, func() float64 { return float64(health().Offline) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "firn_controller_under_replicated_partitions",
		Help: "Partitions with fewer replicas in sync than they should have; 0 on brokers that are not the controller.",
	}, func() float64 { return float64(health().UnderReplicated) })
}

// Health counts partitions that are not as they should be.
type Health struct {
	Offline         int // no live broker leads them
	UnderReplicated int // not every replica is in sync, those that are being added or removed aside
}

// health is that of the newest image, or nothing if another broker is the controller.
func (c *Controller) health() Health {
	if !c.Active() {
		return Health{}
	}
	return HealthOf(c.store.Image())
}

// HealthOf counts what an image has of them.
func HealthOf(img *metadata.Image) Health {
	var h Health
	for p := range img.Partitions() {
		if b, ok := img.Broker(p.Leader); !ok || b.Epoch != p.LeaderBrokerEpoch {
			h.Offline++
		}
		if slices.ContainsFunc(p.Replicas, func(id int32) bool {
			return !slices.Contains(p.ISR, id) && !slices.Contains(p.Adding, id) && !slices.Contains(p.Removing, id)
		}) {
			h.UnderReplicated++
		}
	}
	return h
}
