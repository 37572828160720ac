package server

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	accepted prometheus.Counter
	refused  *prometheus.CounterVec
	closed   *prometheus.CounterVec
	sent     prometheus.Counter
	fromFile prometheus.Counter
	panics   prometheus.Counter
}

// newMetrics registers with reg, which may be nil.
func newMetrics(reg prometheus.Registerer, s *Server) *metrics {
	m := &metrics{
		accepted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "firn_server_connections_accepted_total",
			Help: "Connections that were accepted.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "firn_server_connections_refused_total",
			Help: "Connections that were closed at once because there are too many.",
		}, []string{"reason"}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "firn_server_connections_closed_total",
			Help: "Connections that have ended, by reason.",
		}, []string{"reason"}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "firn_server_sent_bytes_total",
			Help: "Bytes of responses written to connections.",
		}),
		fromFile: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "firn_server_sent_from_file_bytes_total",
			Help: "Bytes of responses that went from a file without passing through memory.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "firn_server_panics_total",
			Help: "Requests that ended in a panic, and their connection with them.",
		}),
	}
	if reg == nil {
		return m
	}
	reg.MustRegister(m.accepted, m.refused, m.closed, m.sent, m.fromFile, m.panics,
		gauge("firn_server_connections", "Open connections.", func() float64 { return float64(s.Connections()) }),
		gauge("firn_server_request_memory_bytes", "Memory held by requests.", func() float64 { return float64(s.budget.Used()) }),
		gauge("firn_server_request_memory_waiters", "Connections that are not read for want of memory.", func() float64 { return float64(s.budget.Waiting()) }),
		gauge("firn_server_response_memory_bytes", "Memory of responses that clients have not taken yet.", func() float64 { return float64(s.unwritten.Load()) }),
	)
	return m
}

func gauge(name, help string, fn func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, fn)
}
