package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "broker.properties")
	if err := os.WriteFile(file, []byte("node.id=7\nlog.retention.hours=2\nzookeeper=x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	firn(t, "", "", "config", "--config", file).fails(t, exitError, `unknown setting zookeeper="x" (file broker.properties:3)`)
	if err := os.WriteFile(file, []byte("node.id=7\nlog.retention.hours=2\nnum.io.threads=9\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	r := firn(t, "", "", "config", "--config", file, "--set", "broker.rack=r1", "--json")
	var lines []settingLine
	if err := json.Unmarshal([]byte(r.ok(t)), &lines); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, l := range lines {
		got[l.Name] = l.Value + " from " + l.From
	}
	for name, want := range map[string]string{
		"node.id": "7 from file broker.properties:1", "broker.rack": "r1 from flag --set", "num.partitions": "1 from default",
		"log.retention.hours": "2 from file broker.properties:2",
	} {
		if got[name] != want {
			t.Errorf("%s is %s, want %s", name, got[name], want)
		}
	}
	if !strings.Contains(r.err, "num.io.threads is Kafka's and has no effect") {
		t.Errorf("no warning in %q", r.err)
	}

	out := firn(t, "", "", "config", "retention.ms", "--topic", "--config", file).ok(t)
	if !strings.Contains(out, "retention.ms = 7200000\n    from broker setting log.retention.hours, file broker.properties:2;") {
		t.Errorf("topic settings are %q", out)
	}
	out = firn(t, "", "", "config", "node.id", "tier.url", "--dev").ok(t)
	if !strings.Contains(out, "node.id = 1\n    from default firn dev") || !strings.Contains(out, "file:///nowhere/.local/share/firn/dev/tier") {
		t.Errorf("settings of firn dev are %q", out)
	}
	firn(t, "", "", "config", "zzz").fails(t, exitError, "no setting is called like")
	firn(t, "", "", "config", "--config", file+"x").fails(t, exitError, "no such file")
}
