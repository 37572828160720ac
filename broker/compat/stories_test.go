package compat

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest"
)

// maker makes a client for the brokers at bootstrap, which are separated by commas.
type maker func(t *testing.T, bootstrap string) Client

// makers has each client. Files of clients that need more than Go add theirs.
var makers = map[string]maker{}

func forEach(t *testing.T, story func(t *testing.T, f *brokertest.Process, c Client)) {
	names := make([]string, 0, len(makers))
	for n := range makers {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			f := brokertest.Start(t, "--set", "group.initial.rebalance.delay.ms=0", "--set", "log.retention.check.interval.ms=200")
			c := makers[name](t, f.Bootstrap)
			defer c.Close()
			story(t, f, c)
		})
	}
}

func storyContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func create(t *testing.T, f *brokertest.Process, topic string, partitions int32, settings map[string]string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(f.Bootstrap))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	configs := map[string]*string{}
	for k, v := range settings {
		configs[k] = &v
	}
	resp, err := kadm.NewClient(cl).CreateTopic(storyContext(t), partitions, 1, configs, topic)
	if err != nil || resp.Err != nil {
		t.Fatal(err, resp.Err)
	}
}

// start is a moment in the past, so that timestamps are no matter of the machine's clock.
var start = time.UnixMilli(1_760_000_000_000)

func make1(partition int32, i int) Record {
	return Record{
		Partition: partition, Time: start.Add(time.Duration(i) * time.Second),
		Key: fmt.Sprintf("key-%d", i), Value: fmt.Sprintf("value %d of %d ", i, partition),
	}
}

func check(t *testing.T, got, want []Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range got {
		g, w := got[i], want[i]
		if g.Key != w.Key || g.Value != w.Value || !g.Time.Equal(w.Time) || g.Offset != w.Offset || g.Partition != w.Partition {
			t.Fatalf("record %d is %+v, want %+v", i, g, w)
		}
	}
}

func TestProduceAndConsume(t *testing.T) {
	forEach(t, func(t *testing.T, f *brokertest.Process, c Client) {
		ctx := storyContext(t)
		create(t, f, "story", 3, nil)
		var all []Record
		for i := range 3000 {
			all = append(all, make1(int32(i%3), i))
		}
		if err := c.Produce(ctx, "story", all, 0); err != nil {
			t.Fatal(err)
		}
		for p := range int32(3) {
			var want []Record
			for _, r := range all {
				if r.Partition == p {
					r.Offset = int64(len(want))
					want = append(want, r)
				}
			}
			got, err := c.Read(ctx, "story", p, 0, len(want))
			if err != nil {
				t.Fatal(err)
			}
			check(t, got, want)
			got, err = c.Read(ctx, "story", p, 500, 10)
			if err != nil {
				t.Fatal(err)
			}
			check(t, got, want[500:510])
		}
	})
}

func TestGroupRebalances(t *testing.T) {
	forEach(t, func(t *testing.T, f *brokertest.Process, c Client) {
		ctx := storyContext(t)
		create(t, f, "story", 4, nil)
		one, err := c.Join(ctx, "g", "story")
		if err != nil {
			t.Fatal(err)
		}
		defer one.Leave()
		feed(t, c, 0)
		drain(t, ctx, one, 4) // alone it has all four partitions
		if err := one.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		two, err := c.Join(ctx, "g", "story")
		if err != nil {
			t.Fatal(err)
		}
		// Both must come to read some partitions, and together all of them.
		seen := [2]map[int32]bool{{}, {}}
		heard := make(chan int)
		readCtx, stop := context.WithCancel(ctx)
		for i, m := range []Member{one, two} {
			go func() {
				for {
					r, err := m.Next(readCtx)
					if err != nil {
						heard <- -1
						return
					}
					heard <- i<<8 | int(r.Partition)
				}
			}()
		}
		round, left := 1, 2
		feeder := time.NewTicker(200 * time.Millisecond)
		defer feeder.Stop()
		shared := func() bool {
			return len(seen[0]) > 0 && len(seen[1]) > 0 && len(seen[0])+len(seen[1]) >= 4 && disjoint(seen[0], seen[1])
		}
		for !shared() {
			select {
			case h := <-heard:
				if h < 0 {
					t.Fatal("a member stopped reading", seen)
				}
				who, p := h>>8, int32(h&0xff)
				if seen[1-who][p] { // it moved: what was seen before counts no longer
					seen = [2]map[int32]bool{{}, {}}
				}
				seen[who][p] = true
			case <-feeder.C:
				feed(t, c, round)
				round++
			case <-ctx.Done():
				t.Fatal("partitions were not shared: ", seen)
			}
		}
		stop()
		for left > 0 {
			if h := <-heard; h < 0 {
				left--
			}
		}
		two.Leave()
		drainUntilAll(t, ctx, c, one, round)
	})
}

func disjoint(a, b map[int32]bool) bool {
	for p := range a {
		if b[p] {
			return false
		}
	}
	return true
}

// feed writes one record to each of four partitions.
func feed(t *testing.T, c Client, round int) {
	t.Helper()
	var rs []Record
	for p := range int32(4) {
		rs = append(rs, make1(p, round))
	}
	if err := c.Produce(storyContext(t), "story", rs, 0); err != nil {
		t.Fatal(err)
	}
}

func drain(t *testing.T, ctx context.Context, m Member, n int) []Record {
	t.Helper()
	var rs []Record
	for len(rs) < n {
		r, err := m.Next(ctx)
		if err != nil {
			t.Fatalf("after %d of %d records: %v", len(rs), n, err)
		}
		rs = append(rs, r)
	}
	return rs
}

// drainUntilAll feeds until the one member left reads all four partitions again.
func drainUntilAll(t *testing.T, ctx context.Context, c Client, m Member, round int) {
	t.Helper()
	seen := map[int32]bool{}
	for len(seen) < 4 {
		feed(t, c, round)
		round++
		stepCtx, cancel := context.WithTimeout(ctx, time.Second)
		for len(seen) < 4 {
			r, err := m.Next(stepCtx)
			if err != nil {
				break
			}
			seen[r.Partition] = true
		}
		cancel()
		if ctx.Err() != nil {
			t.Fatal("after the other left, it only reads ", seen)
		}
	}
}

func TestCommitAndResume(t *testing.T) {
	forEach(t, func(t *testing.T, f *brokertest.Process, c Client) {
		ctx := storyContext(t)
		create(t, f, "story", 1, nil)
		var all []Record
		for i := range 100 {
			r := make1(0, i)
			r.Offset = int64(i)
			all = append(all, r)
		}
		if err := c.Produce(ctx, "story", all, 0); err != nil {
			t.Fatal(err)
		}
		m, err := c.Join(ctx, "g", "story")
		if err != nil {
			t.Fatal(err)
		}
		check(t, drain(t, ctx, m, 40), all[:40])
		if err := m.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		m.Leave()
		if m, err = c.Join(ctx, "g", "story"); err != nil {
			t.Fatal(err)
		}
		defer m.Leave()
		check(t, drain(t, ctx, m, 60), all[40:])
	})
}

func TestSeekIntoTheTier(t *testing.T) {
	forEach(t, func(t *testing.T, f *brokertest.Process, c Client) {
		ctx := storyContext(t)
		create(t, f, "story", 1, map[string]string{
			"segment.bytes": "1048576", "local.retention.ms": "1", "tier.max.lag.ms": "1000", "tier.min.bytes": "1", "retention.ms": "-1",
		})
		padding := make([]byte, 2000)
		for i := range padding {
			padding[i] = 'a' + byte(i%26)
		}
		var all []Record
		for i := range 5000 {
			r := make1(0, i)
			r.Value += string(padding)
			r.Offset = int64(i)
			all = append(all, r)
		}
		for part := range slices.Chunk(all, 500) {
			if err := c.Produce(ctx, "story", part, 0); err != nil {
				t.Fatal(err)
			}
		}
		f.Eventually("the first half is in the tier alone", func() (bool, error) {
			ts, err := f.Tiers("story")
			return len(ts) == 1 && ts[0].LocalStart > 2500, err
		})
		got, err := c.Read(ctx, "story", 0, 0, len(all))
		if err != nil {
			t.Fatal(err)
		}
		check(t, got, all)
		for _, i := range []int{0, 1, 777, 2222, 4999} {
			at, err := c.OffsetAt(ctx, "story", 0, start.Add(time.Duration(i)*time.Second-500*time.Millisecond))
			if err != nil || at != int64(i) {
				t.Fatalf("offset at record %d's time: %d, %v", i, at, err)
			}
			got, err := c.Read(ctx, "story", 0, at, 1)
			if err != nil {
				t.Fatal(err)
			}
			check(t, got, all[i:i+1])
		}
	})
}
