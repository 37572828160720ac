package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest"
)

// flock is consumers of a group that is not to be shared out anew, and what they were given.
type flock struct {
	c       *trio
	group   string
	topic   string
	clients []*kgo.Client
	polls   sync.WaitGroup
	stop    context.CancelFunc

	assigned, revoked, lost atomic.Int64
	producing               context.CancelFunc
	producer                sync.WaitGroup
	produced                atomic.Int64

	mu      sync.Mutex
	seen    map[int32]map[int64]int // how often each record was given
	records int64
	failed  map[string]int // commits, by error
}

// startFlock has three members of a group consume and commit what a producer writes, and waits until each has its share.
func (c *trio) startFlock(group, topic string) *flock {
	c.t.Helper()
	f := &flock{c: c, group: group, topic: topic, seen: map[int32]map[int64]int{}, failed: map[string]int{}}
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	c.t.Cleanup(func() { stop(); f.polls.Wait() })
	var held atomic.Int64
	count := func(n *atomic.Int64, by int64) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
			n.Add(1)
			held.Add(by * int64(len(m[topic])))
		}
	}
	said := newSyncBuffer()
	c.t.Cleanup(func() {
		if c.t.Failed() {
			c.t.Logf("what the consumers said:\n%s", said)
		}
	})
	for i := range 3 {
		prefix := func() string { return fmt.Sprintf("%s %d ", time.Now().Format("15:04:05.000"), i) }
		cl, err := kgo.NewClient(c.Seeds(), kgo.Dialer(dialHost), kgo.WithLogger(kgo.BasicLogger(said, kgo.LogLevelInfo, prefix)), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.HeartbeatInterval(300*time.Millisecond), kgo.SessionTimeout(20*time.Second),
			kgo.OnPartitionsAssigned(count(&f.assigned, 1)), kgo.OnPartitionsRevoked(count(&f.revoked, -1)), kgo.OnPartitionsLost(count(&f.lost, -1)))
		if err != nil {
			c.t.Fatal(err)
		}
		c.t.Cleanup(cl.Close)
		f.clients = append(f.clients, cl)
		f.polls.Go(func() { f.poll(ctx, cl) })
	}
	f.produce()
	brokertest.Eventually(c.t, "the group is settled", func() (bool, error) {
		got, err := c.Admin.DescribeGroups(context.Background(), group)
		return err == nil && got[group].State == "Stable" && len(got[group].Members) == len(f.clients) && held.Load() == killPartitions, err
	})
	for _, n := range []*atomic.Int64{&f.assigned, &f.revoked, &f.lost} {
		n.Store(0)
	}
	return f
}

// dialHost connects as if a broker that is dead had died with its host, which does not refuse connections, it does not
// answer. A member that is refused where it asks for its coordinator gives its partitions up by itself, and joins again; it
// asks the next broker where a connection takes too long.
func dialHost(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, &net.OpError{Op: "dial", Net: network, Err: context.DeadlineExceeded}
	}
	return conn, err
}

func (f *flock) produce() {
	cl, err := kgo.NewClient(f.c.Seeds(), kgo.DefaultProduceTopic(f.topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		f.c.t.Fatal(err)
	}
	f.c.t.Cleanup(cl.Close)
	ctx, stop := context.WithCancel(context.Background())
	f.producing = stop
	f.c.t.Cleanup(func() { stop(); f.producer.Wait() })
	f.producer.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for n := int64(0); ctx.Err() == nil; n++ {
			cl.Produce(context.Background(), &kgo.Record{Partition: int32(n % killPartitions), Value: payload(0, uint64(n), 100)}, func(_ *kgo.Record, err error) {
				if err != nil {
					f.c.t.Errorf("produce: %v", err)
				}
			})
			f.produced.Store(n + 1)
			<-tick.C
		}
		flushing, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		if err := cl.Flush(flushing); err != nil {
			f.c.t.Errorf("flush: %v", err)
		}
	})
}

func (f *flock) poll(ctx context.Context, cl *kgo.Client) {
	for {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		f.mu.Lock()
		fs.EachRecord(func(r *kgo.Record) {
			if f.seen[r.Partition] == nil {
				f.seen[r.Partition] = map[int64]int{}
			}
			f.seen[r.Partition][r.Offset]++
			f.records++
		})
		f.mu.Unlock()
		if err := cl.CommitUncommittedOffsets(ctx); err != nil && ctx.Err() == nil {
			f.mu.Lock()
			f.failed[err.Error()]++
			f.mu.Unlock()
		}
	}
}

// finish lets everything arrive, and fails the test if the group was shared out anew or did not get each record once.
func (f *flock) finish() {
	t := f.c.t
	t.Helper()
	f.producing()
	f.producer.Wait()
	brokertest.Eventually(t, "everything is consumed", func() (bool, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.records >= f.produced.Load(), fmt.Errorf("%d of %d records", f.records, f.produced.Load())
	})
	brokertest.Eventually(t, "everything is committed", func() (bool, error) {
		at, err := f.c.Admin.FetchOffsets(context.Background(), f.group)
		if err != nil {
			return false, err
		}
		sum := int64(0)
		for p := range int32(killPartitions) {
			o, _ := at.Lookup(f.topic, p)
			sum += max(o.At, 0)
		}
		return sum == f.produced.Load(), fmt.Errorf("%d of %d records", sum, f.produced.Load())
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	for p, seen := range f.seen {
		for o := range int64(len(seen)) {
			if seen[o] != 1 {
				t.Errorf("record %d of partition %d was given %d times", o, p, seen[o])
			}
		}
	}
	if a, r, l := f.assigned.Load(), f.revoked.Load(), f.lost.Load(); a+r+l != 0 {
		t.Errorf("the group was shared out anew: assigned %d times, revoked %d, lost %d", a, r, l)
	}
	t.Logf("%d records consumed; commits that failed: %v", f.records, f.failed)
}
