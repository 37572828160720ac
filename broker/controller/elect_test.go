package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"firn/metadata"
	"firn/metadata/memkv"
	"firn/metadata/topic"
)

// world is an image for pure functions: which brokers live, and what is known of them.
type world struct {
	t    testing.TB
	kv   *memkv.Client
	keys metadata.Keys
	ops  []metadata.Op
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, kv: memkv.New()}
	t.Cleanup(func() { _ = w.kv.Close() })
	var err error
	if w.keys, err = metadata.NewKeys("firn"); err != nil {
		t.Fatal(err)
	}
	return w
}

// alive registers brokers in the plainest way: a record of version 1 with an incarnation.
func (w *world) alive(ids ...int32) *world {
	for _, id := range ids {
		w.ops = append(w.ops, metadata.Put(w.keys.Broker(id), append([]byte{8, 1, 18, 16}, make([]byte, 16)...)))
	}
	return w
}

// node gives a broker a record that says that its registration is complete.
func (w *world) node(id int32, state metadata.NodeState, loss metadata.Loss) *world {
	w.ops = append(w.ops, w.keys.PutNode(&metadata.Node{ID: id, State: state, Loss: loss, LastEpoch: w.kv.Server().Rev() + 1}))
	return w
}

// incomplete registers a broker whose disks do not have its epoch yet.
func (w *world) incomplete(id int32) *world {
	w.ops = append(w.ops, w.keys.PutNode(&metadata.Node{ID: id, LastEpoch: 1}))
	return w.alive(id)
}

func (w *world) settings(id topic.ID, values map[string]string) *world {
	w.ops = append(w.ops, w.keys.PutSettings(w.keys.TopicSettings(id), metadata.Settings{Values: values}))
	return w
}

func (w *world) image() *metadata.Image {
	w.t.Helper()
	if _, err := w.kv.Txn(w.t.Context(), metadata.Txn{Then: w.ops}); err != nil {
		w.t.Fatal(err)
	}
	w.ops = nil
	s, err := metadata.Open(w.t.Context(), w.kv, metadata.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	defer s.Close()
	return s.Image()
}

// parse reads "leader/isr/elr/last", with ids as digits and - for nobody; a leader with ' leads under an epoch
// of the past.
func parse(t testing.TB, s string, tp topic.Partition, img *metadata.Image) *metadata.PartitionState {
	t.Helper()
	f := strings.Split(s, "/")
	one := func(s string) int32 {
		if s == "-" {
			return -1
		}
		return int32(s[0] - '0')
	}
	many := func(s string) (out []int32) {
		for _, c := range strings.ReplaceAll(s, "-", "") {
			out = append(out, c-'0')
		}
		return out
	}
	p := &metadata.PartitionState{Partition: tp, Replicas: []int32{1, 2, 3}, LeaderEpoch: 7, ISR: many(f[1]), ELR: many(f[2]), LastKnownLeader: one(f[3])}
	p.Leader = one(strings.TrimSuffix(f[0], "'"))
	if b, ok := img.Broker(p.Leader); ok && !strings.HasSuffix(f[0], "'") {
		p.LeaderBrokerEpoch = b.Epoch
	} else if p.Leader >= 0 {
		p.LeaderBrokerEpoch = 1
	}
	return p
}

// format undoes parse, with + behind the leader if the leader epoch is new.
func format(p *metadata.PartitionState) string {
	one := func(id int32) string {
		if id < 0 {
			return "-"
		}
		return fmt.Sprint(id)
	}
	many := func(ids []int32) (s string) {
		for _, id := range slices.Sorted(slices.Values(ids)) {
			s += fmt.Sprint(id)
		}
		if s == "" {
			return "-"
		}
		return s
	}
	leader := one(p.Leader)
	if p.LeaderEpoch > 7 {
		leader += "+"
	}
	return leader + "/" + many(p.ISR) + "/" + many(p.ELR) + "/" + one(p.LastKnownLeader)
}

func TestElections(t *testing.T) {
	const (
		relaxed = metadata.LossRelaxed
		all     = metadata.LossAll
	)
	for _, c := range []struct {
		name    string
		alive   string
		min     string // min.insync.replicas
		relaxed bool   // the topic's durability
		loss    map[int32]metadata.Loss
		leaving int32 // draining
		coming  int32 // alive, but its disks do not have its epoch yet
		before  string
		want    string // "" for no change
	}{
		{name: "all is well", alive: "123", before: "1/123/-/-"},
		{name: "a follower outside the ISR is dead", alive: "12", before: "1/12/-/-"},
		{name: "a follower died", alive: "13", before: "1/123/-/-", want: "1/13/-/-"},
		{name: "a follower died below min", alive: "13", min: "3", before: "1/123/-/-", want: "1/13/2/-"},
		{name: "the leader died", alive: "23", before: "1/123/-/-", want: "2+/23/-/-"},
		{name: "the leader came back under a new epoch", alive: "123", before: "1'/123/-/-", want: "1+/123/-/-"},
		{name: "the leader came back alone", alive: "1", before: "1'/1/-/-", want: "1+/1/-/-"},
		{name: "the preferred replica first", alive: "123", before: "-/32/-/-", want: "2+/23/-/-"},
		{name: "nobody of the ISR lives", alive: "3", before: "1/12/-/-", want: "-+/12/-/-"},
		{name: "still nobody", alive: "3", before: "-/12/-/-"},
		{name: "one of the ISR returns", alive: "23", before: "-/12/-/-", want: "2+/2/-/-"},
		{name: "one of the ISR returns, below min", alive: "23", min: "2", before: "-/12/-/-", want: "2+/2/1/-"},
		{name: "an eligible one leads", alive: "3", min: "2", before: "1/1/3/-", want: "3+/3/1/-"},
		{name: "the ISR before the eligible", alive: "23", min: "2", before: "1/13/2/-", want: "3+/3/12/-"},
		{name: "one about to leave is passed over", alive: "23", leaving: 2, before: "1/123/-/-", want: "3+/23/-/-"},
		{name: "one about to leave is better than none", alive: "2", leaving: 2, before: "1/12/-/-", want: "2+/2/-/-"},
		{name: "one that cannot serve yet is passed over", alive: "23", coming: 1, before: "1'/123/-/-", want: "2+/123/-/-"},
		{name: "one about to leave is better than one that cannot serve yet", alive: "2", leaving: 2, coming: 1, before: "-/12/-/-", want: "2+/12/-/-"},
		{name: "one that cannot serve yet is better than none, but strikes nobody off", coming: 1, before: "-/123/-/-", want: "1+/123/-/-"},
		{name: "nor to the eligible", min: "2", coming: 1, before: "1/12/3/-"},
		{name: "one that cannot serve yet makes way", alive: "2", coming: 1, before: "1/12/-/-", want: "2+/12/-/-"},
		{name: "but not to one about to leave", alive: "2", leaving: 2, coming: 1, before: "1/12/-/-"},

		{name: "a power cut, durable", alive: "123", loss: map[int32]metadata.Loss{1: relaxed}, before: "1'/123/-/-", want: "1+/123/-/-"},
		{name: "a power cut, relaxed", alive: "123", relaxed: true, loss: map[int32]metadata.Loss{1: relaxed}, before: "1'/123/-/-", want: "2+/23/-/-"},
		{name: "a follower's power cut, relaxed", alive: "123", relaxed: true, loss: map[int32]metadata.Loss{2: relaxed}, before: "1/123/-/-", want: "1/13/-/-"},
		{name: "the last one's power cut, relaxed", alive: "1", relaxed: true, loss: map[int32]metadata.Loss{1: relaxed}, before: "1'/1/-/-", want: "1+/1/-/-"},
		{name: "everyone's power cut, relaxed", alive: "123", relaxed: true, loss: map[int32]metadata.Loss{1: relaxed, 2: relaxed, 3: relaxed}, before: "2'/123/-/-", want: "2+/2/-/-"},
		{name: "elected with its loss known", alive: "1", relaxed: true, loss: map[int32]metadata.Loss{1: relaxed}, before: "1/1/-/-"},
		{name: "a new disk", alive: "123", loss: map[int32]metadata.Loss{1: all}, before: "1'/123/-/-", want: "2+/23/-/-"},
		{name: "a new disk, eligible", alive: "123", loss: map[int32]metadata.Loss{3: all}, before: "1/12/3/-", want: "1/12/-/-"},
		{name: "the only disk is new", alive: "1", loss: map[int32]metadata.Loss{1: all}, before: "1'/1/-/-", want: "-+/-/-/-"},
		{name: "the only disk was new, which is known", alive: "1", before: "-/-/-/-"},
		{name: "one power cut, one new disk", alive: "12", relaxed: true, loss: map[int32]metadata.Loss{1: all, 2: relaxed}, before: "1'/12/-/-", want: "2+/2/-/-"},
		{name: "a new disk before it is back", alive: "2", loss: map[int32]metadata.Loss{1: all}, before: "1/12/-/-", want: "2+/2/-/-"},
		{name: "last known leader away", alive: "2", before: "-/-/-/1"},
		{name: "last known leader back", alive: "12", before: "-/-/-/1", want: "1+/1/-/-"},
		{name: "last known leader back with a new disk", alive: "12", loss: map[int32]metadata.Loss{1: all}, before: "-/-/-/1", want: "-/-/-/-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tp := topic.Partition{ID: topic.NewID()}
			w := newWorld(t)
			for _, d := range c.alive {
				w.alive(d - '0')
			}
			for id, loss := range c.loss {
				w.node(id, metadata.NodeLive, loss)
			}
			if c.leaving != 0 {
				w.node(c.leaving, metadata.NodeDraining, metadata.LossNone)
			}
			if c.coming != 0 {
				w.incomplete(c.coming)
			}
			values := map[string]string{"min.insync.replicas": "1"}
			if c.min != "" {
				values["min.insync.replicas"] = c.min
			}
			if c.relaxed {
				values["flush.messages"] = "9223372036854775807"
			}
			img := w.settings(tp.ID, values).image()
			e := newElector(img, topic.Defaults{})
			p := parse(t, c.before, tp, img)
			n, changed := e.next(p)
			if got := format(&n); changed != (c.want != "") || changed && got != c.want {
				t.Errorf("%s becomes %s, changed %v; want %q", c.before, got, changed, c.want)
			}
			if again, more := e.next(&n); more {
				t.Errorf("%s does not stay: it becomes %s", format(&n), format(&again))
			}
		})
	}
}

// TestElectionsKeepWhatIsCommitted tries every small state: three replicas, dead or alive, with every loss, ISR,
// ELR, leader and last known leader.
func TestElectionsKeepWhatIsCommitted(t *testing.T) {
	tp := topic.Partition{ID: topic.NewID()}
	sets := []string{"-", "1", "2", "3", "12", "13", "23", "123"}
	for living := range 8 {
		for losses := range 27 {
			w := newWorld(t).settings(tp.ID, map[string]string{"min.insync.replicas": "2", "flush.messages": "100"})
			loss := map[int32]metadata.Loss{}
			for i, l := int32(1), losses; i <= 3; i, l = i+1, l/3 {
				loss[i] = metadata.Loss(l % 3)
				w.node(i, metadata.NodeLive, loss[i])
				if living>>(i-1)&1 == 1 {
					w.alive(i)
				}
			}
			img := w.image()
			e := newElector(img, topic.Defaults{})
			for _, isr := range sets {
				for _, elr := range sets {
					if strings.ContainsAny(strings.ReplaceAll(isr, "-", ""), strings.ReplaceAll(elr, "-", "")) {
						continue
					}
					for _, leader := range []string{"-", "1", "1'", "2", "2'"} {
						if leader != "-" && !strings.Contains(isr, leader[:1]) {
							continue // a leader is in the ISR
						}
						for _, last := range []string{"-", "3"} {
							if last != "-" && (isr != "-" || elr != "-") {
								continue // there is one only when nobody else is left
							}
							checkElection(t, e, img, loss, parse(t, leader+"/"+isr+"/"+elr+"/"+last, tp, img))
						}
					}
				}
			}
			_ = w.kv.Close()
		}
	}
}

func checkElection(t *testing.T, e *elector, img *metadata.Image, loss map[int32]metadata.Loss, p *metadata.PartitionState) {
	t.Helper()
	n, _ := e.next(p)
	fail := func(format_ string, args ...any) {
		t.Helper()
		t.Errorf("alive %d of %v: %s becomes %s: %s", len(img.Brokers()), loss, format(p), format(&n), fmt.Sprintf(format_, args...))
	}
	before := slices.Concat(p.ISR, p.ELR)
	after := slices.Concat(n.ISR, n.ELR)
	whole := func(id int32) bool { // has all that is committed
		return slices.Contains(before, id) && e.lacks(p, id) == metadata.LossNone
	}
	anyWhole := slices.ContainsFunc(before, whole)
	for _, id := range after {
		if !whole(id) && anyWhole {
			fail("%d is trusted", id)
		}
	}
	if anyWhole && len(after) == 0 {
		fail("nobody is trusted any more")
	}
	if (n.Leader != p.Leader || n.LeaderBrokerEpoch != p.LeaderBrokerEpoch) != (n.LeaderEpoch == p.LeaderEpoch+1) || n.LeaderEpoch > p.LeaderEpoch+1 {
		fail("leader epoch %d after %d", n.LeaderEpoch, p.LeaderEpoch)
	}
	b, alive := img.Broker(n.Leader)
	switch {
	case n.Leader < 0:
		for _, id := range after {
			if e.alive(id) {
				fail("%d could lead", id)
			}
		}
	case !alive || b.Epoch != n.LeaderBrokerEpoch:
		fail("the leader is dead")
	case !slices.Contains(n.ISR, n.Leader):
		fail("the leader is not in the ISR")
	case loss[n.Leader] == metadata.LossAll && !(p.Leader == n.Leader && p.LeaderBrokerEpoch == n.LeaderBrokerEpoch):
		fail("the leader has a new disk")
	}
	if again, more := e.next(&n); more {
		fail("it does not stay but becomes %s", format(&again))
	}
}
