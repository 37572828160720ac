package main

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest"
	"firn/broker/brokertest/clustertest"
)

// served counts the records that each broker has given a client.
type served struct {
	mu sync.Mutex
	by map[int32]int
}

// OnFetchBatchRead implements kgo.HookFetchBatchRead.
func (s *served) OnFetchBatchRead(meta kgo.BrokerMetadata, _ string, _ int32, m kgo.FetchBatchMetrics) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by[meta.NodeID] += m.NumRecords
}

func (s *served) from(id int32) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[id]
}

// nearReader reads topic "near" from its beginning for a client on a broker's rack.
type nearReader struct {
	*served
	cl   *kgo.Client
	next int64
}

func (c *trio) newNearReader(broker int32) *nearReader {
	c.t.Helper()
	r := &nearReader{served: &served{by: map[int32]int{}}}
	cl, err := kgo.NewClient(c.Seeds(), kgo.ConsumeTopics("near"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.Rack(clustertest.Rack(int(broker))),
		kgo.FetchMaxWait(200*time.Millisecond), kgo.RecheckPreferredReplicaInterval(time.Second), kgo.WithHooks(r.served),
		kgo.MetadataMinAge(50*time.Millisecond), kgo.RequestTimeoutOverhead(time.Second), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(cl.Close)
	r.cl = cl
	return r
}

// readTo reads until record n-1 has come, each in its turn.
func (c *trio) readTo(r *nearReader, n int64) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	for r.next < n {
		fs := r.cl.PollFetches(ctx)
		if ctx.Err() != nil {
			c.t.Fatalf("%d of %d records, %v by broker; %v", r.next, n, r.by, fs.Err())
		}
		fs.EachRecord(func(rec *kgo.Record) {
			if rec.Offset != r.next || string(rec.Value) != fmt.Sprint(r.next) {
				c.t.Fatalf("%q at offset %d, want %d", rec.Value, rec.Offset, r.next)
			}
			r.next++
		})
	}
}

// A consumer that says where it stands reads from the replica there, what is archived as well as what has just been
// written; when that broker is frozen, or has died, it reads on from the leader, and when it is back from it again.
func TestConsumersReadFromTheNearestReplica(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 3, "tier.url=file://"+t.TempDir(), "log.retention.check.interval.ms=200", "replica.lag.time.max.ms=2000")
	c.Create("near", 1, map[string]string{
		"min.insync.replicas": "2", "segment.bytes": "65536", "local.retention.ms": "300", "tier.max.lag.ms": "300", "tier.min.bytes": "1",
	})
	producer, err := kgo.NewClient(c.Seeds(), kgo.DefaultProduceTopic("near"), kgo.ProducerBatchMaxBytes(4096))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	sent := int64(0)
	produce := func(n int) {
		t.Helper()
		var all []*kgo.Record
		for range n {
			all = append(all, kgo.StringRecord(fmt.Sprint(sent)))
			sent++
		}
		if err := producer.ProduceSync(context.Background(), all...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	produce(20_000)
	ps, err := c.Partitions("near")
	if err != nil {
		t.Fatal(err)
	}
	leader := ps[0].Leader
	near := leader%3 + 1
	p := c.Brokers[near-1]
	p.Eventually("the beginning is in the tier alone", func() (bool, error) {
		tiers, err := p.Tiers("near")
		if err != nil {
			return false, err
		}
		return tiers[0].LocalStart > 1000, fmt.Errorf("%+v", tiers)
	})

	r := c.newNearReader(near)
	c.readTo(r, sent)
	if n := r.from(near); n < 10_000 {
		t.Errorf("the replica on the rack gave %d of %d records: %v", n, sent, r.by)
	}
	if cold, err := p.Metric("firn_partition_fetch_tier_bytes_total"); err != nil || cold == 0 {
		t.Errorf("it read %v bytes from the tier, %v", cold, err)
	}

	// At the end of the log, record by record: each wakes the fetch that waits at the follower.
	before := r.from(near)
	began := time.Now()
	for range 20 {
		produce(1)
		c.readTo(r, sent)
	}
	t.Logf("a record took %v from producer to consumer through a follower", time.Since(began)/20)
	if n := r.from(near) - before; n == 0 {
		t.Errorf("the replica on the rack gave none of the last records: %v", r.by)
	}

	p.Signal(syscall.SIGSTOP)
	wake := sync.OnceFunc(func() { p.Signal(syscall.SIGCONT) })
	t.Cleanup(wake)
	before = r.from(leader)
	produce(100)
	c.readTo(r, sent)
	if n := r.from(leader) - before; n == 0 {
		t.Errorf("read on without the leader: %v", r.by)
	}
	wake()
	c.AwaitInSync("near", 3)

	p.Kill()
	produce(100)
	c.readTo(r, sent)
	p.Restart()
	c.AwaitInSync("near", 3)
	before = r.from(near)
	brokertest.Eventually(t, "the replica on the rack is read from again", func() (bool, error) {
		produce(10)
		c.readTo(r, sent)
		return r.from(near) > before, fmt.Errorf("%v", r.by)
	})
}
