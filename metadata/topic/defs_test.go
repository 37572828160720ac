package topic

import (
	"slices"
	"strings"
	"testing"
)

// kafka41 is every public topic setting of Kafka 4.1.0, as its own table prints them.
var kafka41 = strings.Fields(`cleanup.policy compression.gzip.level compression.lz4.level compression.type
	compression.zstd.level delete.retention.ms file.delete.delay.ms flush.messages flush.ms
	follower.replication.throttled.replicas index.interval.bytes leader.replication.throttled.replicas
	local.retention.bytes local.retention.ms max.compaction.lag.ms max.message.bytes
	message.timestamp.after.max.ms message.timestamp.before.max.ms message.timestamp.type
	min.cleanable.dirty.ratio min.compaction.lag.ms min.insync.replicas preallocate remote.log.copy.disable
	remote.log.delete.on.disable remote.storage.enable retention.bytes retention.ms segment.bytes
	segment.index.bytes segment.jitter.ms segment.ms unclean.leader.election.enable`)

func TestDefsAreWhole(t *testing.T) {
	var names []string
	for i := range Defs {
		d := &Defs[i]
		names = append(names, d.Name)
		for _, tiered := range []bool{false, true} {
			if err := d.Check(d.DefaultFor(tiered)); err != nil {
				t.Errorf("default: %v", err)
			}
		}
		if d.Type == 0 || d.Allowed == "" || !strings.HasSuffix(d.Doc, ".") {
			t.Errorf("%s lacks a type, the words for its values or a sentence", d.Name)
		}
		if !d.Effect && !strings.Contains(d.Doc, "ccepted without effect") {
			t.Errorf("%s has no effect, but its text does not say so", d.Name)
		}
		if Lookup(d.Name) != d {
			t.Errorf("Lookup(%s) finds another", d.Name)
		}
	}
	if !slices.IsSorted(names) {
		t.Error("Defs is not sorted")
	}
	for _, n := range kafka41 {
		if Lookup(n) == nil {
			t.Errorf("Kafka's %s is missing", n)
		}
	}
	if want := len(kafka41) + 2; len(Defs) != want {
		t.Errorf("%d settings, want Kafka's and two of ours: %d", len(Defs), want)
	}
	if Lookup("no.such") != nil {
		t.Error("Lookup finds what is not there")
	}
}

func TestThrottledReplicas(t *testing.T) {
	for _, v := range []struct {
		set               string
		partition, broker int32
		want              bool
	}{
		{"", 1, 1, false},
		{"*", 1, 1, true},
		{"1:1", 1, 1, true},
		{"1:1", 1, 11, false},
		{"1:1", 11, 1, false},
		{"0:2, 01:3", 1, 3, true},
		{"0:2,1:3", 0, 3, false},
	} {
		c, err := ParseConfig(map[string]string{"leader.replication.throttled.replicas": v.set}, Defaults{})
		if err != nil || c.ThrottledLeaders.Has(v.partition, v.broker) != v.want {
			t.Errorf("%+v: %v", v, err)
		}
	}
}

func TestDefCheck(t *testing.T) {
	tests := []struct {
		key       string
		good, bad []string
	}{
		{"cleanup.policy", []string{"delete", "compact", "compact,delete", " delete , compact ", ""}, []string{"Delete", "delete,", "keep"}},
		{"compression.gzip.level", []string{"-1", "1", "9"}, []string{"0", "10", "-2", ""}},
		{"compression.lz4.level", []string{"1", "17"}, []string{"0", "18"}},
		{"compression.type", []string{"producer", "uncompressed", "zstd"}, []string{"none", "LZ4", ""}},
		{"compression.zstd.level", []string{"-131072", "22"}, []string{"23"}},
		{"flush.messages", []string{"1", "9223372036854775807"}, []string{"0", "9223372036854775808", "many"}},
		{"follower.replication.throttled.replicas", []string{"", "*", "0:1", "0:1, 2:3"}, []string{"0", "0:1,", "a:b", "-1:2", "*,0:1"}},
		{"local.retention.ms", []string{"-2", "-1", "0"}, []string{"-3", "1.5", ""}},
		{"max.message.bytes", []string{"0", "2147483647"}, []string{"-1", "2147483648"}},
		{"message.timestamp.type", []string{"CreateTime", "LogAppendTime"}, []string{"createtime"}},
		{"min.cleanable.dirty.ratio", []string{"0", "1", "0.25"}, []string{"1.1", "-0.1", "NaN"}},
		{"preallocate", []string{"true", "FALSE"}, []string{"yes", "1", ""}},
		{"segment.bytes", []string{"4096", "1073741824"}, []string{"4095"}},
		{"segment.ms", []string{"1"}, []string{"0"}},
	}
	for _, tt := range tests {
		d := Lookup(tt.key)
		for _, v := range tt.good {
			if err := d.Check(v); err != nil {
				t.Errorf("%v", err)
			}
		}
		for _, v := range tt.bad {
			err := d.Check(v)
			if err == nil {
				t.Errorf("%s=%q is accepted", tt.key, v)
				continue
			}
			for _, part := range []string{tt.key, `"` + v + `"`, d.Allowed} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not name %s", err, part)
				}
			}
		}
	}
}
