package main

import (
	"testing"
	"time"
)

func TestProgressLine(t *testing.T) {
	now := time.Unix(100, 0)
	p := &progress{what: "sent", total: 200, unit: countUnit, began: now.Add(-10 * time.Second), now: func() time.Time { return now }}
	p.add(50)
	if got, want := p.line(0), "[#######.......................]  25% 50 of 200, 5/s, 30s left"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	p.add(150)
	if got, want := p.line(0), "[##############################] 100% 200 of 200, 20/s"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	p = &progress{what: "sent", unit: humanBytes, began: now.Add(-2 * time.Second), now: func() time.Time { return now }}
	p.add(3 << 20)
	if got, want := p.line(0), "sent 3.0 MiB, 1.5 MiB/s"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// A line that is longer than the terminal is wide would be broken, and stay on the screen for ever.
func TestProgressFitsTheTerminal(t *testing.T) {
	now := time.Unix(100, 0)
	p := &progress{what: "sent", total: 200, unit: countUnit, began: now.Add(-10 * time.Second), now: func() time.Time { return now }}
	p.add(50)
	for width, want := range map[int]string{
		0:  "[#######.......................]  25% 50 of 200, 5/s, 30s left",
		80: "[#######.......................]  25% 50 of 200, 5/s, 30s left",
		62: " 25% 50 of 200, 5/s, 30s left",
		40: " 25% 50 of 200, 5/s, 30s left",
		12: " 25% 50 of ",
		1:  "",
	} {
		if got := p.line(width); got != want {
			t.Errorf("in %d columns: got %q, want %q", width, got, want)
		}
	}
}

func TestProgressStops(t *testing.T) {
	out := newSyncBuffer()
	p := &progress{out: out, what: "sent", unit: countUnit, now: time.Now, width: func() int { return 80 }, quit: make(chan struct{})}
	p.wait.Add(1)
	go p.run()
	out.waitFor(t, "sent 0")
	p.stop()
	p.stop()
	var none *progress
	none.add(1)
	none.stop()
}

func TestHumanBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 40: "1.0 TiB", 1<<63 - 1: "8.0 EiB"} {
		if got := humanBytes(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}
