package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/brokertest"
	"firn/broker/brokertest/clustertest"
	"firn/broker/console"
)

func TestSteeringCalledWrongly(t *testing.T) {
	for args, want := range map[string]string{
		"broker describe":                             "missing one BROKER",
		"broker describe x":                           `BROKER "x": want a number`,
		"broker decommission -- -1":                   `BROKER "-1": want a number`,
		"topic reassign a --assign 0=1,x":             `--assign "0=1,x": want PARTITION=BROKER,... in numbers`,
		"topic reassign a --assign 0":                 `--assign "0": want KEY=VALUE`,
		"topic reassign a --assign 0=1 --assign 0=2":  "--assign names partition 0 twice",
		"topic reassign a --assign 0=1 --cancel":      "--cancel and --assign exclude each other",
		"topic reassign a --throttle 0":               "--throttle takes a number of bytes above 0",
		"topic reassign a --throttle 1 --no-throttle": "and excludes --no-throttle",
		"cluster status x":                            `unexpected argument "x"`,
		"cluster stat":                                `firn cluster has no command "stat", did you mean status?`,
	} {
		firn(t, "", "", strings.Fields(args)...).fails(t, exitUsage, want)
	}
}

// Each thing that is not well is named, and what only consoles tell is added up.
func TestClusterStatusFindsWhatIsWrong(t *testing.T) {
	lease := "ok"
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			_, _ = fmt.Fprintf(w, "started: ok\nlease: %s\n", lease)
			return
		}
		_ = json.NewEncoder(w).Encode([]console.TierPartition{{LagBytes: 5, LagSeconds: 2, Failures: 3}, {LagBytes: 7, LagSeconds: 1}})
	}))
	defer srv.Close()
	detail := kadm.PartitionDetail{Topic: "t", Leader: -1, Replicas: []int32{1, 2, 3}, ISR: []int32{1}}
	v := clusterView{
		Controller: -1, Brokers: []brokerLine{{ID: 1, Up: true}, {ID: 2}},
		Topics: kadm.TopicDetails{"t": {Topic: "t", Partitions: kadm.PartitionDetails{0: detail}}},
		Moves:  kadm.ListPartitionReassignmentsResponses{"t": {0: {Topic: "t", AddingReplicas: []int32{3}}}},
	}
	v.count()
	s := statusOf(&v)
	addr := strings.TrimPrefix(srv.URL, "http://")
	if err := s.askConsole(t.Context(), addr, &sync.Mutex{}); err != nil {
		t.Error(err)
	}
	lease = "gone"
	if err := s.askConsole(t.Context(), addr, &sync.Mutex{}); err == nil || err.Error() != "gone" {
		t.Error(err)
	}
	s.Etcd[1] = "gone"
	want := "1 broker down, no controller, 1 partition offline, 1 partition under-replicated, 2 failing uploads, 1 broker without etcd"
	if got := strings.Join(s.wrong(), ", "); got != want || s.TierLagBytes != 24 || s.TierLagSeconds != 2 {
		t.Errorf("%s; want %s; %+v", got, want, s)
	}
	v.Topics["t"].Partitions[0] = kadm.PartitionDetail{Topic: "t", Leader: 1, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2}}
	if s := statusOf(&v); len(s.UnderReplicated)+len(s.Offline) != 0 || len(s.Moving) != 1 {
		t.Errorf("a replica that is being added is missed: %+v", s)
	}
}

// A topic is moved between real brokers and one of them leaves for good, while nothing that was acknowledged gets lost.
func TestReplicasMoveBetweenBrokers(t *testing.T) {
	c := startTrio(t, 3)
	addr := strings.Join(c.Bootstrap(), ",")
	status := func() (s clusterStatus) {
		t.Helper()
		out := firn(t, addr, "", "cluster", "status", "--json")
		if err := json.Unmarshal([]byte(out.out), &s); err != nil {
			t.Fatalf("%v in %q, %q", err, out.out, out.err)
		}
		return s
	}
	firn(t, addr, "", "topic", "create", "logs", "--partitions", "2", "--replication-factor", "2", "--config", "min.insync.replicas=2").ok(t)
	brokertest.Eventually(t, "the cluster is well", func() (bool, error) {
		s := status() // but that the consoles, whose ports the system chose, are not found
		well := s.Controller > 0 && s.Partitions == 2 && len(s.UnderReplicated)+len(s.Offline)+len(s.Moving) == 0
		return well && len(s.Brokers) == 3 && len(s.Etcd) == 3 && slices.Equal(s.wrong(), []string{"3 brokers without etcd"}), fmt.Errorf("%+v", s)
	})
	cl, err := kgo.NewClient(c.Seeds(), kgo.DefaultProduceTopic("logs"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	sent := 0
	produce := func() {
		t.Helper()
		for range 50 {
			if err := cl.ProduceSync(context.Background(), kgo.StringRecord(fmt.Sprint(sent))).FirstErr(); err != nil {
				t.Fatal(err)
			}
			sent++
		}
	}
	produce()
	firn(t, addr, "", "topic", "reassign", "logs", "--assign", "0=3,1", "--assign", "1=3,2", "--wait").ok(t)
	produce()
	replicas := func() (all [][]int32) {
		t.Helper()
		topics, err := c.Admin.ListTopics(context.Background(), "logs")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range topics["logs"].Partitions.Sorted() {
			all = append(all, p.Replicas)
		}
		return all
	}
	brokertest.Eventually(t, "the replicas are those asked for", func() (bool, error) {
		got := fmt.Sprint(replicas())
		return got == "[[3 1] [3 2]]", fmt.Errorf("%s", got)
	})
	if out := firn(t, addr, "", "broker", "decommission", "3").ok(t); !strings.Contains(out, "broker 3 has left and can be stopped\n") {
		t.Errorf("decommission: %q", out)
	}
	produce()
	brokertest.Eventually(t, "others have the replicas", func() (bool, error) {
		got := replicas()
		return !slices.ContainsFunc(got, func(r []int32) bool { return slices.Contains(r, 3) || len(r) != 2 }), fmt.Errorf("%v", got)
	})
	firn(t, addr, "", "broker", "decommission", "2").fails(t, exitError, "INVALID_REPLICATION_FACTOR")
	if out := firn(t, addr, "", "broker", "describe", "1").ok(t); strings.Count(out, "logs") != 2 {
		t.Errorf("describe: %q", out)
	}
	got := firn(t, addr, "", "consume", "logs", "--from", "earliest", "--count", fmt.Sprint(sent), "--format", `%v\n`)
	seen := map[string]bool{}
	for v := range strings.FieldsSeq(got.out) {
		seen[v] = true
	}
	if got.code != exitOK || len(seen) != sent {
		t.Errorf("%d of %d records: %d, %s", len(seen), sent, got.code, got.err)
	}
}

// A throttle holds the copying of what is in no other replica yet, can be changed on the way, and leaves no setting behind.
// Each of its halves, the leader's and the follower's, holds alone.
func TestThrottledReassignment(t *testing.T) {
	c := startTrio(t, 3)
	ctx, addr := context.Background(), strings.Join(c.Bootstrap(), ",")
	for _, name := range []string{"t", "free"} { // with more than a follower fetches at once
		firn(t, addr, "", "topic", "create", name, "--partitions", "1", "--replication-factor", "1").ok(t)
		c.AwaitInSync(name, 1)
		cl, err := kgo.NewClient(c.Seeds(), kgo.DefaultProduceTopic(name), kgo.ProducerBatchCompression(kgo.NoCompression()))
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := cl.ProduceSync(ctx, &kgo.Record{Value: make([]byte, 900<<10)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		cl.Close()
	}
	parts, err := c.Partitions("t")
	if err != nil {
		t.Fatal(err)
	}
	from := parts[0].Leader
	to, third := from%3+1, (from+1)%3+1
	is := func(want string) {
		t.Helper()
		brokertest.Eventually(t, "the settings are there", func() (bool, error) {
			got, err := throttles(ctx, c.Cluster, "t", from, to)
			return got == want, errors.Join(err, fmt.Errorf("%s, want %s", got, want))
		})
	}
	const each = " follower.replication.throttled.rate=%[3]d leader.replication.throttled.rate=%[3]d"
	throttled := func(rate int) string {
		return fmt.Sprintf("follower.replication.throttled.replicas=0:%[2]d leader.replication.throttled.replicas=0:%[1]d"+each+each, from, to, rate)
	}
	assign := func(to int32) string { return fmt.Sprintf("0=%d,%d", from, to) }
	// held waits until a broker has begun to copy t. A topic that is not throttled goes the same way meanwhile.
	held := func(broker int32) {
		t.Helper()
		brokertest.Eventually(t, "the copying begins", func() (bool, error) {
			n, err := sizeOf(ctx, c.Cluster, broker, "t")
			return n > 0, err
		})
		for _, id := range []int32{from, broker} {
			firn(t, addr, "", "topic", "reassign", "free", "--assign", fmt.Sprintf("0=%d", id), "--wait").ok(t)
		}
		if n, err := sizeOf(ctx, c.Cluster, broker, "t"); err != nil || n > 2<<20 {
			t.Errorf("%d bytes at 2 a second: %v", n, err)
		}
		if out := firn(t, addr, "", "topic", "reassign", "t").ok(t); !strings.Contains(out, "ADDING") {
			t.Errorf("2.7 MB at 2 bytes a second: %q", out)
		}
	}
	firn(t, addr, "", "topic", "reassign", "t", "--assign", assign(to), "--throttle", "1").ok(t)
	is(throttled(1))
	firn(t, addr, "", "topic", "reassign", "t", "--throttle", "2").ok(t)
	is(throttled(2))
	held(to)
	firn(t, addr, "", "topic", "reassign", "t", "--no-throttle", "--wait").ok(t)
	is("")
	c.AwaitInSync("t", 2)
	firn(t, addr, "", "topic", "reassign", "t", "--assign", assign(third), "--throttle", "50MiB", "--wait").ok(t)
	is("")
	for half, who := range map[string]int32{"leader": from, "follower": to} {
		firn(t, addr, "", "topic", "alter", "t", "--config", half+".replication.throttled.replicas=*").ok(t)
		key, rate := half+".replication.throttled.rate", "2"
		got, err := c.Admin.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &rate}}, who)
		if err := errors.Join(err, got[0].Err); err != nil {
			t.Fatal(err)
		}
		firn(t, addr, "", "topic", "reassign", "t", "--assign", assign(to)).ok(t)
		held(to)
		firn(t, addr, "", "topic", "reassign", "t", "--no-throttle", "--wait").ok(t)
		is("")
		firn(t, addr, "", "topic", "reassign", "t", "--assign", assign(third), "--wait").ok(t)
	}
}

// throttles is what is set for a reassignment's throttle, of a topic and of brokers.
func throttles(ctx context.Context, c *clustertest.Cluster, topic string, brokers ...int32) (string, error) {
	all, err := c.Admin.DescribeTopicConfigs(ctx, topic)
	for _, id := range brokers {
		of, errOf := c.Admin.DescribeBrokerConfigs(ctx, id)
		all, err = append(all, of...), errors.Join(err, errOf)
	}
	var set []string
	for _, r := range all {
		for _, s := range r.Configs {
			if strings.Contains(s.Key, "replication.throttled") && (s.Source == kmsg.ConfigSourceDynamicTopicConfig || s.Source == kmsg.ConfigSourceDynamicBrokerConfig) {
				set = append(set, s.Key+"="+s.MaybeValue())
			}
		}
	}
	return strings.Join(set, " "), err
}

// sizeOf is how many bytes a broker has of a topic.
func sizeOf(ctx context.Context, c *clustertest.Cluster, broker int32, topic string) (int64, error) {
	dirs, err := c.Admin.DescribeBrokerLogDirs(ctx, broker, nil)
	n := int64(0)
	dirs.EachPartition(func(p kadm.DescribedLogDirPartition) {
		if p.Topic == topic {
			n += p.Size
		}
	})
	return n, err
}

// Nobody in sync is left: the partition waits for an operator's word, then goes on with what the other replica has, and the
// replica that comes back follows it. After that its preferred leader leads again on request.
func TestUncleanElectionOnRequest(t *testing.T) {
	c := startTrio(t, 3, "tier.url=file://"+t.TempDir(), "replica.lag.time.max.ms=1500")
	ctx := context.Background()
	elect := func(how kadm.ElectLeadersHow) error {
		var set kadm.TopicsSet
		set.Add("t", 0)
		got, err := c.Admin.ElectLeaders(ctx, how, set)
		return errors.Join(err, got["t"][0].Err)
	}
	addr := strings.Join(c.Bootstrap(), ",")
	brokertest.Eventually(t, "the topic is created", func() (bool, error) {
		r := firn(t, addr, "", "topic", "create", "t", "--if-not-exists", "--partitions", "1", "--replication-factor", "2", "--config", "min.insync.replicas=1")
		return r.code == exitOK, errors.New(r.err)
	})
	firn(t, addr, "", "topic", "reassign", "t", "--assign", "0=1,2", "--wait").ok(t)
	c.AwaitInSync("t", 2)
	brokertest.Eventually(t, "the first leads", func() (bool, error) {
		if err := elect(kadm.ElectPreferredReplica); !errors.Is(err, kerr.ElectionNotNeeded) {
			return err == nil, err
		}
		return true, nil
	})
	produce := func(v string) {
		t.Helper()
		cl, err := kgo.NewClient(c.Seeds(), kgo.DefaultProduceTopic("t"))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		if err := cl.ProduceSync(ctx, kgo.StringRecord(v)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	produce("both have it")
	c.Brokers[1].Kill()
	c.AwaitInSync("t", 1)
	produce("only the first has it")
	c.Brokers[0].Kill()
	c.Brokers[1].Restart()
	brokertest.Eventually(t, "the partition is offline and the controller counts it", func() (bool, error) {
		n := 0.0
		for _, b := range c.Brokers[1:] {
			v, err := b.Metric("firn_controller_offline_partitions")
			if err != nil {
				return false, err
			}
			n += v
		}
		return n == 1, fmt.Errorf("%v are counted", n)
	})
	brokertest.Eventually(t, "an unclean election is made", func() (bool, error) {
		err := elect(kadm.ElectLiveReplica)
		return err == nil, err
	})
	c.Await("t", "the second leads", func(p kadm.PartitionDetail) bool { return p.Leader == 2 })
	produce("after the election")
	c.Brokers[0].Restart()
	c.AwaitInSync("t", 2)
	brokertest.Eventually(t, "the preferred leader is elected", func() (bool, error) {
		err := elect(kadm.ElectPreferredReplica)
		return err == nil, err
	})
	c.Await("t", "the first leads", func(p kadm.PartitionDetail) bool { return p.Leader == 1 })
	got := firn(t, addr, "", "consume", "t", "--count", "2").ok(t)
	if got != "both have it\nafter the election\n" {
		t.Errorf("read %q", got)
	}
}

// A status for which no console could be asked is not one of a healthy cluster.
func TestStatusIsNotHealthyUnasked(t *testing.T) {
	cl, err := kgo.NewClient(kgo.SeedBrokers("127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	s := statusOf(&clusterView{Controller: 1, Brokers: []brokerLine{{ID: 1, Up: true}}})
	if err := s.askConsoles(ctx, cluster{kadm.NewClient(cl), cl}); err == nil {
		t.Errorf("no error, and wrong is %q", s.wrong())
	}
}
