package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"firn/broker/console"
)

func TestTierStatus(t *testing.T) {
	list := []console.TierPartition{
		{
			Topic: "logs", Partition: 0, Tiered: true, LogStart: 0, LocalStart: 500, TieredEnd: 700, HighWatermark: 900, End: 901,
			LocalBytes: 2048, LocalSegments: 2, TieredBytes: 5 << 20, TieredSegments: 7, LagBytes: 1 << 10, LagSeconds: 61.4, Failures: 2, Error: "bucket away",
		},
		{Topic: "plain", Partition: 1, TieredEnd: -1, LogStart: 3, LocalStart: 3, HighWatermark: 4, End: 4, LocalBytes: 10, LocalSegments: 1},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/tier", func(w http.ResponseWriter, r *http.Request) {
		switch name := r.URL.Query().Get("topic"); name {
		case "":
			_ = json.NewEncoder(w).Encode(list)
		case "logs":
			_ = json.NewEncoder(w).Encode(list[:1])
		default:
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": "no topic " + name})
		}
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(func() { srv.Close(); http.DefaultClient.CloseIdleConnections() })
	addr := strings.TrimPrefix(srv.URL, "http://")

	out := firn(t, "", "", "tier", "status", "--http", addr).ok(t)
	want := `TOPIC  PARTITION  START  LOCAL  TIERED  HW   END  LOCAL SIZE  SEGMENTS  TIERED SIZE  OBJECTS  LAG      LAG AGE  ERROR
logs   0          0      500    700     900  901  2.0 KiB     2         5.0 MiB      7        1.0 KiB  1m1s     bucket away
plain  1          3      3      -       4    4    10 B        1         -            -        -        -        -
`
	if out != want {
		t.Errorf("got:\n%s\nwant:\n%s", out, want)
	}
	var got []console.TierPartition
	if err := json.Unmarshal([]byte(firn(t, "", "", "tier", "status", "logs", "--json", "--http", srv.URL).ok(t)), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(list[:1], got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	firn(t, "", "", "tier", "status", "nosuch", "--http", addr).fails(t, exitError, "tier status: no topic nosuch")
	firn(t, "", "", "tier", "status", "--http", addr+"/elsewhere").fails(t, exitError, "404")
	firn(t, "", "", "tier", "status", "--http", "127.0.0.1:1").fails(t, exitError, "connection refused")
}
