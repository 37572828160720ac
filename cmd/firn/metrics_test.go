package main

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"firn/broker/brokertest"
)

// What /metrics holds passes Prometheus' own rules for names and units, and covers what an operator watches.
func TestMetricsAreWellNamed(t *testing.T) {
	t.Parallel()
	p := brokertest.Start(t, "--topic", "logs")
	resp, err := http.Get(p.Console + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}
	problems, err := promlint.New(bytes.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	for _, name := range []string{
		"firn_build_info", "firn_partition_append_bytes_total", "firn_partition_fetch_local_bytes_total", "firn_api_request_duration_seconds",
		"firn_tiering_lag_bytes", "firn_objstore_operations_total", "firn_metadata_kv_call_seconds", "firn_group_rebalances_total",
		"firn_segment_sync_seconds", "firn_segment_disk_free_bytes", "process_resident_memory_bytes",
	} {
		if !strings.Contains(string(body), "\n# TYPE "+name+" ") {
			t.Errorf("there is no metric %s", name)
		}
	}
}
