package tiering

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"firn/metadata/topic"
	"firn/tiering/manifest"
)

// Keys names the objects of one cluster. Every key but HEAD's is written at most once.
//
//	<h2>/<cluster>/<topic>/<p>/s/<base>-<end>-<leaderEpoch>-<brokerEpoch>-<attempt>.seg
//	                          /m/page-<base>-<end>-<rand>
//	                          /m/root-<seq>-<leaderEpoch>-<rand>
//	                          /HEAD
//
// h2 spreads partitions over a store's key ranges. Topics stand by id, never by name: 32 hexadecimal
// digits. Offsets have 20 decimal digits, so that keys sort by them; both ends are inclusive. attempt
// and rand are 8 random hexadecimal digits.
type Keys struct {
	Cluster string
}

// Partition is the prefix, with a '/' at its end, of everything of a partition.
func (k Keys) Partition(tp topic.Partition) string {
	var b [20]byte
	copy(b[:], tp.ID[:])
	binary.BigEndian.PutUint32(b[16:], uint32(tp.Index))
	h2 := manifest.Checksum(b[:]) & 0xff
	return fmt.Sprintf("%02x/%s/%s/%d/", h2, k.Cluster, tp.ID.Hex(), tp.Index)
}

// Segments and Manifests are the prefixes of a partition's segments, and of its roots and pages.
func (k Keys) Segments(tp topic.Partition) string { return k.Partition(tp) + "s/" }

// Manifests is described with Segments.
func (k Keys) Manifests(tp topic.Partition) string { return k.Partition(tp) + "m/" }

// Segment names a segment's object.
func (k Keys) Segment(tp topic.Partition, s manifest.Segment) string {
	return fmt.Sprintf("%ss/%020d-%020d-%d-%d-%08x.seg", k.Partition(tp), s.Base, s.End, s.LeaderEpoch, s.BrokerEpoch, s.Attempt)
}

// Page names a page's object.
func (k Keys) Page(tp topic.Partition, p manifest.PageRef) string {
	return fmt.Sprintf("%sm/page-%020d-%020d-%08x", k.Partition(tp), p.Base, p.End, p.Rand)
}

// Root names a root's object.
func (k Keys) Root(tp topic.Partition, r manifest.RootRef) string {
	return fmt.Sprintf("%sm/root-%010d-%d-%08x", k.Partition(tp), r.Seq, r.LeaderEpoch, r.Rand)
}

// Head names the object that tells readers without the anchor which root is the newest. It is written
// again and again, and only a hint: a reader keeps the highest sequence it has seen.
func (k Keys) Head(tp topic.Partition) string { return k.Partition(tp) + "HEAD" }

// Trash names what a trash entry stands for.
func (k Keys) Trash(tp topic.Partition, t manifest.Trash) string {
	switch t.Kind {
	case manifest.TrashSegment:
		return k.Segment(tp, t.Segment)
	case manifest.TrashPage:
		return k.Page(tp, t.Page)
	default:
		return k.Root(tp, t.Root)
	}
}

// ParseSegment reads a key that Segment made, for the same partition. Only the fields that the name
// holds are set.
func (k Keys) ParseSegment(tp topic.Partition, key string) (manifest.Segment, bool) {
	name, ok := strings.CutPrefix(key, k.Segments(tp))
	if !ok {
		return manifest.Segment{}, false
	}
	name, ok = strings.CutSuffix(name, ".seg")
	f := strings.Split(name, "-")
	if !ok || len(f) != 5 {
		return manifest.Segment{}, false
	}
	base, err1 := strconv.ParseInt(f[0], 10, 64)
	end, err2 := strconv.ParseInt(f[1], 10, 64)
	leader, err3 := strconv.ParseInt(f[2], 10, 32)
	broker, err4 := strconv.ParseInt(f[3], 10, 64)
	attempt, err5 := strconv.ParseUint(f[4], 16, 32)
	s := manifest.Segment{Base: base, End: end, LeaderEpoch: int32(leader), BrokerEpoch: broker, Attempt: uint32(attempt)}
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil || err5 != nil || k.Segment(tp, s) != key {
		return manifest.Segment{}, false
	}
	return s, true
}

// ParseManifest reads the leader epoch out of a root's key; a page has none and gives -1. ok is false
// for other keys.
func (k Keys) ParseManifest(tp topic.Partition, key string) (leaderEpoch int32, ok bool) {
	name, ok := strings.CutPrefix(key, k.Manifests(tp))
	if !ok {
		return 0, false
	}
	f := strings.Split(name, "-")
	switch {
	case len(f) == 4 && f[0] == "page":
		return -1, true
	case len(f) == 4 && f[0] == "root":
		epoch, err := strconv.ParseInt(f[2], 10, 32)
		return int32(epoch), err == nil
	}
	return 0, false
}
