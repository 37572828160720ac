package group

import (
	"time"

	"firn/metadata/topic"
)

// expireOffsets drops what nobody needs any longer: commits of deleted topics at once; of a group that
// is empty, once it has been so, and they are so old, for the retention; of a stable group, those it does
// not subscribe to and has not touched for the retention; of simple groups by age alone. Where the client said when,
// that stands in place of ages. Groups left with nothing go.
func (m *Machine) expireOffsets(now time.Time) {
	held := now.Before(m.hold)
	for _, g := range m.groups {
		dirty := map[bucketKey]bool{}
		for id, ps := range g.offsets {
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
		if g.state == Empty && len(g.offsets) == 0 && len(g.pending) == 0 {
			m.erase(g)
		}
	}
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
	// clockSlack is how far the wall clock may get away from the monotonic one between two sweeps.
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
