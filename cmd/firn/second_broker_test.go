package main

import (
	"strings"
	"testing"
	"time"

	"firn/broker/brokertest"
	"firn/metadata/kvtest"
)

// A second broker on a data directory that is in use, or with a node.id that is taken, is refused with a message that
// says why, and the first one notices nothing.
func TestSecondBrokerIsRefused(t *testing.T) {
	t.Parallel()
	t.Run("dev on one directory", func(t *testing.T) {
		t.Parallel()
		p := brokertest.Start(t)
		r := newPacedRig(t, p, time.Millisecond)
		out, code := brokertest.Run(t, "dev", "--data", p.Dir, "--listen", "127.0.0.1:0", "--http", "none")
		if code != exitError || !strings.Contains(out, p.Dir) || !strings.Contains(out, "in use") {
			t.Errorf("exit code %d, it says %q", code, out)
		}
		r.stillServing()
		r.finish()
	})
	t.Run("broker on one directory and with one id", func(t *testing.T) {
		t.Parallel()
		e := kvtest.StartEtcd(t)
		p := brokertest.StartBroker(t, e.Endpoint(), brokertest.Options{Args: []string{"--set", "broker.session.timeout.ms=2000"}})
		r := newPacedRig(t, p, time.Millisecond)
		second := func(args ...string) (string, int) {
			line := []string{
				"broker", "--set", "etcd.endpoints=" + e.Endpoint(), "--set", "listeners=PLAINTEXT://127.0.0.1:0",
				"--set", "http.listen=none", "--set", "broker.session.timeout.ms=2000",
			}
			for _, a := range args {
				line = append(line, "--set", a)
			}
			return brokertest.Run(t, line...)
		}
		for _, id := range []string{"1", "2"} {
			out, code := second("node.id="+id, "log.dirs="+p.Dir)
			if code != exitError || !strings.Contains(out, p.Dir) || !strings.Contains(out, "in use") {
				t.Errorf("node.id %s on the directory of 1: exit code %d, it says %q", id, code, out)
			}
		}
		out, code := second("node.id=1", "log.dirs="+t.TempDir())
		if code != exitError || !strings.Contains(out, "node.id") || !strings.Contains(out, p.Bootstrap[strings.LastIndexByte(p.Bootstrap, ':')+1:]) {
			t.Errorf("node.id 1 again: exit code %d, it says %q", code, out)
		}
		r.stillServing()
		if strings.Contains(p.Log(), "registering again") {
			t.Error("the first broker lost its registration")
		}
		r.finish()
	})
}
