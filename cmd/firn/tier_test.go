package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

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
	firn(t, "", "", "tier", "status", "--http", "127.0.0.1:1").fails(t, exitError, "no console answers at 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused\n")
	firn(t, "", "", "tier", "status", "--http", "nowhere").fails(t, exitUsage, `--http "nowhere": want HOST:PORT`)

	// Without --http the brokers say where their consoles are.
	c, kafka := fakeCluster(t)
	listen := addr
	tellConsoles(c, func(string) string { return listen })
	if out := firn(t, kafka, "", "tier", "status").ok(t); out != want {
		t.Errorf("by the cluster: got:\n%s\nwant:\n%s", out, want)
	}
	firn(t, kafka, "", "tier", "status", "nosuch").fails(t, exitError, "no topic nosuch")
	listen = "none"
	firn(t, kafka, "", "tier", "status").fails(t, exitError, "http.listen=none does not tell where its console is; give --http")
	firn(t, "127.0.0.1:1", "", "tier", "status").fails(t, exitError, "no broker answers at 127.0.0.1:1")
}

// tellConsoles has brokers say where their consoles are.
func tellConsoles(c *kfake.Cluster, at func(broker string) string) {
	c.ControlKey(int16(kmsg.DescribeConfigs), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		r := req.(*kmsg.DescribeConfigsRequest)
		resp := r.ResponseKind().(*kmsg.DescribeConfigsResponse)
		res := kmsg.NewDescribeConfigsResponseResource()
		res.ResourceType, res.ResourceName = r.Resources[0].ResourceType, r.Resources[0].ResourceName
		cfg := kmsg.NewDescribeConfigsResponseResourceConfig()
		cfg.Name, cfg.Value = "http.listen", kmsg.StringPtr(at(res.ResourceName))
		res.Configs = append(res.Configs, cfg)
		resp.Resources = append(resp.Resources, res)
		return resp, nil, true
	})
}

// A broker that does not answer keeps nobody from what the others tell, but it is told of.
func TestTierStatusBesideABrokerThatDoesNotAnswer(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode([]console.TierPartition{{Topic: "logs", End: 7}})
	}))
	t.Cleanup(func() { srv.Close(); http.DefaultClient.CloseIdleConnections() })
	c, kafka := fakeCluster(t, kfake.NumBrokers(2))
	tellConsoles(c, func(broker string) string {
		if broker == "0" {
			return "127.0.0.1:1"
		}
		return strings.TrimPrefix(srv.URL, "http://")
	})
	for _, asJSON := range []string{"--json=false", "--json"} {
		r := firn(t, kafka, "", "tier", "status", asJSON)
		r.fails(t, exitError, "firn: tier status: broker 0: no console answers at 127.0.0.1:1: ")
		if !strings.Contains(r.out, "logs") || strings.Contains(r.err, "broker 1") {
			t.Errorf("got %q, and %q", r.out, r.err)
		}
	}
}

// Of the replicas of a partition the one that leads tells how it is archived: no row beside it says that nothing is behind.
func TestTierStatusOfReplicas(t *testing.T) {
	var out strings.Builder
	err := printTier(&out, []console.TierPartition{
		{Topic: "t", Leader: -1, Tiered: true, TieredEnd: 5},
		{Topic: "t", Leader: 2, Tiered: true, TieredEnd: 5, LagBytes: 3 << 10},
		{Topic: "t", Leader: -1, Tiered: true, TieredEnd: 4},
		{Topic: "t", Partition: 1, Leader: -1, Tiered: true, TieredEnd: 7},
	})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 || !strings.Contains(lines[1], "3.0 KiB") || !strings.HasPrefix(lines[2], "t      1 ") {
		t.Errorf("got:\n%s", &out)
	}
}

// An error of several lines, as those that join others are, stays in its row and its column.
func TestErrorInATableIsOneLine(t *testing.T) {
	var out strings.Builder
	if err := printTier(&out, []console.TierPartition{{Topic: "t", Error: "commit failed\nread back:\tno answer"}, {Topic: "u"}}); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); len(lines) != 3 || !strings.HasSuffix(lines[1], "commit failed; read back: no answer") {
		t.Errorf("got:\n%s", &out)
	}
}

func TestConsoleOf(t *testing.T) {
	for _, tt := range []struct{ host, listen, want string }{
		{"10.0.0.1", "0.0.0.0:80", "10.0.0.1:80"},
		{"10.0.0.1", ":80", "10.0.0.1:80"},
		{"10.0.0.1", "[::]:80", "10.0.0.1:80"},
		{"10.0.0.1", "10.0.0.2:80", "10.0.0.2:80"},
		{"127.0.0.1", "127.0.0.1:80", "127.0.0.1:80"},
		{"localhost", "[::1]:80", "[::1]:80"},
		{"192.0.2.1", "127.0.0.1:80", "only reached from its own machine, 192.0.2.1"},
		{"192.0.2.1", "localhost:80", "only reached from its own machine, 192.0.2.1"},
		{"127.0.0.1", "127.0.0.1:0", "does not tell"},
		{"127.0.0.1", "", "no Firn"},
	} {
		cfg := kadm.Config{Key: "http.listen", Value: &tt.listen}
		got, err := consoleOf(kadm.BrokerDetail{Host: tt.host}, kadm.ResourceConfigs{{Configs: []kadm.Config{cfg}}})
		if err != nil {
			got = err.Error()
		}
		if err == nil && got != tt.want || err != nil && !strings.Contains(got, tt.want) {
			t.Errorf("%s with %s: got %q, want %q", tt.host, tt.listen, got, tt.want)
		}
	}
}
