package group

import (
	"maps"
	"slices"
	"time"

	"firn/metadata/topic"
)

// expireOffsets drops what nobody needs any longer: commits of deleted topics at once; of a group that
// is empty, once it has been so, and they are so old, for the retention; of a stable group, those it does
// not subscribe to and has not touched for the retention; of simple groups by age alone. Where the client said when,
// that stands in place of ages. Groups left with nothing go. It returns after how long it wants to be called again.
func (m *Machine) expireOffsets(now time.Time) time.Duration {
	m.watchClock(now)
	if len(m.unswept) == 0 {
		m.unswept = slices.Collect(maps.Keys(m.groups))
	}
	for len(m.unswept) > 0 {
		if len(m.out.Edits) >= sweepEdits {
			return sweepPause
		}
		last := len(m.unswept) - 1
		if g := m.groups[m.unswept[last]]; g != nil && !m.expireOffsetsOf(g, now) {
			return sweepPause
		}
		m.unswept = m.unswept[:last]
	}
	return m.opts.OffsetsCheckInterval
}

// All shards of a broker look their groups over at the same time, and much may have become due at once, such as the
// commits of a topic that every group has read. A sweep goes on after a pause once it has so many edits to write, or the
// commits of groups at work would wait behind all that until they time out.
const (
	sweepEdits = 10
	sweepPause = 500 * time.Millisecond
)

// expireOffsetsOf returns false if it has not come to all of the group's topics.
func (m *Machine) expireOffsetsOf(g *group, now time.Time) bool {
	held := now.Before(m.hold)
	dirty := map[bucketKey]bool{}
	for id, ps := range g.offsets {
		if len(m.out.Edits)+len(dirty) >= sweepEdits {
			m.writeBuckets(g, dirty)
			return false
		}
		name, live := m.opts.Topics.TopicName(id)
		for p, o := range ps {
			if !live || !held && m.lapsed(g, name, o, now) {
				tp := topic.Partition{ID: id, Index: p}
				g.forget(tp)
				m.met.expired.Inc()
				dirty[bucketOf(tp)] = true
			}
		}
	}
	m.writeBuckets(g, dirty)
	switch {
	case g.state != Empty:
	case len(g.offsets) == 0 && len(g.pending) == 0:
		m.erase(g)
	case g.onRecord > 0: // or each owner of the shard would take it for empty only since it came
		m.writeHeader(g)
	}
	return true
}

func (m *Machine) lapsed(g *group, name string, o offset, now time.Time) bool {
	old := func(since time.Time) bool {
		if !o.expires.IsZero() {
			return !o.expires.After(now)
		}
		return now.Sub(since) >= m.opts.OffsetsRetention
	}
	switch {
	case g.simple():
		return old(o.committed)
	case g.state == Empty:
		return old(g.since) && old(o.committed)
	default:
		return g.state == Stable && g.topics != nil && !g.topics[name] && old(o.committed)
	}
}

const (
	// clockSlack is how far the wall clock may get away from the monotonic one between two looks at them.
	clockSlack = time.Minute
	// clockHold is how long nothing expires by age once it got further. Who set the clock wrong has that long to
	// notice, and clients that slept with the machine to come back.
	clockHold = time.Hour
)

// watchClock looks whether the wall clock, by which the age of what is on record is told, was set.
func (m *Machine) watchClock(now time.Time) {
	wall, passed := now.Round(0).Sub(m.swept.Round(0)), now.Sub(m.swept)
	if clockWasSet(wall, passed) {
		m.hold = now.Add(min(clockHold, m.opts.OffsetsRetention))
	}
	m.swept = now
}

func clockWasSet(wall, passed time.Duration) bool { return (wall - passed).Abs() > clockSlack }
