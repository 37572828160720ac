package api

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
	"firn/broker/wire/wiretest"
)

var discardLogger = slog.New(slog.DiscardHandler)

// header is a frame of no more than a header.
func header(key, version int16) []byte {
	return []byte{byte(key >> 8), byte(key), byte(version >> 8), byte(version), 0, 0, 0, 1, 0xff, 0xff}
}

// serveFrame returns what becomes of a frame.
func serveFrame(t *testing.T, a *API, frame []byte) wiretest.Outcome {
	t.Helper()
	sink := wiretest.NewSink()
	a.Serve(wiretest.NewRawRequest(t, wiretest.NewConn(t), sink, frame))
	return <-sink.Outcomes
}

// What is not served closes the connection with an error that names it.
func TestUnknownVersionsCloseTheConnection(t *testing.T) {
	a := New(Deps{Logger: discardLogger})
	for _, tt := range []struct {
		key, version int16
		named        string
	}{
		{0, 2, "Produce"},
		{0, 14, "Produce"},
		{1, 3, "Fetch"},
		{3, 14, "Metadata"},
		{3, -1, "Metadata"},
		{4, 0, "LeaderAndISR"},
		{999, 0, "999"},
		{-1, 0, "-1"},
		{68, 0, "ConsumerGroupHeartbeat"},
	} {
		out := serveFrame(t, a, header(tt.key, tt.version))
		if !errors.Is(out.Err, ErrUnsupportedVersion) || out.Response != nil || !strings.Contains(out.Err.Error(), tt.named) {
			t.Errorf("key %d v%d: %v", tt.key, tt.version, out.Err)
		}
	}
}

func TestMalformedRequestClosesTheConnection(t *testing.T) {
	a := New(Deps{Logger: discardLogger})
	for _, s := range Versions() {
		if s.Key == kmsg.ApiVersions || s.Key == kmsg.ListGroups || s.Key == kmsg.DescribeLogDirs || s.Key == kmsg.FindCoordinator {
			continue // have versions that need no more than a header
		}
		for v := s.Min; v <= s.Max; v++ {
			if out := serveFrame(t, a, header(s.Key.Int16(), v)); !errors.Is(out.Err, wire.ErrMalformed) {
				t.Errorf("%s v%d: %v", s.Key.Name(), v, out.Err)
			}
		}
	}
}

type authorizerFunc func(wire.Principal, kmsg.Key) bool

func (f authorizerFunc) Authorize(who wire.Principal, _ *wire.Conn, key kmsg.Key) bool {
	return f(who, key)
}

// Every request passes one authorise call with the connection's principal.
func TestEveryRequestIsAuthorized(t *testing.T) {
	var asked []kmsg.Key
	a := New(Deps{Logger: discardLogger, Authorizer: authorizerFunc(func(who wire.Principal, key kmsg.Key) bool {
		if who != wire.Anonymous {
			t.Errorf("asked about %v", who)
		}
		asked = append(asked, key)
		return false
	})})
	for _, s := range Versions() {
		out := serveFrame(t, a, header(s.Key.Int16(), s.Min))
		if !errors.Is(out.Err, ErrUnauthorized) || asked[len(asked)-1] != s.Key {
			t.Errorf("%s: %v, asked %v", s.Key.Name(), out.Err, asked)
		}
	}
	if len(asked) != len(entries) {
		t.Errorf("asked %d times for %d requests", len(asked), len(entries))
	}
}

// A bug in a request that is served aside ends its connection and not the process.
func TestPanicAside(t *testing.T) {
	a := New(Deps{Logger: discardLogger})
	sink := wiretest.NewSink()
	req := wiretest.NewRequest(t, wiretest.NewConn(t), sink, kmsg.NewPtrHeartbeatRequest())
	a.aside(entry{key: kmsg.Heartbeat}, req, func(entry, *wire.Request) { panic("bug") })
	if out := <-sink.Outcomes; !errors.Is(out.Err, errPanic) {
		t.Errorf("got %v", out.Err)
	}
	if n := testutil.ToFloat64(a.met.panics); n != 1 {
		t.Errorf("%v panics counted", n)
	}
}

func TestRequestsAreCounted(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	a := New(Deps{Logger: discardLogger, Registerer: reg})
	call[*kmsg.ApiVersionsResponse](t, a, kmsg.NewPtrApiVersionsRequest())
	serveFrame(t, a, header(999, 0))
	for name, want := range map[string]int{"ApiVersions": 1, "other": 1} {
		got, err := testutil.GatherAndCount(reg, "firn_api_request_bytes_total")
		if err != nil || got != len(entries)+1 {
			t.Fatalf("%d series, %v", got, err)
		}
		k := a.met.other
		if name != "other" {
			k = a.met.byKey[kmsg.ApiVersions.Int16()]
		}
		if testutil.ToFloat64(k.requestBytes) == 0 || name != "other" && testutil.ToFloat64(k.responseBytes) == 0 {
			t.Errorf("%s was not counted %d time", name, want)
		}
	}
}

func TestApiVersionsChecksWhatTheClientSays(t *testing.T) {
	c := newCluster(t)
	cluster := c.store.Image().Cluster().ID
	for _, tt := range []struct {
		name, software, version string
		cluster                 *string
		node                    int32
		want                    *kerr.Error
	}{
		{"nothing said", "kgo", "1.0", nil, -1, nil},
		{"here", "kgo", "1.0", &cluster, 1, nil},
		{"other node", "kgo", "1.0", &cluster, 2, kerr.RebootstrapRequired},
		{"other cluster", "kgo", "1.0", ptr("other"), 1, kerr.RebootstrapRequired},
		{"only a node", "kgo", "1.0", nil, 1, kerr.InvalidRequest},
		{"only a cluster", "kgo", "1.0", &cluster, -1, kerr.InvalidRequest},
		{"no software", "", "1.0", nil, -1, kerr.InvalidRequest},
		{"bad software", "k go", "1.0", nil, -1, kerr.InvalidRequest},
		{"bad version", "kgo", "-1.0", nil, -1, kerr.InvalidRequest},
		{"long version", "kgo", strings.Repeat("1", 1000), nil, -1, kerr.InvalidRequest},
	} {
		req := kmsg.NewPtrApiVersionsRequest()
		req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = 5, tt.software, tt.version
		req.ClusterID, req.NodeID = tt.cluster, tt.node
		conn := wiretest.NewConn(t)
		resp := callOn(t, c.api, conn, req).Response.(*kmsg.ApiVersionsResponse)
		wantCode(t, tt.name, resp.ErrorCode, tt.want)
		if known := conn.Software() == (wire.Software{Name: tt.software, Version: tt.version}); known != (tt.want == nil) {
			t.Errorf("%s: remembered %+v", tt.name, conn.Software())
		}
	}
}
