package kvtest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"firn/deploy/tools/toolbox"
)

// Etcd is a real etcd process, one member of its cluster. Kill, Stop, Signal and Restart are its Process's.
type Etcd struct {
	*toolbox.Process
	Dir string // its data

	client string
}

// Endpoint is the address clients use, host:port.
func (e *Etcd) Endpoint() string {
	if e.client != "" {
		return e.client
	}
	return e.Addr(0)
}

// StartEtcd runs an etcd of one member with etcd's own timings and returns once it serves. It ends with the test. Without
// an etcd program the test is skipped, or fails where nothing may be skipped (see toolbox.Need).
func StartEtcd(tb testing.TB, args ...string) *Etcd {
	tb.Helper()
	e := &Etcd{Dir: tb.TempDir()}
	e.Process = toolbox.Start(tb, toolbox.Server{
		Path:  toolbox.Need(tb, "etcd"),
		Ports: 2,
		Args: func(ports []int) []string {
			client, peer := fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("http://127.0.0.1:%d", ports[1])
			return append(memberArgs("m1", e.Dir, client, peer, "m1="+peer), args...)
		},
		Ready: func(ctx context.Context, ports []int) error {
			return healthy(ctx, fmt.Sprintf("127.0.0.1:%d", ports[0]))
		},
	})
	return e
}

// StartMembers runs a cluster with a member at each place and returns once all serve. Whoever restarts one of them does not
// wait: it may lack the others.
func StartMembers(tb testing.TB, places []toolbox.Place) []*Etcd {
	tb.Helper()
	var cluster []string
	for i, p := range places {
		cluster = append(cluster, fmt.Sprintf("m%d=http://%s:2380", i+1, p.Host))
	}
	var members []*Etcd
	for i, p := range places {
		e := &Etcd{Dir: tb.TempDir(), client: p.Host + ":2379"}
		e.Process = toolbox.Start(tb, toolbox.Server{
			Path: toolbox.Need(tb, "etcd"),
			Via:  p.Via,
			Args: func([]int) []string {
				return memberArgs(fmt.Sprintf("m%d", i+1), e.Dir, "http://"+e.client, "http://"+p.Host+":2380", strings.Join(cluster, ","))
			},
		})
		members = append(members, e)
	}
	AwaitHealthy(tb, members...)
	return members
}

// AwaitHealthy waits until each member serves, for a minute at most.
func AwaitHealthy(tb testing.TB, members ...*Etcd) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, e := range members {
		for {
			err := healthy(ctx, e.Endpoint())
			if err == nil {
				break
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				tb.Fatalf("etcd at %s does not serve: %v", e.Endpoint(), err)
			}
		}
	}
}

func memberArgs(name, dir, client, peer, cluster string) []string {
	return []string{
		"--name=" + name, "--data-dir=" + dir, "--log-level=warn",
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=" + cluster,
	}
}

// healthy returns nil if etcd says that it is, which takes a leader.
func healthy(ctx context.Context, addr string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/health", nil)
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
