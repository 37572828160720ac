package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest"
	"firn/broker/brokertest/clustertest"
	"firn/broker/brokertest/history"
	"firn/broker/brokertest/history/drive"
)

const killPartitions = 4

// envInt is a number from the environment, for long versions of a test.
func envInt(t *testing.T, name string, usual int) int {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return usual
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// crashRig keeps clients at work on the topic "kill" while a test does things to a broker, and then judges what they saw.
type crashRig struct {
	t   *testing.T
	p   *brokertest.Process
	rng *rand.Rand
	d   *drive.Driver

	grouped bool // there are members of a group
}

// newCrashRig has a firn dev, in a directory of the test's own if that is empty, and producers, readers and members of a
// group that live for a few seconds each.
func newCrashRig(t *testing.T, dir string) *crashRig {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	p := brokertest.StartIn(t, dir, "--set", "log.retention.check.interval.ms=200", "--set", "group.min.session.timeout.ms=1000")
	return startRig(t, p, drive.Options{
		Gap: 100 * time.Microsecond, Readers: 1, Members: 2, Lifetime: 4 * time.Second, Session: 2 * time.Second,
	})
}

// newPacedRig has producers only, that each send a record per gap, to leave the machine room for more.
func newPacedRig(t *testing.T, p *brokertest.Process, gap time.Duration, opts ...kgo.Opt) *crashRig {
	t.Helper()
	return startRig(t, p, drive.Options{Gap: gap, Client: opts})
}

func startRig(t *testing.T, p *brokertest.Process, o drive.Options) *crashRig {
	t.Helper()
	seed := uint64(envInt(t, "FIRN_SEED", int(time.Now().UnixNano()&0x7fffffff)))
	t.Logf("seed %d (FIRN_SEED)", seed)
	createTopic(t, p, "kill", killPartitions, "segment.bytes", "1048576", "local.retention.ms", "500", "tier.max.lag.ms", "300", "tier.min.bytes", "1")
	o.Bootstrap, o.Topic, o.Partitions, o.Group, o.Seed = []string{p.Bootstrap}, "kill", killPartitions, "killed", seed
	o.Producers, o.RecordBytes = 3, 3000
	if path := os.Getenv("FIRN_TEST_HISTORY"); path != "" {
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		o.Lines = f
	}
	r := &crashRig{t: t, p: p, rng: rand.New(rand.NewPCG(seed, 0)), d: drive.Start(o), grouped: o.Members > 0}
	t.Cleanup(func() { _, _ = r.d.Close() })
	return r
}

// live lets the broker work for a random while.
func (r *crashRig) live(atMost time.Duration) { clustertest.Live(r.rng, atMost) }

// acked is how many records have been acknowledged so far.
func (r *crashRig) acked() int { return int(r.d.Acked()) }

// finish lets every record arrive, reads everything before and after a restart, and fails the test if the history of all
// that has anything wrong.
func (r *crashRig) finish() {
	r.t.Helper()
	report := r.judge()
	if !report.Valid {
		r.t.Error(report)
	}
	if r.grouped && (report.Stats.Events[history.Rebalance][history.OK] == 0 || report.Stats.Events[history.Commit][history.OK] == 0) {
		r.t.Errorf("the group came to nothing: %v", report)
	}
}

func (r *crashRig) judge() *history.Report {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*testTimeout)
	defer cancel()
	if err := r.d.Stop(ctx); err != nil {
		r.t.Fatal(err)
	}
	for _, via := range []string{"before a restart", "after a restart"} {
		if via == "after a restart" {
			r.p.Stop()
			r.p.Restart()
		}
		if _, err := r.d.ReadAll(ctx, via); err != nil {
			r.t.Errorf("read everything %s: %v", via, err)
		}
		r.observeTier()
	}
	if err := r.d.ReadCopy(ctx, 1); err != nil {
		r.t.Error(err)
	}
	tiers, err := r.p.Tiers("kill")
	if err != nil {
		r.t.Fatal(err)
	}
	var local, tiered, end int64
	for _, tr := range tiers {
		local, tiered, end = local+tr.LocalStart, tiered+max(tr.TieredEnd, 0), end+tr.End
	}
	h, err := r.d.Close()
	if err != nil {
		r.t.Fatal(err)
	}
	report := history.Check(h)
	r.t.Logf("%s; %d records are only in the tier, %d in the tier, of %d", report.Summary(), local, tiered, end)
	return report
}

// observeTier notes in the history what the tier has: every entry of the manifests if the broker has etcd and bucket in its
// directory, else where they end.
func (r *crashRig) observeTier() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	n := r.d.Recorder().Invoke(history.Op{Process: r.d.Process(), Func: history.Tier})
	seen := history.Op{Outcome: history.OK}
	_, noEtcd := os.Stat(filepath.Join(r.p.Dir, "etcd"))
	_, noBucket := os.Stat(filepath.Join(r.p.Dir, "tier"))
	if noEtcd == nil && noBucket == nil {
		tier, err := devTier(r.p.Dir)
		if err != nil {
			r.t.Fatal(err)
		}
		defer tier.close()
		if seen, err = tier.observe(ctx, kafkaClient(r.t, r.p), "kill"); err != nil {
			r.t.Fatal(err)
		}
	} else {
		tiers, err := r.p.Tiers("kill")
		if err != nil {
			r.t.Fatal(err)
		}
		for _, tr := range tiers {
			if tr.TieredEnd > tr.LogStart {
				seen.Spans = append(seen.Spans, history.Span{Key: history.Key(tr.Partition), Start: tr.LogStart, End: tr.TieredEnd})
			}
		}
	}
	r.d.Recorder().Complete(n, seen)
}

// awaitArchive waits until some of every partition lies in the tier alone.
func (r *crashRig) awaitArchive() {
	r.t.Helper()
	r.p.Eventually("every partition is partly in the tier alone", func() (bool, error) {
		tiers, err := r.p.Tiers("kill")
		for _, tr := range tiers {
			if tr.LocalStart == 0 || tr.TieredEnd < tr.LocalStart {
				return false, err
			}
		}
		return len(tiers) == killPartitions, err
	})
}

// keepReplaying reads everything there is over and over until stop is called, which fails the test if a replay did not come
// to its end. Done counts those that did.
func (r *crashRig) keepReplaying() (done *atomic.Int64, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done = &atomic.Int64{}
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			if _, err := r.d.ReadAll(ctx, "replay"); err != nil && ctx.Err() == nil {
				r.t.Errorf("replay: %v", err)
				return
			}
			done.Add(1)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	r.t.Cleanup(stop)
	return done, stop
}

// stillAcknowledging waits until more records have been acknowledged, and returns how many were before.
func (r *crashRig) stillAcknowledging() (last int) {
	r.t.Helper()
	last = r.acked()
	r.p.Eventually("producing goes on", func() (bool, error) { return r.acked() > last+200, fmt.Errorf("%d acknowledged", r.acked()-last) })
	return last
}

// stillServing waits until more records have been acknowledged and all can be read.
func (r *crashRig) stillServing() {
	r.t.Helper()
	last := r.stillAcknowledging()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	if n, err := r.d.ReadAll(ctx, "replay"); err != nil || n < last {
		r.t.Errorf("read %d records, %d were acknowledged: %v", n, last, err)
	}
}
