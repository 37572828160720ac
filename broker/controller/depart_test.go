package controller

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"firn/metadata"
	"firn/metadata/memkv"
	"firn/metadata/topic"
)

// sync has a partition's leader write the ISR.
func (m *member) sync(p *metadata.PartitionState, isr ...int32) {
	m.c.t.Helper()
	next := *p
	next.ISR = isr
	res, err := m.kv.Txn(m.c.ctx, metadata.Txn{
		If:   []metadata.Cmp{metadata.ModIs(m.store.Keys().Partition(p.Partition), p.Rev)},
		Then: []metadata.Op{m.store.Keys().PutPartition(&next)},
	})
	if err == nil {
		_, err = m.store.WaitRev(m.c.ctx, res.Rev)
	}
	if err != nil || !res.OK {
		m.c.t.Fatal(res.OK, err)
	}
}

func (c *cluster) three(change ...func(*metadata.Registration, *Options)) (a, b, d *member) {
	a, b, d = c.start(1, change...), c.start(2, change...), c.start(3, change...)
	a.await("brokers", func(img *metadata.Image) bool { return len(img.Brokers()) == 3 })
	return a, b, d
}

func (m *member) place(name string, replicas ...int32) topic.Partition {
	m.c.t.Helper()
	got := m.ctl.CreateTopics(m.c.ctx, []NewTopic{{Name: name, Partitions: -1, ReplicationFactor: -1, Assignment: map[int32][]int32{0: replicas}}}, false)[0]
	if got.Err != nil {
		m.c.t.Fatal(got.Err)
	}
	return topic.Partition{ID: got.Topic.ID}
}

func (m *member) partition(tp topic.Partition) *metadata.PartitionState {
	p, _ := m.store.Image().Partition(tp)
	return p
}

func TestReassignmentEndsWithTheReplicasAskedFor(t *testing.T) {
	c := newCluster(t)
	a, _, _ := c.three()
	tp := a.place("t", 1, 2)
	if err := a.ctl.Reassign(c.ctx, []Reassignment{{Topic: "t", Replicas: ids{3, 2}}})[0]; err != nil {
		t.Fatal(err)
	}
	p := a.partition(tp)
	if got := show(p); got != "[3 2 1]+[3]-[1] isr [1 2] leader 1@0" {
		t.Fatal(got)
	}
	a.sync(p, 3, 2, 1)
	a.await("the end", func(img *metadata.Image) bool { p, _ := img.Partition(tp); return len(p.Removing) == 0 })
	if got := show(a.partition(tp)); got != "[3 2]+[]-[] isr [3 2] leader 3@1" {
		t.Error(got)
	}
}

// A leader changes its in-sync set whenever it likes, also just before a request for its partition is written.
func TestRequestsSucceedThoughTheInSyncSetChangesMeanwhile(t *testing.T) {
	for _, verb := range []string{"reassign", "elect"} {
		t.Run(verb, func(t *testing.T) {
			c := newCluster(t)
			a, _, _ := c.three()
			tp := a.place("t", 2, 1)
			other := a.place("other", 2, 1)
			for _, tp := range []topic.Partition{tp, other} { // broker 1 leads, broker 2 is preferred
				p := *a.partition(tp)
				p.Leader, p.LeaderBrokerEpoch = 1, a.lease.Epoch()
				a.sync(&p, 2, 1)
			}
			leader := c.server.Dial()
			defer leader.Close()
			key := a.store.Keys().Partition(tp)
			var once sync.Once
			a.kv.SetFaults(func(call memkv.Call) (f memkv.Fault) {
				if call.Write && slices.Contains(call.Keys, key) {
					once.Do(func() {
						p := *a.partition(tp)
						p.ISR = []int32{1, 2}
						if _, err := leader.Txn(c.ctx, metadata.Txn{Then: []metadata.Op{a.store.Keys().PutPartition(&p)}}); err != nil {
							t.Error(err)
						}
					})
				}
				return f
			})
			var errs []error
			if verb == "elect" {
				errs = a.ctl.Elect(c.ctx, []Election{{Topic: "t"}, {Topic: "other"}, {Topic: "t"}})
			} else {
				errs = a.ctl.Reassign(c.ctx, []Reassignment{{Topic: "t", Replicas: ids{3, 2}}, {Topic: "other", Replicas: ids{3, 2}}, {Topic: "t", Replicas: ids{3}}})
			}
			if errs[0] != nil || errs[1] != nil || !errors.Is(errs[2], ErrRequest) {
				t.Fatal(errs)
			}
			want := map[string]string{
				"elect":    "[2 1]+[]-[] isr [1 2] leader 2@1",
				"reassign": "[3 2 1]+[3]-[1] isr [1 2] leader 1@0",
			}
			if got := show(a.partition(tp)); got != want[verb] {
				t.Error(got)
			}
		})
	}
}

// A topic grows by partitions like those it has, not like those it was made with.
func TestTopicsGrowAsTheyWereReassigned(t *testing.T) {
	c := newCluster(t)
	a, _, _ := c.three()
	tp := a.place("t", 1)
	if err := a.ctl.Reassign(c.ctx, []Reassignment{{Topic: "t", Replicas: ids{1, 2, 3}}})[0]; err != nil {
		t.Fatal(err)
	}
	if err := a.ctl.CreatePartitions(c.ctx, []MorePartitions{{Name: "t", Total: 2}}, false)[0]; err != nil {
		t.Fatal(err)
	}
	if p := a.partition(topic.Partition{ID: tp.ID, Index: 1}); len(p.Replicas) != 3 {
		t.Errorf("%s", show(p))
	}
}

func TestBrokersLeaveForGood(t *testing.T) {
	c := newCluster(t)
	a, _, _ := c.three()
	tp := a.place("t", 2, 1)
	if err := a.ctl.Unregister(c.ctx, 9); !errors.Is(err, ErrUnknownBroker) {
		t.Errorf("a stranger: %v", err)
	}
	wide := a.place("wide", 1, 2, 3)
	if err := a.ctl.Unregister(c.ctx, 2); !errors.Is(err, ErrReplicationFactor) {
		t.Errorf("with too few others: %v", err)
	}
	if err := a.ctl.DeleteTopics(c.ctx, []topic.ID{wide.ID})[0]; err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := a.ctl.Unregister(c.ctx, 2); err != nil {
			t.Fatal(err)
		}
	}
	a.await("the reassignment", func(img *metadata.Image) bool {
		p, _ := img.Partition(tp)
		return p.Leader == 1 && slices.Equal(p.Adding, ids{3}) && slices.Equal(p.Removing, ids{2})
	})
	a.sync(a.partition(tp), 1, 2, 3)
	img := a.await("the end", func(img *metadata.Image) bool { n, _ := img.Node(2); return n.State == metadata.NodeGone })
	if p, _ := img.Partition(tp); fmt.Sprint(p.Replicas) != "[3 1]" {
		t.Errorf("%s", show(p))
	}
	if err := a.ctl.Unregister(c.ctx, 2); !errors.Is(err, ErrUnknownBroker) {
		t.Errorf("one who has left: %v", err)
	}
}

// A broker that is about to leave is given nothing more, and nothing that it has becomes more than the others can take.
func TestBrokersThatLeaveAreGivenNothing(t *testing.T) {
	c := newCluster(t)
	a, _, d := c.three()
	tp := a.place("t", 3)
	d.crash()
	a.place("big", 1)
	if err := a.ctl.Unregister(c.ctx, 3); err != nil {
		t.Fatal(err)
	}
	got := a.ctl.CreateTopics(c.ctx, []NewTopic{{Name: "new", Partitions: -1, ReplicationFactor: -1, Assignment: map[int32][]int32{0: {1, 2, 3}}}}, false)[0]
	if !errors.Is(got.Err, ErrAssignment) {
		t.Errorf("a topic: %v", got.Err)
	}
	if err := a.ctl.CreatePartitions(c.ctx, []MorePartitions{{Name: "big", Total: 2, Assignment: [][]int32{{3}}}}, false)[0]; !errors.Is(err, ErrAssignment) {
		t.Errorf("a partition: %v", err)
	}
	if err := a.ctl.Reassign(c.ctx, []Reassignment{{Topic: "t", Replicas: ids{1, 2, 3}}})[0]; !errors.Is(err, ErrReplicationFactor) {
		t.Errorf("a replica that nobody could take: %v, %s", err, show(a.partition(tp)))
	}
}

// A reassignment under way that a broker which leaves was to be part of is not waited for: it joins no in-sync set any more.
func TestBrokersLeaveFromReassignmentsUnderWay(t *testing.T) {
	c := newCluster(t)
	a, _, _ := c.three()
	tp := a.place("t", 1, 2)
	if err := a.ctl.Reassign(c.ctx, []Reassignment{{Topic: "t", Replicas: ids{2, 3}}})[0]; err != nil {
		t.Fatal(err)
	}
	a.sync(a.partition(tp), 1)
	if err := a.ctl.Unregister(c.ctx, 2); err != nil {
		t.Fatal(err)
	}
	a.await("another reassignment", func(img *metadata.Image) bool {
		p, _ := img.Partition(tp)
		return slices.Contains(p.Removing, 2) && slices.Contains(p.Adding, 3)
	})
	a.sync(a.partition(tp), 1, 3)
	a.await("the end", func(img *metadata.Image) bool { n, _ := img.Node(2); return n.State == metadata.NodeGone })
}

// Brokers leave though one that was being added is the only one in sync by now: it stays until another is.
func TestTheOnlyOneInSyncLeavesWhileItIsAdded(t *testing.T) {
	c := newCluster(t)
	a, _, _ := c.three()
	d := c.start(4)
	a.await("broker 4", func(img *metadata.Image) bool { return len(img.Brokers()) == 4 })
	tp := a.place("t", 4)
	if err := a.ctl.Reassign(c.ctx, []Reassignment{{Topic: "t", Replicas: ids{2, 3}}})[0]; err != nil {
		t.Fatal(err)
	}
	a.sync(a.partition(tp), 2, 4)
	d.crash()
	a.await("another leader", func(img *metadata.Image) bool { p, _ := img.Partition(tp); return p.Leader == 2 && len(p.ISR) == 1 })
	if err := a.ctl.Unregister(c.ctx, 2); err != nil {
		t.Fatal(err)
	}
	a.await("another reassignment", func(img *metadata.Image) bool {
		p, _ := img.Partition(tp)
		return slices.Contains(p.Removing, 2) && slices.Contains(p.Adding, 1)
	})
	a.sync(a.partition(tp), 1, 2, 3)
	a.await("the end", func(img *metadata.Image) bool { n, _ := img.Node(2); return n.State == metadata.NodeGone })
	if got := show(a.partition(tp)); got != "[1 3]+[]-[] isr [1 3] leader 1@2" {
		t.Error(got)
	}
}

// Whatever an old leader has decided to put into the tier fails once another was elected uncleanly: the tier head is
// written with the election.
func TestUncleanElectionsFenceTheTier(t *testing.T) {
	c := newCluster(t)
	a, b, _ := c.three(func(_ *metadata.Registration, o *Options) {
		o.FenceTier = func(head []byte, epoch int32) ([]byte, error) { return append(bytes.Clone(head), byte(epoch)), nil }
	})
	tp := a.place("t", 2, 3)
	a.sync(a.partition(tp), 2)
	b.crash()
	a.await("no leader", func(img *metadata.Image) bool { p, _ := img.Partition(tp); return p.Leader < 0 })
	if _, ok := a.store.Image().TierHead(tp); ok {
		t.Fatal("a clean step wrote the tier head")
	}
	if err := a.ctl.Elect(c.ctx, []Election{{Topic: "t", Unclean: true}})[0]; err != nil {
		t.Fatal(err)
	}
	p := a.partition(tp)
	head, _ := a.store.Image().TierHead(tp)
	if p.Leader != 3 || len(head.Value) != 1 || int32(head.Value[0]) != p.LeaderEpoch || head.Rev != p.Rev {
		t.Errorf("%s, tier head %v of revision %d, the record's is %d", show(p), head.Value, head.Rev, p.Rev)
	}
}

// A reassignment that has nothing to wait for may elect uncleanly, too: the image may be newer than what the controller has acted on.
func TestReassignmentsThatElectUncleanlyFenceTheTier(t *testing.T) {
	tp := topic.Partition{ID: topic.NewID()}
	w := newWorld(t).alive(2).node(1, metadata.NodeLive, metadata.LossNone).node(2, metadata.NodeLive, metadata.LossNone)
	img := w.settings(tp.ID, map[string]string{"unclean.leader.election.enable": "true"}).image()
	ctl := &Controller{keys: w.keys, term: &term{epoch: 1}, opts: Options{
		FenceTier: func(_ []byte, epoch int32) ([]byte, error) { return []byte{byte(epoch)}, nil },
	}}
	p := moving(img, tp, ids{1, 2}, nil, nil, ids{1}) // 1 has just died
	txn, err := ctl.planReassign(newElector(img, topic.Defaults{}), p, Reassignment{Topic: "t", Replicas: ids{2, 1}})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(txn.Then, func(op metadata.Op) bool { return op.Key == w.keys.TierHead(tp) }) {
		t.Errorf("%+v", txn.Then)
	}
}

// A tier head that cannot be read keeps a partition without a leader, and not only until losses count as acted on.
func TestTierThatCannotBeFenced(t *testing.T) {
	c := newCluster(t)
	a, b, _ := c.three(func(_ *metadata.Registration, o *Options) {
		o.FenceTier = func([]byte, int32) ([]byte, error) { return nil, errors.New("written by a later version") }
	})
	tp := a.place("t", 2)
	if err := a.ctl.AlterSettings(c.ctx, []AlterSettings{{Topic: "t", Changes: []SettingChange{{Name: "unclean.leader.election.enable", Value: "true"}}}}, false)[0]; err != nil {
		t.Fatal(err)
	}
	b.crash()
	c.start(2, func(r *metadata.Registration, _ *Options) { r.Disks = []metadata.DiskFacts{{ID: disk(7)}} })
	a.await("the new disk to be acted on", func(img *metadata.Image) bool {
		n, _ := img.Node(2)
		return slices.Equal(n.Disks, []metadata.UUID{disk(7)}) && n.Loss == metadata.LossNone
	})
	if err := a.ctl.Elect(c.ctx, []Election{{Topic: "t"}})[0]; !errors.Is(err, ErrPreferredLeader) {
		t.Error(err) // the controller has looked at the partition once more, too
	}
	if p := a.partition(tp); p.Leader >= 0 || len(p.ISR) > 0 {
		t.Errorf("%s", show(p))
	}
}

// A broker can leave though reassignments wait for brokers that are away, or for nothing but who was there before: only what is
// being copied has it wait for its turn.
func TestReassignmentsThatCopyNothingHoldNobodyUp(t *testing.T) {
	id := topic.NewID()
	for name, c := range map[string]struct {
		leader     int32
		added, isr ids
		want       int
	}{
		"the added ones are away":                   {1, ids{5}, ids{1}, 1},
		"the added ones are in sync":                {1, ids{4}, ids{1, 4}, 1},
		"the added ones are away, and some in sync": {1, ids{4, 5}, ids{1, 4}, 1},
		"nobody leads":                              {-1, ids{4}, ids{6}, 1},
		"some of the added ones are being copied":   {1, ids{4, 5}, ids{1}, 0},
	} {
		w := newWorld(t).alive(1, 2, 3, 4).settings(id, map[string]string{"min.insync.replicas": "3"})
		for _, b := range (ids{1, 2, 4, 5, 6}) {
			w.node(b, metadata.NodeLive, metadata.LossNone)
		}
		w.node(3, metadata.NodeDraining, metadata.LossNone)
		w.ops = append(w.ops, w.keys.PutTopic(&metadata.Topic{ID: id, Name: "t", Partitions: maxDepartures + 1, ReplicationFactor: 2}), w.keys.PutTopicName("t", id))
		for i := range int32(maxDepartures) {
			w.ops = append(w.ops, w.keys.PutPartition(&metadata.PartitionState{
				Partition: topic.Partition{ID: id, Index: i}, Leader: c.leader, LastKnownLeader: -1, ISR: c.isr,
				Replicas: slices.Concat(c.added, ids{2, 1, 6}), Adding: c.added, Removing: ids{1, 6},
			}))
		}
		w.ops = append(w.ops, w.keys.PutPartition(&metadata.PartitionState{
			Partition: topic.Partition{ID: id, Index: maxDepartures}, Leader: 1, LastKnownLeader: -1, Replicas: ids{1, 3}, ISR: ids{1, 3},
		}))
		if moves, busy := newElector(w.image(), topic.Defaults{}).depart(ids{3}); len(moves) != c.want || busy[3] != 1 {
			t.Errorf("%s: %d moves, want %d; %v", name, len(moves), c.want, busy)
		}
	}
}
