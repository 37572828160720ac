package main

import (
	"encoding/json"
	"testing"

	"firn/bench"
)

func TestByteSize(t *testing.T) {
	for in, want := range map[string]byteSize{"0": 0, "4096": 4096, "1KiB": 1024, "1.5MiB": 3 << 19, "2GiB": 2 << 30, "7B": 7} {
		var b byteSize
		if err := b.Set(in); err != nil || b != want {
			t.Errorf("%s is %d, %v", in, b, err)
		}
		var again byteSize
		if err := again.Set(b.String()); err != nil || again != b {
			t.Errorf("%d as text is %s, which is %d, %v", b, b.String(), again, err)
		}
	}
	for _, bad := range []string{"", "x", "-1", "1KB", "1e40GiB", "NaN"} {
		var b byteSize
		if err := b.Set(bad); err == nil {
			t.Errorf("%q is %d", bad, b)
		}
	}
}

func TestBenchAgainstAnyCluster(t *testing.T) {
	_, addr := fakeCluster(t)
	var s bench.Section
	for _, args := range [][]string{
		{"bench", "produce", "--bytes", "1MiB", "--batch", "16KiB", "--rounds", "2"},
		{"bench", "consume", "--bytes", "1MiB", "--passes", "2", "--rounds", "2", "--content", "random"},
		{"bench", "latency", "--rate", "100KiB", "--duration", "200ms", "--rounds", "2", "--durability", "as is"},
	} {
		out := firn(t, addr, "", append(args, "--probe=false", "--json", "--dir", t.TempDir())...).ok(t)
		if err := json.Unmarshal([]byte(out), &s); err != nil || len(s.Figures) == 0 || len(s.Figures[0].Rounds) != 2 {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
	firn(t, addr, "", "bench", "produce", "--content", "xml").fails(t, exitUsage, "xml")
	firn(t, addr, "", "bench", "latency", "--rate", "0").fails(t, exitUsage, "--rate")
	firn(t, addr, "", "bench", "replay", "--tier", "file:///x").fails(t, exitUsage, "without a broker")
	firn(t, addr, "", "bench", "all", "--only", "nothing", "--dir", t.TempDir()).fails(t, exitError, "there are first-ack")
}
