package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest"
)

// A damaged entry of the bucket's catalog is written anew and keeps nothing from being archived.
func TestDamagedCatalogEntry(t *testing.T) {
	t.Parallel()
	p := brokertest.Start(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*testTimeout)
	defer cancel()
	for _, name := range []string{"one", "two"} {
		createTopic(t, p, name, 1, "tier.min.bytes", "1", "tier.max.lag.ms", "100")
	}
	produce := func() {
		t.Helper()
		cl := kafkaClient(t, p)
		for _, name := range []string{"one", "two"} {
			if err := cl.ProduceSync(ctx, &kgo.Record{Topic: name, Value: make([]byte, 1000)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	archived := func(end int64) {
		t.Helper()
		p.Eventually("both are archived", func() (bool, error) {
			for _, name := range []string{"one", "two"} {
				tiers, err := p.Tiers(name)
				if err != nil || len(tiers) != 1 || tiers[0].TieredEnd < end {
					return false, errors.Join(err, fmt.Errorf("%+v", tiers))
				}
			}
			return true, nil
		})
	}
	produce()
	archived(1)
	p.Stop()
	pattern := filepath.Join(p.Dir, "tier", "_catalog", "*", "topics", "*", "*.json")
	entries, err := filepath.Glob(pattern)
	if err != nil || len(entries) != 2 {
		t.Fatalf("entries %v, %v", entries, err)
	}
	for _, path := range entries {
		if err := os.WriteFile(path, []byte(`{"version":`), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p.Restart()
	produce()
	archived(2)
	p.Eventually("the entries are written anew", func() (bool, error) {
		entries, err := filepath.Glob(pattern)
		if err != nil || len(entries) != 2 {
			return false, errors.Join(err, fmt.Errorf("entries %v", entries))
		}
		for _, path := range entries {
			b, err := os.ReadFile(path)
			if err != nil || !json.Valid(b) {
				return false, errors.Join(err, fmt.Errorf("%s holds %q", path, b))
			}
		}
		return true, nil
	})
}
