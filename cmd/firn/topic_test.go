package main

import (
	"encoding/json"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestTopicLife(t *testing.T) {
	_, addr := fakeCluster(t, kfake.DefaultNumPartitions(4))
	steps := []struct {
		args []string
		code int
		want string // in the output, or the error
	}{
		{[]string{"topic", "create", "logs", "--partitions", "3", "--config", "retention.ms=5000"}, 0, "created logs with 3 partitions\n"},
		{[]string{"topic", "create", "one", "--partitions", "1"}, 0, "created one with 1 partition\n"},
		{[]string{"topic", "create", "dflt"}, 0, "created dflt with 4 partitions\n"},
		{[]string{"topic", "create", "logs"}, 1, "create topic logs: "},
		{[]string{"topic", "create", "logs", "--if-not-exists"}, 0, "logs exists\n"},
		{[]string{"topic", "describe", "logs"}, 0, "retention.ms = 5000\n"},
		{[]string{"topic", "alter", "logs", "--config", "retention.ms=6000", "--partitions", "5"}, 0, "logs has 5 partitions\n"},
		{[]string{"topic", "describe", "logs"}, 0, "retention.ms = 6000\n"},
		{[]string{"topic", "alter", "logs", "--delete-config", "retention.ms"}, 0, "changed the settings of logs\n"},
		{[]string{"topic", "alter", "logs", "--partitions", "2"}, 1, "add partitions to logs: "},
		{[]string{"topic", "alter", "nosuch", "--config", "retention.ms=1"}, 1, "alter topic nosuch: "},
		{[]string{"topic", "describe", "nosuch"}, 1, "describe topic nosuch: there is no such topic (UNKNOWN_TOPIC_OR_PARTITION)"},
		{[]string{"topic", "delete", "one", "nosuch"}, 1, "delete topic nosuch: "},
		{[]string{"topic", "delete", "one", "--if-exists"}, 0, "one does not exist\n"},
		{[]string{"topic", "delete", "dflt"}, 0, "deleted dflt\n"},
	}
	for _, s := range steps {
		r := firn(t, addr, "", s.args...)
		text := r.out
		if s.code != 0 {
			text = r.err
		}
		if r.code != s.code || !strings.Contains(text, s.want) {
			t.Fatalf("firn %q: exit code %d, out %q, err %q, want %d and %q", s.args, r.code, r.out, r.err, s.code, s.want)
		}
	}
	if out := firn(t, addr, "", "topic", "describe", "logs").ok(t); strings.Contains(out, "retention.ms") {
		t.Errorf("the setting is still there: %q", out)
	}
	var list []topicLine
	if err := json.Unmarshal([]byte(firn(t, addr, "", "topic", "list", "--json").ok(t)), &list); err != nil {
		t.Fatal(err)
	}
	want := []topicLine{{Name: "logs", Partitions: 5, Replicas: 1}}
	if diff := cmp.Diff(want, list, cmpopts.IgnoreFields(topicLine{}, "ID")); diff != "" || len(list[0].ID) != 22 {
		t.Errorf("list (-want +got):\n%s%+v", diff, list)
	}
}

func TestTopicListPattern(t *testing.T) {
	_, addr := fakeCluster(t, kfake.SeedTopics(1, "a.x", "a.y", "b"))
	out := firn(t, addr, "", "topic", "list", "a.*").ok(t)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "NAME ") || !strings.HasPrefix(lines[1], "a.x ") || !strings.HasPrefix(lines[2], "a.y ") {
		t.Errorf("got %q", out)
	}
	if out := firn(t, addr, "", "topic", "list", "c", "--json").ok(t); out != "[]\n" {
		t.Errorf("an empty list is %q", out)
	}
}

func TestTopicDescribeJSON(t *testing.T) {
	_, addr := fakeCluster(t, kfake.SeedTopics(2, "logs"))
	firn(t, addr, "a\nb\nc\n", "produce", "logs", "--partition", "1").ok(t)
	var list []describedTopic
	if err := json.Unmarshal([]byte(firn(t, addr, "", "topic", "describe", "logs", "--json").ok(t)), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Name != "logs" || len(list[0].Partitions) != 2 {
		t.Fatalf("got %+v", list)
	}
	if p := list[0].Partitions[1]; p.Start != 0 || p.End != 3 || p.Partition != 1 || len(p.Replicas) != 1 || len(p.ISR) != 1 {
		t.Errorf("partition is %+v", p)
	}
}

// What is asked for beside something that is not there is shown, and that is an error all the same.
func TestDescribeBesideWhatIsNotThere(t *testing.T) {
	_, addr := fakeCluster(t, kfake.SeedTopics(1, "logs"))
	firn(t, addr, "a\n", "produce", "logs").ok(t)
	firn(t, addr, "", "consume", "logs", "--group", "readers", "-e").ok(t)
	for _, asJSON := range []string{"--json=false", "--json"} {
		r := firn(t, addr, "", "topic", "describe", "nosuch", "logs", asJSON)
		r.fails(t, exitError, "describe topic nosuch: there is no such topic")
		if !strings.Contains(r.out, "logs") {
			t.Errorf("got %q", r.out)
		}
		r = firn(t, addr, "", "group", "describe", "nobody", "readers", asJSON)
		r.fails(t, exitError, "describe group nobody: there is no such group")
		if !strings.Contains(r.out, "readers") {
			t.Errorf("got %q", r.out)
		}
	}
}

// A partition that nobody leads shows as such, beside those that somebody leads.
func TestTopicDescribeWithoutALeader(t *testing.T) {
	c, addr := fakeCluster(t, kfake.SeedTopics(2, "logs"))
	firn(t, addr, "a\nb\nc\n", "produce", "logs", "--partition", "1").ok(t)
	loseLeader(t, c, addr, "logs", 0)
	out := firn(t, addr, "", "topic", "describe", "logs").ok(t)
	lines := strings.Split(out, "\n")
	if len(lines) < 4 || !strings.Contains(lines[2], "LEADER_NOT_AVAILABLE") || strings.Join(strings.Fields(lines[3])[5:], " ") != "0 3 -" {
		t.Errorf("got\n%s", out)
	}
}

// loseLeader has the cluster say of one of a topic's two partitions that nobody leads it, until found is called.
func loseLeader(t *testing.T, c *kfake.Cluster, addr, name string, partition int32) (found func()) {
	t.Helper()
	var led atomic.Bool
	host, text, err := net.SplitHostPort(addr)
	port, errPort := strconv.Atoi(text)
	if err := errors.Join(err, errPort); err != nil {
		t.Fatal(err)
	}
	c.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if led.Load() {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		b := kmsg.NewMetadataResponseBroker()
		b.Host, b.Port = host, int32(port)
		resp.Brokers = append(resp.Brokers, b)
		rt := kmsg.NewMetadataResponseTopic()
		rt.Topic, rt.TopicID = &name, c.TopicInfo(name).TopicID
		for n := range int32(2) {
			rp := kmsg.NewMetadataResponseTopicPartition()
			rp.Partition, rp.LeaderEpoch, rp.Replicas, rp.ISR = n, 0, []int32{0}, []int32{0}
			if n == partition {
				rp.Leader, rp.ErrorCode, rp.ISR = -1, kerr.LeaderNotAvailable.Code, nil
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
	return func() { led.Store(true) }
}

// A list of brokers is a list for programs, too, where there is none on it.
func TestTopicReassignJSON(t *testing.T) {
	c, addr := fakeCluster(t, kfake.SeedTopics(1, "logs"))
	c.ControlKey(int16(kmsg.ListPartitionReassignments), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := req.ResponseKind().(*kmsg.ListPartitionReassignmentsResponse)
		rt := kmsg.NewListPartitionReassignmentsResponseTopic()
		rt.Topic = "logs"
		rp := kmsg.NewListPartitionReassignmentsResponseTopicPartition()
		rp.Replicas, rp.AddingReplicas = []int32{0, 1}, []int32{1}
		rt.Partitions = append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
	var got []map[string]any
	if err := json.Unmarshal([]byte(firn(t, addr, "", "topic", "reassign", "logs", "--json").ok(t)), &got); err != nil {
		t.Fatal(err)
	}
	want := []map[string]any{{"topic": "logs", "partition": 0.0, "replicas": []any{0.0, 1.0}, "adding": []any{1.0}, "removing": []any{}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A reassignment that is refused leaves no throttle behind, which would hold back what has to catch up later.
func TestRefusedReassignmentLeavesNoThrottle(t *testing.T) {
	c, addr := fakeCluster(t, kfake.SeedTopics(1, "logs"))
	set, changes := map[string]string{}, 0
	c.ControlKey(int16(kmsg.IncrementalAlterConfigs), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		r := req.(*kmsg.IncrementalAlterConfigsRequest)
		resp := r.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
		for _, res := range r.Resources {
			for _, cfg := range res.Configs {
				changes++
				if key := res.ResourceName + " " + cfg.Name; cfg.Value != nil {
					set[key] = *cfg.Value
				} else {
					delete(set, key)
				}
			}
			rr := kmsg.NewIncrementalAlterConfigsResponseResource()
			rr.ResourceType, rr.ResourceName = res.ResourceType, res.ResourceName
			resp.Resources = append(resp.Resources, rr)
		}
		return resp, nil, true
	})
	c.ControlKey(int16(kmsg.AlterPartitionAssignments), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := req.ResponseKind().(*kmsg.AlterPartitionAssignmentsResponse)
		rt := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		rt.Topic = "logs"
		rp := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
		rp.ErrorCode = kerr.InvalidReplicaAssignment.Code
		rt.Partitions = append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
	for _, replicas := range []string{"0=0", "0=0,9"} { // there is no broker 9
		r := firn(t, addr, "", "topic", "reassign", "logs", "--assign", replicas, "--throttle", "1MiB")
		if r.code != exitError || len(set) > 0 || changes == 0 {
			t.Errorf("--assign %s: exit code %d, %q, %d changes leave %v", replicas, r.code, r.err, changes, set)
		}
		changes = 0
	}
}

// A broker's own words about a setting are shown where it matters.
func TestTopicDescribeShowsDocumentation(t *testing.T) {
	c, addr := fakeCluster(t, kfake.SeedTopics(1, "logs"))
	c.ControlKey(int16(kmsg.DescribeConfigs), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		r := req.(*kmsg.DescribeConfigsRequest)
		resp := r.ResponseKind().(*kmsg.DescribeConfigsResponse)
		res := kmsg.NewDescribeConfigsResponseResource()
		res.ResourceType, res.ResourceName = r.Resources[0].ResourceType, r.Resources[0].ResourceName
		for _, s := range []struct {
			name, value, doc string
			source           kmsg.ConfigSource
		}{
			{"retention.ms", "1", "How long.", kmsg.ConfigSourceDynamicTopicConfig},
			{"cleanup.policy", "compact", "Kept whole.", kmsg.ConfigSourceDynamicTopicConfig},
			{"segment.ms", "2", "How old.", kmsg.ConfigSourceDefaultConfig},
		} {
			cfg := kmsg.NewDescribeConfigsResponseResourceConfig()
			cfg.Name, cfg.Value, cfg.Source = s.name, &s.value, s.source
			if r.IncludeDocumentation {
				cfg.Documentation = &s.doc
			}
			res.Configs = append(res.Configs, cfg)
		}
		resp.Resources = append(resp.Resources, res)
		return resp, nil, true
	})
	out := firn(t, addr, "", "topic", "describe", "logs").ok(t)
	if !strings.Contains(out, "  cleanup.policy = compact\n      Kept whole.\n  retention.ms = 1\nPARTITION") {
		t.Errorf("got %q", out)
	}
	out = firn(t, addr, "", "topic", "describe", "logs", "--all").ok(t)
	if !strings.Contains(out, "  segment.ms = 2  (default_config)\n      How old.\n") {
		t.Errorf("got %q", out)
	}
}
