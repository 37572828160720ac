package tiertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"firn/metadata/topic"
	"firn/tiering"
)

// ErrUnknown is what a Swap or Load returns whose outcome the caller cannot know.
var ErrUnknown = errors.New("tiertest: outcome unknown")

// Anchor keeps heads in memory. Chances are in percent and may change at any time. It is safe for
// concurrent use.
type Anchor struct {
	mu   sync.Mutex
	rng  *rand.Rand
	recs map[topic.Partition]record
	late []swap // sent, answered with ErrUnknown, and still on their way

	lost, lostReply, delayed, unreadable int
	refuse                               func(tp topic.Partition, leaderEpoch int32) bool
	onSwap                               func(tp topic.Partition, old, new []byte)
	swaps, loads                         int
}

type record struct {
	head []byte
	rev  int64
}

type swap struct {
	tp   topic.Partition
	rev  int64
	head []byte
}

var _ tiering.Anchor = (*Anchor)(nil)

// NewAnchor returns an empty anchor.
func NewAnchor(seed uint64) *Anchor {
	return &Anchor{rng: rand.New(rand.NewPCG(seed, 99)), recs: map[topic.Partition]record{}}
}

// SetFaults sets the chances that a swap is lost, that its reply is lost, that it is answered with an error
// and happens later, and that a load fails.
func (a *Anchor) SetFaults(lost, lostReply, delayed, unreadable int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lost, a.lostReply, a.delayed, a.unreadable = lost, lostReply, delayed, unreadable
}

// Refuse makes swaps fail for which fn says so, as etcd does when the broker's registration or the topic
// is gone.
func (a *Anchor) Refuse(fn func(tp topic.Partition, leaderEpoch int32) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refuse = fn
}

// OnSwap is told of every swap that happened, in order, under the anchor's lock.
func (a *Anchor) OnSwap(fn func(tp topic.Partition, old, new []byte)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.onSwap = fn
}

// Counts returns the calls so far.
func (a *Anchor) Counts() (swaps, loads int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.swaps, a.loads
}

func (a *Anchor) chance(percent int) bool { return percent > 0 && a.rng.IntN(100) < percent }

// Load implements tiering.Anchor.
func (a *Anchor) Load(ctx context.Context, tp topic.Partition) ([]byte, int64, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.loads++
	a.landSome()
	if a.chance(a.unreadable) {
		return nil, 0, fmt.Errorf("load: %w", ErrUnknown)
	}
	r := a.recs[tp]
	return bytes.Clone(r.head), r.rev, nil
}

// Swap implements tiering.Anchor.
func (a *Anchor) Swap(ctx context.Context, tp topic.Partition, rev int64, leaderEpoch int32, head []byte) (int64, bool, error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.swaps++
	a.landSome()
	if a.refuse != nil && a.refuse(tp, leaderEpoch) {
		return 0, false, nil
	}
	s := swap{tp, rev, bytes.Clone(head)}
	switch {
	case a.chance(a.lost):
		return 0, false, fmt.Errorf("swap lost: %w", ErrUnknown)
	case a.chance(a.delayed):
		a.late = append(a.late, s)
		return 0, false, fmt.Errorf("swap late: %w", ErrUnknown)
	}
	newRev, ok := a.apply(s)
	if a.chance(a.lostReply) {
		return 0, false, fmt.Errorf("reply lost: %w", ErrUnknown)
	}
	return newRev, ok, nil
}

func (a *Anchor) apply(s swap) (int64, bool) {
	r := a.recs[s.tp]
	if r.rev != s.rev {
		return 0, false
	}
	if a.onSwap != nil {
		a.onSwap(s.tp, r.head, s.head)
	}
	r.head = s.head
	r.rev++
	a.recs[s.tp] = r
	return r.rev, true
}

// landSome lets swaps that were on their way arrive, each with a chance of a third. While every swap is
// delayed they wait for Land.
func (a *Anchor) landSome() {
	if a.delayed == 100 {
		return
	}
	var rest []swap
	for _, s := range a.late {
		if a.chance(33) {
			a.apply(s)
		} else {
			rest = append(rest, s)
		}
	}
	a.late = rest
}

// Land lets all swaps that are on their way arrive now.
func (a *Anchor) Land() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.late {
		a.apply(s)
	}
	a.late = nil
}

// Set writes a head whatever was there, as an election without quorum may.
func (a *Anchor) Set(tp topic.Partition, head []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.apply(swap{tp, a.recs[tp].rev, bytes.Clone(head)})
}
