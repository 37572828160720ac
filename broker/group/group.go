package group

import (
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/metadata/topic"
)

// State is where a group stands, by Kafka's names.
type State string

const (
	// Empty has no members; it may still have offsets.
	Empty State = "Empty"
	// PreparingRebalance waits for all members to join again.
	PreparingRebalance State = "PreparingRebalance"
	// CompletingRebalance waits for the leader's assignment.
	CompletingRebalance State = "CompletingRebalance"
	// Stable has an assignment that all members may fetch.
	Stable State = "Stable"
	// Dead is what a group that does not exist is described as.
	Dead State = "Dead"
)

type group struct {
	id           string
	state        State
	protocolType string
	protocol     string
	generation   int32
	leader       string
	members      map[string]*member
	static       map[string]string    // instance id -> member id
	known        map[string]int       // protocol -> members that know it
	pending      map[string]time.Time // member ids handed out, not yet joined -> when they lapse
	offsets      map[topic.ID]map[int32]offset
	since        time.Time // when the present generation or emptiness began
	// topics are what the members of the present generation subscribe to; nil if that can't be told, because
	// this is not a consumer group or a subscription does not parse.
	topics map[string]bool

	join     joinWait
	syncDue  time.Time // members that have not synced by then are removed; zero if none need to
	hasState bool      // a header is written down
	onRecord int32     // members that the header counts
	nextWake time.Time // the latest timer set for this group; zero if none is
	armed    phase     // when all deadlines were last looked at
}

// phase changes with whatever gives many members new deadlines at once.
type phase struct {
	state      State
	generation int32
}

// joinWait is the parked join of a rebalance.
type joinWait struct {
	due       time.Time // when the join completes whoever is missing
	initial   bool      // the first join of an empty group, which waits for company
	remaining time.Duration
	newcomer  bool // somebody joined during the present initial delay
}

type member struct {
	id, instanceID       string
	isStatic             bool
	clientID, clientHost string
	sessionTimeout       time.Duration
	rebalanceTimeout     time.Duration
	protocols            []kmsg.JoinGroupRequestProtocol
	assignment           []byte
	deadline             time.Time
	joinReply            Done[kmsg.JoinGroupResponse]
	syncReply            Done[kmsg.SyncGroupResponse]
	order                int   // joined how-manieth, so that votes and lists have one order
	fresh                bool  // waits for its first join, which times out even while it is parked
	synced               bool  // has asked for its assignment of this generation
	written              bool  // a record of this member is written down
	generation           int32 // as loaded
}

// overdue says whether nothing was heard of the member for too long. Whoever is parked need not be
// heard of.
func (m *member) overdue(now time.Time) bool { return m.expires() && !m.deadline.After(now) }

func (m *member) expires() bool { return m.fresh || m.joinReply == nil && m.syncReply == nil }

type offset struct {
	offset      int64
	leaderEpoch int32
	metadata    string
	committed   time.Time
	expires     time.Time // as the client wanted it; zero: Options.OffsetsRetention decides
}

func newGroup(id string, now time.Time) *group {
	return &group{
		id: strings.Clone(id), state: Empty, since: now,
		members: map[string]*member{}, static: map[string]string{}, known: map[string]int{}, pending: map[string]time.Time{},
		offsets: map[topic.ID]map[int32]offset{},
	}
}

// ordered lists the members in the order in which they joined.
func (g *group) ordered() []*member {
	ms := make([]*member, 0, len(g.members))
	for _, m := range g.members {
		ms = append(ms, m)
	}
	slices.SortFunc(ms, func(a, b *member) int { return a.order - b.order })
	return ms
}

// simple groups only keep offsets: no member ever gave them a protocol type.
func (g *group) simple() bool { return g.protocolType == "" }

func (m *member) metadataFor(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

func (m *member) sameProtocols(ps []kmsg.JoinGroupRequestProtocol) bool {
	return slices.EqualFunc(m.protocols, ps, func(a, b kmsg.JoinGroupRequestProtocol) bool {
		return a.Name == b.Name && slices.Equal(a.Metadata, b.Metadata)
	})
}

// supports says whether someone with these protocols can be a member beside the present ones, except
// for the one named.
func (g *group) supports(protocolType string, ps []kmsg.JoinGroupRequestProtocol, except string) bool {
	if protocolType == "" || len(ps) == 0 || g.state != Empty && g.protocolType != protocolType {
		return false
	}
	others := len(g.members)
	var counted map[string]bool
	if own := g.members[except]; own != nil {
		others--
		counted = own.names()
	}
	return others == 0 || slices.ContainsFunc(ps, func(p kmsg.JoinGroupRequestProtocol) bool {
		n := g.known[p.Name]
		if counted[p.Name] {
			n--
		}
		return n == others
	})
}

// names are those of a member's protocols, of which there may be as many as a request holds, and some named twice.
func (m *member) names() map[string]bool {
	names := make(map[string]bool, len(m.protocols))
	for _, p := range m.protocols {
		names[p.Name] = true
	}
	return names
}

// count takes a member's protocols in, with 1, or out, with -1.
func (g *group) count(m *member, by int) {
	for name := range m.names() {
		if g.known[name] += by; g.known[name] == 0 {
			delete(g.known, name)
		}
	}
}

// vote picks the protocol that most members prefer among those all of them know; ties go to the
// preference of the earliest member.
func (g *group) vote() string {
	ms := g.ordered()
	votes := map[string]int{}
	var seen []string
	for _, m := range ms {
		for _, p := range m.protocols {
			if g.known[p.Name] == len(ms) {
				if votes[p.Name] == 0 {
					seen = append(seen, p.Name)
				}
				votes[p.Name]++
				break
			}
		}
	}
	best := ""
	for _, name := range seen {
		if best == "" || votes[name] > votes[best] {
			best = name
		}
	}
	return best
}

func (g *group) rebalanceTimeout() time.Duration {
	var d time.Duration
	for _, m := range g.members {
		d = max(d, m.rebalanceTimeout)
	}
	return d
}

func (g *group) allJoined() bool {
	if len(g.pending) > 0 {
		return false
	}
	for _, m := range g.members {
		if m.joinReply == nil {
			return false
		}
	}
	return true
}

// subscribe notes what the members of this generation subscribe to.
func (g *group) subscribe() {
	g.topics = nil
	if g.protocolType != consumerProtocol {
		return
	}
	topics := map[string]bool{}
	for _, m := range g.members {
		names, ok := subscription(m.metadataFor(g.protocol))
		if !ok {
			return
		}
		for _, name := range names {
			topics[name] = true
		}
	}
	g.topics = topics
}

// subscription reads the topics out of a consumer's metadata. What version 0 knew begins every later one.
func subscription(metadata []byte) (topics []string, ok bool) {
	if len(metadata) < 2 {
		return nil, false
	}
	var sub kmsg.ConsumerMemberMetadata
	if err := sub.ReadFrom(append([]byte{0, 0}, metadata[2:]...)); err != nil {
		return nil, false
	}
	return sub.Topics, true
}

// sameSubscription says whether two consumers' metadata name the same topics, in whatever order.
func sameSubscription(a, b []byte) bool {
	at, aok := subscription(a)
	bt, bok := subscription(b)
	if !aok || !bok {
		return slices.Equal(a, b)
	}
	slices.Sort(at)
	slices.Sort(bt)
	return slices.Equal(at, bt)
}

// consumerProtocol is the protocol type of every consumer client.
const consumerProtocol = "consumer"
