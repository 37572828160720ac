package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"firn/broker"
)

// fakeNode is a broker that serves nothing, or, with an address, what somebody else serves there.
type fakeNode struct {
	cfg     broker.Config
	addr    string
	err     error // of Run, before it is ready
	ready   chan struct{}
	stopped bool
}

func noNode(broker.Config, *slog.Logger) (node, error) {
	return nil, errors.New("no node in this test")
}

func (n *fakeNode) make(cfg broker.Config, _ *slog.Logger) (node, error) {
	n.cfg, n.ready = cfg, make(chan struct{})
	return n, nil
}

func (n *fakeNode) Run(ctx context.Context) error {
	if n.err != nil {
		return n.err
	}
	close(n.ready)
	<-ctx.Done()
	n.stopped = true
	return nil
}

func (n *fakeNode) Ready() <-chan struct{} { return n.ready }
func (n *fakeNode) Addr() string           { return n.addr }
func (n *fakeNode) HTTPAddr() string       { return n.cfg.HTTP }

func TestDevScreen(t *testing.T) {
	_, addr := fakeCluster(t)
	n := &fakeNode{addr: addr}
	out, errOut := newSyncBuffer(), newSyncBuffer()
	a := testApp("", nil, out, errOut)
	a.newNode = n.make
	dir := t.TempDir()
	stop := background(t, a, "dev", "--data", dir, "--listen", "127.0.0.1:0", "--http", "none", "--tier", "none",
		"--set", "num.partitions=2", "--topic", "logs:3", "--topic", "more")
	out.waitFor(t, "Ctrl-C stops it.")
	want := `Firn is ready.

  clients  ` + addr + `
  http     off
  data     ` + dir + `
  tier     off

Try this in another terminal:

  echo hello | firn produce logs --bootstrap-server ` + addr + `
  firn consume logs --from earliest --bootstrap-server ` + addr + `

Ctrl-C stops it.
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out, want)
	}
	list := firn(t, addr, "", "topic", "list").ok(t)
	if !strings.Contains(list, "logs  3 ") || !strings.Contains(list, "more  ") {
		t.Errorf("topics are %q", list)
	}
	if code := stop(); code != exitOK || !n.stopped {
		t.Errorf("exit code %d, stopped %v, %s", code, n.stopped, errOut)
	}
	c := n.cfg
	if c.Topics.NumPartitions != 2 || c.Tier.Enabled() || c.Listeners[0].Addr() != "127.0.0.1:0" || c.Etcd.EmbedDir != filepath.Join(dir, "etcd") {
		t.Errorf("settings are %+v", c)
	}
	if got := c.Origin("listeners").String(); got != "flag --listen" {
		t.Errorf("listeners come from %s", got)
	}

	// Started again, topics that are there already are no error.
	again := &fakeNode{addr: addr}
	a.newNode, a.out = again.make, newSyncBuffer()
	stop = background(t, a, "dev", "--data", dir, "--topic", "logs:3")
	a.out.(*syncBuffer).waitFor(t, "Ctrl-C")
	if code := stop(); code != exitOK || !again.cfg.Tier.Enabled() {
		t.Errorf("exit code %d, tier %q", code, again.cfg.Tier.URL)
	}
}

func TestDevData(t *testing.T) {
	for env, want := range map[string]string{
		"HOME=/home/me":           "/home/me/.local/share/firn/dev",
		"XDG_DATA_HOME=/data":     "/data/firn/dev",
		"XDG_DATA_HOME=relative":  filepath.Join(os.TempDir(), "firn-dev"),
		"FIRN_DATA=/tmp/elsewher": "/tmp/elsewher",
	} {
		var out, errOut bytes.Buffer
		a := testApp("", nil, &out, &errOut)
		a.environ = func() []string { return []string{env} }
		n := &fakeNode{err: errors.New("enough")}
		a.newNode = n.make
		if code := run(t.Context(), a, []string{"dev"}); code != exitError || n.cfg.Etcd.EmbedDir != filepath.Join(want, "etcd") {
			t.Errorf("%s: exit code %d, etcd in %s", env, code, n.cfg.Etcd.EmbedDir)
		}
	}
}

func TestBroker(t *testing.T) {
	file := filepath.Join(t.TempDir(), "b.properties")
	if err := os.WriteFile(file, []byte("node.id=3\netcd.endpoints=h:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := &fakeNode{addr: "127.0.0.1:9"}
	errOut := newSyncBuffer()
	a := testApp("", nil, newSyncBuffer(), errOut)
	a.newNode = n.make
	a.environ = func() []string { return []string{"FIRN_BROKER_RACK=r", "FIRN_LOG_FORMAT=json"} }
	stop := background(t, a, "broker", "--config", file, "--set", "listeners=PLAINTEXT://127.0.0.1:9")
	errOut.waitFor(t, `"msg":"ready","node_id":3,"listen":"127.0.0.1:9"`)
	if code := stop(); code != exitOK || n.cfg.Rack != "r" {
		t.Errorf("exit code %d, settings %+v", code, n.cfg)
	}

	var out, errs bytes.Buffer
	a = testApp("", nil, &out, &errs)
	a.newNode = (&fakeNode{err: errors.New("disk on fire")}).make
	if code := run(t.Context(), a, []string{"broker", "--config", file}); code != exitError || !strings.Contains(errs.String(), "disk on fire") {
		t.Errorf("exit code %d, %s", code, errs.String())
	}
	firn(t, "", "", "broker").fails(t, exitError, `setting node.id="-1": allowed is a whole number, 0 or more; it must be set`)
}
