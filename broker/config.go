package broker

import (
	"maps"
	"net"
	"strconv"
	"time"

	"firn/metadata/topic"
	"firn/segment"
)

// Config is everything an operator decides about one broker. Begin with DefaultConfig or DevConfig, or
// read one with LoadConfig; the zero value is of no use. Every field that a setting reaches is named by
// that setting; Settings lists them. A Config may be copied; the copies share nothing that changes.
type Config struct {
	NodeID      int32  // node.id; -1 is not set
	Rack        string // broker.rack
	ClusterName string // cluster.name: the cluster's name in etcd, under which all its keys lie
	// LogDirs are log.dirs: one directory a disk, each for this broker alone.
	LogDirs     []string
	Listeners   []Listener    // listeners
	Advertised  []Listener    // advertised.listeners, by name; what is missing is told as it is bound
	HTTP        string        // http.listen: host:port of metrics, health and profiles; "" is off
	MemoryLimit int64         // memory.limit, bytes: what the Go runtime is told to stay under
	SessionTTL  time.Duration // broker.session.timeout.ms: how long the cluster waits for a silent broker
	// StartTimeout is initial.broker.registration.timeout.ms: how long a broker that starts waits for etcd.
	StartTimeout time.Duration

	Network     Network
	Topics      Topics
	Groups      Groups
	Log         Log
	Replication Replication
	Balance     Balance
	Etcd        Etcd
	Tier        Tier
	Disk        segment.Thresholds // disk.free.*
	Logging     Logging

	logDir    string // log.dir, Kafka's older single form of log.dirs
	protocols string // listener.security.protocol.map
	// topics holds the server-level values of topic settings that somebody has set, by server-level name.
	topics map[string]string
	// origins says who gave each setting its value; without an entry it is the default.
	origins map[string]Origin
}

// Network bounds what clients may take.
type Network struct {
	MaxRequestBytes     int32         // socket.request.max.bytes
	QueuedRequestBytes  int64         // queued.max.request.bytes; -1: a quarter of MemoryLimit
	MaxConnections      int32         // max.connections
	MaxConnectionsPerIP int32         // max.connections.per.ip
	IdleTimeout         time.Duration // connections.max.idle.ms
	FetchMaxBytes       int32         // fetch.max.bytes
	FetchSessions       int32         // max.incremental.fetch.session.cache.slots
}

// Topics is how topics come about.
type Topics struct {
	AutoCreate        bool  // auto.create.topics.enable
	Delete            bool  // delete.topic.enable
	NumPartitions     int32 // num.partitions
	ReplicationFactor int16 // default.replication.factor
}

// Groups is how consumer groups and their offsets are kept.
type Groups struct {
	MinSession            time.Duration // group.min.session.timeout.ms
	MaxSession            time.Duration // group.max.session.timeout.ms
	InitialRebalanceDelay time.Duration // group.initial.rebalance.delay.ms
	MaxSize               int32         // group.max.size
	OffsetsRetention      time.Duration // offsets.retention.minutes
	OffsetsCheckInterval  time.Duration // offsets.retention.check.interval.ms
	OffsetMetadataBytes   int32         // offset.metadata.max.bytes
}

// Log is how partitions are kept on disk, beyond what topic settings say.
type Log struct {
	CheckInterval    time.Duration // log.retention.check.interval.ms
	ProducerIDExpiry time.Duration // producer.id.expiration.ms
	MaxProducerIDs   int32         // producer.ids.max
	OpenFiles        int32         // log.open.files.max; 0: what the process may have
	Mappings         int32         // log.mappings.max; 0: what the kernel allows
	// ScrubBytesPerSecond is log.scrub.bytes.per.second; 0: nothing is scrubbed.
	ScrubBytesPerSecond int64
}

// Replication is how followers follow and when they count.
type Replication struct {
	Listener       string        // inter.broker.listener.name; "" is the first of listeners
	Fetchers       int32         // num.replica.fetchers
	MaxLag         time.Duration // replica.lag.time.max.ms
	PartitionBytes int32         // replica.fetch.max.bytes
	ResponseBytes  int32         // replica.fetch.response.max.bytes
	MaxWait        time.Duration // replica.fetch.wait.max.ms
	SocketTimeout  time.Duration // replica.socket.timeout.ms
	Backoff        time.Duration // replica.fetch.backoff.ms
	Selector       string        // replica.selector.class
	LeaderRate     int64         // leader.replication.throttled.rate, bytes a second
	FollowerRate   int64         // follower.replication.throttled.rate, bytes a second
}

// The classes that Kafka has for choosing the replica a consumer reads from; Firn knows them by their names.
const (
	leaderSelector    = "org.apache.kafka.common.replica.LeaderSelector"
	rackAwareSelector = "org.apache.kafka.common.replica.RackAwareReplicaSelector"
)

// rackAware reports whether consumers are sent to followers on their rack.
func (r Replication) rackAware() bool { return r.Selector == rackAwareSelector }

// Balance is when leadership goes back to the replicas that were meant to lead.
type Balance struct {
	Enable   bool          // auto.leader.rebalance.enable
	Interval time.Duration // leader.imbalance.check.interval.seconds
	Percent  int32         // leader.imbalance.per.broker.percentage
}

// interval is how often leadership is balanced, 0 for never.
func (b Balance) interval() time.Duration {
	if !b.Enable {
		return 0
	}
	return b.Interval
}

// Etcd is where the metadata lives: a cluster elsewhere, or one member in this process.
type Etcd struct {
	Endpoints      []string      // etcd.endpoints
	EmbedDir       string        // etcd.embed.dir: run an etcd in this process with its data there
	Username       string        // etcd.username
	Password       string        // etcd.password
	CAFile         string        // etcd.tls.ca.file
	CertFile       string        // etcd.tls.cert.file
	KeyFile        string        // etcd.tls.key.file
	RequestTimeout time.Duration // etcd.request.timeout.ms
}

// TLS reports whether anything asks for TLS to etcd.
func (e Etcd) TLS() bool { return e.CAFile != "" || e.CertFile != "" }

// Tier is the object storage and how hard it is used.
type Tier struct {
	URL                  string        // tier.url; "" is none
	CacheDir             string        // tier.cache.dir; "" is a directory in the first log directory
	CacheBytes           int64         // tier.cache.bytes; 0: no cache on disk
	SpoolDir             string        // tier.spool.dir; "" is a directory in the first log directory
	ReadMemoryBytes      int64         // tier.read.memory.bytes; -1: a sixteenth of MemoryLimit
	ReadConcurrency      int32         // tier.read.concurrency
	UploadConcurrency    int32         // tier.upload.concurrency
	UploadBytesPerSecond int64         // tier.upload.bytes.per.second; 0: as fast as it goes
	DeleteGrace          time.Duration // tier.delete.grace.ms
	PublishInterval      time.Duration // tier.publish.ms
	CheckInterval        time.Duration // tier.retention.check.interval.ms
	ScrubInterval        time.Duration // tier.scrub.interval.ms; 0: never
}

// Enabled reports whether there is object storage.
func (t Tier) Enabled() bool { return t.URL != "" }

// Logging is what the broker writes about itself.
type Logging struct {
	Level  string // log.level: debug, info, warn or error
	Format string // log.format: text or json
}

// Listener is an address to listen on, or one to tell clients about.
type Listener struct {
	Name     string // unique among a broker's listeners
	Protocol string // PLAINTEXT; others come with authentication
	Host     string // "" is every address of the machine
	Port     int32  // 0 lets the system choose
}

// Addr returns host:port as net.Listen takes it.
func (l Listener) Addr() string { return net.JoinHostPort(l.Host, strconv.Itoa(int(l.Port))) }

// String returns NAME://host:port.
func (l Listener) String() string { return l.Name + "://" + l.Addr() }

// DefaultConfig returns the settings nobody has touched. Validate asks for what has no default: node.id
// and a place for the metadata.
func DefaultConfig() Config {
	c := Config{topics: map[string]string{}, origins: map[string]Origin{}}
	for i := range Settings {
		s := &Settings[i]
		if s.topic == nil && !s.set(&c, s.Default) {
			panic("setting " + s.Name + " has an illegal default")
		}
	}
	return c
}

// clone returns a copy that can be changed without touching c.
func (c *Config) clone() Config {
	n := *c
	n.topics = maps.Clone(c.topics)
	n.origins = maps.Clone(c.origins)
	if n.topics == nil {
		n.topics = map[string]string{}
	}
	if n.origins == nil {
		n.origins = map[string]Origin{}
	}
	return n
}

// Set gives the setting called key a value, as an operator would write it, and remembers who said so. The
// error names the key, the value and what is allowed. Set is for a Config that nobody else uses yet.
func (c *Config) Set(key, value string, from Origin) error {
	s := LookupSetting(key)
	if s == nil {
		return unknownSetting(key, value, from)
	}
	n := c.clone()
	if !s.set(&n, value) {
		return &SettingError{Key: key, Value: value, Allowed: s.Allowed, From: from}
	}
	n.origins[key] = from
	*c = n
	return nil
}

// TopicDefaults returns what topics fall back to on this broker, before what was set at run time.
func (c *Config) TopicDefaults() topic.Defaults {
	return topic.Defaults{Tiered: c.Tier.Enabled(), Static: maps.Clone(c.topics)}
}

// relaxed reports whether by this broker's own settings an acknowledgement does not wait for the disk.
func (c *Config) relaxed() bool {
	// What cannot be parsed was refused when the settings were read.
	t, _ := topic.ParseConfig(nil, c.TopicDefaults())
	return !t.Flush.Durable()
}

// RequestMemory returns the bytes that requests of all connections may take together.
func (c *Config) RequestMemory() int64 { return c.share(c.Network.QueuedRequestBytes, 4) }

// ReadMemory returns the bytes that reads from the tier may take together.
func (c *Config) ReadMemory() int64 { return c.share(c.Tier.ReadMemoryBytes, 16) }

// MaxRequest returns the longest request that is taken: socket.request.max.bytes, or less where the memory
// for requests is less.
func (c *Config) MaxRequest() int {
	return int(min(int64(c.Network.MaxRequestBytes), c.RequestMemory()))
}

// share returns value, or where it is -1 the given part of the memory limit.
func (c *Config) share(value, part int64) int64 {
	if value >= 0 {
		return value
	}
	limit := c.MemoryLimit
	if limit <= 0 {
		limit = defaultMemoryLimit
	}
	return limit / part
}
