package broker

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"firn/metadata/topic"
	"firn/segment"
)

func TestSettingsAreWhole(t *testing.T) {
	c := DefaultConfig()
	var names []string
	for i := range Settings {
		s := &Settings[i]
		names = append(names, s.Name)
		if s.Type == 0 || s.Allowed == "" || !strings.HasSuffix(s.Doc, ".") {
			t.Errorf("%s lacks a type, the words for its values or a sentence", s.Name)
		}
		if KafkaOnly(s.Name) {
			t.Errorf("%s is listed as Kafka's alone", s.Name)
		}
		if LookupSetting(s.Name) != s {
			t.Errorf("LookupSetting(%s) finds another", s.Name)
		}
		if env := envSettings([]string{EnvName(s.Name) + "=x"}); len(env) != 1 || env[0].Key != s.Name {
			t.Errorf("%s does not come back from its variable: %v", s.Name, env)
		}
		v := s.get(&c)
		if v != s.Default {
			t.Errorf("%s: default is written %q and printed %q", s.Name, s.Default, v)
		}
		if v != "" {
			if err := c.Set(s.Name, v, Origin{}); err != nil {
				t.Errorf("what is printed cannot be set: %v", err)
			}
		}
	}
	if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Error("Settings is not sorted or has a name twice")
	}
	for i := range topic.Defs {
		for _, syn := range topic.Defs[i].Synonyms {
			if LookupSetting(syn.Name) == nil {
				t.Errorf("no setting %s for the topic setting %s", syn.Name, topic.Defs[i].Name)
			}
		}
	}
}

func TestDefaultConfig(t *testing.T) {
	want := Config{
		NodeID: -1, ClusterName: "firn", HTTP: "127.0.0.1:9644", MemoryLimit: 1 << 30, SessionTTL: 6 * time.Second, StartTimeout: time.Minute,
		Listeners: []Listener{{"PLAINTEXT", "PLAINTEXT", "", 9092}},
		Network: Network{
			MaxRequestBytes: 100 << 20, QueuedRequestBytes: -1, MaxConnections: 20000, MaxConnectionsPerIP: 1<<31 - 1,
			IdleTimeout: 10 * time.Minute, FetchMaxBytes: 55 << 20, FetchSessions: 1000,
		},
		Topics: Topics{AutoCreate: true, Delete: true, NumPartitions: 1, ReplicationFactor: 1},
		Groups: Groups{
			MinSession: 6 * time.Second, MaxSession: 30 * time.Minute, InitialRebalanceDelay: 3 * time.Second, MaxSize: 1<<31 - 1,
			OffsetsRetention: 7 * 24 * time.Hour, OffsetsCheckInterval: 10 * time.Minute, OffsetMetadataBytes: 4096,
		},
		Log: Log{CheckInterval: 5 * time.Minute, ProducerIDExpiry: 24 * time.Hour, MaxProducerIDs: 1_000_000, ScrubBytesPerSecond: 1 << 20},
		Replication: Replication{
			Fetchers: 1, MaxLag: 30 * time.Second, PartitionBytes: 1 << 20, ResponseBytes: 4<<20 - 64<<10,
			MaxWait: 500 * time.Millisecond, SocketTimeout: 30 * time.Second, Backoff: time.Second, LeaderRate: math.MaxInt64, FollowerRate: math.MaxInt64,
		},
		Balance: Balance{Enable: true, Interval: 5 * time.Minute, Percent: 10},
		Etcd:    Etcd{RequestTimeout: 5 * time.Second},
		Tier:    Tier{CacheBytes: 1 << 30, ReadMemoryBytes: -1, ReadConcurrency: 16, UploadConcurrency: 2, DeleteGrace: 15 * time.Minute, PublishInterval: 6 * time.Hour, CheckInterval: time.Minute, ScrubInterval: 7 * 24 * time.Hour},
		Disk:    segment.DefaultThresholds,
		Logging: Logging{Level: "info", Format: "text"},
	}
	c := DefaultConfig()
	if diff := cmp.Diff(want, c, cmpopts.IgnoreUnexported(Config{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if c.RequestMemory() != 256<<20 || c.ReadMemory() != 64<<20 || c.MaxRequest() != 100<<20 {
		t.Errorf("budgets are %d, %d and %d", c.RequestMemory(), c.ReadMemory(), c.MaxRequest())
	}
	mustSet(t, &c, "memory.limit", "64MiB")
	if c.MaxRequest() != 16<<20 {
		t.Errorf("longest request is %d where 16 MiB are there for all", c.MaxRequest())
	}
}

func mustSet(t *testing.T, c *Config, kv ...string) {
	t.Helper()
	for i := 0; i < len(kv); i += 2 {
		if err := c.Set(kv[i], kv[i+1], Origin{Kind: FromFlag, Where: "--set"}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSetValues(t *testing.T) {
	tests := []struct {
		key       string
		good      map[string]string // as written: as printed
		bad       []string
		badSaying string
	}{
		{"node.id", map[string]string{"0": "0", " 7 ": "7"}, []string{"x", "1.0", "2147483648"}, "a whole number"},
		{"memory.limit", map[string]string{"67108864": "64MiB", "1GiB": "1GiB", "67108865": "67108865", "2 GiB": "2GiB"}, []string{"1GB", "63MiB", "-1", "9223372036854775807KiB"}, "256MiB"},
		{"queued.max.request.bytes", map[string]string{"-1": "-1", "0": "0"}, []string{"-2", "-1KiB"}, "or -1"},
		{"default.replication.factor", map[string]string{"3": "3"}, []string{"0", "32768"}, "1 or more"},
		{"auto.create.topics.enable", map[string]string{"FALSE": "false"}, []string{"no"}, "true or false"},
		{"http.listen", map[string]string{"none": "none", "[::1]:80": "[::1]:80"}, []string{"9644", "a:b", "a:99999"}, "HOST:PORT or none"},
		{"etcd.endpoints", map[string]string{
			"": "", "a:2379, b:2379": "a:2379,b:2379", "https://[::1]:1/": "https://[::1]:1/", "unix:///s": "unix:///s",
		}, []string{"a", "a:b", "a:1,", "http://a", "unix://s", "ftp://a:1", "http://"}, "HOST:PORT"},
		{"tier.url", map[string]string{
			"none": "none", "file:///srv/tier": "file:///srv/tier", "s3://b/p?region=x": "s3://b/p?region=x", "minio://h:1/b": "minio://h:1/b",
		}, []string{"/srv/tier", "file://srv/tier", "file:tier", "s3://", "minio://h:1/", "http://x", "%"}, "file:///DIR"},
		{"disk.free.low", map[string]string{"10%,1GiB": "10%,1GiB", " 0% , 0": "0%,0"}, []string{"10", "10%", "10,1GiB", "101%,1", "x%,1", "1%,x", "1%,-1"}, "PERCENT%,BYTES"},
		{"log.level", map[string]string{"DEBUG": "debug"}, []string{"trace"}, "one of debug, info, warn, error"},
		{"log.dirs", map[string]string{"/a, /b": "/a,/b"}, []string{"/a,,/b"}, "directories"},
		{"listeners", map[string]string{"plaintext://:0": "PLAINTEXT://:0", "A://[::1]:1,B://h:2": "A://[::1]:1,B://h:2"}, []string{"h:1", "://h:1", "A://h", "A://h:x", "A://h:70000", "A://a/b:1", "A://h:1,"}, "NAME://HOST:PORT"},
		{"cluster.name", map[string]string{"a.b": "a.b"}, []string{"", "a/b", ".."}, "letters"},
		{"offsets.retention.minutes", map[string]string{"1": "1"}, []string{"0"}, "minutes"},
		{"connections.max.idle.ms", map[string]string{"9223372036854775807": "9223372036854"}, []string{"0", "-1"}, "milliseconds"},
		{"log.retention.hours", map[string]string{"-1": "-1", "24": "24"}, []string{"x", ""}, "in hours"},
		{"log.segment.bytes", map[string]string{"1048576": "1048576"}, []string{"1", "1MiB"}, "4096 or more"},
		{"broker.session.timeout.ms", map[string]string{"2000": "2000"}, []string{"1999"}, "2000 or more"},
	}
	for _, tt := range tests {
		for in, out := range tt.good {
			c := DefaultConfig()
			mustSet(t, &c, tt.key, in)
			if got := LookupSetting(tt.key).Value(&c); got != out {
				t.Errorf("%s=%s is printed %s, want %s", tt.key, in, got, out)
			}
		}
		for _, v := range tt.bad {
			c := DefaultConfig()
			before := LookupSetting(tt.key).Value(&c)
			err := c.Set(tt.key, v, Origin{FromEnvironment, EnvName(tt.key)})
			var e *SettingError
			if !errors.As(err, &e) || e.Key != tt.key || e.Value != v || !strings.Contains(err.Error(), tt.badSaying) || !strings.Contains(err.Error(), EnvName(tt.key)) {
				t.Errorf("%s=%q: got %v, want one that says %q and where it is from", tt.key, v, err, tt.badSaying)
			}
			if after := LookupSetting(tt.key).Value(&c); after != before {
				t.Errorf("%s=%q is refused, but there now: %s", tt.key, v, after)
			}
		}
	}
}

func TestUnknownSettings(t *testing.T) {
	c := DefaultConfig()
	for key, want := range map[string]string{
		"node.idd":     "did you mean node.id?",
		"retention.ms": "for all topics use log.retention.ms",
		"zzz.zzz":      "firn config lists",
	} {
		err := c.Set(key, "1", Origin{FromFlag, "--set"})
		var e *SettingError
		if !errors.As(err, &e) || !e.Unknown || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), key+`="1" (flag --set)`) {
			t.Errorf("%s: got %v, want one that says %q", key, err, want)
		}
	}
}

func TestSecretsAreHidden(t *testing.T) {
	c := DefaultConfig()
	mustSet(t, &c, "etcd.password", "open sesame")
	if v := LookupSetting("etcd.password").Value(&c); v != "[hidden]" || c.Etcd.Password != "open sesame" {
		t.Errorf("shown as %s", v)
	}
	for _, v := range c.Describe(nil, nil) {
		if strings.Contains(v.Value, "sesame") || len(v.Chain) > 0 && strings.Contains(v.Chain[0].Value, "sesame") {
			t.Errorf("Describe shows %+v", v)
		}
	}
}

func TestCopiesAreApart(t *testing.T) {
	a := DefaultConfig()
	b := a
	mustSet(t, &b, "node.id", "5", "log.retention.ms", "9")
	if a.NodeID != -1 || a.Origin("node.id").Kind != FromDefault || len(a.TopicDefaults().Static) != 0 {
		t.Errorf("a copy's setting shows in the original: %+v", a)
	}
}

func TestLoadConfigOrder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "broker.properties")
	body := "node.id=1\nbroker.rack=file\nnum.partitions=2\n# a comment\nauthorizer.class.name=x\nlog.retention.hours=1\n"
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	c, warnings, err := LoadConfig(DefaultConfig(), Layers{
		File:  file,
		Env:   []string{"HOME=/x", "FIRN_BROKER_RACK=env", "FIRN_NUM_PARTITIONS=3", "FIRN_BOOTSTRAP_SERVER=h:1", "FIRN_SERVICE_HOST=10.0.0.1", "FIRN_PORT_9092_TCP=tcp://x", "FIRN_TEST_X=1"},
		Flags: []Flag{{"--set", "num.partitions", "4"}, {"--set", "num.partitions", "5"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.NodeID != 1 || c.Rack != "env" || c.Topics.NumPartitions != 5 || c.TopicDefaults().Static["log.retention.hours"] != "1" {
		t.Errorf("node %d, rack %s, partitions %d", c.NodeID, c.Rack, c.Topics.NumPartitions)
	}
	for key, want := range map[string]string{
		"node.id": "file broker.properties:1", "broker.rack": "environment FIRN_BROKER_RACK", "num.partitions": "flag --set", "http.listen": "default",
	} {
		if got := c.Origin(key).String(); got != want {
			t.Errorf("%s comes from %s, want %s", key, got, want)
		}
	}
	if want := []string{"file broker.properties:5: setting authorizer.class.name is Kafka's and has no effect in Firn"}; !slices.Equal(warnings, want) {
		t.Errorf("warnings %q, want %q", warnings, want)
	}
}

func TestLoadConfigReportsEverything(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f.properties")
	if err := os.WriteFile(file, []byte("nod.id=1\nnum.partitions=0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := LoadConfig(DefaultConfig(), Layers{File: file, Env: []string{"FIRN_NUM_PARTITION=1"}, Flags: []Flag{{"--http", "http.listen", "x"}}})
	want := `unknown setting nod.id="1" (file f.properties:1): allowed are the settings that firn config lists; did you mean node.id?
setting num.partitions="0" (file f.properties:2): allowed is a whole number, 1 or more
unknown setting num.partition="1" (environment FIRN_NUM_PARTITION): allowed are the settings that firn config lists; did you mean num.partitions?
setting http.listen="x" (flag --http): allowed is HOST:PORT or none`
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
	if _, _, err := LoadConfig(DefaultConfig(), Layers{File: file + ".no"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	big := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(big, []byte(strings.Repeat("#", maxFileBytes+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := LoadConfig(DefaultConfig(), Layers{File: big}); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("huge file: %v", err)
	}
}

// The file of a Kafka broker can be tried as it is, one of Kafka 3 as well as one of Kafka 4: what Firn does not have
// is a warning for each line, and the rest is taken.
func TestKafkasOwnFileIsTaken(t *testing.T) {
	for name, own := range map[string][]string{
		"4": {
			"process.roles=broker,controller", "controller.quorum.bootstrap.servers=localhost:9093",
			"controller.listener.names=CONTROLLER", "num.network.threads=3", "num.io.threads=8", "socket.send.buffer.bytes=102400",
			"socket.receive.buffer.bytes=102400", "num.recovery.threads.per.data.dir=1", "offsets.topic.replication.factor=1",
			"share.coordinator.state.topic.replication.factor=1", "share.coordinator.state.topic.min.isr=1",
			"transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1", "log.dir.failure.timeout.ms=1",
		},
		"3": {
			"broker.id=0", "zookeeper.connect=localhost:2181", "zookeeper.connection.timeout.ms=18000", "inter.broker.protocol.version=3.0",
			"log.message.format.version=3.0", "controlled.shutdown.max.retries=3", "password.encoder.secret=x",
		},
	} {
		t.Run("Kafka "+name, func(t *testing.T) {
			shared := []string{
				"listeners=PLAINTEXT://:9092,CONTROLLER://:9093", "advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093",
				"listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL", "log.dirs=/tmp/kafka-logs", "num.partitions=2",
				"log.retention.hours=168", "log.segment.bytes=1073741824", "log.retention.check.interval.ms=300000", "inter.broker.listener.name=PLAINTEXT",
			}
			file := filepath.Join(t.TempDir(), "server.properties")
			if err := os.WriteFile(file, []byte(strings.Join(append(shared, own...), "\n")), 0o600); err != nil {
				t.Fatal(err)
			}
			c, warnings, err := LoadConfig(DefaultConfig(), Layers{File: file})
			if err != nil || len(warnings) != len(own) || c.Topics.NumPartitions != 2 {
				t.Fatalf("%d warnings of %d: %q, %v", len(warnings), len(own), warnings, err)
			}
			mustSet(t, &c, "node.id", "0", "etcd.endpoints", "h:1")
			if err := c.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A password under a misspelt name is not shown.
func TestMisspeltPasswordIsNotShown(t *testing.T) {
	_, _, err := LoadConfig(DefaultConfig(), Layers{Env: []string{"FIRN_ETCD_PASSWROD=hush", "FIRN_ETCD_PASSWD=hush"}})
	if err == nil || strings.Contains(err.Error(), "hush") || strings.Count(err.Error(), "did you mean etcd.password?") != 2 {
		t.Errorf("got %v", err)
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name string
		set  []string
		want string // key blamed and what is said; "" when fine
	}{
		{"fine", nil, ""},
		{"two named listeners", []string{"listeners", "A://:1,B://:2", "listener.security.protocol.map", "a:plaintext,B:PLAINTEXT"}, ""},
		{"free ports", []string{"listeners", "PLAINTEXT://a:0,B://a:0", "listener.security.protocol.map", "B:PLAINTEXT"}, ""},
		{"one port, two hosts", []string{"listeners", "PLAINTEXT://a:1,B://b:1", "listener.security.protocol.map", "B:PLAINTEXT"}, ""},
		{"advertised", []string{"advertised.listeners", "PLAINTEXT://h:9"}, ""},
		{"no node.id", []string{"node.id", "-1"}, "node.id must be set"},
		{"no metadata", []string{"etcd.endpoints", ""}, "etcd.endpoints or etcd.embed.dir"},
		{"two metadata", []string{"etcd.embed.dir", "/x"}, "etcd.embed.dir while etcd.endpoints"},
		{"half a certificate", []string{"etcd.tls.key.file", "k"}, "etcd.tls.cert.file together with"},
		{"sessions crossed", []string{"group.min.session.timeout.ms", "11", "group.max.session.timeout.ms", "10"}, "group.min.session.timeout.ms , 10"},
		{"no listener", []string{"listeners", ""}, "listeners at least one"},
		{"name twice", []string{"listeners", "PLAINTEXT://a:1,PLAINTEXT://a:2"}, "listeners stands twice"},
		{"port twice", []string{"listeners", "PLAINTEXT://:1,B://a:1", "listener.security.protocol.map", "B:PLAINTEXT"}, "listeners a port of its own"},
		{"no protocol", []string{"listeners", "A://:1"}, "listener.security.protocol.map A:PLAINTEXT"},
		{"tls", []string{"listeners", "SSL://:1"}, "listener.security.protocol.map not served yet"},
		{"bad map", []string{"listener.security.protocol.map", "PLAINTEXT"}, "listener.security.protocol.map NAME:PROTOCOL"},
		{"advertised unknown", []string{"advertised.listeners", "X://h:1"}, "advertised.listeners X does not"},
		{"advertised everywhere", []string{"advertised.listeners", "PLAINTEXT://0.0.0.0:1"}, "advertised.listeners 0.0.0.0"},
		{"advertised port", []string{"advertised.listeners", "PLAINTEXT://h:0"}, "advertised.listeners not 0"},
		{"advertised twice", []string{"advertised.listeners", "PLAINTEXT://h:1,PLAINTEXT://h:2"}, "advertised.listeners stands twice"},
		{"thresholds", []string{"disk.free.very.low", "50%,1"}, "disk.free.very.low 10%,10GiB"},
		{"no threshold", []string{"disk.free.low", "0%,0", "disk.free.very.low", "0%,0", "disk.free.full", "0%,0"}, "disk.free.full must not run full"},
		{"full threshold", []string{"disk.free.full", "1%,5GiB"}, "disk.free.full 5%,4GiB"},
		{"directory twice", []string{"log.dirs", "/a,/b,/a/../b"}, "log.dirs stands twice"},
		{"no directory", []string{"log.dir", ""}, "log.dirs at least one"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := DefaultConfig()
			mustSet(t, &c, "node.id", "0", "etcd.endpoints", "h:1")
			mustSet(t, &c, tt.set...)
			err := c.Validate()
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			key, text, _ := strings.Cut(tt.want, " ")
			var e *SettingError
			if !errors.As(err, &e) || e.Key != key || !strings.Contains(err.Error(), text) {
				t.Fatalf("got %v, want one that blames %s and says %q", err, key, text)
			}
		})
	}
}

func TestValidateFillsIn(t *testing.T) {
	c := DefaultConfig()
	mustSet(t, &c, "node.id", "0", "etcd.endpoints", "h:1", "log.dir", "/data", "listeners", "IN://h:1", "listener.security.protocol.map", "IN:PLAINTEXT")
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.LogDirs, []string{"/data"}) || c.Tier.CacheDir != "/data/tier-cache" || c.Tier.SpoolDir != "/data/tier-spool" || c.Listeners[0].Protocol != "PLAINTEXT" {
		t.Errorf("got %+v %+v %+v", c.LogDirs, c.Tier, c.Listeners)
	}
}

func TestDevConfig(t *testing.T) {
	dir := t.TempDir()
	c, err := DevConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	mustSet(t, &c, "num.partitions", "3")
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.Etcd.EmbedDir != filepath.Join(dir, "etcd") || c.Tier.URL != "file://"+dir+"/tier" || c.Groups.InitialRebalanceDelay != 0 || !c.TopicDefaults().Tiered {
		t.Errorf("got %+v %+v", c.Etcd, c.Tier)
	}
	if got := c.Origin("tier.url").String(); got != "default firn dev" {
		t.Errorf("tier.url comes from %s", got)
	}
	if _, err := DevConfig(filepath.Join(dir, "a,b")); err == nil {
		t.Error("a comma in the directory is accepted")
	}
}

func TestAdvertisedAs(t *testing.T) {
	c := DefaultConfig()
	mustSet(t, &c, "advertised.listeners", "B://public:443")
	bound := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5555}
	tests := []struct {
		l    Listener
		want string
	}{
		{Listener{"A", "PLAINTEXT", "127.0.0.1", 0}, "A://127.0.0.1:5555"},
		{Listener{"A", "PLAINTEXT", "", 0}, "A://me:5555"},
		{Listener{"A", "PLAINTEXT", "::", 0}, "A://me:5555"},
		{Listener{"B", "PLAINTEXT", "", 0}, "B://public:443"},
	}
	for _, tt := range tests {
		if got := c.AdvertisedAs(tt.l, bound, "me").String(); got != tt.want {
			t.Errorf("%v: got %s, want %s", tt.l, got, tt.want)
		}
	}
}

func TestDescribe(t *testing.T) {
	c := DefaultConfig()
	mustSet(t, &c, "log.retention.ms", "30", "num.partitions", "2", "tier.url", "file:///t", "memory.limit", "128MiB")
	got := map[string]SettingValue{}
	for _, v := range c.Describe(map[string]string{"log.retention.ms": "20", "num.partitions": "9", "log.segment.bytes": "1"}, map[string]string{"log.retention.ms": "10"}) {
		got[v.Setting.Name] = v
	}
	chain := []topic.Origin{
		{Name: "log.retention.ms", Value: "10", Source: topic.SourceBroker},
		{Name: "log.retention.ms", Value: "20", Source: topic.SourceClusterDefault},
		{Name: "log.retention.ms", Value: "30", Source: topic.SourceStatic},
		{Name: "log.retention.ms", Value: "604800000", Source: topic.SourceDefault},
	}
	if diff := cmp.Diff(chain, got["log.retention.ms"].Chain); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if v := got["num.partitions"]; v.Value != "2" || v.Source != topic.SourceStatic {
		t.Errorf("a setting that is read at start has changed at run time: %+v", v)
	}
	if v := got["log.segment.bytes"]; v.Value != "134217728" || v.Source != topic.SourceDefault {
		t.Errorf("a bad run-time value is in force: %+v", v)
	}
	if v := got["log.retention.hours"]; !v.Null {
		t.Errorf("log.retention.hours has the value %q", v.Value)
	}
	if v := got["log.local.retention.ms"]; v.Value != "86400000" {
		t.Errorf("log.local.retention.ms is %s with object storage", v.Value)
	}
	// Who asks by Kafka's protocol takes a number for one.
	if v := got["memory.limit"]; v.Value != "134217728" || v.Chain[0].Value != v.Value || v.Chain[1].Value != strconv.Itoa(defaultMemoryLimit) {
		t.Errorf("memory.limit is told as %+v", v)
	}
	d := c.TopicDefaultsWith(nil, map[string]string{"log.retention.ms": "10"})
	tc, err := topic.ParseConfig(nil, d)
	if err != nil || tc.Retention.Ms != 10 || !tc.Tier.Enabled {
		t.Errorf("topics get %+v, %v", tc.Retention, err)
	}
}

func TestSettingsAtRunTime(t *testing.T) {
	const key = "leader.replication.throttled.rate"
	c := DefaultConfig()
	for _, v := range []struct {
		cluster, own string
		want         int64
	}{{"", "", math.MaxInt64}, {"7", "", 7}, {"7", "5", 5}, {"7", "none", 7}, {"", "0", 0}} {
		at := c.At(map[string]string{key: v.cluster, "node.id": "9"}, map[string]string{key: v.own})
		if at.Replication.LeaderRate != v.want || at.NodeID != c.NodeID || c.Replication.LeaderRate != math.MaxInt64 {
			t.Errorf("%+v: %d", v, at.Replication.LeaderRate)
		}
	}
	if err := CheckDynamic(map[string]string{key: "1", "follower.replication.throttled.rate": "1"}); err != nil {
		t.Error(err)
	}
}

func TestCheckDynamic(t *testing.T) {
	if err := CheckDynamic(map[string]string{"log.retention.ms": "5", "message.max.bytes": "9", "tier.max.lag.ms": "1"}); err != nil {
		t.Error(err)
	}
	for key, want := range map[string]string{
		"node.id":             "where the broker is started",
		"log.retention.hours": "where the broker is started",
		"log.cleaner.threads": "no effect in Firn",
		"log.retention.msx":   "did you mean log.retention.ms?",
		"min.insync.replicas": "1 or more",
	} {
		err := CheckDynamic(map[string]string{key: "0", "log.retention.ms": "5"})
		var e *SettingError
		if !errors.As(err, &e) || e.Key != key || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want one that says %q", key, err, want)
		}
	}
}

// A request may hold some 100,000 settings that there are not. The controller must not look for what each could mean.
func TestCheckDynamicTellsOfFewMistakes(t *testing.T) {
	overrides := map[string]string{}
	for i := range 100 {
		overrides[fmt.Sprintf("log.retention.m%d", i)] = "5"
	}
	err := CheckDynamic(overrides)
	list, ok := err.(interface{ Unwrap() []error })
	if !ok || len(list.Unwrap()) != topic.MaxErrors+1 || !strings.Contains(err.Error(), "did you mean log.retention.ms?") || !strings.Contains(err.Error(), "more") {
		t.Errorf("%v", err)
	}
}

// Names of listeners are the same in any case, as in Kafka, wherever they stand.
func TestInterBrokerListenerInAnyCase(t *testing.T) {
	c := DefaultConfig()
	mustSet(t, &c, "node.id", "1", "etcd.endpoints", "e:2379", "listeners", "outside://:9092,inside://:9093",
		"listener.security.protocol.map", "outside:plaintext,Inside:PLAINTEXT", "inter.broker.listener.name", "inside")
	if err := c.Validate(); err != nil || c.Replication.Listener != c.Listeners[1].Name {
		t.Errorf("%q of %v: %v", c.Replication.Listener, c.Listeners, err)
	}
}

// Brokers have a listener of their own only where there is another for clients.
func TestListenerOfBrokers(t *testing.T) {
	for _, tt := range []struct{ listeners, brokers, want string }{
		{"PLAINTEXT://:9092", "", ""},
		{"PLAINTEXT://:9092", "plaintext", ""},
		{"INSIDE://:9092,OUTSIDE://:9093", "", "INSIDE"},
		{"OUTSIDE://:9092,INSIDE://:9093", "inside", "INSIDE"},
	} {
		c := DefaultConfig()
		mustSet(t, &c, "node.id", "1", "etcd.endpoints", "e:2379", "listeners", tt.listeners,
			"listener.security.protocol.map", "OUTSIDE:PLAINTEXT,INSIDE:PLAINTEXT", "inter.broker.listener.name", tt.brokers)
		if err := c.Validate(); err != nil || c.brokerListener() != tt.want {
			t.Errorf("%+v: %q %v", tt, c.brokerListener(), err)
		}
	}
}
