// Package console is the operator's HTTP face: metrics, health, readiness, profiles, and the state of
// the tier as JSON.
//
// What belongs here: paths and formats. What does not: the facts, which the broker plugs in. Kafka's
// own admin requests are handlers of package api.
package console

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Check is one condition of health or readiness: Err returns nil while it holds. It must answer at once.
type Check struct {
	Name string
	Err  func() error
}

// Options plugs the facts in.
type Options struct {
	Gatherer prometheus.Gatherer
	// Alive must all hold for /healthz, Ready and Alive for /readyz.
	Alive, Ready []Check
	// Tier describes the partitions of a topic, or all if name is empty.
	Tier   func(ctx context.Context, name string) ([]TierPartition, error)
	Logger *slog.Logger
}

// Handler serves
//
//	/metrics            in Prometheus' format
//	/healthz, /readyz   200 or 503, one line per check
//	/v1/tier?topic=     a JSON list of TierPartition
//	/debug/pprof/       profiles
//
// It does not authenticate: listen on an address only operators reach.
func Handler(o Options) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn)}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { report(w, o.Alive) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		report(w, append(append([]Check(nil), o.Alive...), o.Ready...))
	})
	mux.HandleFunc("GET /v1/tier", func(w http.ResponseWriter, r *http.Request) { tier(w, r, o) })
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = fmt.Fprint(w, "firn\n\n/metrics\n/healthz\n/readyz\n/v1/tier?topic=NAME\n/debug/pprof/\n")
	})
	return mux
}

func report(w http.ResponseWriter, checks []Check) {
	var lines strings.Builder
	status := http.StatusOK
	for _, c := range checks {
		if err := c.Err(); err != nil {
			status = http.StatusServiceUnavailable
			fmt.Fprintf(&lines, "%s: %v\n", c.Name, err)
			continue
		}
		fmt.Fprintf(&lines, "%s: ok\n", c.Name)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprint(w, lines.String())
}

// tierTimeout bounds the reads a description of the tier may take.
const tierTimeout = 10 * time.Second

func tier(w http.ResponseWriter, r *http.Request, o Options) {
	ctx, cancel := context.WithTimeout(r.Context(), tierTimeout)
	defer cancel()
	list, err := o.Tier(ctx, r.URL.Query().Get("topic"))
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
		return
	}
	if list == nil {
		list = []TierPartition{}
	}
	_ = json.NewEncoder(w).Encode(list)
}
