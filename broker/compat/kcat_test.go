//go:build clients

package compat

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"firn/broker/brokertest"
)

// kcat cannot choose timestamps nor commit when told to, so its stories are its own; they are the same four.

func kcat(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(storyContext(t), "kcat", args...)
	cmd.Stdin = strings.NewReader(stdin)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kcat %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return string(out)
}

func startForKcat(t *testing.T) *brokertest.Process {
	return brokertest.Start(t, "--set", "group.initial.rebalance.delay.ms=0", "--set", "log.retention.check.interval.ms=200")
}

func lines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "key-%d:value %d\n", i, i)
	}
	return b.String()
}

func TestKcatProducesAndConsumes(t *testing.T) {
	f := startForKcat(t)
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		kcat(t, lines(2000), "-P", "-b", f.Bootstrap, "-t", codec, "-K:", "-z", codec, "-X", "enable.idempotence=true")
		if got := kcat(t, "", "-C", "-b", f.Bootstrap, "-t", codec, "-o", "beginning", "-e", "-q", "-K:"); got != lines(2000) {
			t.Errorf("%s: read back %d bytes, want %d", codec, len(got), len(lines(2000)))
		}
	}
	if got := kcat(t, "", "-C", "-b", f.Bootstrap, "-t", "none", "-o", "1500", "-c", "1", "-q"); got != "value 1500\n" {
		t.Errorf("offset 1500 is %q", got)
	}
}

func TestKcatCommitsAndResumes(t *testing.T) {
	f := startForKcat(t)
	kcat(t, lines(100), "-P", "-b", f.Bootstrap, "-t", "story", "-K:")
	first := kcat(t, "", "-b", f.Bootstrap, "-G", "g", "-K:", "-q", "-c", "40", "-X", "auto.offset.reset=earliest", "story")
	second := kcat(t, "", "-b", f.Bootstrap, "-G", "g", "-K:", "-q", "-c", "60", "-X", "auto.offset.reset=earliest", "story")
	if first+second != lines(100) {
		t.Errorf("read %d and %d bytes, together not what was written", len(first), len(second))
	}
}

func TestKcatSharesAGroup(t *testing.T) {
	f := startForKcat(t)
	create(t, f, "story", 4, nil)
	ctx, stop := context.WithCancel(storyContext(t))
	t.Cleanup(stop)
	heard := make(chan [2]string)
	for _, who := range []string{"a", "b"} {
		cmd := exec.CommandContext(ctx, "kcat", "-b", f.Bootstrap, "-G", "g", "-q", "-u", "-f", "%p\n", "-X", "heartbeat.interval.ms=100", "-X", "auto.offset.reset=earliest", "story")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stop(); _ = cmd.Wait() })
		go func() {
			for sc := bufio.NewScanner(out); sc.Scan(); {
				select {
				case heard <- [2]string{who, sc.Text()}:
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	owner := map[string]string{}
	shared := func() bool {
		n := map[string]int{}
		for _, who := range owner {
			n[who]++
		}
		return n["a"] == 2 && n["b"] == 2
	}
	feeder := time.NewTicker(200 * time.Millisecond)
	defer feeder.Stop()
	for !shared() {
		select {
		case h := <-heard:
			owner[h[1]] = h[0]
		case <-feeder.C:
			for p := range 4 {
				kcat(t, "x\n", "-P", "-b", f.Bootstrap, "-t", "story", "-p", fmt.Sprint(p))
			}
		case <-ctx.Done():
			t.Fatal("partitions were not shared: ", owner)
		}
	}
}

func TestKcatSeeksIntoTheTier(t *testing.T) {
	f := startForKcat(t)
	create(t, f, "story", 1, map[string]string{
		"segment.bytes": "1048576", "local.retention.ms": "1", "tier.max.lag.ms": "1000", "tier.min.bytes": "1", "retention.ms": "-1",
	})
	c := makers["franz-go"](t, f.Bootstrap)
	defer c.Close()
	var all []Record
	for i := range 5000 {
		r := make1(0, i)
		r.Value += strings.Repeat("x", 2000)
		all = append(all, r)
	}
	if err := c.Produce(storyContext(t), "story", all, 0); err != nil {
		t.Fatal(err)
	}
	f.Eventually("the first records are in the tier alone", func() (bool, error) {
		ts, err := f.Tiers("story")
		return len(ts) == 1 && ts[0].LocalStart > 100, err
	})
	if got := kcat(t, "", "-C", "-b", f.Bootstrap, "-t", "story", "-p", "0", "-o", "beginning", "-e", "-q", "-f", "%o\n"); strings.Count(got, "\n") != len(all) {
		t.Errorf("%d records, want %d", strings.Count(got, "\n"), len(all))
	}
	at := start.Add(50 * time.Second).UnixMilli()
	got := kcat(t, "", "-C", "-b", f.Bootstrap, "-t", "story", "-p", "0", "-o", fmt.Sprintf("s@%d", at), "-c", "1", "-q", "-f", "%o %k\n")
	if got != "50 key-50\n" {
		t.Errorf("at %d: %q", at, got)
	}
}
