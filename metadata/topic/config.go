package topic

import (
	"fmt"
	"strings"
)

// Unlimited stands in a retention setting for "no limit".
const Unlimited = -1

// sameAsTotal is Kafka's "-2" of the local retention settings: local copies live as long as the records.
const sameAsTotal = -2

// Config is the effective configuration of one topic: its own overrides over the server's values over the
// defaults. Times are in milliseconds and sizes in bytes, because Kafka's ranges (up to 2^63-1 ms) do not
// fit time.Duration. A Config is a plain value; compare with ==.
type Config struct {
	Cleanup         Cleanup
	Compression     Compression
	MaxMessageBytes int32 // largest record batch accepted, as stored
	MinInsync       int32 // in-sync replicas needed to accept acks=all
	UncleanElection bool
	Timestamp       Timestamp
	Segment         Segment
	Flush           Flush
	Retention       Retention
	Tier            Tier
	Compaction      Compaction
	// ThrottledLeaders and ThrottledFollowers are the replicas that a reassignment's throttle holds back, as leaders in
	// what they send and as followers in what they fetch (KIP-73).
	ThrottledLeaders, ThrottledFollowers ThrottledReplicas
}

// Cleanup says what happens to old records. Neither means that they stay for ever, and then Retention is
// unlimited.
type Cleanup struct {
	Delete bool // whole segments expire by Retention
	// Compact asks to keep each key's newest record. For now such a topic is kept whole: Retention is
	// unlimited and Tier.Enabled false, whatever else is set. Records without a key are refused.
	Compact bool
}

// Compression is the codec records are stored in.
type Compression struct {
	Type      CompressionType
	GzipLevel int32 // -1 or 1..9
	LZ4Level  int32 // 1..17
	ZstdLevel int32 // -131072..22
}

// CompressionType is a value of compression.type.
type CompressionType int8

// The compression types. All but CompressionProducer have the number of Kafka's codec in a batch header.
const (
	CompressionProducer CompressionType = iota - 1 // as the producer sent it
	CompressionNone
	CompressionGzip
	CompressionSnappy
	CompressionLZ4
	CompressionZstd
)

// Timestamp says where record timestamps come from and which are accepted.
type Timestamp struct {
	LogAppendTime bool  // the broker's clock, not the producer's
	BeforeMaxMs   int64 // how far a producer's timestamp may lie behind the broker's clock
	AfterMaxMs    int64 // how far it may lie ahead
}

// Segment says when the active segment ends and how densely it is indexed.
type Segment struct {
	Bytes              int32
	Ms                 int64
	JitterMs           int64 // at most this much is taken off Ms, at random, so that partitions do not roll together
	IndexIntervalBytes int32 // log bytes between two index entries; 0: an entry for each batch
	IndexBytes         int32 // nothing reads it: an index grows with its segment
}

// Flush is the durability level. Messages == 1 is durable: what is acknowledged, and what a reader sees,
// is on the device. Any other value is relaxed: the device follows within Ms.
type Flush struct {
	Messages int64
	Ms       int64
}

// Durable reports whether an acknowledgement waits for the device.
func (f Flush) Durable() bool { return f.Messages == 1 }

// Retention says how long records live in total, in both tiers. Unlimited (-1) means for ever.
type Retention struct {
	Bytes int64
	Ms    int64
}

// Tier says whether and when segments go to object storage and how long local copies stay.
type Tier struct {
	// Enabled says that sealed segments are to be archived and that local copies then expire by
	// LocalBytes and LocalMs: remote.storage.enable in a cluster that has object storage, on a topic that
	// is not compacted. What was archived before stays readable when it becomes false.
	Enabled bool
	// CopyDisabled stops new uploads. LocalBytes and LocalMs are then those of Retention.
	CopyDisabled bool
	LocalBytes   int64 // -1 unlimited, never more than Retention.Bytes
	LocalMs      int64 // -1 unlimited, never more than Retention.Ms
	// MaxLagMs is the age at which an active segment of at least MinBytes is sealed so that it can be
	// archived; a smaller one waits for segment.ms or a day, whichever comes first.
	MaxLagMs int64
	MinBytes int64
}

// ThrottledReplicas is PARTITION:BROKER pairs with commas between, or * for all.
type ThrottledReplicas string

// Has reports whether a broker's replica of a partition is among them. It reads the whole list.
func (r ThrottledReplicas) Has(partition, broker int32) bool {
	if r == "" || r == "*" {
		return r == "*"
	}
	pair := fmt.Sprintf("%d:%d", partition, broker)
	for p := range strings.SplitSeq(string(r), ",") {
		if p == pair {
			return true
		}
	}
	return false
}

// Compaction holds the settings of the log cleaner. Nothing reads them yet.
type Compaction struct {
	MinLagMs      int64
	MaxLagMs      int64
	TombstoneMs   int64 // how long the mark of a deleted key stays readable
	MinDirtyRatio float64
}

// settle turns the settings as written into those in force: what one setting means for another.
func (c *Config) settle(tiered bool) {
	if c.Cleanup.Compact || !c.Cleanup.Delete {
		c.Retention = Retention{Bytes: Unlimited, Ms: Unlimited}
	}
	if !tiered || c.Cleanup.Compact {
		c.Tier.Enabled = false
	}
	if c.Tier.CopyDisabled {
		c.Tier.LocalBytes, c.Tier.LocalMs = sameAsTotal, sameAsTotal
	}
	c.Tier.LocalBytes = within(c.Tier.LocalBytes, c.Retention.Bytes)
	c.Tier.LocalMs = within(c.Tier.LocalMs, c.Retention.Ms)
}

// within returns the local limit that a total limit leaves.
func within(local, total int64) int64 {
	if total == Unlimited {
		return max(local, Unlimited)
	}
	if local < 0 {
		return total
	}
	return min(local, total)
}
