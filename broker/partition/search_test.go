package partition

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"firn/metadata"
)

// smallScopes are searched whole. Between them they have every move.
var smallScopes = []smallScope{
	{name: "logs that part", replicas: 2, minISR: 2, durable: true, appends: 2, epochs: 3, stops: 2},
	{name: "in-sync sets", replicas: 3, minISR: 2, durable: true, appends: 1, epochs: 1, lags: 1},
	{name: "unknown outcomes", replicas: 2, minISR: 1, durable: true, appends: 1, epochs: 2, stops: 1, lags: 1, lost: 1},
	{name: "too few in sync", replicas: 2, minISR: 2, durable: true, appends: 1, epochs: 2, stops: 1, lags: 1},
	{name: "lost disks", replicas: 2, minISR: 2, durable: true, appends: 1, epochs: 2, stops: 1, losses: 1},
	{name: "power cuts", replicas: 2, minISR: 2, appends: 1, epochs: 2, stops: 1, losses: 1},
	{name: "late messages", replicas: 2, minISR: 1, durable: true, appends: 1, epochs: 2, stops: 1, late: 1},
}

// TestEverySmallWorld tries everything that can happen in small worlds, in every order: whatever has been committed is on
// every replica that could lead and on everyone who does, high watermarks do not fall, logs agree below them and are not
// cut there, and nobody leads at an epoch of another.
func TestEverySmallWorld(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(500)) // there is much that stays
	for _, sc := range smallScopes {
		t.Run(sc.name, func(t *testing.T) {
			start := time.Now()
			s := newSearch(sc)
			wrong := s.run()
			t.Logf("%d states, %d moves, %d deep, %v", len(s.from), s.tried, s.depth, time.Since(start).Round(time.Millisecond))
			if wrong != "" {
				t.Errorf("%s\n%s", wrong, s.trail())
			}
		})
	}
}

// TestRandomSmallWorlds goes far into worlds that are too large to be searched. In the end nothing more goes wrong: then all
// replicas are in sync again, and what is appended is committed.
func TestRandomSmallWorlds(t *testing.T) {
	led, eligible, joined := 0, 0, 0
	for seed := range uint64(1000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		w := newSmallWorld(&smallScope{
			replicas: 3, minISR: 1 + rng.IntN(3), durable: rng.IntN(2) == 0,
			appends: 20, epochs: 100, stops: rng.IntN(20), lags: 10, lost: 10, late: 10,
		})
		w.losses = w.minISR - 1
		var trail []string
		for range 1500 {
			m, id := rng.IntN(len(moves)), int32(1+rng.IntN(3))
			if moves[m].harm && rng.IntN(4) > 0 {
				continue
			}
			isr := len(w.record.isr)
			if !moves[m].do(w, id) {
				continue
			}
			trail = append(trail, fmt.Sprintf("%d %s", id, moves[m].name))
			if w.check(); w.wrong != "" {
				t.Fatalf("seed %d: %s\n%s\n%s", seed, w.wrong, strings.Join(trail, "\n"), w)
			}
			eligible += len(w.record.elr)
			joined += max(0, len(w.record.isr)-isr)
		}
		led += int(w.record.epoch) - 1
		if w.heal(); w.wrong != "" {
			t.Fatalf("seed %d: %s\n%s\n%s", seed, w.wrong, strings.Join(trail, "\n"), w)
		}
	}
	t.Logf("%d leader epochs, %d joins, %d times that a replica was eligible", led, joined, eligible)
	if min(led, joined, eligible) < 500 {
		t.Error("the walk does not get around")
	}
}

// heal lets everybody do what they have to do, and nothing go wrong, until nothing is left to be done.
func (w *smallWorld) heal() {
	good := []string{
		"registers", "is written about, late", "is seen to by the controller", "has its loss acted on", "has its delayed write arrive",
		"hears of the newest record", "syncs its log", "fetches", "proposes an in-sync set", "writes it",
	}
	w.epochs, w.stops, w.appends = w.epochs+100, 100, 0
	for round := range 60 {
		for id := int32(1); id <= int32(w.replicas); id++ {
			if w.at(id).broken {
				w.stop(id, metadata.LossAll)
			}
			if round == 40 {
				w.appends = 1
				w.append(id)
				w.appends = 0
			}
			for _, name := range good {
				moves[slices.IndexFunc(moves, func(m move) bool { return m.name == name })].do(w, id)
			}
			w.check()
		}
	}
	for i := range w.sites {
		if s := &w.sites[i]; s.log != w.committed || int(s.hw) != len(s.log) || len(w.record.isr) != w.replicas {
			w.fail("%d does not get on", i+1)
		}
	}
}

// search walks a world breadth first. Worlds are known by the hash of all that can make a difference.
type search struct {
	scope smallScope
	known map[[16]byte]struct{}
	from  []step // of each state the one it came from
	tried int
	depth int
	last  int32 // the state of which something is wrong
}

type step struct {
	from     int32
	move, id uint8
}

type found struct {
	*smallWorld
	index int32
}

func newSearch(sc smallScope) *search {
	return &search{scope: sc, known: map[[16]byte]struct{}{}}
}

// run returns what is wrong, the shortest way to it, or nothing.
func (s *search) run() string {
	scope := s.scope
	root := newSmallWorld(&scope)
	var buf []byte
	s.known[xxh3.Hash128(root.encode(nil)).Bytes()] = struct{}{}
	s.from = append(s.from, step{})
	for now := []found{{root, 0}}; len(now) > 0; s.depth++ {
		var next []found
		for _, f := range now {
			var w *smallWorld
			for m := range moves {
				for id := int32(1); id <= int32(s.scope.replicas); id++ {
					if w == nil {
						w = f.clone()
					}
					if !moves[m].do(w, id) {
						continue
					}
					s.tried++
					w.settle()
					w.check()
					buf = w.encode(buf[:0])
					h := xxh3.Hash128(buf).Bytes()
					reached := w
					w = nil
					if _, seen := s.known[h]; seen && reached.wrong == "" {
						continue
					}
					s.known[h] = struct{}{}
					s.from = append(s.from, step{f.index, uint8(m), uint8(id)})
					s.last = int32(len(s.from) - 1)
					if reached.wrong != "" {
						return reached.wrong
					}
					next = append(next, found{reached, s.last})
				}
			}
		}
		now = next
	}
	return ""
}

// trail tells the story that led to the last state.
func (s *search) trail() string {
	var steps []step
	for i := s.last; i != 0; i = s.from[i].from {
		steps = append(steps, s.from[i])
	}
	slices.Reverse(steps)
	scope := s.scope
	w := newSmallWorld(&scope)
	var b strings.Builder
	for _, st := range steps {
		moves[st.move].do(w, int32(st.id))
		w.settle()
		fmt.Fprintf(&b, "%d %s\n\t%s\n", st.id, moves[st.move].name, w)
	}
	return b.String()
}

// settle forgets what can make no difference any more, and makes revisions small, so that worlds which differ by how often the record was written are the same.
func (w *smallWorld) settle() {
	if w.late == 0 {
		for i := range w.sites {
			w.sites[i].asked = nil
		}
	}
	var revs []int64
	each := func(fn func(*int64)) {
		fn(&w.record.rev)
		if w.late > 0 {
			fn(&w.before.rev)
		}
		if w.plan != nil {
			p := *w.plan
			fn(&p.rev)
			w.plan = &p
		}
		for i := range w.sites {
			s := &w.sites[i]
			fn(&s.rev)
			if s.q != nil {
				fn(&s.q.rev)
			}
			for _, a := range []**attempt{&s.sent, &s.late} {
				if *a != nil {
					c := **a
					fn(&c.Rev)
					*a = &c
				}
			}
		}
	}
	each(func(rev *int64) {
		if !slices.Contains(revs, *rev) {
			revs = append(revs, *rev)
		}
	})
	slices.Sort(revs)
	each(func(rev *int64) { *rev = int64(slices.Index(revs, *rev)) })
}

// encode writes all that can make a difference to what happens next.
func (w *smallWorld) encode(b []byte) []byte {
	num := func(n int64) { b = binary.AppendVarint(b, n) }
	yes := func(v bool) {
		if v {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
	}
	ids := func(list []int32) {
		yes(list != nil)
		num(int64(len(list)))
		for _, id := range list {
			num(int64(id))
		}
	}
	rec := func(r *smallRecord) {
		for _, n := range []int64{int64(r.leader), int64(r.last), r.life, int64(r.epoch), r.rev} {
			num(n)
		}
		ids(r.isr)
		ids(r.elr)
	}
	try := func(a *attempt) {
		if yes(a != nil); a == nil {
			return
		}
		num(a.life)
		num(a.Rev)
		num(int64(a.LeaderEpoch))
		yes(a.unsure)
		yes(a.back)
		ids(a.ISR)
		ids(a.ELR)
		num(int64(len(a.Joiners)))
		for _, j := range a.Joiners {
			num(int64(j.ID))
			num(j.BrokerEpoch)
		}
	}
	age := func(at time.Time) {
		if at.IsZero() {
			num(0)
		} else {
			num(1 + int64(testNow.Sub(at)))
		}
	}
	for _, n := range []int{w.appends, w.stops, w.losses, w.lags, w.lost, w.late} {
		num(int64(n))
	}
	b = append(append(b, w.committed...), '.')
	rec(&w.record)
	if w.late > 0 {
		rec(&w.before)
	}
	if yes(w.plan != nil); w.plan != nil {
		rec(w.plan)
	}
	for i := range w.sites {
		s := &w.sites[i]
		yes(s.up)
		yes(s.registered)
		yes(s.broken)
		yes(s.leads)
		b = append(append(b, s.log...), '.')
		for _, n := range []int64{s.life, int64(s.loss), int64(s.took), int64(s.durable), s.hw, s.ledIn, int64(s.leader), int64(s.epoch), s.rev} {
			num(n)
		}
		if yes(s.q != nil); s.q != nil {
			num(s.q.epochStart)
			num(s.q.rev)
			ids(s.q.isr)
			ids(s.q.elr)
			ids(s.q.proposed)
			for _, f := range s.q.followers {
				for _, n := range []int64{f.brokerEpoch, f.end, f.leaderEnd} {
					num(n)
				}
				yes(f.left)
				yes(f.barred)
				age(f.fetched)
				age(f.caughtUp)
			}
		}
		if yes(s.asked != nil); s.asked != nil {
			for _, n := range []int64{int64(s.asked.leader), int64(s.asked.epoch), int64(s.asked.lastEpoch), s.asked.life, s.asked.offset} {
				num(n)
			}
		}
		try(s.sent)
		try(s.late)
	}
	return b
}

// String tells what a world is like, for people.
func (w *smallWorld) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "committed %q, record %+v", w.committed, w.record)
	for i := range w.sites {
		s := &w.sites[i]
		fmt.Fprintf(&b, "; %d: %q (%d durable, hw %d)", i+1, s.log, s.durable, s.hw)
		if s.leads {
			fmt.Fprintf(&b, " leads at %d with isr %v elr %v proposed %v", s.epoch, s.q.isr, s.q.elr, s.q.proposed)
		}
		if !s.up {
			b.WriteString(" down")
		}
	}
	return b.String()
}
