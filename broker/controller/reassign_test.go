package controller

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"firn/metadata"
	"firn/metadata/topic"
)

// moving is a partition led by the first that is in sync, if that one is alive.
func moving(img *metadata.Image, tp topic.Partition, replicas, adding, removing, isr []int32) *metadata.PartitionState {
	p := &metadata.PartitionState{
		Partition: tp, Leader: isr[0], LeaderEpoch: 7, ISR: isr, Replicas: replicas, Adding: adding, Removing: removing, LastKnownLeader: -1,
		LeaderBrokerEpoch: 1, // of the past
	}
	if b, ok := img.Broker(isr[0]); ok {
		p.LeaderBrokerEpoch = b.Epoch
	}
	return p
}

func show(p *metadata.PartitionState) string {
	return fmt.Sprint(p.Replicas, "+", p.Adding, "-", p.Removing, " isr ", p.ISR, " leader ", p.Leader, "@", p.LeaderEpoch)
}

type ids = []int32

func TestReassign(t *testing.T) {
	tp := topic.Partition{ID: topic.NewID()}
	w := newWorld(t).alive(1, 2, 3, 4, 5)
	for _, id := range (ids{1, 2, 3, 4, 6}) { // 6 is away
		w.node(id, metadata.NodeLive, metadata.LossNone)
	}
	w.node(7, metadata.NodeGone, metadata.LossNone).node(5, metadata.NodeDraining, metadata.LossNone)
	img := w.settings(tp.ID, map[string]string{"min.insync.replicas": "2"}).image()
	for _, c := range []struct {
		name                       string
		replicas, adding, removing ids
		isr, target                ids
		keep                       bool
		want                       string
		err                        error
	}{
		{name: "one for another", replicas: ids{1, 2, 3}, isr: ids{1, 2, 3}, target: ids{4, 2, 3}, want: "[4 2 3 1]+[4]-[1] isr [1 2 3] leader 1@7"},
		{name: "another order", replicas: ids{1, 2, 3}, isr: ids{1, 2, 3}, target: ids{3, 2, 1}, want: "[3 2 1]+[]-[] isr [1 2 3] leader 1@7"},
		{name: "fewer", replicas: ids{1, 2, 3}, isr: ids{1, 2, 3}, target: ids{2, 3}, want: "[2 3]+[]-[] isr [2 3] leader 2@8"},
		{name: "fewer, too few of them in sync", replicas: ids{1, 2, 3}, isr: ids{1, 2}, target: ids{2, 3}, want: "[2 3 1]+[]-[1] isr [1 2] leader 1@7"},
		{name: "the same", replicas: ids{1, 2, 3}, isr: ids{1, 2, 3}, target: ids{1, 2, 3}, want: "[1 2 3]+[]-[] isr [1 2 3] leader 1@7"},
		{name: "the one under way", replicas: ids{4, 2, 3, 1}, adding: ids{4}, removing: ids{1}, isr: ids{1, 2, 3}, target: ids{4, 2, 3}, want: "[4 2 3 1]+[4]-[1] isr [1 2 3] leader 1@7"},
		{name: "cancelled", replicas: ids{4, 2, 3, 1}, adding: ids{4}, removing: ids{1}, isr: ids{1, 2, 3}, want: "[2 3 1]+[]-[] isr [1 2 3] leader 1@8"},
		{name: "cancelled when one added leads", replicas: ids{4, 3, 2, 1}, adding: ids{4, 3}, removing: ids{2, 1}, isr: ids{4, 1}, want: "[2 1]+[]-[] isr [1] leader 1@8"},
		{name: "cancelled with nobody else in sync", replicas: ids{4, 3, 2, 1}, adding: ids{4, 3}, removing: ids{2, 1}, isr: ids{4}, err: ErrAssignment},
		{name: "changed with nobody else in sync", replicas: ids{4, 3, 1}, adding: ids{4, 3}, removing: ids{1}, isr: ids{4}, target: ids{2, 3}, want: "[2 3 1 4]+[2 3]-[1 4] isr [4] leader 4@7"},
		{name: "changed", replicas: ids{4, 2, 1}, adding: ids{4}, removing: ids{1}, isr: ids{1, 2}, target: ids{3, 2}, want: "[3 2 1]+[3]-[1] isr [1 2] leader 1@8"},
		{name: "nothing to cancel", replicas: ids{1, 2}, isr: ids{1, 2}, err: ErrNoReassignment},
		{name: "to nobody", replicas: ids{1, 2}, isr: ids{1, 2}, target: ids{}, err: ErrAssignment},
		{name: "twice to one", replicas: ids{1, 2}, isr: ids{1, 2}, target: ids{1, 1}, err: ErrAssignment},
		{name: "to a stranger", replicas: ids{1, 2}, isr: ids{1, 2}, target: ids{1, 9}, err: ErrAssignment},
		{name: "to one who has left", replicas: ids{1, 2}, isr: ids{1, 2}, target: ids{1, 7}, err: ErrAssignment},
		{name: "to one who leaves", replicas: ids{1, 2}, isr: ids{1, 2}, target: ids{1, 5}, err: ErrAssignment},
		{name: "to one who is away", replicas: ids{1, 2}, isr: ids{1, 2}, target: ids{1, 6}, want: "[1 6 2]+[6]-[2] isr [1 2] leader 1@7"},
		{name: "another factor", replicas: ids{1, 2}, isr: ids{1, 2}, target: ids{1, 2, 3}, keep: true, err: ErrReplicationFactor},
		{name: "the factor there was", replicas: ids{3, 2, 1}, adding: ids{3}, removing: ids{1}, isr: ids{1, 2}, target: ids{4, 1}, keep: true, want: "[4 1 2]+[4]-[2] isr [1 2] leader 1@8"},
	} {
		e := newElector(img, topic.Defaults{})
		p := moving(img, tp, c.replicas, c.adding, c.removing, c.isr)
		before := show(p)
		n, err := e.reassign(p, Reassignment{Topic: "t", Replicas: c.target, KeepFactor: c.keep})
		if !errors.Is(err, c.err) || err == nil && show(&n) != c.want {
			t.Errorf("%s: %s, %v; want %s, %v", c.name, show(&n), err, c.want, c.err)
		}
		if show(p) != before {
			t.Errorf("%s: the image's record has become %s", c.name, show(p))
		}
	}
}

// While none of those that a reassignment is to end with can serve yet, who leads goes on.
func TestReassignmentEndsWithOneThatCanServe(t *testing.T) {
	tp := topic.Partition{ID: topic.NewID()}
	img := newWorld(t).alive(1).incomplete(2).image()
	p := moving(img, tp, ids{2, 1}, nil, ids{1}, ids{1, 2})
	if n, changed := newElector(img, topic.Defaults{}).next(p); changed {
		t.Error(show(&n))
	}
}

// A replica that is being added and is the only one that could lead is not taken away.
func TestTheOnlyEligibleOneIsKept(t *testing.T) {
	tp := topic.Partition{ID: topic.NewID()}
	w := newWorld(t).alive(1).node(1, metadata.NodeLive, metadata.LossNone).node(2, metadata.NodeLive, metadata.LossNone)
	p := &metadata.PartitionState{
		Partition: tp, Leader: -1, LastKnownLeader: -1, ELR: ids{2}, Replicas: ids{2, 1}, Adding: ids{2}, Removing: ids{1},
	}
	n, err := newElector(w.image(), topic.Defaults{}).reassign(p, Reassignment{Topic: "t"})
	if !errors.Is(err, ErrAssignment) {
		t.Errorf("%s, %v", show(&n), err)
	}
}

// A reassignment ends in one step, once every added replica is in sync, and never with fewer in sync than the topic wants.
func TestReassignmentEnds(t *testing.T) {
	tp := topic.Partition{ID: topic.NewID()}
	img := newWorld(t).alive(1, 2, 3, 4).settings(tp.ID, map[string]string{"min.insync.replicas": "2"}).image()
	for _, c := range []struct {
		name string
		isr  ids
		want string // "" for no change
	}{
		{"the added one is not in sync", ids{1, 2, 3}, ""},
		{"all are in sync", ids{1, 2, 3, 4}, "[4 2 3]+[]-[] isr [2 3 4] leader 4@8"},
		{"another leads and stays", ids{2, 1, 4}, "[4 2 3]+[]-[] isr [2 4] leader 2@8"},
		{"too few of those that stay are in sync", ids{1, 4}, ""},
	} {
		e := newElector(img, topic.Defaults{})
		p := moving(img, tp, ids{4, 2, 3, 1}, ids{4}, ids{1}, c.isr)
		n, changed := e.next(p)
		if changed != (c.want != "") || changed && show(&n) != c.want {
			t.Errorf("%s: %s, changed %v; want %q", c.name, show(&n), changed, c.want)
		}
		if again, more := e.next(&n); more {
			t.Errorf("%s: %s does not stay: %s", c.name, show(&n), show(&again))
		}
	}
}

// Every state of a reassignment, with every set of brokers alive: it never leaves the committed records behind.
func TestReassignmentsKeepWhatIsCommitted(t *testing.T) {
	tp := topic.Partition{ID: topic.NewID()}
	subset := func(bits int) (out ids) {
		for id := int32(1); id <= 4; id++ {
			if bits>>(id-1)&1 == 1 {
				out = append(out, id)
			}
		}
		return out
	}
	for alive := range 16 {
		img := newWorld(t).alive(subset(alive)...).settings(tp.ID, map[string]string{"min.insync.replicas": "2"}).image()
		e := newElector(img, topic.Defaults{})
		for isr := 1; isr < 16; isr++ {
			for elr := range 16 {
				if isr&elr != 0 {
					continue
				}
				p := moving(img, tp, ids{4, 2, 3, 1}, ids{4}, ids{1}, subset(isr))
				p.ELR = subset(elr)
				n, _ := e.next(p)
				at := fmt.Sprintf("alive %v, %s, elr %v becomes %s, elr %v", subset(alive), show(p), p.ELR, show(&n), n.ELR)
				had := in(slices.Concat(p.ISR, p.ELR))
				if len(n.ISR) == 0 || len(without(n.ISR, had)) > 0 || len(without(n.ISR, in(n.Replicas))) > 0 {
					t.Errorf("%s: the ISR", at)
				}
				if n.Leader >= 0 && (!slices.Contains(n.ISR, n.Leader) || !e.alive(n.Leader)) {
					t.Errorf("%s: the leader", at)
				}
				if ended := len(n.Removing) == 0; ended && (!slices.Contains(n.ISR, 4) || len(n.ISR) < 2 || n.LeaderEpoch != p.LeaderEpoch+1) {
					t.Errorf("%s: it should not have ended like that", at)
				}
				if again, more := e.next(&n); more {
					t.Errorf("%s, and then %s", at, show(&again))
				}
			}
		}
	}
}

// What a disk has lost is a matter of the settings of its broker, whoever is the controller.
func TestDurabilityIsThatOfTheReplicasBroker(t *testing.T) {
	tp := topic.Partition{ID: topic.NewID()}
	w := newWorld(t).alive(1, 2, 3, 4)
	for id := int32(1); id <= 2; id++ {
		w.node(id, metadata.NodeLive, metadata.LossRelaxed)
	}
	w.ops = append(w.ops, w.keys.PutSettings(w.keys.BrokerSettings(2), metadata.Settings{Values: map[string]string{"log.flush.interval.messages": "100"}}))
	w.ops = append(w.ops, w.keys.PutNode(&metadata.Node{ID: 4, Loss: metadata.LossRelaxed, Relaxed: true}))
	img := w.image()
	for _, controllers := range []map[string]string{nil, {"log.flush.interval.messages": "1"}, {"log.flush.interval.messages": "100"}} {
		n, _ := newElector(img, topic.Defaults{Static: controllers}).next(parse(t, "3/1234/-/-", tp, img))
		if got := format(&n); got != "3/13/-/-" {
			t.Errorf("after a power cut of 1, which is durable, and 2 and 4, which are not: %s", got)
		}
	}
}

func TestElectionsOnRequest(t *testing.T) {
	tp := topic.Partition{ID: topic.NewID()}
	for _, c := range []struct {
		name    string
		alive   ids
		leaving int32
		coming  int32 // alive, but its disks do not have its epoch yet
		before  string
		unclean bool
		want    string
		lossy   bool
		err     error
	}{
		{name: "the preferred leads again", alive: ids{1, 2, 3}, before: "2/123/-/-", want: "1+/123/-/-"},
		{name: "it leads already", alive: ids{1, 2, 3}, before: "1/123/-/-", err: ErrElectionNotNeeded},
		{name: "it is not in sync", alive: ids{1, 2, 3}, before: "2/23/-/-", err: ErrPreferredLeader},
		{name: "it is away", alive: ids{2, 3}, before: "2/123/-/-", err: ErrPreferredLeader},
		{name: "it is about to leave", alive: ids{1, 2, 3}, leaving: 1, before: "2/123/-/-", err: ErrPreferredLeader},
		{name: "it cannot serve yet", alive: ids{2, 3}, coming: 1, before: "2/123/-/-", err: ErrPreferredLeader},
		{name: "unclean, but somebody leads", alive: ids{1, 2}, before: "2/2/-/-", unclean: true, err: ErrElectionNotNeeded},
		{name: "unclean, and needed", alive: ids{2, 3}, before: "-/1/-/-", unclean: true, want: "2+/2/-/-", lossy: true},
		{name: "unclean, but one can lead cleanly", alive: ids{2, 3}, before: "-/13/-/-", unclean: true, want: "3+/3/-/-"},
		{name: "unclean, and nobody lives", before: "-/1/-/-", unclean: true, err: ErrEligibleLeaders},
	} {
		w := newWorld(t).alive(c.alive...).settings(tp.ID, map[string]string{"min.insync.replicas": "1"})
		if c.leaving != 0 {
			w.node(c.leaving, metadata.NodeDraining, metadata.LossNone)
		}
		if c.coming != 0 {
			w.incomplete(c.coming)
		}
		img := w.image()
		e := newElector(img, topic.Defaults{})
		p := parse(t, c.before, tp, img)
		n, err := e.request(p, Election{Topic: "t", Unclean: c.unclean})
		if !errors.Is(err, c.err) || err == nil && (format(&n) != c.want || e.unclean(p, &n) != c.lossy) {
			t.Errorf("%s: %s becomes %s, unclean %v, %v; want %s, %v", c.name, c.before, format(&n), e.unclean(p, &n), err, c.want, c.err)
		}
	}
}

// Where the topic allows it, whoever is alive leads when nobody can without loss, and not before.
func TestUncleanElectionsByPolicy(t *testing.T) {
	tp := topic.Partition{ID: topic.NewID()}
	values := map[string]string{"min.insync.replicas": "1", "unclean.leader.election.enable": "true"}
	img := newWorld(t).alive(2, 3).settings(tp.ID, values).image()
	for before, want := range map[string]string{"1/1/-/-": "2+/2/-/-", "1/13/-/-": "3+/3/-/-", "1/1/3/-": "3+/3/1/-", "-/-/-/3": "3+/3/-/-"} {
		e := newElector(img, topic.Defaults{})
		n, _ := e.next(parse(t, before, tp, img))
		if got := format(&n); got != want {
			t.Errorf("%s becomes %s, want %s", before, got, want)
		}
		if again, more := e.next(&n); more {
			t.Errorf("%s does not stay: %s", format(&n), format(&again))
		}
	}
}

// A leader that is to leave makes way while it is alive, and stays as long as nobody else can lead.
func TestLeadersMakeWayBeforeTheyLeave(t *testing.T) {
	tp := topic.Partition{ID: topic.NewID()}
	img := newWorld(t).alive(1, 2, 3).node(1, metadata.NodeDraining, metadata.LossNone).image()
	for before, want := range map[string]string{"1/123/-/-": "2+/123/-/-", "1/1/-/-": "1/1/-/-", "3/123/-/-": "3/123/-/-"} {
		n, _ := newElector(img, topic.Defaults{}).next(parse(t, before, tp, img))
		if got := format(&n); got != want {
			t.Errorf("%s becomes %s, want %s", before, got, want)
		}
	}
}

// Leaders go back to a broker that has started again some at a time, but not some per interval, which would take hours.
func TestAllLeadersGoBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const partitions, interval = 3*maxBalanceMoves + 50, time.Hour
		c := newCluster(t)
		c.ctx = t.Context()
		a := c.start(1, func(_ *metadata.Registration, o *Options) { o.BalanceInterval, o.ImbalancePercent = interval, 10 })
		b := c.start(2)
		defer a.stop()
		defer b.stop()
		a.await("both", func(img *metadata.Image) bool { return len(img.Brokers()) == 2 })
		assignment := make(map[int32][]int32)
		for i := range int32(partitions) {
			assignment[i] = ids{1, 2}
		}
		got := a.ctl.CreateTopics(c.ctx, []NewTopic{{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignment: assignment}}, false)[0]
		if got.Err != nil {
			t.Fatal(got.Err)
		}
		led := func(img *metadata.Image) (by int) {
			for i := range int32(partitions) {
				if p, _ := img.Partition(topic.Partition{ID: got.Topic.ID, Index: i}); p.Leader == 1 {
					by++
				}
			}
			return by
		}
		img := a.await("leaders", func(img *metadata.Image) bool { return led(img) == partitions })
		var ops []metadata.Op
		for i := range int32(partitions) {
			p, _ := img.Partition(topic.Partition{ID: got.Topic.ID, Index: i})
			next := *p
			next.Leader, next.LeaderBrokerEpoch, next.ISR = 2, b.lease.Epoch(), ids{1, 2}
			ops = append(ops, a.store.Keys().PutPartition(&next))
		}
		if _, err := b.kv.Txn(c.ctx, metadata.Txn{Then: ops}); err != nil {
			t.Fatal(err)
		}
		a.await("other leaders", func(img *metadata.Image) bool { return led(img) == 0 })
		time.Sleep(interval + time.Minute)
		if n := led(a.store.Image()); n != partitions {
			t.Errorf("%d of %d lead again", n, partitions)
		}
	})
}

func TestBalance(t *testing.T) {
	id := topic.NewID()
	for _, c := range []struct{ away, of, percent, want int }{
		{1, 10, 10, 0}, {2, 10, 10, 2}, {1, 9, 10, 1}, {150, 200, 10, maxBalanceMoves}, {0, 10, 0, 0},
	} {
		w := newWorld(t).alive(1, 2)
		w.ops = append(w.ops, w.keys.PutTopic(&metadata.Topic{ID: id, Name: "t", Partitions: int32(c.of), ReplicationFactor: 2}), w.keys.PutTopicName("t", id))
		for i := range c.of {
			p := &metadata.PartitionState{Partition: topic.Partition{ID: id, Index: int32(i)}, Leader: 1, Replicas: ids{1, 2}, ISR: ids{1, 2}, LastKnownLeader: -1}
			if i < c.away {
				p.Leader = 2
			}
			w.ops = append(w.ops, w.keys.PutPartition(p))
		}
		img := w.image()
		now := time.Now()
		if b, _ := img.Broker(1); b.Started.After(now) {
			t.Fatal(b.Started)
		}
		moves := newElector(img, topic.Defaults{}).balance(now, c.percent)
		if len(moves) != c.want {
			t.Errorf("%d of %d are led by others: %d moves, want %d", c.away, c.of, len(moves), c.want)
		}
		if early := newElector(img, topic.Defaults{}).balance(time.UnixMilli(0).Add(balanceAfter-1), c.percent); len(early) > 0 {
			t.Errorf("leadership goes to a broker that has just started")
		}
		for _, m := range moves {
			if m.Leader != 1 || m.LeaderEpoch != 1 {
				t.Errorf("%+v", m)
			}
		}
	}
}

// A broker that has yielded, as it cannot serve its replica, is not elected in that life, whoever asks for it.
func TestYieldedLeadersAreNotElectedAgain(t *testing.T) {
	tp := topic.Partition{ID: topic.NewID()}
	for _, c := range []struct {
		name    string
		alive   ids
		unclean string
		again   bool // it has registered anew
		want    int32
	}{
		{"nobody else has all there is", ids{1, 3}, "false", false, -1},
		{"an unclean election", ids{1, 3}, "true", false, 3},
		{"nobody else is alive", ids{1}, "true", false, -1},
		{"in its next life", ids{1, 3}, "true", true, 1},
	} {
		w := newWorld(t)
		for _, id := range c.alive {
			w.alive(id).image() // each registers by itself
		}
		img := w.settings(tp.ID, map[string]string{"unclean.leader.election.enable": c.unclean}).image()
		e := newElector(img, topic.Defaults{})
		p, ok := moving(img, tp, ids{1, 2, 3}, nil, nil, ids{1}).Yielded(1, e.epoch(1))
		if !ok {
			t.Fatalf("%+v", p)
		}
		if c.again {
			p.LeaderBrokerEpoch--
		}
		n, changed := e.next(&p)
		if n.Leader != c.want || changed != (c.want >= 0) {
			t.Errorf("%s: %s, changed %v", c.name, show(&n), changed)
		}
		if !c.again {
			if _, err := e.request(&p, Election{Topic: "t"}); !errors.Is(err, ErrPreferredLeader) {
				t.Errorf("%s: as preferred leader: %v", c.name, err)
			}
			n, err := e.request(&p, Election{Topic: "t", Unclean: true})
			if len(c.alive) == 1 && !errors.Is(err, ErrEligibleLeaders) || len(c.alive) > 1 && n.Leader != 3 {
				t.Errorf("%s: on request: %s, %v", c.name, show(&n), err)
			}
		}
	}
}

// The replicas of a partition do not come down to one that has yielded, as it cannot serve: the others would throw away what is left.
func TestReassignmentDoesNotEndWithAYieldedLeader(t *testing.T) {
	tp := topic.Partition{ID: topic.NewID()}
	w := newWorld(t)
	for _, id := range (ids{1, 2}) {
		w.alive(id).node(id, metadata.NodeLive, metadata.LossNone).image() // each registers by itself
	}
	img := w.image()
	e := newElector(img, topic.Defaults{})
	p, _ := moving(img, tp, ids{1, 2}, nil, nil, ids{1}).Yielded(1, e.epoch(1))
	n, err := e.reassign(&p, Reassignment{Topic: "t", Replicas: ids{1}})
	if want := "[1 2]+[]-[2] isr [1] leader -1@8"; err != nil || show(&n) != want {
		t.Errorf("%s, %v; want %s", show(&n), err, want)
	}
}

// One that has yielded does not come back as the last known leader either, while what its machine lost has not been acted on.
func TestYieldedLeaderIsNotTheLastKnownOne(t *testing.T) {
	tp := topic.Partition{ID: topic.NewID()}
	w := newWorld(t)
	for _, id := range (ids{1, 3}) {
		w.alive(id).image() // each registers by itself
	}
	w.ops = append(w.ops, w.keys.PutNode(&metadata.Node{ID: 1, State: metadata.NodeLive, Loss: metadata.LossRelaxed, Relaxed: true}))
	img := w.settings(tp.ID, map[string]string{"unclean.leader.election.enable": "true"}).image()
	e := newElector(img, topic.Defaults{})
	p, _ := moving(img, tp, ids{1, 2, 3}, nil, nil, ids{1}).Yielded(1, e.epoch(1))
	if n, _ := e.next(&p); n.Leader != 3 {
		t.Errorf("%s", show(&n))
	}
}

// Nor is one that has resigned elected in that life, with the loss of who is eligible: that one is away and has all there is.
// Whether it led in that life, in an earlier one or not at all does not matter.
func TestResignedLeaderTakesNobodysEligibility(t *testing.T) {
	tp := topic.Partition{ID: topic.NewID()}
	img := newWorld(t).alive(1).settings(tp.ID, map[string]string{"unclean.leader.election.enable": "true"}).image()
	e := newElector(img, topic.Defaults{})
	for _, c := range []struct {
		leader int32
		epoch  int64
	}{{1, e.epoch(1)}, {1, e.epoch(1) - 1}, {-1, 0}, {-1, e.epoch(1) - 1}} {
		p := moving(img, tp, ids{1, 2, 3}, nil, nil, ids{1})
		p.Leader, p.LeaderBrokerEpoch, p.ELR = c.leader, c.epoch, ids{2}
		n, ok := p.Resigned(1, e.epoch(1))
		if !ok {
			t.Fatalf("%+v", p)
		}
		if next, changed := e.next(&n); changed {
			t.Errorf("leader %d@%d: %s, eligible %v", c.leader, c.epoch, show(&next), next.ELR)
		}
	}
}
