package main

import (
	"testing"
	"time"
)

func TestParsePosition(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	good := map[string]position{
		"earliest":                  {kind: atEarliest},
		"latest":                    {kind: atLatest},
		"0":                         {kind: atOffset},
		"9223372036854775807":       {kind: atOffset, offset: 1<<63 - 1},
		"@2026-01-02T03:04:05Z":     {kind: atTime, time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		"@2026-01-02T03:04:05.5Z":   {kind: atTime, time: time.Date(2026, 1, 2, 3, 4, 5, 5e8, time.UTC)},
		"@2026-01-02T03:04:05+01:0": {kind: -1},
		"@2026-01-02":               {kind: atTime, time: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)},
		"@1700000000123":            {kind: atTime, time: time.UnixMilli(1700000000123)},
		"-2h":                       {kind: atTime, time: now.Add(-2 * time.Hour)},
		"-1m30s":                    {kind: atTime, time: now.Add(-90 * time.Second)},
		"-7d":                       {kind: atTime, time: now.Add(-7 * 24 * time.Hour)},
	}
	for s, want := range good {
		got, err := parsePosition("from", s, now)
		if want.kind < 0 {
			if err == nil {
				t.Errorf("%s is read as %+v", s, got)
			}
			continue
		}
		if err != nil || got.kind != want.kind || got.offset != want.offset || !got.time.Equal(want.time) {
			t.Errorf("%s: got %+v, %v, want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "-", "-1", "--1h", "-+1h", "-xd", "-1.5d", "now", "@", "@noon", "@12345", "1.5", "9223372036854775808", "Earliest"} {
		if got, err := parsePosition("from", s, now); err == nil {
			t.Errorf("%q is read as %+v", s, got)
		}
	}
}

func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{"earliest", "12", "@2026-01-02", "-1h", "-99999d"} {
		f.Add(s)
	}
	now := time.UnixMilli(1_700_000_000_000)
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePosition("from", s, now)
		if err == nil && (p.offset < 0 || p.kind == atTime && s[0] == '-' && p.time.After(now)) {
			t.Fatalf("%q is read as %+v", s, p)
		}
	})
}
