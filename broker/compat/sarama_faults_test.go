package compat

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"firn/broker/brokertest/clustertest"
	"firn/broker/brokertest/history"
	"firn/broker/brokertest/history/drive"
)

// numberFromEnv is a number from the environment, for long versions of a test.
func numberFromEnv(t *testing.T, name string, usual int) int {
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

// What sarama's producers, consumers and groups see of three brokers through random faults is held against the same promises
// as what franz-go sees (TestThreeBrokersThroughRandomFaults): a fault of the one client must not be taken for one of the brokers.
func TestSaramaThroughRandomFaults(t *testing.T) {
	seed := uint64(numberFromEnv(t, "FIRN_SEED", int(time.Now().UnixNano()&0x7fffffff)))
	t.Logf("seed %d (FIRN_SEED)", seed)
	c := clustertest.Start(t, clustertest.Options{Settings: []string{
		"tier.url=file://" + t.TempDir(), "log.retention.check.interval.ms=200", "replica.lag.time.max.ms=1500",
		"group.initial.rebalance.delay.ms=100", "group.min.session.timeout.ms=1000",
	}})
	const topic, partitions = "faults", 4
	c.Create(topic, partitions, map[string]string{
		"min.insync.replicas": "2", "segment.bytes": "262144", "local.retention.ms": "500", "tier.max.lag.ms": "300", "tier.min.bytes": "1",
	})
	const session = 3 * time.Second
	o := drive.Options{
		Bootstrap: c.Bootstrap(), Topic: topic, Partitions: partitions, Group: "faults", Seed: seed, Session: session,
		Producers: 3, RecordBytes: 3000, Gap: 3 * time.Millisecond, Readers: 1, Members: 2, Lifetime: 5 * time.Second,
		Library: saramaLibrary{bootstrap: c.Bootstrap(), topic: topic, group: "faults", session: session},
	}
	if path := os.Getenv("FIRN_TEST_HISTORY"); path != "" {
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		o.Lines = f
	}
	d := drive.Start(o)
	t.Cleanup(func() { _, _ = d.Close() })
	rng := rand.New(rand.NewPCG(seed, 0))
	for range numberFromEnv(t, "FIRN_CRASH_ROUNDS", 2) {
		clustertest.Live(rng, time.Second)
		c.Trouble(rng, topic)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	report, err := d.Judge(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(report.Summary())
	if !report.Valid {
		t.Error(report)
	}
	for _, f := range []history.Func{history.Send, history.Poll, history.Rebalance, history.Commit, history.Committed} {
		if report.Stats.Events[f][history.OK] == 0 {
			t.Errorf("no %s came to anything: %v", f, report)
		}
	}
	c.CheckReplicas(topic)
}
