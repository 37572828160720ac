package topic

import "math"

// Lookup returns the setting called name, nil when there is none.
func Lookup(name string) *Def { return byName[name] }

var byName = func() map[string]*Def {
	m := make(map[string]*Def, len(Defs))
	for i := range Defs {
		m[Defs[i].Name] = &Defs[i]
	}
	return m
}()

// Defs is every topic setting there is, sorted by name: those of Kafka 4.1 and Firn's own. It must not be
// changed.
var Defs = []Def{
	def("cleanup.policy", "delete",
		"What happens to old records. delete: segments expire by retention.ms and retention.bytes. compact is accepted, but records are not compacted yet: such a topic, also with compact,delete, is kept whole, neither expired nor archived to object storage, and refuses records without a key. Empty: records stay for ever.",
		cleanupPolicy(), effect, server("log.cleanup.policy")),
	def("compression.gzip.level", "-1",
		"Level for records that the broker recompresses with gzip. Accepted without effect: the codec's default level is used.",
		gzipLevel(func(c *Config) *int32 { return &c.Compression.GzipLevel }), server("compression.gzip.level")),
	def("compression.lz4.level", "9",
		"Level for records that the broker recompresses with lz4. Accepted without effect: the codec's default level is used.",
		integer(1, 17, func(c *Config) *int32 { return &c.Compression.LZ4Level }), server("compression.lz4.level")),
	def("compression.type", "producer",
		"Codec in which records are stored. producer keeps every batch exactly as it was sent, which costs nothing; any other value makes the broker recompress batches that come in another codec.",
		choice(compressionNames, func(c *Config, i int) { c.Compression.Type = CompressionType(i - 1) }), effect, server("compression.type")),
	def("compression.zstd.level", "3",
		"Level for records that the broker recompresses with zstd. Accepted without effect: the codec's default level is used.",
		integer(-131072, 22, func(c *Config) *int32 { return &c.Compression.ZstdLevel }), server("compression.zstd.level")),
	def("delete.retention.ms", "86400000",
		"How long the mark of a deleted key stays readable in a compacted topic. Accepted without effect: topics are not compacted yet.",
		long(0, func(c *Config) *int64 { return &c.Compaction.TombstoneMs }), server("log.cleaner.delete.retention.ms")),
	def("file.delete.delay.ms", "60000",
		"How long a dropped segment's file stays on disk. Accepted without effect: a file goes when its last reader has let go of it.",
		ignored(long(0, scratch64)), server("log.segment.delete.delay.ms")),
	def("flush.messages", "1",
		"Durability. 1: an acknowledgement means that the record is on the device of every in-sync replica, and no reader sees what a power cut could take back. Any larger value: an acknowledgement means the page cache of every in-sync replica, and the device follows within flush.ms.",
		positive(func(c *Config) *int64 { return &c.Flush.Messages }), effect, server(FlushMessages)),
	def("flush.ms", "1000",
		"Where flush.messages is above 1: the longest time until appended records are forced to the device.",
		long(0, func(c *Config) *int64 { return &c.Flush.Ms }), effect, server("log.flush.interval.ms"), server("log.flush.scheduler.interval.ms")),
	def("follower.replication.throttled.replicas", "",
		"Replicas that, as followers which are not in sync, fetch no more than their broker's follower.replication.throttled.rate, as PARTITION:BROKER pairs, or * for all.",
		throttled(func(c *Config) *ThrottledReplicas { return &c.ThrottledFollowers }), effect),
	def("index.interval.bytes", "4096",
		"Log bytes between two entries of a segment's index. Less makes seeks more exact and indexes larger.",
		integer(0, math.MaxInt32, func(c *Config) *int32 { return &c.Segment.IndexIntervalBytes }), effect, server("log.index.interval.bytes")),
	def("leader.replication.throttled.replicas", "",
		"Replicas that, as leaders, hold followers which are not in sync to their broker's leader.replication.throttled.rate, as PARTITION:BROKER pairs, or * for all.",
		throttled(func(c *Config) *ThrottledReplicas { return &c.ThrottledLeaders }), effect),
	def("local.retention.bytes", "-2",
		"Where the topic is archived: size of the local copy above which its oldest archived segments are dropped. -2: as retention.bytes; -1: no limit. Never wider than retention.bytes.",
		long(sameAsTotal, func(c *Config) *int64 { return &c.Tier.LocalBytes }), effect, server("log.local.retention.bytes")),
	def("local.retention.ms", "-2",
		"Where the topic is archived: age above which local copies of archived segments are dropped; one day unless set. -2: as retention.ms; -1: no limit. Never wider than retention.ms. What is not archived yet is never dropped by it.",
		long(sameAsTotal, func(c *Config) *int64 { return &c.Tier.LocalMs }), effect, tiered("86400000"), server("log.local.retention.ms")),
	def("max.compaction.lag.ms", "9223372036854775807",
		"Longest time a record may wait for compaction. Accepted without effect: topics are not compacted yet.",
		positive(func(c *Config) *int64 { return &c.Compaction.MaxLagMs }), server("log.cleaner.max.compaction.lag.ms")),
	def("max.message.bytes", "1048588",
		"Largest record batch that is accepted, in bytes as sent, after compression.",
		integer(0, math.MaxInt32, func(c *Config) *int32 { return &c.MaxMessageBytes }), effect, server("message.max.bytes")),
	def("message.timestamp.after.max.ms", "3600000",
		"How far a producer's timestamp may lie ahead of the broker's clock; a record beyond it is refused. Not used with LogAppendTime.",
		long(0, func(c *Config) *int64 { return &c.Timestamp.AfterMaxMs }), effect, server("log.message.timestamp.after.max.ms")),
	def("message.timestamp.before.max.ms", "9223372036854775807",
		"How far a producer's timestamp may lie behind the broker's clock; a record beyond it is refused. Not used with LogAppendTime.",
		long(0, func(c *Config) *int64 { return &c.Timestamp.BeforeMaxMs }), effect, server("log.message.timestamp.before.max.ms")),
	def("message.timestamp.type", "CreateTime",
		"Whose clock stamps records: the producer's (CreateTime) or the broker's when it appends them (LogAppendTime).",
		choice([]string{"CreateTime", "LogAppendTime"}, func(c *Config, i int) { c.Timestamp.LogAppendTime = i == 1 }), effect, server("log.message.timestamp.type")),
	def("min.cleanable.dirty.ratio", "0.5",
		"Share of not yet compacted bytes at which compaction starts. Accepted without effect: topics are not compacted yet.",
		ratio(func(c *Config) *float64 { return &c.Compaction.MinDirtyRatio }), server("log.cleaner.min.cleanable.ratio")),
	def("min.compaction.lag.ms", "0",
		"Shortest time a record stays uncompacted. Accepted without effect: topics are not compacted yet.",
		long(0, func(c *Config) *int64 { return &c.Compaction.MinLagMs }), server("log.cleaner.min.compaction.lag.ms")),
	def("min.insync.replicas", "1",
		"In-sync replicas that must hold a record before acks=all is answered; with fewer in sync such records are refused.",
		integer(1, math.MaxInt32, func(c *Config) *int32 { return &c.MinInsync }), effect, server("min.insync.replicas")),
	def("preallocate", "false",
		"Reserve a segment's disk space when it is made. Accepted without effect: it was measured to make appends slower.",
		ignored(boolean(scratchBool)), server("log.preallocate")),
	def("remote.log.copy.disable", "false",
		"Stop archiving new segments; what is archived stays readable. Local copies then live as long as the records.",
		boolean(func(c *Config) *bool { return &c.Tier.CopyDisabled }), effect),
	def("remote.log.delete.on.disable", "false",
		"Delete what is archived when remote.storage.enable is turned off. Accepted without effect: archived segments stay readable until retention removes them.",
		ignored(boolean(scratchBool))),
	def("remote.storage.enable", "false",
		"Archive sealed segments to object storage and expire local copies by local.retention.ms and local.retention.bytes. True unless set, where the cluster has object storage; compacted topics are never archived.",
		boolean(func(c *Config) *bool { return &c.Tier.Enabled }), effect, tiered("true")),
	def("retention.bytes", "-1",
		"Size of a partition, local and archived together, above which its oldest segments are deleted. -1: no limit.",
		long(Unlimited, func(c *Config) *int64 { return &c.Retention.Bytes }), effect, server("log.retention.bytes")),
	def("retention.ms", "604800000",
		"Age above which segments are deleted, local and archived ones alike. -1: no limit.",
		long(Unlimited, func(c *Config) *int64 { return &c.Retention.Ms }), effect,
		server("log.retention.ms"), scaled("log.retention.minutes", minuteMs), scaled("log.retention.hours", hourMs)),
	def("segment.bytes", "134217728",
		"Size at which a segment file is sealed and the next one begun. Expiry and archiving work on whole segments, so smaller segments mean finer steps and more files and objects.",
		integer(minSegmentBytes, math.MaxInt32, func(c *Config) *int32 { return &c.Segment.Bytes }), effect, server("log.segment.bytes")),
	def("segment.index.bytes", "10485760",
		"Largest index file of a segment. Accepted without effect: an index grows with its segment, by 16 bytes for each index.interval.bytes.",
		integer(4, math.MaxInt32, func(c *Config) *int32 { return &c.Segment.IndexBytes }), server("log.index.size.max.bytes")),
	def("segment.jitter.ms", "0",
		"Up to this much is taken off segment.ms, at random, so that partitions do not all roll at once.",
		long(0, func(c *Config) *int64 { return &c.Segment.JitterMs }), effect, server("log.roll.jitter.ms"), scaled("log.roll.jitter.hours", hourMs)),
	def("segment.ms", "604800000",
		"Age at which a segment is sealed even if it is not full.",
		positive(func(c *Config) *int64 { return &c.Segment.Ms }), effect, server("log.roll.ms"), scaled("log.roll.hours", hourMs)),
	def("tier.max.lag.ms", "600000",
		"Where the topic is archived: age at which an active segment that holds at least tier.min.bytes is sealed so that it can be archived. It bounds what the loss of all brokers could take.",
		positive(func(c *Config) *int64 { return &c.Tier.MaxLagMs }), effect, server("tier.max.lag.ms")),
	def("tier.min.bytes", "1048576",
		"Bytes an active segment must hold to be sealed by tier.max.lag.ms; a smaller one waits up to a day, which keeps slow partitions from making many tiny objects.",
		long(0, func(c *Config) *int64 { return &c.Tier.MinBytes }), effect, server("tier.min.bytes")),
	def("unclean.leader.election.enable", "false",
		"Let a replica that is not in sync become leader when no other is left, at the price of records.",
		boolean(func(c *Config) *bool { return &c.UncleanElection }), effect, server("unclean.leader.election.enable")),
}

const (
	minuteMs = 60_000
	hourMs   = 3_600_000
	// minSegmentBytes is below Kafka's own 1 MiB so that small experiments show segments rolling; it is
	// one page, the least that can be written.
	minSegmentBytes = 4096
)

var compressionNames = []string{"producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"}

// String returns the type as compression.type writes it.
func (t CompressionType) String() string {
	if i := int(t) + 1; i >= 0 && i < len(compressionNames) {
		return compressionNames[i]
	}
	return "unknown"
}

// def makes a Def of a rule and marks.
func def(name, value, doc string, r rule, marks ...func(*Def)) Def {
	d := Def{Name: name, Default: value, Doc: doc, Type: r.typ, Allowed: r.allowed, set: r.set}
	for _, m := range marks {
		m(&d)
	}
	return d
}

// effect marks a setting that something reads.
func effect(d *Def) { d.Effect = true }

// tiered gives a setting another default in a cluster with object storage.
func tiered(value string) func(*Def) { return func(d *Def) { d.TieredDefault = value } }

// server adds a server-level setting of the same unit to fall back to.
func server(name string) func(*Def) { return scaled(name, 1) }

// scaled adds a server-level setting that counts in another unit.
func scaled(name string, scale int64) func(*Def) {
	return func(d *Def) { d.Synonyms = append(d.Synonyms, Synonym{name, scale}) }
}

// positive is a whole number of at least 1.
func positive(field func(*Config) *int64) rule { return long(1, field) }

// scratch64 and scratchBool give a checked value nowhere to go; their rules are wrapped in ignored, which
// passes a Config that is thrown away.
func scratch64(c *Config) *int64  { return &c.Retention.Ms }
func scratchBool(c *Config) *bool { return &c.UncleanElection }
