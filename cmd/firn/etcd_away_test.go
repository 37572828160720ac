package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"firn/broker/brokertest"
	"firn/metadata/kvtest"
)

// While etcd is frozen, dead or so slow that no lease can be kept: producing and reading go on, from the disk and
// from the tier, members stay in their groups, commits get errors that clients try again after, nothing is lost or
// deleted. Soon after its return commits and new topics succeed, and no committed offset has gone back.
func TestEtcdAway(t *testing.T) {
	outages := map[string]func(e *kvtest.Etcd, p *proxy) (back func()){
		"frozen": func(e *kvtest.Etcd, _ *proxy) func() {
			e.Signal(syscall.SIGSTOP)
			return func() { e.Signal(syscall.SIGCONT) }
		},
		"killed": func(e *kvtest.Etcd, _ *proxy) func() {
			e.Kill()
			return e.Restart
		},
		"slow": func(_ *kvtest.Etcd, p *proxy) func() {
			p.delay.Store(int64(700 * time.Millisecond)) // a renewal may take 500
			return func() { p.delay.Store(0) }
		},
	}
	for name, begin := range outages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			etcdAway(t, begin, name != "slow")
		})
	}
}

// etcdAway takes an etcd away from a broker at work and brings it back. Unless commits are refused meanwhile, they may
// just be slow.
func etcdAway(t *testing.T, begin func(*kvtest.Etcd, *proxy) (back func()), refused bool) {
	t.Helper()
	e := kvtest.StartEtcd(t)
	between := startProxy(t, e.Endpoint())
	p := brokertest.StartBroker(t, between.addr(), brokertest.Options{Args: []string{
		"--set", "broker.session.timeout.ms=2000", "--set", "tier.url=file://" + t.TempDir(),
		"--set", "log.retention.check.interval.ms=200", "--set", "group.initial.rebalance.delay.ms=0",
	}})
	r := newPacedRig(t, p, 2*time.Millisecond)
	r.awaitArchive()
	replays, stopReplays := r.keepReplaying()
	g := joinGroup(t, p)
	c := newCommits(t, p)
	c.await("a commit succeeds", func() bool { return c.stored.Load() > 3 })

	back := sync.OnceFunc(begin(e, between))
	t.Cleanup(back) // or the broker could not stop
	away := time.NewTimer(time.Duration(envInt(t, "FIRN_TEST_OUTAGE_MS", 8000)) * time.Millisecond)
	p.Eventually("the broker knows that its lease has lapsed", func() (bool, error) { return !ready(p), nil })
	atLapse, replaysAtLapse, pollsAtLapse := r.acked(), replays.Load(), g.records.Load()
	if refused {
		c.await("a commit is refused", func() bool { return c.refused.Load() > 0 })
	}
	p.Eventually("producing and reading go on", func() (bool, error) {
		n := r.acked()
		return n > atLapse+500 && replays.Load() > replaysAtLapse+1 && g.records.Load() > pollsAtLapse+500,
			fmt.Errorf("%d acknowledged, %d replays, %d polled", n-atLapse, replays.Load()-replaysAtLapse, g.records.Load()-pollsAtLapse)
	})
	<-away.C
	back()
	returned := time.Now()
	stored := c.stored.Load()
	c.await("commits succeed again", func() bool { return c.stored.Load() > stored+3 })
	commitsAfter := time.Since(returned)
	p.Eventually("the broker is ready again", func() (bool, error) { return ready(p), nil })
	readyAfter := time.Since(returned)
	createTopic(t, p, "after", 3)
	t.Logf("after etcd's return: commits after %v, ready after %v, a topic made after %v; %d commits stored, %d refused (%v)",
		commitsAfter, readyAfter, time.Since(returned), c.stored.Load(), c.refused.Load(), c.codes())
	if limit := 10 * time.Second; time.Since(returned) > limit {
		t.Errorf("it took more than %v", limit)
	}
	atReturn, err := p.Tiers("kill")
	if err != nil {
		t.Fatal(err)
	}
	p.Eventually("archiving goes on", func() (bool, error) {
		now, err := p.Tiers("kill")
		for i, tr := range now {
			if tr.TieredEnd < atReturn[i].HighWatermark {
				return false, fmt.Errorf("partition %d: %+v", i, tr)
			}
		}
		return true, err
	})
	t.Logf("what was written meanwhile was archived %v after the return", time.Since(returned))
	last := r.acked()
	p.Eventually("producing goes on", func() (bool, error) { return r.acked() > last+500, nil })
	c.stop()
	g.check()
	stopReplays()
	r.finish()
}

// Brokers and etcd may be started in any order: a broker waits for etcd, for as long as it was told, and says so.
func TestStartWhileEtcdIsAway(t *testing.T) {
	t.Parallel()
	e := kvtest.StartEtcd(t)
	hasty := []string{"--set", "etcd.request.timeout.ms=1000"}
	p := brokertest.StartBroker(t, e.Endpoint(), brokertest.Options{Args: hasty})
	p.Kill()
	for name, back := range map[string]func(){"killed": e.Restart, "frozen": func() { e.Signal(syscall.SIGCONT) }} {
		if name == "killed" {
			e.Kill()
		} else {
			e.Signal(syscall.SIGSTOP)
		}
		said := strings.Count(p.Log(), "etcd is away")
		p.Launch()
		p.Eventually("it waits", func() (bool, error) { return strings.Count(p.Log(), "etcd is away") > said+1, nil })
		back()
		p.Await()
		p.Kill()
	}
	e.Kill()
	line := append([]string{
		"broker", "--set", "node.id=1", "--set", "log.dirs=" + t.TempDir(), "--set", "etcd.endpoints=" + e.Endpoint(),
		"--set", "initial.broker.registration.timeout.ms=1000",
	}, hasty...)
	if out, code := brokertest.Run(t, line...); code != exitError || !strings.Contains(out, "firn: start metadata: etcd at") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

func ready(p *brokertest.Process) bool {
	ok, _ := p.Ready()
	return ok
}

// members is a group that reads what the rig writes.
type members struct {
	t        *testing.T
	records  atomic.Int64
	assigned atomic.Int64
	revoked  atomic.Int64
	lost     atomic.Int64
	polls    sync.WaitGroup
}

// joinGroup starts two members and waits until each has its share.
func joinGroup(t *testing.T, p *brokertest.Process) *members {
	t.Helper()
	g := &members{t: t}
	ctx, cancel := context.WithCancel(context.Background())
	var holds [2]atomic.Int64
	for i := range holds {
		cl := kafkaClient(t, p, kgo.Dialer(dialPatiently), kgo.ConsumerGroup("steady"), kgo.ConsumeTopics("kill"), kgo.DisableAutoCommit(),
			kgo.HeartbeatInterval(300*time.Millisecond), kgo.SessionTimeout(10*time.Second), kgo.Balancers(kgo.RangeBalancer()),
			kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
				g.assigned.Add(1)
				holds[i].Add(int64(len(m["kill"])))
			}),
			kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
				g.revoked.Add(1)
				holds[i].Add(-int64(len(m["kill"])))
			}),
			kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, m map[string][]int32) {
				g.lost.Add(1)
				holds[i].Add(-int64(len(m["kill"])))
			}))
		g.polls.Go(func() {
			for ctx.Err() == nil {
				g.records.Add(int64(cl.PollFetches(ctx).NumRecords()))
			}
		})
	}
	t.Cleanup(func() { cancel(); g.polls.Wait() })
	desc := kafkaClient(t, p)
	p.Eventually("the group is settled", func() (bool, error) {
		req := kmsg.NewPtrDescribeGroupsRequest()
		req.Groups = []string{"steady"}
		resp, err := req.RequestWith(ctx, desc)
		if err != nil || len(resp.Groups) != 1 {
			return false, err
		}
		const each = killPartitions / int64(len(holds))
		return resp.Groups[0].State == "Stable" && holds[0].Load() == each && holds[1].Load() == each,
			fmt.Errorf("group is %s with %d members", resp.Groups[0].State, len(resp.Groups[0].Members))
	})
	g.assigned.Store(0)
	g.revoked.Store(0)
	g.lost.Store(0)
	return g
}

// dialPatiently waits for a broker that does not listen at the moment. A member that is refused a few times gives its
// partitions up by itself, however well the broker remembers it.
func dialPatiently(ctx context.Context, network, addr string) (net.Conn, error) {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return conn, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// check fails the test if the group has rebalanced since it was settled.
func (g *members) check() {
	g.t.Helper()
	if a, r, l := g.assigned.Load(), g.revoked.Load(), g.lost.Load(); a+r+l != 0 {
		g.t.Errorf("group was shared out anew: assigned %d times, revoked %d, lost %d", a, r, l)
	}
}

// commits commits ever higher offsets of one group, and reads them back.
type commits struct {
	t       *testing.T
	p       *brokertest.Process
	cl      *kgo.Client
	stored  atomic.Int64
	refused atomic.Int64
	mu      sync.Mutex
	seen    map[string]int
	cancel  context.CancelFunc
	running sync.WaitGroup
	failed  atomic.Bool
	// restarts says that the broker may be away for a while.
	restarts atomic.Bool
}

func newCommits(t *testing.T, p *brokertest.Process) *commits {
	t.Helper()
	c := &commits{t: t, p: p, cl: kafkaClient(t, p, kgo.MaxVersions(kversion.V3_9_0())), seen: map[string]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	t.Cleanup(c.stop)
	c.running.Go(func() { c.run(ctx) })
	return c
}

func (c *commits) stop() { c.cancel(); c.running.Wait() }

func (c *commits) await(what string, ok func() bool) {
	c.t.Helper()
	c.p.Eventually(what, func() (bool, error) { return ok() || c.failed.Load(), fmt.Errorf("answers: %v", c.codes()) })
	if c.failed.Load() {
		c.t.FailNow()
	}
}

// retriable are the answers to a commit or a look at one that clients try again after.
var retriable = []*kerr.Error{kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.RequestTimedOut}

func (c *commits) note(answer string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[answer]++
}

func (c *commits) codes() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprint(c.seen)
}

// lineBroke reports whether an error is not one that a broker answered with.
func lineBroke(err error) bool {
	var answer *kerr.Error
	return !errors.As(err, &answer)
}

func (c *commits) run(ctx context.Context) {
	stored := int64(-1)
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for next := int64(1); ctx.Err() == nil; next++ {
		<-pace.C
		err := c.commit(ctx, next)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err == nil:
			stored = next
			c.stored.Add(1)
		case slices.ContainsFunc(retriable, func(k *kerr.Error) bool { return err == k }), c.restarts.Load() && lineBroke(err):
			c.refused.Add(1)
			c.note(err.Error())
		default:
			c.failed.Store(true)
			c.t.Errorf("commit of %d: %v", next, err)
			return
		}
		at, err := c.committed(ctx)
		if ctx.Err() != nil {
			return
		}
		// A refused commit may have been stored.
		if err == nil && (at < stored || at > next) {
			c.failed.Store(true)
			c.t.Errorf("committed offset is %d, acknowledged was %d, tried %d", at, stored, next)
			return
		}
	}
}

// commit tries once.
func (c *commits) commit(ctx context.Context, offset int64) error {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = "alone", -1
	rt, rp := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
	rt.Topic, rp.Offset = "kill", offset
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := c.cl.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
}

// committed reads the offset back, once.
func (c *commits) committed(ctx context.Context) (int64, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	g, rt := kmsg.NewOffsetFetchRequestGroup(), kmsg.NewOffsetFetchRequestGroupTopic()
	g.Group, rt.Topic, rt.Partitions = "alone", "kill", []int32{0}
	g.Topics = append(g.Topics, rt)
	req.Groups = append(req.Groups, g)
	resp, err := c.cl.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		return 0, err
	}
	got := resp.(*kmsg.OffsetFetchResponse).Groups[0]
	if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
		return 0, err
	}
	return got.Topics[0].Partitions[0].Offset, kerr.ErrorForCode(got.Topics[0].Partitions[0].ErrorCode)
}
