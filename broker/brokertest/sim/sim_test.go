//go:build synctests

package sim

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const (
	// defaultSeeds are run where FIRN_SIM_SEEDS does not say how many.
	defaultSeeds = 200
	// seedLimit bounds a seed in real time: one that takes longer waits for something that the clock of its bubble does
	// not wait for, such as a mutex that is held over a wait.
	seedLimit = 10 * time.Minute
	// tries bounds how often a seed that is given is run again: goroutines take another order each time.
	tries = 200
)

func envInt(t *testing.T, name string, otherwise uint64) uint64 {
	v := os.Getenv(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestSeeds runs FIRN_SIM_SEEDS seeds from FIRN_SIM_FROM on, which is random unless set. With FIRN_SEED it runs that one until it
// fails, FIRN_SIM_TRIES times at most.
func TestSeeds(t *testing.T) {
	first := envInt(t, "FIRN_SIM_FROM", uint64(time.Now().UnixNano()/1000%1e9)*1000)
	count := envInt(t, "FIRN_SIM_SEEDS", defaultSeeds)
	seed := func(i uint64) uint64 { return first + i }
	if one := envInt(t, "FIRN_SEED", 0); one != 0 {
		first, count = one, envInt(t, "FIRN_SIM_TRIES", tries)
		seed = func(uint64) uint64 { return one }
	}
	t.Logf("%d seeds from %d on (FIRN_SIM_SEEDS, FIRN_SIM_FROM)", count, first)
	var seeds, faults, ops, violations atomic.Int64
	began := time.Now()
	t.Run("all", func(t *testing.T) {
		var next atomic.Uint64
		for w := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprintf("worker%d", w), func(t *testing.T) {
				t.Parallel()
				for i := next.Add(1) - 1; i < count && violations.Load() < 5; i = next.Add(1) - 1 {
					r := runSeed(t, seed(i))
					seeds.Add(1)
					faults.Add(int64(r.Faults))
					ops.Add(int64(r.Operations))
					violations.Add(int64(len(r.Violations)))
				}
			})
		}
	})
	fmt.Printf("simulation: %d seeds, %d faults, %d operations, %d violations, %v\n", seeds.Load(), faults.Load(), ops.Load(), violations.Load(),
		time.Since(began).Round(time.Second))
}

// runSeed runs a seed in a bubble and reports what is wrong.
func runSeed(t *testing.T, seed uint64) (r Result) {
	hung := time.AfterFunc(seedLimit, func() {
		debug.SetTraceback("all")
		panic(fmt.Sprintf("seed %d hangs", seed))
	})
	defer hung.Stop()
	synctest.Test(t, func(*testing.T) { r = Run(seed, slog.LevelInfo) })
	if bytes.Contains(r.Logs, []byte("panic")) {
		r.Violations = append(r.Violations, "a broker's log tells of a panic")
	}
	if len(r.Violations) == 0 {
		return r
	}
	logs := filepath.Join(os.TempDir(), fmt.Sprintf("firn-sim-%d.log", seed))
	if err := os.WriteFile(logs, append([]byte(r.Schedule), r.Logs...), 0o600); err != nil {
		t.Error(err)
	}
	for name, lines := range r.Histories {
		if err := os.WriteFile(filepath.Join(os.TempDir(), fmt.Sprintf("firn-sim-%d-%s.history", seed, name)), lines, 0o600); err != nil {
			t.Error(err)
		}
	}
	t.Errorf("seed %d: make sim SEED=%d\n%sbroker logs, and histories beside them: %s", seed, seed, r.Schedule, logs)
	return r
}
