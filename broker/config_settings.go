package broker

import (
	"math"
	"slices"
	"strings"
	"time"

	"firn/metadata/topic"
	"firn/segment"
)

// Setting describes one broker setting.
type Setting struct {
	Name      string
	Type      topic.Type
	Default   string // as an operator would write it; "" where there is none
	Doc       string
	Allowed   string // which values are legal, in the words an error uses
	Sensitive bool   // never shown
	// Dynamic says that the setting can be changed at run time, on one broker or on all.
	Dynamic bool

	topic *topic.Def    // the topic setting that falls back to this one
	syn   topic.Synonym // and how
	set   func(c *Config, value string) bool
	get   func(c *Config) string
}

// Topic returns the topic setting that falls back to this one, nil if there is none.
func (s *Setting) Topic() *topic.Def { return s.topic }

// Value returns the setting's value in c as an operator would write it; a sensitive one is hidden.
func (s *Setting) Value(c *Config) string {
	v := s.get(c)
	if s.Sensitive && v != "" {
		return "[hidden]"
	}
	return v
}

// LookupSetting returns the setting called name, nil when Firn has none of that name.
func LookupSetting(name string) *Setting { return settingsByName[name] }

// Settings is every broker setting, sorted by name. It must not be changed.
var Settings = func() []Setting {
	all := append(ownSettings(), topicSettings()...)
	slices.SortFunc(all, func(a, b Setting) int { return strings.Compare(a.Name, b.Name) })
	return all
}()

var settingsByName = func() map[string]*Setting {
	m := make(map[string]*Setting, len(Settings))
	for i := range Settings {
		m[Settings[i].Name] = &Settings[i]
	}
	return m
}()

// defaultMemoryLimit is enough for a small machine and bounds what a test takes; larger brokers set their own.
const defaultMemoryLimit = 1 << 30

func setting(name, value, doc string, r rule) Setting {
	return Setting{Name: name, Type: r.typ, Default: value, Doc: doc, Allowed: r.allowed, set: r.set, get: r.get}
}

// dynamic makes a setting one that can be changed at run time.
func dynamic(s Setting) Setting {
	s.Dynamic = true
	return s
}

// ownSettings are the settings of the broker itself.
func ownSettings() []Setting {
	return slices.Concat(identitySettings(), networkSettings(), topicLifeSettings(), groupSettings(), logSettings(), replicationSettings(), balanceSettings(), etcdSettings(), tierSettings())
}

func identitySettings() []Setting {
	return []Setting{
		setting("node.id", "-1", "This broker's number, unique in its cluster and the same for life. It has no default: -1 is not set.",
			atLeast(-1, func(c *Config) *int32 { return &c.NodeID })),
		setting("broker.rack", "", "Where the broker stands (rack or zone), for placing replicas apart.",
			text("any text", func(c *Config) *string { return &c.Rack })),
		setting("cluster.name", "firn", "The cluster's name in etcd. Several clusters may share one etcd under different names.",
			checked("1 to 100 letters, digits, '.', '_' and '-'", clusterName, func(c *Config) *string { return &c.ClusterName })),
		setting("broker.session.timeout.ms", "6000", "How long the cluster waits for a broker that has fallen silent before others take over.",
			millis(2000, func(c *Config) *time.Duration { return &c.SessionTTL })),
		setting("initial.broker.registration.timeout.ms", "60000", "How long a broker that starts waits for etcd before it gives up.",
			millis(0, func(c *Config) *time.Duration { return &c.StartTimeout })),
		setting("memory.limit", formatSize(defaultMemoryLimit), "Memory the broker tries to stay under. Budgets that are not set are parts of it.",
			size(64<<20, func(c *Config) *int64 { return &c.MemoryLimit })),
		setting("http.listen", "127.0.0.1:9644", "Where metrics, health and profiles are served over HTTP; none turns it off.",
			orNone(checked("HOST:PORT or none", hostPort, func(c *Config) *string { return &c.HTTP }))),
		setting("log.level", "info", "The least severe messages that are logged.",
			oneOf(func(c *Config) *string { return &c.Logging.Level }, "debug", "info", "warn", "error")),
		setting("log.format", "text", "Form of log lines.",
			oneOf(func(c *Config) *string { return &c.Logging.Format }, "text", "json")),
	}
}

func networkSettings() []Setting {
	const form = "a comma-separated list of NAME://HOST:PORT"
	return []Setting{
		setting("listeners", "PLAINTEXT://:9092", "Where clients are served. An empty host is every address of the machine, port 0 one that the system chooses.",
			listenerList(form, func(c *Config) *[]Listener { return &c.Listeners })),
		setting("advertised.listeners", "", "What clients are told to connect to, by listener name, where that is not what the broker listens on.",
			listenerList(form, func(c *Config) *[]Listener { return &c.Advertised })),
		setting("listener.security.protocol.map", "", "Protocol of each listener, as NAME:PROTOCOL; needed for names that are no protocol. Only PLAINTEXT is served so far.",
			text("a comma-separated list of NAME:PROTOCOL", func(c *Config) *string { return &c.protocols })),
		setting("socket.request.max.bytes", "104857600", "Longest request; a longer one closes its connection.",
			atLeast(1024, func(c *Config) *int32 { return &c.Network.MaxRequestBytes })),
		setting("queued.max.request.bytes", "-1", "Memory for requests of all connections together; while it is used up, connections are not read. -1: a quarter of memory.limit.",
			size(-1, func(c *Config) *int64 { return &c.Network.QueuedRequestBytes })),
		setting("max.connections", "20000", "Open connections; more are closed at once. Those at the listener of brokers are counted apart where clients have another.",
			atLeast(1, func(c *Config) *int32 { return &c.Network.MaxConnections })),
		setting("max.connections.per.ip", "2147483647", "Open connections from one address; more are closed at once.",
			atLeast(1, func(c *Config) *int32 { return &c.Network.MaxConnectionsPerIP })),
		setting("connections.max.idle.ms", "600000", "How long a connection may stay without a request before it is closed.",
			millis(1, func(c *Config) *time.Duration { return &c.Network.IdleTimeout })),
		setting("fetch.max.bytes", "57671680", "Most bytes in one answer to a fetch, whatever the client asks for; one batch is always sent.",
			atLeast(1024, func(c *Config) *int32 { return &c.Network.FetchMaxBytes })),
		setting("max.incremental.fetch.session.cache.slots", "1000", "Incremental fetch sessions that are remembered.",
			atLeast(0, func(c *Config) *int32 { return &c.Network.FetchSessions })),
	}
}

func topicLifeSettings() []Setting {
	return []Setting{
		setting("auto.create.topics.enable", "true", "Create a topic when a client first asks for it.",
			boolean(func(c *Config) *bool { return &c.Topics.AutoCreate })),
		setting("delete.topic.enable", "true", "Allow topics to be deleted.",
			boolean(func(c *Config) *bool { return &c.Topics.Delete })),
		setting("num.partitions", "1", "Partitions of a topic that does not say.",
			atLeast(1, func(c *Config) *int32 { return &c.Topics.NumPartitions })),
		setting("default.replication.factor", "1", "Replicas of a topic that does not say.",
			whole(1, math.MaxInt16, func(c *Config) *int16 { return &c.Topics.ReplicationFactor })),
	}
}

func groupSettings() []Setting {
	return []Setting{
		setting("group.min.session.timeout.ms", "6000", "Shortest session time-out a member of a consumer group may ask for.",
			millis(1, func(c *Config) *time.Duration { return &c.Groups.MinSession })),
		setting("group.max.session.timeout.ms", "1800000", "Longest session time-out a member of a consumer group may ask for.",
			millis(1, func(c *Config) *time.Duration { return &c.Groups.MaxSession })),
		setting("group.initial.rebalance.delay.ms", "3000", "How long a new, empty group waits for more members before it first shares out partitions.",
			millis(0, func(c *Config) *time.Duration { return &c.Groups.InitialRebalanceDelay })),
		setting("group.max.size", "2147483647", "Members of one consumer group.",
			atLeast(1, func(c *Config) *int32 { return &c.Groups.MaxSize })),
		setting("offsets.retention.minutes", "10080", "How long committed offsets are kept once their group has no members.",
			period(time.Minute, 1, func(c *Config) *time.Duration { return &c.Groups.OffsetsRetention })),
		setting("offsets.retention.check.interval.ms", "600000", "How often expired offsets are looked for.",
			millis(1, func(c *Config) *time.Duration { return &c.Groups.OffsetsCheckInterval })),
		setting("offset.metadata.max.bytes", "4096", "Longest text a client may leave beside a committed offset.",
			atLeast(0, func(c *Config) *int32 { return &c.Groups.OffsetMetadataBytes })),
	}
}

func replicationSettings() []Setting {
	return []Setting{
		setting("inter.broker.listener.name", "", "The listener that brokers reach each other at. If it is empty, the first one.",
			listenerName("the name of a listener", func(c *Config) *string { return &c.Replication.Listener })),
		setting("num.replica.fetchers", "1", "Connections to each leader that this broker follows.",
			whole(1, 64, func(c *Config) *int32 { return &c.Replication.Fetchers })),
		setting("replica.lag.time.max.ms", "30000", "How long a follower may go without having caught up before it is no longer in sync.",
			millis(100, func(c *Config) *time.Duration { return &c.Replication.MaxLag })),
		setting("replica.fetch.max.bytes", "1048576", "Bytes of one partition in an answer to a follower, if its first batch is not larger.",
			atLeast(1, func(c *Config) *int32 { return &c.Replication.PartitionBytes })),
		setting("replica.fetch.response.max.bytes", "4128768", "Bytes of an answer to a follower, if its first batch is not larger. Each connection to a leader takes up to two of them of memory.",
			atLeast(1, func(c *Config) *int32 { return &c.Replication.ResponseBytes })),
		setting("replica.fetch.wait.max.ms", "500", "How long a leader keeps a follower's fetch while it has nothing new.",
			millis(1, func(c *Config) *time.Duration { return &c.Replication.MaxWait })),
		setting("replica.socket.timeout.ms", "30000", "How long a follower waits for its leader to connect or to answer.",
			millis(1, func(c *Config) *time.Duration { return &c.Replication.SocketTimeout })),
		setting("replica.selector.class", "", "Which replica a leader has consumers read from. "+rackAwareSelector+": a follower on the rack that a consumer names, if one is in sync and the leader is not there itself (client.rack, KIP-392). Empty, or "+leaderSelector+": the leader.",
			checked(rackAwareSelector+", "+leaderSelector+" or nothing", replicaSelector, func(c *Config) *string { return &c.Replication.Selector })),
		setting("replica.fetch.backoff.ms", "1000", "The longest pause before a follower tries again after an error. The first ones are shorter.",
			millis(1, func(c *Config) *time.Duration { return &c.Replication.Backoff })),
		dynamic(setting("leader.replication.throttled.rate", unlimited, "Bytes a second that this broker, as a leader, sends to followers that are not in sync, of the replicas in their topic's leader.replication.throttled.replicas.",
			whole(0, math.MaxInt64, func(c *Config) *int64 { return &c.Replication.LeaderRate }))),
		dynamic(setting("follower.replication.throttled.rate", unlimited, "Bytes a second that this broker, as a follower that is not in sync, fetches of the replicas in their topic's follower.replication.throttled.replicas.",
			whole(0, math.MaxInt64, func(c *Config) *int64 { return &c.Replication.FollowerRate }))),
	}
}

// unlimited is the rate of what is not throttled.
const unlimited = "9223372036854775807"

func balanceSettings() []Setting {
	return []Setting{
		setting("auto.leader.rebalance.enable", "true", "Give leadership back to preferred leaders from time to time. The controller's setting counts.",
			boolean(func(c *Config) *bool { return &c.Balance.Enable })),
		setting("leader.imbalance.check.interval.seconds", "300", "How often that is looked at.",
			period(time.Second, 1, func(c *Config) *time.Duration { return &c.Balance.Interval })),
		setting("leader.imbalance.per.broker.percentage", "10", "A broker gets its partitions back if others lead more than this share of those that prefer it.",
			whole(0, 100, func(c *Config) *int32 { return &c.Balance.Percent })),
	}
}

func logSettings() []Setting {
	const free = "Below this much free space on a log directory's disk, "
	return []Setting{
		setting("log.dirs", "", "Directories for the log, one for each disk. If it is empty, log.dir is used.",
			words("a comma-separated list of directories", func(c *Config) *[]string { return &c.LogDirs })),
		setting("log.dir", "/var/lib/firn", "The one directory for the log, where log.dirs is empty.",
			text("a directory", func(c *Config) *string { return &c.logDir })),
		setting("log.retention.check.interval.ms", "300000", "How often each partition is looked at for segments to drop.",
			millis(1, func(c *Config) *time.Duration { return &c.Log.CheckInterval })),
		setting("log.scrub.bytes.per.second", "1MiB", "How much of the logs is read and verified in a second, to find what rots while nobody reads it; 0 for nothing.",
			size(0, func(c *Config) *int64 { return &c.Log.ScrubBytesPerSecond })),
		setting("producer.id.expiration.ms", "86400000", "How long an idempotent producer is remembered after its last record.",
			millis(1, func(c *Config) *time.Duration { return &c.Log.ProducerIDExpiry })),
		setting("producer.ids.max", "1000000", "Idempotent producers that are remembered, over all partitions; one more is refused.",
			atLeast(1, func(c *Config) *int32 { return &c.Log.MaxProducerIDs })),
		setting("log.open.files.max", "0", "Segment files open at a time, in all directories. 0: three quarters of what the process may open.",
			atLeast(0, func(c *Config) *int32 { return &c.Log.OpenFiles })),
		setting("log.mappings.max", "0", "Index files mapped into memory at a time, in all directories. 0: three quarters of what the kernel allows.",
			atLeast(0, func(c *Config) *int32 { return &c.Log.Mappings })),
		setting("disk.free.low", "10%,10GiB", free+"local copies of archived segments are dropped before their time.",
			threshold(func(c *Config) *segment.Threshold { return &c.Disk.Low })),
		setting("disk.free.very.low", "5%,4GiB", free+"archiving goes before everything else.",
			threshold(func(c *Config) *segment.Threshold { return &c.Disk.VeryLow })),
		setting("disk.free.full", "2%,1GiB", free+"produce requests to its partitions are refused.",
			threshold(func(c *Config) *segment.Threshold { return &c.Disk.Full })),
	}
}

func etcdSettings() []Setting {
	password := setting("etcd.password", "", "Password for etcd.",
		text("any text", func(c *Config) *string { return &c.Etcd.Password }))
	password.Sensitive, password.Type = true, topic.Password
	return []Setting{
		setting("etcd.endpoints", "", "The etcd cluster that holds the metadata.",
			each(endpoint, words("a comma-separated list of HOST:PORT, http://HOST:PORT, https://HOST:PORT or unix:///PATH", func(c *Config) *[]string { return &c.Etcd.Endpoints }))),
		setting("etcd.embed.dir", "", "Instead of etcd.endpoints: run a one-member etcd in this process with its data in this directory.",
			text("a directory", func(c *Config) *string { return &c.Etcd.EmbedDir })),
		setting("etcd.username", "", "User name for etcd.",
			text("any text", func(c *Config) *string { return &c.Etcd.Username })),
		password,
		setting("etcd.tls.ca.file", "", "PEM file of the authorities that sign etcd's certificates; setting it turns TLS on.",
			text("a file", func(c *Config) *string { return &c.Etcd.CAFile })),
		setting("etcd.tls.cert.file", "", "PEM file of the certificate this broker shows to etcd. Read for each connection, so that it can be renewed.",
			text("a file", func(c *Config) *string { return &c.Etcd.CertFile })),
		setting("etcd.tls.key.file", "", "PEM file of that certificate's private key.",
			text("a file", func(c *Config) *string { return &c.Etcd.KeyFile })),
		setting("etcd.request.timeout.ms", "5000", "How long one request to etcd may take.",
			millis(100, func(c *Config) *time.Duration { return &c.Etcd.RequestTimeout })),
	}
}

func tierSettings() []Setting {
	return []Setting{
		setting("tier.url", "none", "Object storage for sealed segments: file:///DIR, s3://BUCKET/PREFIX?endpoint=…&region=…&path-style=true or minio://HOST:PORT/BUCKET/PREFIX?tls=false; none keeps everything on local disk.",
			orNone(checked("file:///DIR, s3://BUCKET/PREFIX, minio://HOST:PORT/BUCKET/PREFIX or none", tierURL, func(c *Config) *string { return &c.Tier.URL }))),
		setting("tier.cache.dir", "", "Directory for chunks read from object storage; empty: tier-cache in the first log directory.",
			text("a directory", func(c *Config) *string { return &c.Tier.CacheDir })),
		setting("tier.cache.bytes", "1GiB", "Size of that cache; 0 turns it off.",
			size(0, func(c *Config) *int64 { return &c.Tier.CacheBytes })),
		setting("tier.spool.dir", "", "Directory where compressed segments wait for their upload; empty: tier-spool in the first log directory.",
			text("a directory", func(c *Config) *string { return &c.Tier.SpoolDir })),
		setting("tier.read.memory.bytes", "-1", "Memory for reads from object storage, read-ahead included. -1: a sixteenth of memory.limit.",
			size(-1, func(c *Config) *int64 { return &c.Tier.ReadMemoryBytes })),
		setting("tier.read.concurrency", "16", "Requests for bytes from object storage under way at a time, no more than half of them for one partition.",
			atLeast(1, func(c *Config) *int32 { return &c.Tier.ReadConcurrency })),
		setting("tier.upload.concurrency", "2", "Segments uploaded at a time.",
			atLeast(1, func(c *Config) *int32 { return &c.Tier.UploadConcurrency })),
		setting("tier.upload.bytes.per.second", "0", "Pace of all uploads together; lifted while a disk runs full. 0: as fast as it goes.",
			size(0, func(c *Config) *int64 { return &c.Tier.UploadBytesPerSecond })),
		setting("tier.delete.grace.ms", "900000", "How long an expired object stays in the bucket for readers that have already planned to read it.",
			millis(1, func(c *Config) *time.Duration { return &c.Tier.DeleteGrace })),
		setting("tier.publish.ms", "21600000", "How long the bucket's own record of a partition may lag behind etcd's; it is what a new cluster would find.",
			millis(1, func(c *Config) *time.Duration { return &c.Tier.PublishInterval })),
		setting("tier.retention.check.interval.ms", "60000", "How often expired objects are looked for.",
			millis(1, func(c *Config) *time.Duration { return &c.Tier.CheckInterval })),
		setting("tier.scrub.interval.ms", "604800000", "How often the bucket is searched for objects that nothing refers to. 0: never.",
			millis(0, func(c *Config) *time.Duration { return &c.Tier.ScrubInterval })),
	}
}

// topicSettings are the server-level values of topic settings.
func topicSettings() []Setting {
	var out []Setting
	for i := range topic.Defs {
		def := &topic.Defs[i]
		for n, syn := range def.Synonyms {
			out = append(out, topicSetting(def, syn, n == 0))
		}
	}
	return out
}

// topicSetting is one server-level value of a topic setting; only the first of several shows the default.
func topicSetting(def *topic.Def, syn topic.Synonym, first bool) Setting {
	s := Setting{
		Name: syn.Name, Type: def.Type, Allowed: def.Allowed, topic: def, syn: syn,
		Doc:     "What topics have for " + def.Name + " unless they say otherwise. " + def.Doc,
		Dynamic: syn.Scale == 1 && syn.Name != "log.flush.scheduler.interval.ms",
	}
	if first {
		s.Default = def.Default
	} else {
		s.Doc = "As " + def.Synonyms[0].Name + ", which goes before it" + inUnit(syn.Scale) + "."
		s.Allowed += inUnit(syn.Scale)
	}
	s.set = func(c *Config, v string) bool {
		c.topics[syn.Name] = v
		return def.Check(syn.Convert(v)) == nil
	}
	s.get = func(c *Config) string {
		if v, ok := c.topics[syn.Name]; ok {
			return v
		}
		if first {
			return def.DefaultFor(c.Tier.Enabled())
		}
		return ""
	}
	return s
}

// inUnit words the unit of a server-level value that counts otherwise than its topic setting.
func inUnit(scale int64) string {
	switch scale {
	case time.Minute.Milliseconds():
		return ", in minutes"
	case time.Hour.Milliseconds():
		return ", in hours"
	}
	return ""
}
