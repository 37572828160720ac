package metadata

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"firn/metadata/topic"
)

// Keys builds the keys of one cluster and the records under them. The zero value is not useful; see NewKeys.
type Keys struct {
	root string // "/k/<cluster>/"
}

// NewKeys returns the keys of the cluster with that name (a short name an operator chose, not the cluster
// id). The name must not be empty nor contain '/'.
func NewKeys(cluster string) (Keys, error) {
	if cluster == "" || strings.ContainsAny(cluster, "/\x00") {
		return Keys{}, fmt.Errorf("cluster name %q: want at least one character and no '/'", cluster)
	}
	return Keys{root: "/k/" + cluster + "/"}, nil
}

// Everything the image needs lies in [root, root+stateRoot); what only its owner reads (coordinator state
// and the producer id counter) lies behind, so that no broker's watch carries it.
const stateRoot = "z/"

func (k Keys) imageRange() (start, end string) { return k.root, k.root + stateRoot }

// Cluster is the key of the cluster record.
func (k Keys) Cluster() string { return k.root + "cluster" }

// Controller is the key of the controller's claim.
func (k Keys) Controller() string { return k.root + "ctl" }

// Broker is the key of a live broker's registration.
func (k Keys) Broker(id int32) string { return k.root + "b/" + itoa(id) }

// Node is the key of a broker's lasting record.
func (k Keys) Node(id int32) string { return k.root + "n/" + itoa(id) }

// TopicName is the key that holds a live topic's id by its name.
func (k Keys) TopicName(name string) string { return k.root + "t/n/" + name }

// Topic is the key of a topic's record.
func (k Keys) Topic(id topic.ID) string { return k.root + "t/i/" + id.String() }

// Partition is the key of a partition's state.
func (k Keys) Partition(tp topic.Partition) string {
	return k.root + "p/" + tp.ID.String() + "/" + itoa(tp.Index)
}

// TierHead is the key of a partition's tier head.
func (k Keys) TierHead(tp topic.Partition) string {
	return k.root + "x/" + tp.ID.String() + "/" + itoa(tp.Index)
}

// ClusterSettings is the key of the run-time settings of all brokers.
func (k Keys) ClusterSettings() string { return k.root + "cfg/c" }

// BrokerSettings is the key of one broker's run-time settings.
func (k Keys) BrokerSettings(id int32) string { return k.root + "cfg/b/" + itoa(id) }

// TopicSettings is the key of a topic's settings.
func (k Keys) TopicSettings(id topic.ID) string { return k.root + "cfg/t/" + id.String() }

// ShardOwner is the key of a coordinator shard's owner.
func (k Keys) ShardOwner(kind ShardKind, shard int32) string {
	return k.root + "co/" + kind.letter() + "/" + itoa(shard)
}

// ProducerIDs is the key of the producer id counter.
func (k Keys) ProducerIDs() string { return k.root + stateRoot + "pid" }

// shardState is the prefix of a coordinator shard's state, and itself the key of the shard's fence.
func (k Keys) shardState(kind ShardKind, shard int32) string {
	return k.root + stateRoot + kind.letter() + "/" + itoa(shard) + "/"
}

func itoa(n int32) string { return strconv.Itoa(int(n)) }

func (k ShardKind) letter() string { return "gts"[k : k+1] }

// String returns the kind's name.
func (k ShardKind) String() string { return [...]string{"group", "txn", "share"}[k] }

// keyKind says what a key of the image's range holds.
type keyKind int8

const (
	keyOther keyKind = iota // of a later version, or of no interest to the image
	keyCluster
	keyController
	keyBroker
	keyNode
	keyTopicName
	keyTopic
	keyPartition
	keyTierHead
	keyClusterSettings
	keyBrokerSettings
	keyTopicSettings
	keyShardOwner
)

// parsedKey is a key taken apart; only the fields of its kind are set.
type parsedKey struct {
	kind  keyKind
	tp    topic.Partition // keyTopic and keyTopicSettings use only the id
	num   int32           // broker or shard
	shard ShardKind
	name  string
}

// parse takes a key of the image's range apart. Keys it does not know are keyOther, so that a later version
// may add some; a malformed key of a known kind is an error.
func (k Keys) parse(key string) (parsedKey, error) {
	rel, ok := strings.CutPrefix(key, k.root)
	if !ok {
		return parsedKey{}, fmt.Errorf("key %q outside of %q", key, k.root)
	}
	p, err := parseRelative(rel)
	if err != nil {
		return parsedKey{}, fmt.Errorf("key %q: %w", key, err)
	}
	return p, nil
}

func parseRelative(rel string) (p parsedKey, err error) {
	head, rest, _ := strings.Cut(rel, "/")
	switch rel {
	case "cluster":
		p.kind = keyCluster
		return p, nil
	case "ctl":
		p.kind = keyController
		return p, nil
	}
	switch head {
	case "b":
		p.kind = keyBroker
		p.num, err = parseNumber(rest)
	case "n":
		p.kind = keyNode
		p.num, err = parseNumber(rest)
	case "t":
		return parseTopicKey(rest)
	case "p", "x":
		p.kind = keyPartition
		if head == "x" {
			p.kind = keyTierHead
		}
		id, index, _ := strings.Cut(rest, "/")
		if p.tp.ID, err = topic.ParseID(id); err == nil {
			p.tp.Index, err = parseNumber(index)
		}
	case "cfg":
		return parseSettingsKey(rest)
	case "co":
		return parseShardKey(rest)
	}
	return p, err
}

func parseTopicKey(rest string) (p parsedKey, err error) {
	switch sub, val, _ := strings.Cut(rest, "/"); sub {
	case "n":
		p.kind, p.name = keyTopicName, val
		if val == "" {
			err = errors.New("want a name")
		}
	case "i":
		p.kind = keyTopic
		p.tp.ID, err = topic.ParseID(val)
	}
	return p, err
}

func parseSettingsKey(rest string) (p parsedKey, err error) {
	if rest == "c" {
		p.kind = keyClusterSettings
		return p, nil
	}
	switch sub, val, _ := strings.Cut(rest, "/"); sub {
	case "b":
		p.kind = keyBrokerSettings
		p.num, err = parseNumber(val)
	case "t":
		p.kind = keyTopicSettings
		p.tp.ID, err = topic.ParseID(val)
	}
	return p, err
}

func parseShardKey(rest string) (p parsedKey, err error) {
	letter, num, _ := strings.Cut(rest, "/")
	kind := strings.Index("gts", letter)
	if len(letter) != 1 || kind < 0 {
		return p, nil // a kind of a later version
	}
	p.kind, p.shard = keyShardOwner, ShardKind(kind)
	p.num, err = parseNumber(num)
	return p, err
}

var errNumber = errors.New("want a decimal number from 0 to 2147483647 without leading zeros")

// parseNumber accepts exactly what itoa writes for numbers that are not negative.
func parseNumber(s string) (int32, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 || itoa(int32(n)) != s {
		return 0, errNumber
	}
	return int32(n), nil
}

// ShardKey joins parts into a key relative to a shard. Parts may hold any bytes; no two lists of parts give
// the same key, and the keys of all lists that begin with the same parts share ShardKey(parts...) + "/".
func ShardKey(parts ...string) string {
	var b strings.Builder
	for i, part := range parts {
		if i > 0 {
			b.WriteByte('/')
		}
		for j := range len(part) {
			if c := part[j]; c == '%' || c == '/' || c < ' ' || c == 0x7f {
				fmt.Fprintf(&b, "%%%02X", c)
			} else {
				b.WriteByte(c)
			}
		}
	}
	return b.String()
}

// SplitShardKey undoes ShardKey.
func SplitShardKey(key string) ([]string, error) {
	parts := strings.Split(key, "/")
	for i, part := range parts {
		if !strings.Contains(part, "%") {
			continue
		}
		var b strings.Builder
		for j := 0; j < len(part); j++ {
			if part[j] != '%' {
				b.WriteByte(part[j])
				continue
			}
			if j+2 >= len(part) {
				return nil, fmt.Errorf("shard key %q: '%%' without two digits", key)
			}
			c, err := strconv.ParseUint(part[j+1:j+3], 16, 8)
			if err != nil {
				return nil, fmt.Errorf("shard key %q: '%%' without two digits", key)
			}
			b.WriteByte(byte(c))
			j += 2
		}
		parts[i] = b.String()
	}
	return parts, nil
}
