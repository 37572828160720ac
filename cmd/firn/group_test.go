package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
)

func TestGroupLife(t *testing.T) {
	_, addr := fakeCluster(t, kfake.SeedTopics(2, "t"), kfake.SeedTopics(1, "u"))
	base := time.Now().Add(-time.Hour).Truncate(time.Second)
	seed(t, addr, "t", 2, 20, base)
	seed(t, addr, "u", 1, 5, base)
	if out := firn(t, addr, "", "group", "list", "--json").ok(t); out != "[]\n" {
		t.Errorf("an empty list is %q", out)
	}
	firn(t, addr, "", "consume", "t", "--group", "g", "-e").ok(t)
	firn(t, addr, "", "consume", "u", "--group", "g", "-e").ok(t)
	if out := firn(t, addr, "", "group", "list").ok(t); !strings.Contains(out, "\ng      Empty") {
		t.Errorf("list is %q", out)
	}
	committed := func() map[string]int64 {
		t.Helper()
		var list []describedGroup
		if err := json.Unmarshal([]byte(firn(t, addr, "", "group", "describe", "g", "--json").ok(t)), &list); err != nil {
			t.Fatal(err)
		}
		out := map[string]int64{"lag": list[0].Lag}
		for _, o := range list[0].Offsets {
			out[fmt.Sprint(o.Topic, o.Partition)] = o.Committed
		}
		return out
	}
	steps := []struct {
		args []string
		want map[string]int64
	}{
		{[]string{"--to", "earliest", "--dry-run"}, map[string]int64{"lag": 0, "t0": 10, "t1": 10, "u0": 5}},
		{[]string{"--to", "earliest"}, map[string]int64{"lag": 25, "t0": 0, "t1": 0, "u0": 0}},
		{[]string{"--to", "7", "--topic", "t:1"}, map[string]int64{"lag": 18, "t0": 0, "t1": 7, "u0": 0}},
		{[]string{"--to", "100", "--topic", "u"}, map[string]int64{"lag": 13, "t0": 0, "t1": 7, "u0": 5}},
		{[]string{"--to", "@" + base.Add(4*time.Second).UTC().Format(time.RFC3339), "--topic", "t:0,1"}, map[string]int64{"lag": 16, "t0": 2, "t1": 2, "u0": 5}},
		{[]string{"--to", "-2h"}, map[string]int64{"lag": 25, "t0": 0, "t1": 0, "u0": 0}},
		{[]string{"--to", "latest"}, map[string]int64{"lag": 0, "t0": 10, "t1": 10, "u0": 5}},
	}
	for _, s := range steps {
		firn(t, addr, "", append([]string{"group", "reset-offsets", "g"}, s.args...)...).ok(t)
		if diff := cmp.Diff(s.want, committed()); diff != "" {
			t.Fatalf("%q (-want +got):\n%s", s.args, diff)
		}
	}
	var moved []movedOffset
	if err := json.Unmarshal([]byte(firn(t, addr, "", "group", "reset-offsets", "g", "--to", "1", "--topic", "u", "--json").ok(t)), &moved); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]movedOffset{{"u", 0, 5, 1}}, moved); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if out := firn(t, addr, "", "group", "describe", "g").ok(t); !strings.Contains(out, "g  Empty, protocol -, coordinator 0, lag 4\n") || !strings.Contains(out, "u      0          1          5    4    -       -\n") {
		t.Errorf("describe is %q", out)
	}
	firn(t, addr, "", "group", "reset-offsets", "g", "--to", "1", "--topic", "t:9").fails(t, exitError, "has no partition 9")
	firn(t, addr, "", "group", "reset-offsets", "g", "--to", "1", "--topic", "nosuch").fails(t, exitError, "there is no such topic")
	firn(t, addr, "", "group", "reset-offsets", "nobody", "--to", "1").fails(t, exitError, "name topics with --topic")
	firn(t, addr, "", "group", "reset-offsets", "newborn", "--to", "latest", "--topic", "u").ok(t)
	firn(t, addr, "", "group", "describe", "nobody").fails(t, exitError, "there is no such group")
	if out := firn(t, addr, "", "group", "delete", "g").ok(t); out != "deleted g\n" {
		t.Errorf("delete says %q", out)
	}
	firn(t, addr, "", "group", "delete", "g").fails(t, exitError, "delete group g: ")
}

// A group that is at work is left alone, and shows who does it.
func TestGroupWithMembers(t *testing.T) {
	_, addr := fakeCluster(t, kfake.SeedTopics(1, "t"))
	seed(t, addr, "t", 1, 3, time.Now())
	out := newSyncBuffer()
	stop := background(t, testApp(addr, nil, out, newSyncBuffer()), "consume", "t", "--group", "g", "--format", "%v;")
	out.waitFor(t, "0;1;2;")
	firn(t, addr, "", "group", "reset-offsets", "g", "--to", "earliest").fails(t, exitError, "it has 1 member; stop what reads for it first")
	firn(t, addr, "", "group", "delete", "g").fails(t, exitError, "NON_EMPTY_GROUP")
	text := firn(t, addr, "", "group", "describe", "g").ok(t)
	if !strings.Contains(text, "g  Stable") || !strings.Contains(text, "\nMEMBER ") || !strings.Contains(text, "  firn  ") {
		t.Errorf("describe is %q", text)
	}
	stop()
}
