package api

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
)

var update = flag.Bool("update", false, "write the table of versions into README.md")

// kafka41 is the lowest and highest version of Kafka 4.1 for each key that we are to serve.
var kafka41 = map[kmsg.Key][2]int16{
	kmsg.Produce: {3, 13}, kmsg.Fetch: {4, 18}, kmsg.ListOffsets: {1, 10}, kmsg.Metadata: {0, 13},
	kmsg.OffsetCommit: {2, 9}, kmsg.OffsetFetch: {1, 9}, kmsg.FindCoordinator: {0, 6}, kmsg.JoinGroup: {0, 9},
	kmsg.Heartbeat: {0, 4}, kmsg.LeaveGroup: {0, 5}, kmsg.SyncGroup: {0, 5}, kmsg.DescribeGroups: {0, 6},
	kmsg.ListGroups: {0, 5}, kmsg.ApiVersions: {0, 4}, kmsg.CreateTopics: {2, 7}, kmsg.DeleteTopics: {1, 6},
	kmsg.DeleteRecords: {0, 2}, kmsg.InitProducerID: {0, 5}, kmsg.OffsetForLeaderEpoch: {2, 4},
	kmsg.DescribeACLs: {1, 3}, kmsg.CreateACLs: {1, 3}, kmsg.DeleteACLs: {1, 3},
	kmsg.DescribeConfigs: {1, 4}, kmsg.AlterConfigs: {0, 2}, kmsg.DescribeLogDirs: {1, 4},
	kmsg.CreatePartitions: {0, 3}, kmsg.DeleteGroups: {0, 2}, kmsg.IncrementalAlterConfigs: {0, 1},
	kmsg.OffsetDelete: {0, 0}, kmsg.DescribeCluster: {0, 2}, kmsg.DescribeProducers: {0, 0},
	kmsg.DescribeTopicPartitions: {0, 0}, kmsg.ElectLeaders: {0, 2}, kmsg.AlterPartitionAssignments: {0, 1},
	kmsg.ListPartitionReassignments: {0, 0}, kmsg.UnregisterBroker: {0, 0}, kmsg.Envelope: {0, 0},
}

// Every key we are to serve is served from the versions of Kafka 4.1 up to the newest that the codec
// knows, and all of them can be decoded. A key that stops short of the newest is named here, and its
// header says why.
func TestVersions(t *testing.T) {
	stopsShort := map[kmsg.Key]int16{kmsg.DeleteGroups: 2}
	for _, s := range Versions() {
		want, ok := kafka41[s.Key]
		if !ok {
			t.Errorf("%s is served and not expected", s.Key.Name())
			continue
		}
		if s.Min != want[0] || s.Max < want[1] {
			t.Errorf("%s %d-%d is less than Kafka's %d-%d", s.Key.Name(), s.Min, s.Max, want[0], want[1])
		}
		newest := s.Key.Request().MaxVersion()
		if short, named := stopsShort[s.Key]; s.Max != newest && (!named || short != s.Max) {
			t.Errorf("%s ends at %d, the newest is %d", s.Key.Name(), s.Max, newest)
		}
		for v := s.Min; v <= s.Max; v++ {
			if !wire.Decodable(s.Key.Int16(), v) {
				t.Errorf("%s v%d cannot be decoded", s.Key.Name(), v)
			}
		}
	}
	for k := range kafka41 {
		if _, ok := entries[k.Int16()]; !ok {
			t.Errorf("%s is not served", k.Name())
		}
	}
}

// librdkafka before 2.1 sends uncompressed to brokers that do not list Produce from 0.
func TestProduceIsListedFromZero(t *testing.T) {
	a := New(Deps{Logger: discardLogger})
	resp := call[*kmsg.ApiVersionsResponse](t, a, kmsg.NewPtrApiVersionsRequest())
	for _, k := range resp.ApiKeys {
		s := entries[k.ApiKey]
		if k.ApiKey == 0 && (k.MinVersion != 0 || k.MaxVersion != 13 || s.min != 3) {
			t.Errorf("Produce is listed from %d to %d and served from %d", k.MinVersion, k.MaxVersion, s.min)
		}
		if k.ApiKey != 0 && k.MinVersion != s.min || k.MaxVersion != s.max {
			t.Errorf("%s is listed from %d to %d and served from %d to %d", s.key.Name(), k.MinVersion, k.MaxVersion, s.min, s.max)
		}
	}
}

// The README's table is the register's. Run with -update to write it.
func TestReadmeListsTheVersions(t *testing.T) {
	const path, begin, end = "../../README.md", "<!-- apis:begin -->\n", "<!-- apis:end -->"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(b), begin)
	table, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the table", path)
	}
	if table == VersionsTable() {
		return
	}
	if !*update {
		t.Fatalf("the table in %s is not the register's: go test ./broker/api -run Readme -update\n%s", path, VersionsTable())
	}
	if err := os.WriteFile(path, fmt.Appendf(nil, "%s%s%s%s%s", head, begin, VersionsTable(), end, tail), 0o644); err != nil {
		t.Fatal(err)
	}
}
