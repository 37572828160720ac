package main

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"firn/broker/brokertest"
	"firn/metadata/kvtest"
)

// A broker that was frozen for longer than its lease registers again when it wakes and serves on. Another broker, which
// has no replica, has taken over nothing of its partitions meanwhile, and whatever was acknowledged is there.
func TestBrokerFrozenBeyondItsLease(t *testing.T) {
	t.Parallel()
	e := kvtest.StartEtcd(t)
	tier := "tier.url=file://" + t.TempDir()
	p := brokertest.StartBroker(t, e.Endpoint(), brokertest.Options{Args: []string{
		"--set", "broker.session.timeout.ms=2000", "--set", tier,
		"--set", "log.retention.check.interval.ms=200",
	}})
	r := newPacedRig(t, p, 2*time.Millisecond)
	other := brokertest.StartBroker(t, e.Endpoint(), brokertest.Options{Args: []string{
		"--set", "broker.session.timeout.ms=2000", "--set", tier,
		"--set", "node.id=2",
	}})
	r.awaitArchive()
	c := newCommits(t, p)
	c.await("a commit succeeds", func() bool { return c.stored.Load() > 3 })
	c.stop()

	p.Signal(syscall.SIGSTOP)
	wake := sync.OnceFunc(func() { p.Signal(syscall.SIGCONT) })
	t.Cleanup(wake) // or it could not be stopped
	frozen := time.NewTimer(time.Duration(envInt(t, "FIRN_TEST_FREEZE_MS", 8000)) * time.Millisecond)
	other.Eventually("the other broker has become controller", func() (bool, error) {
		return strings.Contains(other.Log(), "became controller"), nil
	})
	<-frozen.C
	if tiers, err := other.Tiers(""); err != nil || len(tiers) != 0 {
		t.Errorf("the other broker hosts %+v, %v", tiers, err)
	}
	wake()
	woken, last := time.Now(), r.acked()
	p.Eventually("it serves again", func() (bool, error) {
		n := r.acked()
		return n > last+200 && ready(p), fmt.Errorf("%d records since", n-last)
	})
	t.Logf("served again %v after it woke", time.Since(woken))
	if !strings.Contains(p.Log(), "registering again") {
		t.Error("it has not registered again")
	}
	if limit := 10 * time.Second; time.Since(woken) > limit {
		t.Errorf("more than %v", limit)
	}
	createTopic(t, p, "after", 4)
	r.finish()
}
