package kvtest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"firn/deploy/tools/toolbox"
)

// Etcd is a real one-member etcd process. Kill, Stop, Signal and Restart are its Process's.
type Etcd struct {
	*toolbox.Process
	Dir string // its data
}

// Endpoint is the address clients use, "127.0.0.1:port".
func (e *Etcd) Endpoint() string { return e.Addr(0) }

// StartEtcd runs an etcd with etcd's own timings and returns once it serves. It ends with the test. Without
// an etcd program the test is skipped, or fails where nothing may be skipped (see toolbox.Need).
func StartEtcd(tb testing.TB, args ...string) *Etcd {
	tb.Helper()
	e := &Etcd{Dir: tb.TempDir()}
	e.Process = toolbox.Start(tb, toolbox.Server{
		Path:  toolbox.Need(tb, "etcd"),
		Ports: 2,
		Args: func(ports []int) []string {
			client, peer := fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("http://127.0.0.1:%d", ports[1])
			return append([]string{
				"--name=m1", "--data-dir=" + e.Dir, "--log-level=warn",
				"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
				"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=m1=" + peer,
			}, args...)
		},
		Ready: func(ctx context.Context, ports []int) error {
			return healthy(ctx, fmt.Sprintf("http://127.0.0.1:%d/health", ports[0]))
		},
	})
	return e
}

// healthy returns nil if etcd says that it is, which takes a leader.
func healthy(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<10))
	if err != nil {
		return err
	}
	if !strings.Contains(string(body), `"health":"true"`) {
		return fmt.Errorf("health: %s", body)
	}
	return nil
}
