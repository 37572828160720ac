package group

import (
	"container/heap"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"firn/broker/coordinator"
)

// Done takes a command's answer, or the reason why the shard cannot give one.
type Done[T any] func(resp *T, err error)

// Options are what an operator sets for groups; see the broker settings of the same names.
type Options struct {
	MinSessionTimeout     time.Duration // group.min.session.timeout.ms
	MaxSessionTimeout     time.Duration // group.max.session.timeout.ms
	InitialRebalanceDelay time.Duration // group.initial.rebalance.delay.ms
	MaxSize               int           // group.max.size
	OffsetsRetention      time.Duration // offsets.retention.minutes
	OffsetsCheckInterval  time.Duration // offsets.retention.check.interval.ms
	MaxMetadata           int           // offset.metadata.max.bytes, 8 KiB at most

	// NewID makes the random part of a member id.
	NewID func() string
	// Topics answers what the cluster knows of topics right now.
	Topics Topics
}

// Topics is what groups must know of the cluster's topics. It is answered from memory.
type Topics interface {
	// TopicName is the live topic's name; false once the topic is deleted.
	TopicName(id [16]byte) (string, bool)
}

// Machine is all groups of one shard. See coordinator.Machine for how it may be called.
type Machine struct {
	opts   Options
	met    *metrics
	groups map[string]*group
	timers timers
	sweep  time.Time // when offsets are next looked over for expiry
	swept  time.Time // when they last were, or a part of them
	hold   time.Time // until when none expire, because the clock was set
	joined int       // counts joins, for member.order
	out    coordinator.Result

	unswept []string // groups that the present sweep has not come to
}

var _ coordinator.Machine = (*Machine)(nil)

// NewMachine returns a machine without groups.
func NewMachine(opts Options) *Machine { return newMachine(opts, newMetrics(nil)) }

func newMachine(opts Options, met *metrics) *Machine {
	opts.MaxMetadata = min(opts.MaxMetadata, maxMetadata)
	return &Machine{opts: opts, met: met, groups: map[string]*group{}}
}

// take returns what has been asked for since the last call.
func (m *Machine) take() coordinator.Result {
	out := m.out
	m.out = coordinator.Result{}
	return out
}

// answer queues done(resp) behind the writes it rests on.
func answer[T any](m *Machine, done Done[T], resp *T) {
	m.out.Replies = append(m.out.Replies, func(err error) {
		if err != nil {
			done(nil, err)
			return
		}
		done(resp, nil)
	})
}

func (m *Machine) get(id string) *group { return m.groups[id] }

// maxStale bounds, with the number of groups, the timers that are out of date. Each rebalance leaves some, which a
// client's time-outs could otherwise keep for weeks.
const maxStale = 64

// timer wakes the machine for one group. Timers are not cancelled: what they find out of date they leave alone, and
// when there are many of them they are thrown away.
type timer struct {
	at    time.Time
	group string
}

type timers []timer

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at.Before(t[j].at) }
func (t timers) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t *timers) Push(x any)        { *t = append(*t, x.(timer)) }
func (t *timers) Pop() any {
	old := *t
	last := old[len(old)-1]
	*t = old[:len(old)-1]
	return last
}

// wake arranges that the group is looked at no later than at.
func (m *Machine) wake(g *group, at time.Time) {
	if !g.nextWake.IsZero() && !g.nextWake.After(at) {
		return
	}
	g.nextWake = at
	heap.Push(&m.timers, timer{at, g.id})
	if len(m.timers) > 2*len(m.groups)+maxStale {
		m.timers = slices.DeleteFunc(m.timers, func(t timer) bool {
			g := m.groups[t.group]
			return g == nil || !g.nextWake.Equal(t.at)
		})
		heap.Init(&m.timers)
	}
}

// Deadline implements coordinator.Machine.
func (m *Machine) Deadline() time.Time {
	var at time.Time
	if len(m.timers) > 0 {
		at = m.timers[0].at
	}
	if len(m.groups) > 0 && (at.IsZero() || m.sweep.Before(at)) {
		at = m.sweep
	}
	return at
}

// Tick implements coordinator.Machine.
func (m *Machine) Tick(now time.Time) coordinator.Result {
	for len(m.timers) > 0 && !m.timers[0].at.After(now) {
		t := heap.Pop(&m.timers).(timer)
		if g := m.groups[t.group]; g != nil && g.nextWake.Equal(t.at) {
			g.nextWake = time.Time{}
			m.review(g, now)
		}
	}
	if !m.sweep.After(now) {
		m.sweep = now.Add(m.expireOffsets(now))
	}
	return m.take()
}

// review acts on every deadline of the group that has passed and sets the next wake-up.
func (m *Machine) review(g *group, now time.Time) {
	for id, at := range g.pending {
		if !at.After(now) {
			delete(g.pending, id)
		}
	}
	var expired []*member
	for _, mb := range g.ordered() {
		if mb.overdue(now) {
			expired = append(expired, mb)
		}
	}
	m.met.lost.Add(float64(len(expired)))
	m.remove(g, expired, now)
	m.advance(g, now)
	if g.forgettable() {
		delete(m.groups, g.id)
		return
	}
	m.rearm(g)
}

// forgettable groups hold nothing, in memory or written down: someone asked to join and never did.
func (g *group) forgettable() bool {
	return g.state == Empty && !g.hasState && len(g.members) == 0 && len(g.pending) == 0 && len(g.offsets) == 0
}

// touch sets the group's wake-up where only the deadlines of one member, which may be nil, and of the group as a
// whole have moved, unless the group has entered another phase.
func (m *Machine) touch(g *group, mb *member) {
	switch {
	case g.armed != phase{g.state, g.generation}:
		m.rearm(g)
		return
	case g.state == PreparingRebalance:
		m.wake(g, g.join.due)
	case !g.syncDue.IsZero():
		m.wake(g, g.syncDue)
	}
	if mb != nil && mb.expires() {
		m.wake(g, mb.deadline)
	}
}

// rearm sets the group's wake-up to the earliest thing that can happen by time alone.
func (m *Machine) rearm(g *group) {
	g.armed = phase{g.state, g.generation}
	var at time.Time
	earliest := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	for _, t := range g.pending {
		earliest(t)
	}
	for _, mb := range g.members {
		if mb.expires() {
			earliest(mb.deadline)
		}
	}
	switch g.state {
	case PreparingRebalance:
		earliest(g.join.due)
	case CompletingRebalance, Stable:
		earliest(g.syncDue)
	default:
	}
	if !at.IsZero() {
		m.wake(g, at)
	}
}

// Abandon implements coordinator.Machine.
func (m *Machine) Abandon(err error) {
	for _, g := range m.groups {
		for _, mb := range g.ordered() {
			if done := mb.joinReply; done != nil {
				mb.joinReply = nil
				done(nil, err)
			}
			if done := mb.syncReply; done != nil {
				mb.syncReply = nil
				done(nil, err)
			}
		}
	}
}

// check is the test that each request of a member passes: it names a member of this group's present
// generation, and the one that holds the static id if it gives one.
func (g *group) check(memberID string, instanceID *string, generation int32) *kerr.Error {
	if instanceID != nil {
		id, ok := g.static[*instanceID]
		switch {
		case !ok:
			return kerr.UnknownMemberID
		case id != memberID:
			return kerr.FencedInstanceID
		}
	} else if g.members[memberID] == nil {
		return kerr.UnknownMemberID
	}
	if generation != g.generation {
		return kerr.IllegalGeneration
	}
	return nil
}

// heard begins the member's session anew. That of a fresh member begins with its first generation.
func (m *member) heard(now time.Time) {
	if !m.fresh {
		m.deadline = now.Add(m.sessionTimeout)
	}
}

func ms(n int32) time.Duration { return time.Duration(n) * time.Millisecond }
