package group

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/protobuf/proto"

	"firn/metadata"
	"firn/metadata/topic"
)

// recordVersion is the version of every value below; a newer one is refused by name.
const recordVersion = 1

const (
	// bucketSize is how many neighbouring partitions' commits share one key: about 1 KB of value.
	bucketSize = 64
	// maxMetadata bounds what a client may say about one offset, so that a bucket fits half of what the store
	// takes in one write.
	maxMetadata = 8 << 10
)

// Keys of a shard, relative to it.
//
//	<group>/h                     HeaderRecord
//	<group>/m/<member>            MemberRecord
//	<group>/o/<topic hex>/<bucket>  OffsetsRecord
type bucketKey struct {
	topic  topic.ID
	bucket int32
}

func bucketOf(tp topic.Partition) bucketKey { return bucketKey{tp.ID, tp.Index / bucketSize} }

func headerKey(g string) string         { return metadata.ShardKey(g, "h") }
func memberKey(g, member string) string { return metadata.ShardKey(g, "m", member) }
func offsetsKey(g string, k bucketKey) string {
	return metadata.ShardKey(g, "o", hex.EncodeToString(k.topic[:]), strconv.Itoa(int(k.bucket)))
}

func (m *Machine) put(key string, v proto.Message) {
	b, err := proto.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("group: marshal %T: %v", v, err)) // strings were checked to be UTF-8 on the way in
	}
	m.edit(key, b)
}

func (m *Machine) edit(key string, value []byte) {
	m.out.Edits = append(m.out.Edits, metadata.Edit{Key: key, Value: value, Delete: value == nil})
}

func (m *Machine) writeHeader(g *group) {
	g.hasState, g.onRecord = true, int32(len(g.members))
	m.put(headerKey(g.id), &HeaderRecord{
		Version: recordVersion, GroupId: clean(g.id), ProtocolType: g.protocolType, Generation: g.generation,
		Protocol: g.protocol, Leader: g.leader, StateTimestampMs: g.since.UnixMilli(), Members: g.onRecord,
	})
}

// writeGroup writes every member and then the header, as they stand. A large group takes more than one
// write; the generations in the records and the number of members show whether the last one was reached.
func (m *Machine) writeGroup(g *group) {
	for _, mb := range g.ordered() {
		m.writeMember(g, mb)
	}
	m.writeHeader(g)
}

func (m *Machine) writeMember(g *group, mb *member) {
	r := &MemberRecord{
		Version: recordVersion, MemberId: mb.id, InstanceId: mb.instanceID, IsStatic: mb.isStatic,
		ClientId: mb.clientID, ClientHost: mb.clientHost, Assignment: mb.assignment, Generation: g.generation,
		SessionTimeoutMs: int32(mb.sessionTimeout.Milliseconds()), RebalanceTimeoutMs: int32(mb.rebalanceTimeout.Milliseconds()),
	}
	for _, p := range mb.protocols {
		r.Protocols = append(r.Protocols, &Protocol{Name: p.Name, Metadata: p.Metadata})
	}
	m.put(memberKey(g.id, mb.id), r)
	mb.written = true
}

// size is about what a member's record takes without its assignment.
func (m *member) size() int {
	n := len(m.id) + len(m.instanceID) + len(m.clientID) + len(m.clientHost) + 64
	for _, p := range m.protocols {
		n += len(p.Name) + len(p.Metadata) + protocolSize
	}
	return n
}

// deleteMember removes the record of a member, if it has one.
func (m *Machine) deleteMember(g *group, mb *member) {
	if mb.written {
		m.edit(memberKey(g.id, mb.id), nil)
	}
}

func (m *Machine) writeBuckets(g *group, dirty map[bucketKey]bool) {
	keys := make([]bucketKey, 0, len(dirty))
	for k := range dirty {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b bucketKey) int { return strings.Compare(offsetsKey("", a), offsetsKey("", b)) })
	for _, k := range keys {
		r := &OffsetsRecord{Version: recordVersion, GroupId: clean(g.id)}
		for p := k.bucket * bucketSize; p < (k.bucket+1)*bucketSize; p++ {
			if o, ok := g.offsets[k.topic][p]; ok {
				c := &CommittedOffset{
					Partition: p, Offset: o.offset, LeaderEpoch: o.leaderEpoch, Metadata: o.metadata, CommitTimestampMs: o.committed.UnixMilli(),
				}
				if !o.expires.IsZero() {
					c.ExpireTimestampMs = o.expires.UnixMilli()
				}
				r.Offsets = append(r.Offsets, c)
			}
		}
		if len(r.Offsets) == 0 {
			m.edit(offsetsKey(g.id, k), nil)
			continue
		}
		m.put(offsetsKey(g.id, k), r)
	}
}

// erase removes the group and all that is written of it.
func (m *Machine) erase(g *group) {
	for _, mb := range g.members {
		m.deleteMember(g, mb)
	}
	dirty := map[bucketKey]bool{}
	for t, ps := range g.offsets {
		for p := range ps {
			dirty[bucketKey{t, p / bucketSize}] = true
		}
	}
	clear(g.offsets)
	m.writeBuckets(g, dirty)
	if g.hasState {
		m.edit(headerKey(g.id), nil)
	}
	delete(m.groups, g.id)
}

// clean makes a string from the network fit for a protobuf string.
func clean(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// Load implements coordinator.Machine. Session timers start in full.
func (m *Machine) Load(entries []metadata.ShardEntry, now time.Time) error {
	m.sweep, m.swept = now.Add(m.opts.OffsetsCheckInterval), now
	for _, e := range entries {
		if err := m.loadEntry(e, now); err != nil {
			return fmt.Errorf("load group entry %s: %w", e.Key, err)
		}
	}
	for _, g := range m.groups {
		m.settle(g, now)
	}
	return nil
}

// settle makes a loaded group whole. If all members of the newest generation are on record with it, the
// group was Stable. If not, members came or left, or a write was cut short: then all join anew.
func (m *Machine) settle(g *group, now time.Time) {
	whole := g.members[g.leader] != nil && len(g.members) == int(g.onRecord)
	for _, mb := range g.ordered() {
		mb.heard(now)
		whole = whole && mb.generation == g.generation
		g.generation = max(g.generation, mb.generation)
	}
	switch {
	case len(g.members) == 0:
		if g.onRecord > 0 {
			g.since = now // it is not on record when the last ones went
		}
		g.state, g.leader, g.protocol = Empty, "", ""
	case whole:
		g.state = Stable
	default:
		g.state = Stable
		m.prepare(g, now)
	}
	g.subscribe()
	m.rearm(g)
}

func (m *Machine) loadEntry(e metadata.ShardEntry, now time.Time) error {
	parts, err := metadata.SplitShardKey(e.Key)
	if err != nil {
		return err
	}
	if len(parts) < 2 {
		return fmt.Errorf("key is not one of a group")
	}
	id := parts[0]
	g := m.groups[id]
	if g == nil {
		g = newGroup(id, now)
		m.groups[id] = g
	}
	switch {
	case len(parts) == 2 && parts[1] == "h":
		return g.loadHeader(e.Value)
	case len(parts) == 3 && parts[1] == "m":
		return m.loadMember(g, parts[2], e.Value)
	case len(parts) == 4 && parts[1] == "o":
		return g.loadOffsets(parts[2], parts[3], e.Value)
	}
	return fmt.Errorf("key is not one of a group")
}

func checkVersion(v uint32) error {
	if v > recordVersion {
		return fmt.Errorf("written by a newer release (version %s, this one knows %d)", strconv.FormatUint(uint64(v), 10), recordVersion)
	}
	return nil
}

func (g *group) loadHeader(b []byte) error {
	var r HeaderRecord
	if err := proto.Unmarshal(b, &r); err != nil {
		return err
	}
	g.protocolType, g.protocol, g.generation, g.leader = r.ProtocolType, r.Protocol, r.Generation, r.Leader
	g.since, g.hasState, g.onRecord = time.UnixMilli(r.StateTimestampMs), true, r.Members
	return checkVersion(r.Version)
}

func (m *Machine) loadMember(g *group, id string, b []byte) error {
	var r MemberRecord
	if err := proto.Unmarshal(b, &r); err != nil {
		return err
	}
	if err := checkVersion(r.Version); err != nil {
		return err
	}
	if r.MemberId != id {
		return fmt.Errorf("record is of member %q", r.MemberId)
	}
	m.joined++
	mb := &member{
		id: r.MemberId, instanceID: r.InstanceId, isStatic: r.IsStatic, clientID: r.ClientId, clientHost: r.ClientHost,
		sessionTimeout: ms(r.SessionTimeoutMs), rebalanceTimeout: ms(r.RebalanceTimeoutMs), assignment: r.Assignment, order: m.joined, written: true, generation: r.Generation,
	}
	for _, p := range r.Protocols {
		jp := kmsg.NewJoinGroupRequestProtocol()
		jp.Name, jp.Metadata = p.Name, p.Metadata
		mb.protocols = append(mb.protocols, jp)
	}
	g.members[mb.id] = mb
	g.count(mb, 1)
	if mb.isStatic {
		g.static[mb.instanceID] = mb.id
	}
	return nil
}

func (g *group) loadOffsets(topicHex, bucket string, b []byte) error {
	var id topic.ID
	if n, err := hex.Decode(id[:], []byte(topicHex)); err != nil || n != len(id) || len(topicHex) != 2*len(id) {
		return fmt.Errorf("topic id %q", topicHex)
	}
	n, err := strconv.ParseInt(bucket, 10, 32)
	if err != nil {
		return fmt.Errorf("bucket: %w", err)
	}
	var r OffsetsRecord
	if err := proto.Unmarshal(b, &r); err != nil {
		return err
	}
	if err := checkVersion(r.Version); err != nil {
		return err
	}
	ps := g.offsets[id]
	if ps == nil {
		ps = map[int32]offset{}
		g.offsets[id] = ps
	}
	for _, o := range r.Offsets {
		if bucketOf(topic.Partition{ID: id, Index: o.Partition}).bucket != int32(n) {
			return fmt.Errorf("partition %d is of another bucket", o.Partition)
		}
		c := offset{offset: o.Offset, leaderEpoch: o.LeaderEpoch, metadata: o.Metadata, committed: time.UnixMilli(o.CommitTimestampMs)}
		if o.ExpireTimestampMs != 0 {
			c.expires = time.UnixMilli(o.ExpireTimestampMs)
		}
		ps[o.Partition] = c
	}
	return nil
}
