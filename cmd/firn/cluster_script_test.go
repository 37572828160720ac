//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest"
	"firn/deploy/tools/toolbox"
)

// demoCluster is deploy/demo/cluster.sh on ports and data of a test's own.
type demoCluster struct {
	*toolbox.Process
	t    *testing.T
	data string   // where it keeps everything
	env  []string // what the script got
}

func demoScript() string { return filepath.Join("..", "..", "deploy", "demo", "cluster.sh") }

func startDemoCluster(t *testing.T) *demoCluster {
	t.Helper()
	toolbox.Need(t, "etcd")
	toolbox.Need(t, "minio")
	bin, err := brokertest.Binary()
	if err != nil {
		t.Fatal(err)
	}
	if bin, err = filepath.Abs(bin); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := &demoCluster{t: t}
	c.Process = toolbox.Start(t, toolbox.Server{
		Path:  "/usr/bin/env",
		Env:   []string{"FIRN_BIN=" + bin},
		Ports: 13,
		// Ports that were taken are others the next time, and etcd's data knows the old ones.
		Args: func(p []int) []string { return append(demoSettings(dir, p), demoScript()) },
		Ready: func(ctx context.Context, p []int) error {
			var errs []error
			for i := range 3 {
				errs = append(errs, toolbox.HTTPReady("/readyz")(ctx, p[3+i:]))
			}
			return errors.Join(errs...)
		},
	})
	c.env = demoSettings(dir, c.Ports)
	c.data = filepath.Join(dir, strconv.Itoa(c.Ports[0]), "cluster")
	c.waitFor("Ctrl-C stops it all.")
	return c
}

// demoSettings is the environment that gives the script its ports: clients, consoles, etcd's clients and peers, MinIO.
func demoSettings(dir string, p []int) []string {
	three := func(name string, p []int) string { return fmt.Sprintf("%s=%d %d %d", name, p[0], p[1], p[2]) }
	return []string{
		"FIRN_DATA=" + filepath.Join(dir, strconv.Itoa(p[0])), three("BROKER_PORTS", p), three("CONSOLE_PORTS", p[3:]),
		three("ETCD_PORTS", p[6:]), three("ETCD_PEER_PORTS", p[9:]), fmt.Sprintf("MINIO_PORT=%d", p[12]),
	}
}

// latest is what the script wrote since it was last started.
func (c *demoCluster) latest() string {
	out := c.Output()
	return out[max(strings.LastIndex(out, "Three brokers are ready."), 0):]
}

func (c *demoCluster) waitFor(text string) {
	c.t.Helper()
	brokertest.Eventually(c.t, "the script says "+text, func() (bool, error) {
		return strings.Contains(c.latest(), text), errors.New(c.latest())
	})
}

// pids are the processes by name, as the script tells them.
func (c *demoCluster) pids() map[string]int {
	c.t.Helper()
	pids := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^  (\S+) +process (\d+)$`).FindAllStringSubmatch(c.latest(), -1) {
		pids[m[1]], _ = strconv.Atoi(m[2])
	}
	if len(pids) != 7 {
		c.t.Fatalf("the script names %v", pids)
	}
	return pids
}

// stop is Ctrl-C. Nothing of what the script started may be left, and brokers end in order.
func (c *demoCluster) stop() {
	c.t.Helper()
	pids := c.pids()
	c.Signal(syscall.SIGINT)
	c.waitFor("All is stopped")
	c.Stop()
	for name, pid := range pids {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			c.t.Errorf("%s, process %d, is still there: %v", name, pid, err)
		}
	}
	for _, name := range []string{"broker-1", "broker-3"} {
		log, err := os.ReadFile(filepath.Join(c.data, name+".log"))
		if err != nil {
			c.t.Fatal(err)
		}
		if started, stopped := bytes.Count(log, []byte("msg=ready")), bytes.Count(log, []byte("msg=stopping")); started != stopped || started == 0 {
			c.t.Errorf("%s was started %d times and stopped in order %d times", name, started, stopped)
		}
	}
}

// The demo cluster serves topics of three replicas, tells of a broker that dies and serves on without it, leaves no
// process behind, and has everything the next time.
func TestDemoCluster(t *testing.T) {
	t.Parallel()
	c := startDemoCluster(t)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	all := strings.Join([]string{c.Addr(0), c.Addr(1), c.Addr(2)}, ",")
	firn(t, all, "", "topic", "create", "demo").ok(t)
	seeds := kgo.SeedBrokers(strings.Split(all, ",")...)
	cl, err := kgo.NewClient(seeds, kgo.DefaultProduceTopic("demo"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(ctx, kgo.StringRecord("before")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if got := firn(t, all, "", "topic", "describe", "demo").ok(t); !strings.Contains(got, "3 partitions, 3 replicas") {
		t.Errorf("got %s", got)
	}
	firn(t, "", "", "health", "--ready", "--http", c.Addr(3)).ok(t)
	if out, err := exec.CommandContext(ctx, "/usr/bin/env", append(c.env, demoScript(), "--remove")...).CombinedOutput(); err == nil ||
		!strings.Contains(string(out), "runs already") {
		t.Errorf("the data of a running cluster is removed: %v, %s", err, out)
	}

	dead := c.pids()["broker-2"]
	if err := syscall.Kill(dead, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.waitFor(fmt.Sprintf("broker-2 (process %d) has ended", dead))
	for i := range 10 {
		if err := cl.ProduceSync(ctx, kgo.StringRecord(strconv.Itoa(i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	c.stop()

	c.Restart()
	c.waitFor("Ctrl-C stops it all.")
	if got := strings.Count(firn(t, all, "", "consume", "demo", "--from", "earliest", "--count", "11").ok(t), "\n"); got != 11 {
		t.Errorf("%d records of 11", got)
	}
	c.stop()
	if out, err := exec.CommandContext(ctx, "/usr/bin/env", append(c.env, demoScript(), "--remove")...).CombinedOutput(); err != nil {
		t.Errorf("%v, %s", err, out)
	}
	if _, err := os.Stat(c.data); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the data is still there: %v", err)
	}
}
