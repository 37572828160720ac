package group_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest"
)

const (
	partitions = 4
	records    = 800 // in each
	members    = 3
)

// progress is what consumers of group "g" were told.
type progress struct {
	t     *testing.T
	p     *brokertest.Process
	acked [partitions]atomic.Int64 // offset up to which a commit was acknowledged
	read  atomic.Int64
	joins atomic.Int64 // assignments
	bad   atomic.Bool
}

func (g *progress) client(opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(g.p.Bootstrap), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
		kgo.MetadataMinAge(50 * time.Millisecond), kgo.DefaultProduceTopic("t"), kgo.RecordPartitioner(kgo.ManualPartitioner()),
	}, opts...)...)
	if err != nil {
		g.t.Fatal(err)
	}
	return cl
}

func (g *progress) fail(format string, args ...any) {
	g.bad.Store(true)
	g.t.Errorf(format, args...)
}

func (g *progress) produce() {
	g.t.Helper()
	cl := g.client()
	defer cl.Close()
	var batch []*kgo.Record
	for i := range records {
		for p := range int32(partitions) {
			batch = append(batch, &kgo.Record{Partition: p, Value: strconv.AppendInt(nil, int64(i), 10)})
		}
	}
	if err := cl.ProduceSync(context.Background(), batch...).FirstErr(); err != nil {
		g.t.Fatal(err)
	}
}

// member consumes and commits until ctx ends, then leaves as members do, or without a word.
func (g *progress) member(ctx context.Context, rng *rand.Rand) {
	var floor [partitions]atomic.Int64 // what was acknowledged before a partition was given to this member
	cl := g.client(kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(6*time.Second), kgo.RebalanceTimeout(10*time.Second), kgo.HeartbeatInterval(100*time.Millisecond),
		kgo.FetchMaxWait(100*time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, got map[string][]int32) {
			g.joins.Add(1)
			for _, p := range got["t"] {
				floor[p].Store(g.acked[p].Load())
			}
		}))
	defer cl.Close()
	for ctx.Err() == nil && !g.bad.Load() {
		fetches := cl.PollRecords(ctx, 40)
		for _, r := range fetches.Records() {
			if r.Offset < floor[r.Partition].Load() {
				g.fail("partition %d is read again from %d, %d was committed", r.Partition, r.Offset, floor[r.Partition].Load())
			}
			if string(r.Value) != strconv.FormatInt(r.Offset, 10) {
				g.fail("record %d of partition %d is %q", r.Offset, r.Partition, r.Value)
			}
			g.read.Add(1)
		}
		g.commit(ctx, cl, fetches)
		cl.AllowRebalance()
		select {
		case <-time.After(time.Duration(rng.Int64N(int64(20 * time.Millisecond)))):
		case <-ctx.Done():
		}
	}
}

// commit commits what was read and notes what was acknowledged.
func (g *progress) commit(ctx context.Context, cl *kgo.Client, fetches kgo.Fetches) {
	recs := fetches.Records()
	if len(recs) == 0 || cl.CommitRecords(ctx, recs...) != nil {
		return
	}
	for _, r := range recs {
		g.know(r.Partition, r.Offset+1)
	}
}

// know notes that an offset has been committed.
func (g *progress) know(partition int32, offset int64) {
	for at := g.acked[partition].Load(); at < offset && !g.acked[partition].CompareAndSwap(at, offset); at = g.acked[partition].Load() {
	}
}

// committed checks that nothing acknowledged before has gone back. What is committed counts as acknowledged from then on: a
// member's life may end while its commit is under way, and nobody has anything to commit after the last.
func (g *progress) committed() {
	g.t.Helper()
	var before [partitions]int64
	for p := range before {
		before[p] = g.acked[p].Load()
	}
	cl := g.client()
	defer cl.Close()
	var got kadm.OffsetResponses
	g.p.Eventually("offsets are fetched", func() (bool, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		var err error
		got, err = kadm.NewClient(cl).FetchOffsets(ctx, "g")
		return err == nil, err
	})
	for p, acked := range before {
		at := int64(-1)
		if o, ok := got.Lookup("t", int32(p)); ok {
			at = o.At
		}
		if acked > 0 && at < acked {
			g.fail("partition %d: %d is committed, %d was acknowledged", p, at, acked)
		}
		g.know(int32(p), at)
	}
}

// Members that commit what they read, and come and go, while the broker is killed again and again: no acknowledged
// commit goes back, and nobody reads again from below one. FIRN_TEST_GROUP_ROUNDS kills more often.
func TestKilledDuringRebalancesAndCommits(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process")
	}
	rounds := 2
	if v := os.Getenv("FIRN_TEST_GROUP_ROUNDS"); v != "" {
		var err error
		if rounds, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	g := &progress{t: t, p: brokertest.Start(t, "--topic", fmt.Sprint("t:", partitions), "--tier", "none",
		"--set", "group.initial.rebalance.delay.ms=100")}
	g.produce()
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	for i := range members {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			for ctx.Err() == nil && !g.bad.Load() { // each member's life ends after a while, and another begins
				life, end := context.WithTimeout(ctx, time.Second+time.Duration(rng.Int64N(int64(3*time.Second))))
				g.member(life, rng)
				end()
			}
		})
	}
	rng := rand.New(rand.NewPCG(seed, 100))
	for range rounds {
		target := g.read.Load() + 200 + rng.Int64N(1000)
		g.p.Eventually("members read", func() (bool, error) {
			return g.read.Load() >= target || g.bad.Load() || g.done(), fmt.Errorf("read %d of %d", g.read.Load(), target)
		})
		g.p.Kill()
		g.p.Restart()
		g.committed()
	}
	g.p.Eventually("everything is read and committed", func() (bool, error) {
		g.committed()
		return g.done() || g.bad.Load(), fmt.Errorf("acknowledged %d, %d, %d, %d", g.acked[0].Load(), g.acked[1].Load(), g.acked[2].Load(), g.acked[3].Load())
	})
	stop()
	running.Wait()
	g.committed()
	t.Logf("%d records, read %d, %d assignments", partitions*records, g.read.Load(), g.joins.Load())
}

func (g *progress) done() bool {
	for p := range g.acked {
		if g.acked[p].Load() < records {
			return false
		}
	}
	return true
}
