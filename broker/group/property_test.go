package group

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/coordinator"
	"firn/metadata"
)

// atom is how many edits the store takes at once; longer results are cut.
const atom = 90

// sometimes makes the machine go down in the middle of what it writes: the store keeps a beginning of the
// edits, nobody is answered, and another machine loads what there is.
func (r *rig) sometimes(rng *rand.Rand, chance int) func(coordinator.Result) {
	return func(res coordinator.Result) {
		if len(res.Edits) == 0 || rng.IntN(chance) > 0 {
			r.apply(res)
			return
		}
		keep := 0
		if pieces := (len(res.Edits) + atom - 1) / atom; rng.IntN(2) == 0 {
			keep = min(len(res.Edits), atom*rng.IntN(pieces+1))
		}
		for _, f := range res.Replies {
			f(coordinator.ErrUnavailable)
		}
		r.apply(coordinator.Result{Edits: res.Edits[:keep], AtOnce: res.AtOnce})
		r.reload()
	}
}

// client is a consumer that does what consumers do, but not reliably.
type client struct {
	name, instance string
	id             string
	generation     int32
	leads          bool
	members        []kmsg.JoinGroupResponseMember
	joined         bool // and may sync
	synced         bool
	join           *parkedCall[kmsg.JoinGroupResponse]
	sync           *parkedCall[kmsg.SyncGroupResponse]
}

// parkedCall is a call that must be answered in time, also if the client has forgotten it.
type parkedCall[T any] struct {
	pending[T]
	since time.Time
}

// world is clients around one machine, with what was seen so far.
type world struct {
	*rig
	rng     *rand.Rand
	do      func(coordinator.Result)
	clients []*client
	joins   []*parkedCall[kmsg.JoinGroupResponse]
	syncs   []*parkedCall[kmsg.SyncGroupResponse]
	highest int32
	leaders map[int32]string
	steps   map[string]int
}

const longestRebalance = 30 * time.Second

func (w *world) startJoin(c *client) {
	req := request(func(r *kmsg.JoinGroupRequest) {
		r.Version, r.MemberID = int16(w.rng.IntN(10)), c.id
		r.SessionTimeoutMillis = 6_000 + w.rng.Int32N(10_000)
		r.RebalanceTimeoutMillis = 10_000 + w.rng.Int32N(20_001)
		if c.instance != "" {
			r.Version, r.InstanceID = 5+int16(w.rng.IntN(5)), &c.instance
		}
		if w.rng.IntN(4) == 0 {
			r.Protocols[0].Metadata = consumerOf("t1", "t2")
		}
	})
	call := &parkedCall[kmsg.JoinGroupResponse]{since: w.now}
	c.join, c.joined, c.synced = call, false, false
	w.joins = append(w.joins, call)
	w.do(w.m.Join(w.now, Client{ID: c.name, Host: "/h"}, req, call.done()))
}

func (w *world) startSync(c *client) {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.Generation = "g", c.id, c.generation
	if c.instance != "" {
		req.InstanceID = &c.instance
	}
	if c.leads {
		for _, m := range c.members {
			a := kmsg.NewSyncGroupRequestGroupAssignment()
			a.MemberID, a.MemberAssignment = m.MemberID, fmt.Appendf(nil, "%d for %s", c.generation, owner(m.MemberID, m.InstanceID))
			req.GroupAssignment = append(req.GroupAssignment, a)
		}
	}
	call := &parkedCall[kmsg.SyncGroupResponse]{since: w.now}
	c.sync = call
	w.syncs = append(w.syncs, call)
	w.do(w.m.Sync(w.now, Client{}, req, call.done()))
}

func owner(id string, instance *string) string {
	if instance != nil {
		return *instance
	}
	return id
}

func (w *world) lookAll() {
	for _, c := range w.clients {
		w.look(c)
	}
}

// look takes in what was answered.
func (w *world) look(c *client) {
	if j := c.join; j != nil && j.n > 0 {
		c.join = nil
		w.joinAnswered(c, j)
	}
	if s := c.sync; s != nil && s.n > 0 {
		c.sync = nil
		switch {
		case s.err != nil:
		case s.resp.ErrorCode == 0:
			want := fmt.Sprintf("%d for %s", c.generation, owner(c.id, nilIfEmpty(c.instance)))
			if got := string(s.resp.MemberAssignment); got != "" && got != want {
				w.t.Fatalf("assignment %q, want %q", got, want)
			}
			c.synced = true
			w.steps["synced"]++
		default:
			c.refused(s.resp.ErrorCode)
		}
	}
}

func nilIfEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (w *world) joinAnswered(c *client, j *parkedCall[kmsg.JoinGroupResponse]) {
	switch {
	case j.err != nil:
	case j.resp.ErrorCode == kerr.MemberIDRequired.Code:
		c.id = j.resp.MemberID
	case j.resp.ErrorCode == 0:
		c.id, c.generation, c.joined = j.resp.MemberID, j.resp.Generation, true
		c.leads, c.members = len(j.resp.Members) > 0 && !j.resp.SkipAssignment, j.resp.Members
		if c.generation < w.highest {
			w.t.Fatalf("generation %d after %d", c.generation, w.highest)
		}
		w.highest = c.generation
		if c.leads {
			who := owner(c.id, nilIfEmpty(c.instance))
			if before, ok := w.leaders[c.generation]; ok && before != who {
				w.t.Fatalf("%s and %s lead generation %d", before, who, c.generation)
			}
			w.leaders[c.generation] = who
		}
		w.steps["joined"]++
	default:
		c.refused(j.resp.ErrorCode)
	}
}

// refused is what a consumer does about an error.
func (c *client) refused(code int16) {
	c.joined, c.synced, c.leads = false, false, false
	if code == kerr.UnknownMemberID.Code || code == kerr.FencedInstanceID.Code {
		c.id = ""
	}
}

func (w *world) step() {
	c := w.clients[w.rng.IntN(len(w.clients))]
	switch k := w.rng.IntN(20); {
	case k == 0: // it restarts
		*c = client{name: c.name, instance: c.instance}
	case k == 1 && c.id != "":
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Version, req.Group = 5, "g"
		req.Members = []kmsg.LeaveGroupRequestMember{{MemberID: c.id}}
		w.do(w.m.Leave(w.now, req, (&pending[kmsg.LeaveGroupResponse]{}).done()))
		*c = client{name: c.name, instance: c.instance}
	case k == 2:
		w.t.Helper()
		w.do(w.m.Commit(w.now, Committer{Group: "g", MemberID: c.id, Generation: c.generation, InstanceID: nilIfEmpty(c.instance)},
			[]Commit{{Partition: tp(1, 0), Offset: 1}}, (&pending[Committed]{}).done()))
	case k == 3:
		w.passCrashing(time.Duration(w.rng.Int64N(int64(12 * time.Second))))
	case c.join != nil || c.sync != nil:
		if k == 4 { // it gives up waiting, and asks again
			w.startJoin(c)
		}
	case !c.joined:
		w.startJoin(c)
	case !c.synced:
		w.startSync(c)
	default:
		p := &pending[kmsg.HeartbeatResponse]{}
		req := kmsg.NewPtrHeartbeatRequest()
		req.Group, req.MemberID, req.Generation, req.InstanceID = "g", c.id, c.generation, nilIfEmpty(c.instance)
		w.do(w.m.Heartbeat(w.now, req, p.done()))
		if p.resp.ErrorCode != 0 {
			c.refused(p.resp.ErrorCode)
		}
	}
	w.passCrashing(time.Duration(w.rng.Int64N(int64(600 * time.Millisecond))))
	w.check()
}

// passCrashing lets time pass as timers see it.
func (w *world) passCrashing(d time.Duration) {
	w.lookAll()
	defer w.lookAll()
	end := w.now.Add(d)
	for {
		at := w.m.Deadline()
		if at.IsZero() || at.After(end) {
			break
		}
		if at.After(w.now) {
			w.now = at
		}
		w.do(w.m.Tick(w.now))
		w.lookAll()
	}
	w.now = end
	w.do(w.m.Tick(w.now))
}

// check looks at what must always hold.
func (w *world) check() {
	w.t.Helper()
	w.joins = late(w, "join", w.joins, longestRebalance)
	w.syncs = late(w, "sync", w.syncs, longestRebalance)
	for _, g := range w.m.groups {
		if err := g.broken(); err != "" {
			w.t.Fatalf("group in state %s: %s", g.state, err)
		}
	}
}

// late drops what was answered and fails the test for what was not in time.
func late[T any](w *world, what string, calls []*parkedCall[T], limit time.Duration) []*parkedCall[T] {
	left := calls[:0]
	for _, c := range calls {
		switch {
		case c.n > 1:
			w.t.Fatalf("a %s was answered %d times", what, c.n)
		case c.n == 0 && w.now.Sub(c.since) > limit:
			w.t.Fatalf("a %s waits for %v", what, w.now.Sub(c.since))
		case c.n == 0:
			left = append(left, c)
		}
	}
	return left
}

// broken names what does not hold within a group.
func (g *group) broken() string {
	for inst, id := range g.static {
		if mb := g.members[id]; mb == nil || mb.instanceID != inst {
			return "instance " + inst + " is of no member"
		}
	}
	for id, mb := range g.members {
		switch {
		case mb.id != id:
			return "member under another id"
		case mb.isStatic && g.static[mb.instanceID] != id:
			return "static member " + id + " is unknown by its instance"
		case mb.joinReply != nil && g.state != PreparingRebalance:
			return "a join is parked"
		case mb.syncReply != nil && g.state != CompletingRebalance:
			return "a sync is parked"
		}
	}
	switch {
	case g.state == Empty && (len(g.members) > 0 || g.leader != ""):
		return "it has members"
	case (g.state == Stable || g.state == CompletingRebalance) && g.members[g.leader] == nil:
		return "its leader is no member"
	}
	var due []time.Time
	for _, at := range g.pending {
		due = append(due, at)
	}
	known := map[string]int{}
	for _, mb := range g.members {
		for _, p := range mb.protocols {
			known[p.Name]++
		}
		if mb.joinReply == nil && mb.syncReply == nil || mb.fresh {
			due = append(due, mb.deadline)
		}
	}
	if !maps.Equal(known, g.known) {
		return fmt.Sprintf("members know %v, counted were %v", known, g.known)
	}
	if g.state == PreparingRebalance {
		due = append(due, g.join.due)
	}
	for _, at := range due {
		if g.nextWake.IsZero() || at.Before(g.nextWake) {
			return fmt.Sprintf("nothing wakes it at %v", at)
		}
	}
	return ""
}

func TestGroupsUnderUnreliableClients(t *testing.T) {
	for run := range 30 {
		seed := rand.Uint64()
		if testing.Verbose() && run == 0 {
			t.Logf("first seed %d", seed)
		}
		r := newRig(t)
		rng := rand.New(rand.NewPCG(seed, 0))
		r.m.opts.InitialRebalanceDelay = time.Duration(rng.IntN(4)) * time.Second
		w := &world{rig: r, rng: rng, leaders: map[int32]string{}, steps: map[string]int{}}
		w.do = r.sometimes(rng, 8)
		for i := range 2 + rng.IntN(6) {
			c := &client{name: fmt.Sprint("c", i)}
			if rng.IntN(3) == 0 {
				c.instance = fmt.Sprint("i", i)
			}
			w.clients = append(w.clients, c)
		}
		ok := false
		t.Cleanup(func() {
			if !ok && t.Failed() {
				t.Logf("run %d, seed %d", run, seed)
			}
		})
		_ = r.commit(Committer{Group: "g", Generation: -1}, 1, tp(1, 0)) // so that the group is never forgotten
		for range 600 {
			w.step()
		}
		if w.steps["joined"] < 20 || w.steps["synced"] == 0 {
			t.Errorf("seed %d: hardly anything happened: %v", seed, w.steps)
		}
		w.passCrashing(2 * time.Minute)
		w.check()
		if g := w.m.groups["g"]; g.state != Empty || len(w.joins)+len(w.syncs) > 0 {
			t.Errorf("seed %d: with nobody there the group is %s", seed, g.state)
		}
		ok = true
	}
}

// A group of a thousand members is written in a dozen pieces. Wherever that is cut short, no one is told that all
// is well, and the next generation is a new one.
func TestLargeGroupHalfWritten(t *testing.T) {
	const size = 1000
	r := newRig(t)
	var joins []*pending[kmsg.JoinGroupResponse]
	for range size {
		joins = append(joins, r.join(joinOpts{version: 3}))
	}
	r.pass(6 * time.Second)
	ids := make([]string, size)
	for i, j := range joins {
		ids[i] = j.get(t).MemberID
	}
	leader := joins[0].get(t)
	if len(leader.Members) != size {
		t.Fatalf("%d members", len(leader.Members))
	}
	write := func(gen int32, change string) []metadata.Edit {
		req := kmsg.NewPtrSyncGroupRequest()
		req.Group, req.MemberID, req.Generation = "g", leader.MemberID, gen
		for _, id := range ids {
			a := kmsg.NewSyncGroupRequestGroupAssignment()
			a.MemberID, a.MemberAssignment = id, []byte(change)
			req.GroupAssignment = append(req.GroupAssignment, a)
		}
		return r.m.Sync(r.now, Client{}, req, (&pending[kmsg.SyncGroupResponse]{}).done()).Edits
	}
	for _, e := range write(1, "first") {
		r.kept[e.Key] = e.Value
	}
	joins = nil
	for _, id := range ids { // a second generation
		joins = append(joins, r.join(joinOpts{id: id}))
	}
	if got := joins[0].get(t); got.Generation != 2 {
		t.Fatalf("generation %d", got.Generation)
	}
	second := write(2, "second")
	before := r.kept
	for cut := 0; cut <= len(second); cut += atom {
		r.kept = map[string][]byte{}
		for k, v := range before {
			r.kept[k] = v
		}
		for _, e := range second[:cut] {
			r.kept[e.Key] = e.Value
		}
		r.reload()
		want(t, "a member after a cut", r.beat(ids[size-1], 2), kerr.RebalanceInProgress)
		joins = nil
		for _, id := range ids {
			joins = append(joins, r.join(joinOpts{id: id}))
		}
		if got := joins[0].get(t); got.Generation != 3 || len(got.Members) != size {
			t.Fatalf("cut at %d: generation %d of %d", cut, got.Generation, len(got.Members))
		}
	}
	r.kept = before
	for _, e := range second {
		r.kept[e.Key] = e.Value
	}
	r.reload()
	want(t, "a member once all is written", r.beat(ids[size-1], 2), nil)
	if got := r.sync(ids[5], 2, nil).get(t); string(got.MemberAssignment) != "second" {
		t.Errorf("assignment %q", got.MemberAssignment)
	}
}

// Whatever the coordinator was in the middle of when a member left, the rest notices.
func TestMemberThatLeftIsMissedAfterAReload(t *testing.T) {
	r := newRig(t)
	a, b, gen := r.stable()
	_ = r.leave(b)
	r.reload()
	want(t, "heartbeat", r.beat(a, gen), kerr.RebalanceInProgress)
	if resp := r.join(joinOpts{id: a}).get(t); resp.Generation != gen+1 || len(resp.Members) != 1 {
		t.Errorf("join: %+v", resp)
	}
	r.reload() // between the join and the sync
	want(t, "heartbeat", r.beat(a, gen+1), kerr.RebalanceInProgress)
	if resp := r.join(joinOpts{id: a}).get(t); resp.Generation != gen+2 {
		t.Errorf("generation %d was given before", resp.Generation)
	}
}
