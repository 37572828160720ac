package compat

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firn/broker/brokertest"
	"firn/broker/brokertest/clustertest"
)

// besides has clients for the story of the killed leader alone.
var besides = map[string]maker{}

// mayDouble has the clients without idempotent producers, which may write what they send again once more.
var mayDouble = map[string]bool{"kafka-go": true}

const (
	killedPartitions = 3
	killedRecords    = 1500
	killedGap        = 4 * time.Millisecond // so that some seconds are left when the slowest client has begun
	killedCommits    = 100                  // records between two commits
	killedPause      = 100 * time.Millisecond
)

// A leader is killed, with kill -9, while each client produces to and consumes from a topic of its own that has three
// replicas. No producer or consumer has an error of it: every record is acknowledged, is read once and in order, and members of
// groups miss nothing.
func TestLeaderKilled(t *testing.T) {
	ctx := storyContext(t)
	c := clustertest.Start(t, clustertest.Options{Settings: []string{"group.initial.rebalance.delay.ms=0"}})
	all := startWitnesses(ctx, t, c, func(name string) string { return name })
	victim := c.Leader(all[0].name, 0)
	all.workWhileKilled(ctx, t, c, func() { c.Brokers[victim-1].Kill() })
	c.Brokers[victim-1].Restart()
	all.judge(ctx, t, c)
}

// steadfast are the clients whose members stay what they are while their coordinator is lost and found. Those of the others
// may join again by their own choice.
var steadfast = []string{"java", "confluent-kafka-go", "confluent-kafka-python", "kcat"}

// The coordinator of each client's group is killed, with kill -9, while its member consumes and commits. Its application
// notices nothing: the member is who it was to the next coordinator, gets no record again, and has no error of a commit.
func TestCoordinatorKilled(t *testing.T) {
	ctx := storyContext(t)
	c := clustertest.Start(t, clustertest.Options{Settings: []string{"group.initial.rebalance.delay.ms=0"}})
	victim := coordinators(ctx, t, c, "any")["any"]
	all := startWitnesses(ctx, t, c, func(name string) string {
		candidates := make([]string, 50)
		for i := range candidates {
			candidates[i] = fmt.Sprintf("%s-%d", name, i)
		}
		at := coordinators(ctx, t, c, candidates...)
		return candidates[slices.IndexFunc(candidates, func(g string) bool { return at[g] == victim })]
	}, "franz-go") // which tells the application when it is refused where it looks for a coordinator; cmd/firn has it in such a group
	was := map[string][]string{}
	all.workWhileKilled(ctx, t, c, func() {
		for _, w := range all {
			was[w.name] = memberIDs(ctx, t, c, w.group)
		}
		c.Brokers[victim-1].Kill()
	})
	c.Brokers[victim-1].Restart()
	for _, w := range all {
		is := memberIDs(ctx, t, c, w.group)
		t.Logf("%s: the group was %v and is %v", w.name, was[w.name], is)
		if slices.Contains(steadfast, w.name) && (len(is) != 1 || !slices.Equal(is, was[w.name]) || w.again > 0 || w.refused > 0) {
			t.Errorf("%s: %d records were given again, %d commits refused", w.name, w.again, w.refused)
		}
	}
	all.judge(ctx, t, c)
}

// coordinators is who coordinates groups.
func coordinators(ctx context.Context, t *testing.T, c *clustertest.Cluster, groups ...string) map[string]int32 {
	t.Helper()
	at := map[string]int32{}
	brokertest.Eventually(t, "each group has a coordinator", func() (bool, error) {
		found := c.Admin.FindGroupCoordinators(ctx, groups...)
		for _, f := range found {
			at[f.Name] = f.NodeID
		}
		return found.Error() == nil, found.Error()
	})
	return at
}

// memberIDs are the members of a group that is stable.
func memberIDs(ctx context.Context, t *testing.T, c *clustertest.Cluster, group string) (ids []string) {
	t.Helper()
	brokertest.Eventually(t, group+" is stable", func() (bool, error) {
		got, err := c.Admin.DescribeGroups(ctx, group)
		if err == nil {
			err = got.Error()
		}
		ids = nil
		for _, m := range got[group].Members {
			ids = append(ids, m.MemberID)
		}
		return err == nil && got[group].State == "Stable", err
	})
	return ids
}

// startWitnesses has each client but some join a group, to be named, that consumes a topic of its own.
func startWitnesses(ctx context.Context, t *testing.T, c *clustertest.Cluster, group func(name string) string, but ...string) (all witnesses) {
	t.Helper()
	clients := maps.Clone(makers)
	maps.Copy(clients, besides)
	for _, name := range but {
		delete(clients, name)
	}
	for _, name := range slices.Sorted(maps.Keys(clients)) {
		c.Create(name, killedPartitions, map[string]string{"min.insync.replicas": "2", "retention.ms": "-1"})
		w := &witness{name: name, group: group(name), records: killedStory(), at: map[int32]int64{}, seen: map[string]bool{}}
		w.Client = clients[name](t, strings.Join(c.Bootstrap(), ","))
		t.Cleanup(w.Close)
		var err error
		if w.member, err = w.Join(ctx, w.group, name); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, w)
	}
	t.Cleanup(func() { _ = all.together(func(w *witness) error { w.member.Leave(); return nil }) })
	return all
}

// workWhileKilled has all produce and consume what there is to be, and calls kill in the middle of it.
func (all witnesses) workWhileKilled(ctx context.Context, t *testing.T, c *clustertest.Cluster, kill func()) {
	t.Helper()
	// The first records show that whoever starts slowly has started.
	if err := all.together(func(w *witness) error { return w.work(ctx, w.records[:killedPartitions], 0) }); err != nil {
		t.Fatal(err)
	}
	worked := make(chan error, 1)
	go func() {
		worked <- all.together(func(w *witness) error { return w.work(ctx, w.records[killedPartitions:], killedGap) })
	}()
	// It is time once every client is at work; on a busy machine, once the fastest is about to end.
	brokertest.Eventually(t, "clients are at work", func() (bool, error) {
		slowest, fastest := int64(killedRecords), int64(0)
		for _, w := range all {
			n, err := ends(ctx, c, w.name)
			if err != nil {
				return false, err
			}
			slowest, fastest = min(slowest, sum(n)), max(fastest, sum(n))
		}
		return slowest > killedRecords/10 || fastest > killedRecords/2 || len(worked) > 0, fmt.Errorf("from %d to %d records", slowest, fastest)
	})
	kill()
	killed := time.Now()
	if err := <-worked; err != nil {
		t.Fatal(err)
	}
	for _, w := range all {
		w.report(t, killed)
	}
	if !slices.ContainsFunc(all, func(w *witness) bool { return w.produced.After(killed) }) {
		t.Error("nobody was producing any more when the broker was killed")
	}
}

// judge looks whether each topic has every record, in every copy.
func (all witnesses) judge(ctx context.Context, t *testing.T, c *clustertest.Cluster) {
	t.Helper()
	for _, w := range all {
		c.AwaitInSync(w.name, 3)
		c.CheckReplicas(w.name)
	}
	if err := all.together(func(w *witness) error { return w.readBack(ctx, c) }); err != nil {
		t.Fatal(err)
	}
}

// killedStory is what every client sends.
func killedStory() []Record {
	rs := make([]Record, killedRecords)
	for i := range rs {
		rs[i] = make1(int32(i%killedPartitions), i)
		rs[i].Offset = int64(i / killedPartitions)
	}
	return rs
}

// witness is a client that lives through the death of a broker, with a producer and a member of a group.
type witness struct {
	Client
	name    string // and that of its topic
	group   string
	member  Member
	records []Record

	at       map[int32]int64 // by partition, the offset after what the member got last
	seen     map[string]bool // values
	again    int             // records that the member got once more
	refused  int             // commits that came to nothing at first
	produced time.Time
	slowest  time.Duration // between two records that the member got
}

type witnesses []*witness

// together lets all do something at the same time.
func (all witnesses) together(do func(*witness) error) error {
	errs := make([]error, len(all))
	var running sync.WaitGroup
	for i, w := range all {
		running.Go(func() {
			if err := do(w); err != nil {
				errs[i] = fmt.Errorf("%s: %w", w.name, err)
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// work produces records and consumes until the member has got all of them.
func (w *witness) work(ctx context.Context, records []Record, gap time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	produced := make(chan error, 1)
	go func() {
		err := w.Produce(ctx, w.name, records, gap)
		w.produced = time.Now()
		if err != nil {
			cancel(err) // or the consumer would wait for ever
		}
		produced <- err
	}()
	err := w.consume(ctx, len(w.seen)+len(records))
	if err == nil {
		err = w.commit(ctx)
	}
	return errors.Join(err, <-produced)
}

// consume reads until the member has got so many values. Each record must follow the one before it, or be one that it got
// already: a group that is balanced anew goes back to what was committed.
func (w *witness) consume(ctx context.Context, values int) error {
	last := time.Now()
	for n := 1; len(w.seen) < values; n++ {
		r, err := w.member.Next(ctx)
		if err != nil {
			return fmt.Errorf("after %d of %d records: %w", len(w.seen), values, err)
		}
		switch at := w.at[r.Partition]; {
		case r.Offset > at:
			return fmt.Errorf("partition %d goes on at %d, after %d", r.Partition, r.Offset, at-1)
		case r.Offset < at:
			w.again++
		}
		w.at[r.Partition] = r.Offset + 1
		w.seen[r.Value] = true
		w.slowest = max(w.slowest, time.Since(last))
		last = time.Now()
		if n%killedCommits == 0 {
			if err := w.commit(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// commit commits what the member got. The coordinator may be gone, too, and clients look for the next one for some time only,
// some for tenths of a second: then it is for the application to commit again.
func (w *witness) commit(ctx context.Context) error {
	for {
		err := w.member.Commit(ctx)
		if err == nil {
			return nil
		}
		w.refused++
		select {
		case <-time.After(killedPause):
		case <-ctx.Done():
			return fmt.Errorf("commit: %w", err)
		}
	}
}

func (w *witness) report(t *testing.T, killed time.Time) {
	t.Helper()
	t.Logf("%s: all acknowledged %v after the kill; its consumer paused %v at most, got %d records once more and had %d commits refused",
		w.name, w.produced.Sub(killed).Round(time.Millisecond), w.slowest.Round(time.Millisecond), w.again, w.refused)
}

// readBack reads the whole topic: it must have every record once and in order.
func (w *witness) readBack(ctx context.Context, c *clustertest.Cluster) error {
	n, err := ends(ctx, c, w.name)
	if err != nil {
		return err
	}
	for p := range int32(killedPartitions) {
		got, err := w.Read(ctx, w.name, p, 0, int(n[p]))
		if err != nil {
			return err
		}
		if mayDouble[w.name] {
			got = firsts(got)
		}
		want := slices.DeleteFunc(slices.Clone(w.records), func(r Record) bool { return r.Partition != p })
		if len(got) != len(want) {
			return fmt.Errorf("partition %d has %d records, want %d", p, len(got), len(want))
		}
		for i := range got {
			if g, w := got[i], want[i]; g.Offset != w.Offset || g.Partition != w.Partition || g.Key != w.Key || g.Value != w.Value {
				return fmt.Errorf("record %d of partition %d is %+v, want %+v", i, p, g, w)
			}
		}
	}
	return nil
}

// firsts leaves out the records that were there before, and numbers the rest.
func firsts(rs []Record) []Record {
	seen := map[string]bool{}
	var out []Record
	for _, r := range rs {
		if !seen[r.Value] {
			seen[r.Value] = true
			r.Offset = int64(len(out))
			out = append(out, r)
		}
	}
	return out
}

// ends is where each partition of a topic ends.
func ends(ctx context.Context, c *clustertest.Cluster, topic string) ([]int64, error) {
	listed, err := c.Admin.ListCommittedOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	out := make([]int64, killedPartitions)
	for p := range out {
		o, _ := listed.Lookup(topic, int32(p))
		if o.Err != nil {
			return nil, o.Err
		}
		out[p] = o.Offset
	}
	return out, nil
}

func sum(ns []int64) (n int64) {
	for _, x := range ns {
		n += x
	}
	return n
}
