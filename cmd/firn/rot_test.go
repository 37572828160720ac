package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"firn/broker/brokertest"
)

func zeroed(path string, b []byte) error { return os.WriteFile(path, make([]byte, len(b)), 0o600) }

// awaitSetAside waits until a broker has set n damaged logs aside since it was started.
func awaitSetAside(p *brokertest.Process, n float64) {
	p.Eventually(fmt.Sprintf("%v damaged logs are set aside", n), func() (bool, error) {
		got, err := p.Metric("firn_partition_logs_set_aside_total")
		return err == nil && got >= n, fmt.Errorf("%v are, %w", got, err)
	})
}

// H5: bytes rot on a minority of the replicas, which shows when the broker starts: what is damaged is set aside and kept,
// and fetched anew from the others. Nothing that was acknowledged changes for anybody.
func TestRotOnOneReplicaFoundAtStart(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 3)
	c.Create("kill", killPartitions, map[string]string{"min.insync.replicas": "2", "segment.bytes": "262144"})
	r := c.newRig(3 * time.Millisecond)
	for i, rot := range []struct {
		file   int
		change func(string, []byte) error
	}{{0, cutShort}, {-1, zeroed}, {1, remove}} {
		b := c.Brokers[i]
		segments := filepath.Join(b.Dir, "*-0", "*.log")
		b.Eventually("there are sealed segments, and a checkpoint of the active one", func() (bool, error) {
			list, err := filepath.Glob(segments)
			return len(list) > 3 && r.acked() > 1000*(i+1), err
		})
		b.Stop() // which checkpoints
		c.AwaitLeaders("kill", int32(i+1))
		hurt(t, segments, rot.file, rot.change)
		b.Restart()
		awaitSetAside(b, 1)
		c.AwaitInSync("kill", 3)
		if kept, err := filepath.Glob(filepath.Join(b.Dir, "*.damaged")); err != nil || len(kept) != 1 {
			t.Errorf("kept: %v, %v", kept, err)
		}
	}
	c.finish(r)
	c.CheckReplicas("kill")
}

// Bytes rot under a leader that runs, which the scrubber finds: it leaves the lead to others and fetches anew.
func TestRotOnALeader(t *testing.T) {
	t.Parallel()
	const records = 3000
	c := startTrio(t, 3, "log.scrub.bytes.per.second=64MiB")
	c.Create("rot", 1, map[string]string{"min.insync.replicas": "2", "segment.bytes": "1048576"})
	fill(t, c.Brokers[0], "rot", 1, 0, records)
	c.AwaitInSync("rot", 3)
	for range 2 {
		leader := c.Brokers[c.Leader("rot", 0)-1]
		hurt(t, filepath.Join(leader.Dir, "*-0", "*.log"), 0, flipAt(func(b []byte) int { return len(b) / 2 }))
		awaitSetAside(leader, 1)
		c.AwaitInSync("rot", 3)
		if _, err := readAll(t, leader, "rot", 0, records, testTimeout); err != nil {
			t.Error(err)
		}
	}
	c.CheckReplicas("rot")
}

// Bytes rot under a leader before they are archived, and no scrubber comes by: archiving finds it. The leader leaves the lead to
// one that archives what was written.
func TestRotFoundByAnUpload(t *testing.T) {
	t.Parallel()
	const records = 3000
	c := startTrio(t, 3, "tier.url=file://"+t.TempDir(), "log.scrub.bytes.per.second=0")
	c.Create("rot", 1, map[string]string{"min.insync.replicas": "2", "segment.bytes": "1048576", "remote.log.copy.disable": "true"})
	fill(t, c.Brokers[0], "rot", 1, 0, records)
	c.AwaitInSync("rot", 3)
	leader := c.Brokers[c.Leader("rot", 0)-1]
	hurt(t, filepath.Join(leader.Dir, "*-0", "*.log"), 0, flipAt(func(b []byte) int { return len(b) / 2 }))
	off := "false"
	if _, err := c.Admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "remote.log.copy.disable", Value: &off}}, "rot"); err != nil {
		t.Fatal(err)
	}
	awaitSetAside(leader, 1)
	c.AwaitInSync("rot", 3)
	next := c.Brokers[c.Leader("rot", 0)-1]
	next.Eventually("it is archived", func() (bool, error) {
		tiers, err := next.Tiers("rot")
		return len(tiers) == 1 && tiers[0].TieredEnd > records/2, err
	})
	if _, err := readAll(t, leader, "rot", 0, records, testTimeout); err != nil {
		t.Error(err)
	}
	c.CheckReplicas("rot")
}

// What rots on the disk and is in the tier is read from the tier, be it on the only replica: found by the scrubber, and
// found at the start.
func TestRotOfWhatIsInTheTier(t *testing.T) {
	t.Parallel()
	const records = 2500
	p := brokertest.Start(t, "--set", "log.retention.check.interval.ms=100", "--set", "log.scrub.bytes.per.second=64MiB")
	createTopic(t, p, "rot", 1, "segment.bytes", "1048576", "tier.min.bytes", "1", "tier.max.lag.ms", "100")
	fill(t, p, "rot", 1, 0, records)
	p.Eventually("all is in the tier", func() (bool, error) {
		tiers, err := p.Tiers("rot")
		return len(tiers) == 1 && tiers[0].TieredEnd == records, err
	})
	segments := filepath.Join(p.Dir, "log", "*-0", "*.log")
	hurt(t, segments, 0, flipAt(func(b []byte) int { return len(b) / 2 }))
	p.Eventually("it is dropped", func() (bool, error) {
		tiers, err := p.Tiers("rot")
		return err == nil && tiers[0].LocalStart > 0, err
	})
	if _, err := readAll(t, p, "rot", 0, records, testTimeout); err != nil {
		t.Error(err)
	}
	tiers, err := p.Tiers("rot")
	if err != nil || tiers[0].LocalStart == 0 {
		t.Errorf("%+v, %v", tiers, err)
	}
	p.Stop()
	hurt(t, segments, 0, cutShort)
	p.Restart()
	if _, err := readAll(t, p, "rot", 0, records, testTimeout); err != nil {
		t.Error(err)
	}
	if again, err := p.Tiers("rot"); err != nil || again[0].LocalStart <= tiers[0].LocalStart {
		t.Errorf("%+v after %+v, %v", again, tiers, err)
	}
	fill(t, p, "rot", 1, records, 10)
	if _, err := readAll(t, p, "rot", 0, records+10, testTimeout); err != nil {
		t.Error(err)
	}
}
